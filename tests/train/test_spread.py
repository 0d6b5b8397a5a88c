"""Several processes on the CPU: torchrun and accelerate launch start the command line itself, gloo carries what they say to each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from seeworth.data.dataset import Row, store_photo, write_dataset
from seeworth.errors import SettingsError
from seeworth.settings import TrainSettings, to_plain
from seeworth.task import Field, Task
from seeworth.train.run import run

ROOT = Path(__file__).resolve().parents[2]
COLOURS = {"Red": (220, 30, 30), "Green": (30, 180, 60), "Blue": (40, 60, 220), "White": (240, 240, 240)}
TASK = Task(fields=(Field("title"), Field("category3_code", "category", choices=tuple(COLOURS)), Field("full_price", "number", "USD")))
STEPS = 6
TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0")
LAUNCH = ROOT / "recipes" / "launch"
ACCELERATE = ("-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0", "--config_file", str(LAUNCH / "fsdp2.yaml"))
ASKED: dict[str, Any] = {
    "model": "tiny", "max_steps": STEPS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "learning_rate": 2e-3,
    "evals_per_run": 3, "eval_records": 3, "save_total_limit": 9, "logging_steps": 1, "report_to": "none", "doctor": False,
}  # fmt: skip
MINUTES = 5  # a hang ends the test; nothing here takes one


def make_set(folder: Path, words_alone: int = 0) -> Path:
    """14 train records, 5 to validate; the last step of a pass has one forward pass, which two processes share. With `words_alone`
    every so manieth train record has no photo."""
    folder.mkdir()
    rows = []
    for number in range(19):
        colour = list(COLOURS)[number % 4]
        values = {"title": f"{colour} Sheet", "category3_code": colour, "full_price": Decimal(100 * (number % 4 + 1))}
        split = "train" if number < 14 else "validation"
        photo: tuple[Any, ...] = ("", 0, 0, "", "")
        if not words_alone or number % words_alone or split == "validation":
            path = folder.parent / "photo.png"
            Image.new("RGB", (40 + number, 60), COLOURS[colour]).save(path)
            name, sha256 = store_photo(folder, path.read_bytes(), "png")
            photo = (name, 40 + number, 60, sha256, "0" * 16)
        rows.append(Row(f"r{number:02}", photo[0], f"g{number}", split, *photo[1:], values))  # type: ignore[arg-type]
    write_dataset(folder, TASK, rows, source={"kind": "test"}, conversations=words_alone > 0)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("data") / "set")


def settings(data: Path, out: Path, **more: Any) -> TrainSettings:
    return TrainSettings(data=data, output_dir=out, **(ASKED | more))


def command(data: Path, out: Path, **more: object) -> list[str]:
    asked = {"data": data, "output_dir": out} | ASKED | more
    return ["train", *(f"--{name}={json.dumps(value) if isinstance(value, bool) else value}" for name, value in asked.items())]


def start(launcher: tuple[str, ...], words: list[str], program: tuple[str, ...] = ("-m", "seeworth.cli")) -> subprocess.Popen[str]:
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "GLOO_SOCKET_IFNAME": "lo"}
    words = [sys.executable, *launcher, *program, *words]
    return subprocess.Popen(words, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def told(process: subprocess.Popen[str]) -> str:
    """What it said, after it ended."""
    try:
        return process.communicate(timeout=60 * MINUTES)[0]
    finally:
        process.kill()


def train(launcher: tuple[str, ...], words: list[str]) -> str:
    process = start(launcher, words)
    said = told(process)
    assert process.returncode == 0, said
    return said


def figures(out: Path) -> dict[tuple[int, str], float]:
    """Every loss and norm of log.jsonl, by step and name."""
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    names = ("train/loss", "train/grad_norm", "eval/loss")
    return {(event["step"], name): event[name] for event in events for name in names if name in event}


def apart(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> float:
    """The largest difference, of numbers relative to them."""
    assert one.keys() == other.keys()
    if isinstance(next(iter(one.values())), float):
        return max(abs(one[key] - other[key]) / max(abs(one[key]), 1.0) for key in one)
    return max(float((one[key].float() - other[key].float()).abs().max()) for key in one)


def same(one: Path, other: Path, within: float = 1e-5) -> None:
    """Two run folders whose trainings went the same way: losses, norms, and what the last checkpoints hold."""
    assert apart(figures(one), figures(other)) < within
    (last,) = {max((run.glob("checkpoint-*")), key=lambda path: int(path.name[11:])).name for run in (one, other)}
    for name in ("weights.safetensors", "optimizer.safetensors"):
        assert apart(load_file(one / last / name), load_file(other / last / name)) < within, name


def go_back(run: Path, to: Path, step: int) -> Path:
    """A copy of a run folder as a kill after the checkpoint of `step` would have left it."""
    shutil.copytree(run, to)
    for checkpoint in to.glob("checkpoint-*"):
        if int(checkpoint.name.removeprefix("checkpoint-")) > step:
            shutil.rmtree(checkpoint)
    (to / "run.json").unlink()
    return to


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process that makes two forward passes a step: what two processes with one each must equal."""
    out = tmp_path_factory.mktemp("alone") / "run"
    run(settings(data, out, gradient_accumulation_steps=2))
    return out


