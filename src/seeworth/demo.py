"""The verb `demo`: sample, train, evaluate, report, on this machine's CPU and with no network. Finished stages are kept.

It is the product end to end: every stage is the same function that its own verb runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from .settings import DemoSettings, EvaluateSettings, SampleSettings, TrainSettings

# What the tiny model wants on a CPU; recipes/tiny.yaml holds the same, and a test keeps them equal.
TINY = {
    "model": "tiny",
    "num_train_epochs": 6.2,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 32,
    "gradient_accumulation_steps": 1,
    "optim": "muon",
    "learning_rate": 3e-3,
    "weight_decay": 0.05,
    "warmup_ratio": 0.05,
    "augment": 0.5,
    "evals_per_run": 3,
    "eval_records": 32,
}


def run(settings: DemoSettings) -> None:
    """Make `output_dir`/data, run and evaluation, each unless it is finished; end with the figures and the page's path."""
    home = settings.output_dir
    data, trained, evaluation = home / "data", home / "run", home / "evaluation"
    _stage("1/3 sample", data / "dataset.json", lambda: _sample(settings, data))
    _stage("2/3 train", trained / "run.json", lambda: _train(settings, data, trained))
    if not _stage("3/3 evaluate", evaluation / "report.html", lambda: _evaluate(settings, trained, evaluation)):
        from .report.run import show

        show(evaluation)


def _stage(name: str, done: Path, work: Callable[[], None]) -> bool:
    """Do the work unless `done` exists; whether it was done now."""
    if done.exists():
        print(f"{name}: kept, {done} is there", flush=True)
        return False
    print(f"{name} ...", flush=True)
    start = time.time()
    work()
    print(f"{name}: {time.time() - start:.0f} s", flush=True)
    return True


def _sample(settings: DemoSettings, data: Path) -> None:
    from .data.sample.run import run as sample

    sample(SampleSettings(output=data, rows=settings.rows, seed=settings.seed, overwrite=data.exists()))


def _train(settings: DemoSettings, data: Path, trained: Path) -> None:
    from .train.run import run as train

    train(TrainSettings(data=data, output_dir=trained, seed=settings.seed, overwrite=trained.exists(), **TINY))  # type: ignore[arg-type]


def _evaluate(settings: DemoSettings, trained: Path, evaluation: Path) -> None:
    from .report.run import evaluate_and_report

    evaluate_and_report(
        EvaluateSettings(
            run=trained, output=evaluation, seed=settings.seed, batch_size=32, overwrite=evaluation.exists(),
            allow_ungrounded=True,  # of few rows nothing is learnt: the page says so, and the demo has shown what it is for
        )
    )  # fmt: skip
