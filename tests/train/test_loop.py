"""The verb train broken off in every way that comes to mind, and given again: the end is that of the undisturbed training."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import seeworth.track.log as log_module
import seeworth.train.checkpoint as checkpoint_module
import seeworth.train.examples as examples_module
import seeworth.train.loop as loop_module
import seeworth.train.run as run_module
from seeworth.cli import main
from seeworth.data.dataset import Dataset
from seeworth.encode import photos_of
from seeworth.predict.vlm import VLM
from seeworth.train.loop import Trainer
from seeworth.train.order import Order
from seeworth.train.step import Stepper

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 7
PLAIN = {"model": "tiny", "max_steps": STEPS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 2e-3,
         "optim": "muon", "augment": 0.5, "evals_per_run": 2, "eval_records": 1, "logging_steps": 3, "save_steps": 2,
         "report_to": "none", "photo_memory": 0}  # fmt: skip


def load_soak() -> Any:
    spec = spec_from_file_location("kill_train", REPOSITORY / "tests" / "soak" / "kill_train.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    before = dict(os.environ)
    spec.loader.exec_module(module)
    os.environ.clear()
    os.environ.update(before)
    return module


soak = load_soak()


class Killed(BaseException):
    """A kill from within: nothing catches it, as nothing catches SIGKILL."""


@pytest.fixture(autouse=True)
def _short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "VLM", partial(VLM, max_new_tokens=6))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """11 records to train on: an epoch is 3 steps, the last of them 3 records."""
    return Path(soak.make_data(tmp_path_factory.mktemp("data") / "set", train=11, validation=3))


def train(data: Path, out: Path, **more: Any) -> int:
    words = {"data": data, "output_dir": out, **PLAIN, **more}
    return main(["train", *(f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in words.items())])


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The undisturbed training's files. All trainings of this module are written to a folder of the same name: settings.yaml says it."""
    return undisturbed(data, tmp_path_factory.mktemp("whole") / "out")


def undisturbed(data: Path, out: Path, **more: Any) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "VLM", partial(VLM, max_new_tokens=6))
        assert train(data, out, **more) == 0
    return picture(out)


def picture(out: Path) -> dict[str, str]:
    """As the soak compares; what holds the folder's own path is left out, since each test has a folder of its own."""
    return {name: one for name, one in soak.picture(out).items() if name not in ("settings.yaml", "run.json", "started.json")}


def kill_at(patch: pytest.MonkeyPatch, place: Any, name: str, call: int, error: Callable[[], BaseException] = Killed) -> None:
    """End the process at the so many-th call, counted from 1, of a function or method."""
    count, work = 0, getattr(place, name)

    def counted(*args: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise error()
        return work(*args, **more)

    patch.setattr(place, name, counted)


def killed(data: Path, out: Path, place: Any, name: str, call: int, **more: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, place, name, call)
        with pytest.raises(Killed):
            train(data, out, **more)


KILLS = [
    (Stepper, "loss", 1),  # before the first checkpoint
    (Stepper, "loss", 6),  # between two forward passes of a step, the third
    (Stepper, "loss", 13),  # after a checkpoint, in a new epoch
    (Trainer, "_log", 2),
    (Trainer, "_evaluate", 1),
    (Trainer, "_evaluate", 2),  # at the last step
    (Trainer, "save", 4),
    (checkpoint_module, "save_file", 4),  # the second one's optimizer
    (checkpoint_module, "write_whole", 2),
    (checkpoint_module, "_to_disk", 9),  # under its own name, the folder not yet on the disk
    (loop_module, "forget_checkpoints", 3),  # the one before the last is still there
    (checkpoint_module, "_delete", 8),
    (Trainer, "load_best", 1),  # after the last step
    (run_module, "write_result", 1),
    (run_module, "write_run", 1),  # all but run.json
]


@pytest.mark.parametrize(("place", "name", "call"), KILLS)
def test_killed_there_and_given_again_it_ends_the_same(
    data: Path, whole: dict[str, str], tmp_path: Path, place: Any, name: str, call: int
) -> None:
    out = tmp_path / "out"
    killed(data, out, place, name, call)
    assert not (out / "run.json").exists()
    assert train(data, out) == 0
    assert picture(out) == whole


def test_killed_at_every_step_in_turn_it_ends_the_same(data: Path, whole: dict[str, str], tmp_path: Path) -> None:
    """Each command does two steps and is killed in its third: the log's window and the best figure go through many hands."""
    out, commands = tmp_path / "out", 0
    while not (out / "run.json").exists():
        commands += 1
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, Trainer, "_step", 3)
            try:
                train(data, out)
            except Killed:
                continue
    assert commands == 4  # steps 2, 4, 6 and the last
    assert picture(out) == whole