@pytest.fixture(scope="module")
def ddp(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ddp") / "run"
    said = train(TORCHRUN, command(data, out))
    assert said.count("training 2.4 of") == said.count("trained 6 steps") == 1  # only the main process speaks
    return out


# Measured on two cores: losses and norms differ by 4e-7 of their size, weights by 5e-7 after six steps. A gradient that is averaged over
# the processes and not summed, or a mean over forward passes in place of tokens, moves them by 1e-2 and more.
def test_two_processes_of_torchrun_train_to_the_losses_of_one(alone: Path, ddp: Path) -> None:
    assert apart(figures(alone), figures(ddp)) < 1e-5
    assert len(figures(ddp)) == 2 * STEPS + 3
    assert apart(load_file(alone / "model.safetensors"), load_file(ddp / "model.safetensors")) < 1e-5


def test_a_training_goes_on_under_another_spread_and_back_on_one(alone: Path, ddp: Path, data: Path, tmp_path: Path) -> None:
    """Two processes under DDP, two under FSDP2 by accelerate launch, one: the end is that of the undisturbed run."""
    sharded = go_back(ddp, tmp_path / "sharded", 2)
    said = train(ACCELERATE, command(data, sharded))
    assert said.count("going on at step 2 of 6") == said.count("trained 6 steps") == 1
    last = go_back(sharded, tmp_path / "last", 4)
    with pytest.raises(SettingsError, match=r"2 forward passes in a step \(1 on each of 2 processes\), .* set gradient_accumulation_steps to 2"):
        run(settings(data, last))
    run(settings(data, last, gradient_accumulation_steps=2))
    for out in (sharded, last):
        same(alone, out)


def test_whatever_is_trained_is_the_same_on_two_processes(alone: Path, data: Path, tmp_path: Path) -> None:
    """One pair of processes runs them all, each under DDP and under FSDP2: the two kinds of batch that could leave a process waiting (one
    without a photo beside one with, and an empty one), LoRA in a folder's model (dropout off: each process draws its own), and Muon, whose
    products in bfloat16 magnify what sums differ by to 7e-5. And DDP goes on with a checkpoint of one process."""
    mixed = make_set(tmp_path / "mixed", words_alone=2)
    shutil.copytree(alone, tmp_path / "base")
    kinds: dict[str, tuple[Path, dict[str, Any], float]] = {
        "mixed": (mixed, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 6, "packing": True}, 1e-5),
        "lora": (data, {"model": str(tmp_path / "base"), "method": "lora", "lora_rank": 4, "lora_dropout": 0.0, "max_steps": 3}, 1e-5),
        "muon": (data, {"optim": "muon", "max_steps": 3}, 1e-4),
    }
    asked = [settings(data, go_back(alone, tmp_path / "goes-on", 2), strategy="ddp")]
    for name, (folder, more, _) in kinds.items():
        one = settings(folder, tmp_path / name, **{"gradient_accumulation_steps": 2, **more})
        run(one)
        passes = one.gradient_accumulation_steps // 2
        for strategy in ("ddp", "fsdp"):
            two = replace(one, output_dir=tmp_path / f"{name}-{strategy}", gradient_accumulation_steps=passes)
            asked.append(replace(two, strategy=strategy))  # type: ignore[arg-type]
    (tmp_path / "asked.json").write_text(json.dumps([to_plain(one) for one in asked]))
    process = start(TORCHRUN, [str(tmp_path / "asked.json")], program=(str(Path(__file__).with_name("many_runs.py")),))
    said = told(process)
    assert process.returncode == 0, said
    same(alone, tmp_path / "goes-on")
    for name, (_, _, within) in kinds.items():
        for strategy in ("ddp", "fsdp"):
            same(tmp_path / name, tmp_path / f"{name}-{strategy}", within)


def test_an_error_of_the_main_process_ends_all_and_is_told_once(data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    process = start(TORCHRUN, command(data, tmp_path / "precious"))
    said = told(process)
    assert process.returncode == 1
    assert said.count("seeworth train:") == said.count("is not empty and no run folder") == 1
    assert "seeworth/train" not in said  # no traceback of ours


def test_an_error_of_any_process_ends_all_and_is_told_once(data: Path, tmp_path: Path) -> None:
    """Each process finds other photos broken, or the same, at another moment."""
    broken = tmp_path / "set"
    shutil.copytree(data, broken)
    for photo in (broken / "photos").rglob("*.png"):
        photo.write_bytes(photo.read_bytes()[:60])
    process = start(TORCHRUN, command(broken, tmp_path / "run", strategy="fsdp"))
    said = told(process)
    assert process.returncode == 1
    assert len(re.findall(r"seeworth train: record r\d\d", said)) == said.count("seeworth train:") == 1
    assert "Traceback" not in said.split("seeworth train:")[0]


def test_a_process_that_is_killed_ends_the_others(data: Path, tmp_path: Path) -> None:
    process = start(TORCHRUN, command(data, tmp_path / "run", max_steps=100000, evals_per_run=1))
    try:
        wait_for(tmp_path / "run" / "log.jsonl", process)
        children = (Path("/proc") / str(process.pid) / "task" / str(process.pid) / "children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        said = told(process)
        assert process.returncode != 0
        assert "exitcode  : -9" in said or "another of the 2 processes was ended" in said
        assert not any(alive(int(child)) for child in children)
    finally:
        process.kill()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until something is in the file, or the process is gone."""
    while not (path.is_file() and path.stat().st_size) and process.poll() is None:
        time.sleep(0.05)


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
