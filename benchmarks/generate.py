"""Claim: answers come many times faster than from `generate` one by one, and all of them can be read.

    python benchmarks/generate.py [--run RUN] [--records 128] [--batch 32] [--repeat 3]

A run folder of a tiny model that learnt a shop (the demo's, say), or without one a few minutes of training on a drawn shop. Every way
answers the same test records from the photo files on, the rounds of all ways taking turns; answers a second are the median round's:

    ours          held to the task: forced words cost no pass, rows that are done leave
    likely        the same, and how likely every category and number was
    free          the model's own words: `generate` on the same batches
    naive         `generate`, one record after the other, as a notebook does it
    limit         the prompts alone, read in the same batches: photos opened, tower, one pass

Predicted before the first run, on two cores: an answer is some 40 tokens of a tiny vocabulary. Naive: 25 ms for photo and prompt, 40
passes of 4 ms: 5 a second. Ours: 15 ms for photo and prompt, 25 passes of 12 ms for 32 rows: 40 a second, 8 times as many; `likely`
reads as many tokens again as the answer: 30 a second. The limit 65.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from seeworth.data.dataset import Dataset
from seeworth.data.sample.run import run as sample
from seeworth.demo import TINY
from seeworth.encode import collate
from seeworth.predict.answer import Batch
from seeworth.predict.vlm import VLM, load_run
from seeworth.record import Prediction, Record
from seeworth.run_folder import read_run
from seeworth.settings import SampleSettings, TrainSettings
from seeworth.train.run import run as train


def main(run: Path | None, count: int, size: int, repeat: int) -> None:
    """Print a line for each way."""
    with tempfile.TemporaryDirectory() as name:
        run = run or _make(Path(name))
        records = Dataset.open(Path(read_run(run)["data"])).records("test")[:count]
        vlms = {
            "ours": load_run(run, batch_size=size),
            "likely": load_run(run, batch_size=size, distribution=True),
            "free": load_run(run, batch_size=size, constrained=False),
        }
        for vlm in vlms.values():
            vlm.features = None  # from the photo files on
        free = vlms["free"]
        ways: dict[str, Callable[[], list[Prediction] | None]] = {
            name: lambda vlm=vlm: list(vlm(records))  # type: ignore[misc]
            for name, vlm in vlms.items()
        }
        ways["naive"] = lambda: [_generate(free, [record])[0] for record in records]
        ways["limit"] = lambda: _prompts(free, records, size)
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(records)} records, batches of {size}, {repeat} rounds")
        _measure(ways, records, free.encoder.task, repeat)


def _measure(ways: dict[str, Callable[[], list[Prediction] | None]], records: Sequence[Record], task: Any, repeat: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    said: dict[str, list[Prediction] | None] = {}
    for _ in range(repeat):
        for name, work in ways.items():
            start = time.perf_counter()
            said[name] = work()
            seconds[name].append(time.perf_counter() - start)
    rates = {name: len(records) / statistics.median(own) for name, own in seconds.items()}
    print(f"{'':>8} answers/s  x naive  of limit  can be read   fields right")
    for name, rate in rates.items():
        row = f"{name:>8} {rate:9.1f} {rate / rates['naive']:8.1f} {rate / rates['limit']:9.2f}"
        print(row + (f" {_quality(said[name], records, task)}" if said[name] else ""))
    same = sum(a.text == b.text for a, b in zip(said["free"] or [], said["naive"] or [], strict=True))
    print(f"free says the same as naive in {same} of {len(records)}")


def _quality(said: Sequence[Prediction] | None, records: Sequence[Record], task: Any) -> str:
    """Share of answers that can be read; of each field, of all records, what is right: a number within a quarter of the truth."""
    readings = [task.read(one.text) for one in said or []]
    found = [f"{sum(not one.problems for one in readings) / len(records):12.3f}"]
    for field in task.answer_fields:
        right = 0
        for reading, record in zip(readings, records, strict=True):
            value, truth = reading.values.get(field.name), record.values[field.name]
            close = field.kind == "number" and value is not None and abs(float(value) - float(truth)) <= 0.25 * abs(float(truth))
            right += close or value == truth
        found.append(f"{field.name} {right / len(records):.3f}")
    return "  ".join(found)


def _batches(records: Sequence[Record], size: int) -> list[Sequence[Record]]:
    return [records[begin : begin + size] for begin in range(0, len(records), size)]


@torch.inference_mode()
def _generate(vlm: VLM, records: Sequence[Record]) -> list[Prediction]:
    """The library's own loop on one batch."""
    tokenizer = vlm.encoder.processor.tokenizer
    batch = collate([vlm.encoder.example(one, answer=False) for one in records], pad_id=tokenizer.pad_token_id, side="left")
    del batch["labels"]
    ids = vlm.model.generate(**batch, do_sample=False, max_new_tokens=vlm.max_new_tokens, use_cache=True)
    words = tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [Prediction(record.id, text.strip(), 0.0) for record, text in zip(records, words, strict=True)]


@torch.inference_mode()
def _prompts(vlm: VLM, records: Sequence[Record], size: int) -> None:
    for batch in _batches(records, size):
        examples = [vlm.encoder.example(one, answer=False) for one in batch]
        asked = Batch(vlm.model, examples, [None] * len(batch), max_new_tokens=1, pad_id=vlm.encoder.processor.tokenizer.pad_token_id)
        asked.fill(asked.rows)


def _make(folder: Path) -> Path:
    """A drawn shop of 1,500 products, and the demo's model after a pass and a half over it."""
    sample(SampleSettings(output=folder / "data", rows=1500, seed=0))
    own: dict[str, Any] = TINY | {"num_train_epochs": 1.5, "evals_per_run": 0}
    train(TrainSettings(data=folder / "data", output_dir=folder / "run", report_to="none", **own))
    return folder / "run"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--records", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    main(given.run, given.records, given.batch, given.repeat)