VARIANTS: dict[str, dict[str, Any]] = {
    "epochs": {"max_steps": -1, "num_train_epochs": 1.5},
    "only at the end": {"evals_per_run": 0},
    "by tokens": {"max_tokens_per_batch": 100, "optim": "adamw"},
    "one checkpoint": {"save_total_limit": 1},
    "one step": {"max_steps": 1, "save_steps": 0},
    "no validation": {"validation": 0},
    "one record": {"train": 1, "validation": 1},
    "packed, in bfloat16, from kept features": {"packing": True, "dtype": "bfloat16", "vision": "frozen", "augment": 0},
    "restarts": {"lr_scheduler_type": "cosine_with_restarts", "group_by_length": False, "weight_decay": 0.1, "max_steps": 5},
    "rates of their own": {"vision_learning_rate": 1e-4, "lr_scheduler_type": "linear", "warmup_ratio": 0.4, "optim": "adamw"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_trainings_end_the_same_too(data: Path, tmp_path: Path, variant: str) -> None:
    more = dict(VARIANTS[variant])
    if sizes := {name: more.pop(name) for name in ("train", "validation") if name in more}:
        data = soak.make_data(tmp_path / "set", **{"train": 11, "validation": 3, **sizes})
    wanted = undisturbed(data, tmp_path / "whole" / "out", **more)
    out = tmp_path / "out"
    kept = {name for name in wanted if name.startswith("checkpoint-") and "/" not in name}
    last = max(int(name.removeprefix("checkpoint-")) for name in kept)
    best = json.loads((tmp_path / "whole" / "out" / "run.json").read_text())["best_checkpoint"]
    limit = more.get("save_total_limit", 2)
    assert (best is None) == (sizes.get("validation") == 0)
    assert {f"checkpoint-{last}"} <= kept
    assert best is None or best in kept
    assert len(kept) <= max(limit, 2)
    if last > 1:
        killed(data, out, Trainer, "_step", last // 2 + 1, **more)
    killed(data, out, run_module, "write_run", 1, **more)
    assert train(data, out, **more) == 0
    assert picture(out) == wanted


def test_lora_with_dropout_ends_the_same(data: Path, tmp_path: Path) -> None:
    soak.make_base(tmp_path / "base", data)
    more = {"model": tmp_path / "base", "lora_dropout": 0.4, "lora_rank": 4, "optim": "adamw"}
    wanted = undisturbed(data, tmp_path / "whole" / "out", **more)
    killed(data, tmp_path / "out", Stepper, "loss", 10, **more)
    assert train(data, tmp_path / "out", **more) == 0
    assert picture(tmp_path / "out") == wanted
    without = undisturbed(data, tmp_path / "without" / "out", **more | {"lora_dropout": 0.0})
    assert without["adapter_model.safetensors"] != wanted["adapter_model.safetensors"]  # the dropout was at work


def test_another_base_model_than_the_checkpoints_is_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is the same, its weights are not: a checkpoint of LoRA alone would go on over them without an error."""
    base = tmp_path / "base"
    soak.make_base(base, data)
    more = {"model": base, "lora_rank": 4, "optim": "adamw"}
    killed(data, tmp_path / "out", Trainer, "_step", 4, **more)
    tensors = load_file(base / "model.safetensors")
    name = next(name for name in tensors if name.endswith("qkv_proj.weight"))
    save_file({**tensors, name: tensors[name] * 1.01}, base / "model.safetensors", metadata={"format": "pt"})
    assert train(data, tmp_path / "out", **more) == 1
    assert f"checkpoint-2 was trained over other frozen weights than {base} has now" in capsys.readouterr().err
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    assert train(data, tmp_path / "out", **more) == 0


def test_what_may_change_on_resume_changes_neither_log_nor_weights(data: Path, whole: dict[str, str], tmp_path: Path) -> None:
    """Every name in FREE but those of places, trackers, the doctor and threads."""
    out = tmp_path / "out"
    killed(data, out, Stepper, "loss", 6)
    more = {"dataloader_num_workers": 2, "photo_memory": 100, "save_steps": 3, "save_total_limit": 5, "gradient_checkpointing": True,
            "auto_find_batch_size": True, "run_name": "other", "project": "other"}  # fmt: skip
    moved = shutil.copytree(data, tmp_path / "elsewhere")
    assert train(moved, out, **more) == 0
    found = picture(out)
    assert {name: found[name] for name in ("log.jsonl", "model.safetensors")} == {
        name: whole[name] for name in ("log.jsonl", "model.safetensors")
    }
    assert (out / "checkpoint-3").exists()


def test_a_resumed_training_opens_only_the_photos_of_the_steps_to_come(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    killed(data, out, Trainer, "_step", 6)  # checkpoint-4 is there
    opened: list[str] = []
    monkeypatch.setattr(examples_module, "photos_of", lambda record: opened.append(record.id) or photos_of(record))
    orders: list[Order] = []
    init = Trainer.__init__
    monkeypatch.setattr(Trainer, "__init__", lambda self, **more: orders.append(more["order"]) or init(self, **more))
    assert train(data, out) == 0
    records = Dataset.open(data).records("train")
    ids = {record.id for record in records}
    expected = [records[at].id for _, step in orders[0].steps(4, STEPS) for micro in step for at in micro]
    assert [one for one in opened if one in ids] == expected
    assert len(expected) == 4 + 3 + 4  # the rest of the second epoch, and the first step of the third


@pytest.mark.parametrize("what", ["loss", "norm"])
def test_a_figure_that_is_not_finite_keeps_the_checkpoint_before(
    data: Path, whole: dict[str, str], tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    step = Stepper.step
    with pytest.MonkeyPatch.context() as patch:
        done: list[int] = []

        def spoilt(self: Stepper, batches: Any) -> Any:
            found = step(self, batches)
            done.append(1)
            return found if len(done) < 6 else type(found)(**{**vars(found), what: float("nan")})

        patch.setattr(Stepper, "step", spoilt)
        assert train(data, out) == 1
    told = capsys.readouterr().err
    assert f"train/{'loss' if what == 'loss' else 'grad_norm'} is nan at step 6: lower learning_rate" in told
    assert told.count("\n") == 1
    assert train(data, out, learning_rate=1e-3) == 1
    assert "was trained with other settings (learning_rate 0.002 -> 0.001): give the same ones" in capsys.readouterr().err
    assert train(data, out) == 0
    assert picture(out) == whole


def test_weights_that_are_not_finite_are_not_saved(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    step = Stepper.step
    with pytest.MonkeyPatch.context() as patch:
        count: list[int] = []

        def spoilt(self: Stepper, batches: Any) -> Any:
            found = step(self, batches)
            count.append(1)
            if len(count) == 6:
                next(self.model.parameters()).data[0] = float("inf")
            return found

        patch.setattr(Stepper, "step", spoilt)
        assert train(data, out, evals_per_run=0) == 1
    assert "weight model.embed_tokens.weight is inf at step 6" in capsys.readouterr().err
    assert {path.name for path in out.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_photo_that_vanished_on_the_way_is_told_and_can_be_put_back(
    data: Path, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"max_steps": 16, "dataloader_num_workers": workers, "evals_per_run": 0}
    wanted = undisturbed(data, tmp_path / "whole" / "out", **more)
    mine, out = shutil.copytree(data, tmp_path / "mine"), tmp_path / "out"
    lost = Dataset.open(mine).records("train")[5]
    save = Trainer.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "save", lambda self: (save(self), lost.photo.rename(tmp_path / "away") if self.step == 2 else None))
        assert train(mine, out, **more) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"record {lost.id}, photo {lost.photo}: " in told
    assert re.search(r"put the photo back as it was \(.*/checkpoint-\d+ stays: the same command goes on from there\)", told)
    assert train(mine, out, **more) == 1
    assert f"1 of the photos in metadata.parquet are not there, the first is '{lost.photo.relative_to(mine)}'" in capsys.readouterr().err
    (tmp_path / "away").rename(lost.photo)
    assert train(mine, out, **more) == 0
    assert picture(out) == wanted


@pytest.mark.parametrize("lost", ["best", "window", "scaler", "track", "order"])
def test_a_checkpoint_that_no_training_wrote_is_told(
    data: Path, whole: dict[str, str], tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    killed(data, out, Trainer, "_step", 4)
    read = checkpoint_module.read_state
    with monkeypatch.context() as patch:
        for module in (loop_module, run_module):
            patch.setattr(module, "read_state", lambda folder: {name: one for name, one in read(folder).items() if name != lost})
        assert train(data, out) == 1
    told = capsys.readouterr().err
    assert re.search("it lacks " + lost if lost != "track" else "does not say how much of it is to be kept", told)
    assert told.count("\n") == 1
    assert train(data, out) == 0
    assert picture(out) == whole


def test_a_changed_dataset_is_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    killed(data, out, Trainer, "_step", 4)
    other = soak.make_data(tmp_path / "set", train=12, validation=3)
    assert train(other, out) == 1
    assert f"{other} is not the dataset that {out} was trained on" in capsys.readouterr().err
    mine = shutil.copytree(data, tmp_path / "mine")
    manifest = json.loads((mine / "dataset.json").read_text())
    manifest["task"]["question"] = "What is it?"
    (mine / "dataset.json").write_text(json.dumps(manifest))
    assert train(mine, out) == 1
    assert "has another task" in capsys.readouterr().err
    assert (out / "checkpoint-2").exists()


def test_another_order_than_the_checkpoints_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with a tokenizer of another version."""
    out = tmp_path / "out"
    killed(data, out, Trainer, "_step", 4)
    account = Order.account
    monkeypatch.setattr(Order, "account", lambda self: {**account(self), "records": 12})
    assert train(data, out) == 1
    assert "another order of records (records 11 -> 12)" in capsys.readouterr().err


def test_a_finished_training_is_left_alone(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert train(data, out, max_steps=1) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    assert train(data, out, max_steps=1) == 0
    assert "is finished already: nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert train(data, out, max_steps=2) == 1
    assert "max_steps 1 -> 2" in capsys.readouterr().err


def test_an_older_checkpoint_can_be_gone_on_from(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, more = tmp_path / "out", {"save_total_limit": 9}
    wanted = undisturbed(data, tmp_path / "whole" / "out", **more)
    killed(data, out, run_module, "write_run", 1, **more)
    killed(data, out, Trainer, "_step", 2, **more, resume_from_checkpoint="checkpoint-2")  # in its first step but one
    assert "going on at step 2 of 7" in capsys.readouterr().out
    assert {path.name for path in out.glob("checkpoint-*")} == {"checkpoint-2"}
    assert train(data, out, **more) == 0
    assert picture(out) == wanted


def test_a_damaged_checkpoint_is_told_and_made_again(
    data: Path, whole: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    killed(data, out, run_module, "write_run", 1)
    path = out / "checkpoint-7" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert train(data, out) == 0
    told = capsys.readouterr()
    assert told.err.count("checkpoint damaged, going on from the one before") == 1
    assert "going on at step 4 of 7" in told.out  # the best
    assert picture(out) == whole


def full() -> BaseException:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("place", "name", "call", "told"),
    [
        (checkpoint_module, "save_file", 5, "checkpoint-6 could not be written"),
        (log_module.os, "fsync", 1, "log.jsonl: .*No space left"),
        (run_module.Encoder, "example", 9, "No space left"),
        (Path, "write_text", 1, "the trained model could not be written; its checkpoints in .* stay"),
        (run_module, "write_run", 1, "No space left"),
    ],
)
def test_a_full_disk_is_told_in_one_line_and_nothing_is_lost(
    data: Path, whole: dict[str, str], tmp_path: Path, place: Any, name: str, call: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, place, name, call, full)
        assert train(data, out) == 1
    error = capsys.readouterr().err
    assert re.search(told, error)
    assert error.count("\n") == 1
    assert train(data, out) == 0
    assert picture(out) == whole


def test_the_keyboard_ends_it_with_130_and_words_on_how_to_go_on(
    data: Path, whole: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for call, told in ((1, "holds no checkpoint yet: the same command starts anew"), (6, "checkpoint-4 stays: the same command goes on")):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, Trainer, "_step", call, KeyboardInterrupt)
            assert train(data, out) == 130
        assert told in capsys.readouterr().err
    assert train(data, out) == 0
    assert picture(out) == whole


def out_of_memory(patch: pytest.MonkeyPatch, most: int, after: int = 0) -> None:
    """A device that holds so many records, from a step on."""
    step = Stepper.step
    count: list[int] = []

    def small(self: Stepper, batches: Any) -> Any:
        count.append(1)
        if len(count) > after and max(len(batch["input_ids"]) for batch in batches) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return step(self, batches)

    patch.setattr(Stepper, "step", small)


def test_a_batch_size_that_was_found_is_gone_on_with(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"auto_find_batch_size": True, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    out_of_memory(monkeypatch, most=2)
    wanted = undisturbed(data, tmp_path / "whole" / "out", **more)
    out = tmp_path / "out"
    killed(data, out, Trainer, "_step", 7, **more)  # the first ended in the lack of memory
    assert train(data, out, **more) == 0
    assert picture(out) == wanted


def test_memory_that_runs_out_after_a_checkpoint_is_told_and_can_be_helped(
    data: Path, whole: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, more = tmp_path / "out", {"auto_find_batch_size": True}
    with pytest.MonkeyPatch.context() as patch:
        out_of_memory(patch, most=1, after=4)
        assert train(data, out, **more) == 1
    assert "after " + str(out / "checkpoint-4") in capsys.readouterr().err
    assert train(data, out, **more, gradient_checkpointing=True) == 0
    assert picture(out)["model.safetensors"] == whole["model.safetensors"]


@pytest.mark.parametrize(("form", "kills"), [("tiny", 3), ("workers", 2)])
def test_a_few_kills_change_no_byte(tmp_path: Path, form: str, kills: int) -> None:
    """The short form of tests/soak/kill_train.py, where 50 are done of each form."""
    words = [f"--kills={kills}", f"--form={form}", "--seed=4", "--steps=8", "--fork"]
    done = subprocess.run([sys.executable, soak.__file__, *words], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert f"{form}: ended the same after {kills} kills" in done.stdout
