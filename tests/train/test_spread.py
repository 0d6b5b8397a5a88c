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
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from PIL import Image
from safetensors.torch import load_file

from seeworth.data.dataset import Row, store_photo, write_dataset
from seeworth.errors import SettingsError
from seeworth.record import Record
from seeworth.settings import TrainSettings, to_plain
from seeworth.task import Field, Task
from seeworth.train.examples import Place, first_photo, places_of
from seeworth.train.run import run
from seeworth.train.spread import Alone, make_spread
from seeworth.train.spread.launch import check, not_taken, read_launch
from seeworth.train.spread.meeting import meet
from seeworth.train.spread.zero import Zero

ROOT = Path(__file__).resolve().parents[2]
COLOURS = {"Red": (220, 30, 30), "Green": (30, 180, 60), "Blue": (40, 60, 220), "White": (240, 240, 240)}
TASK = Task(fields=(Field("title"), Field("category3_code", "category", choices=tuple(COLOURS)), Field("full_price", "number", "USD")))
STEPS = 6
TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0")
PAIR = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}  # of two processes the second
LAUNCH = ROOT / "recipes" / "launch"
ACCELERATE = ("-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0")
FSDP2 = ("--config_file", str(LAUNCH / "fsdp2.yaml"))
ASKED: dict[str, Any] = {
    "model": "tiny", "max_steps": STEPS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "learning_rate": 2e-3,
    "evals_per_run": 1, "save_steps": 2, "eval_records": 3, "save_total_limit": 9, "logging_steps": 1, "report_to": "none", "doctor": False,
}  # fmt: skip
ENVIRON = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "GLOO_SOCKET_IFNAME": "lo"}
PACKAGES = os.environ.get("SEEWORTH_DEEPSPEED_PACKAGES", "/tmp/ds")  # where DeepSpeed may lie when it is not installed
DEEPSPEED = ENVIRON | {
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), PACKAGES]), "DS_ACCELERATOR": "cpu", "TORCH_EXTENSIONS_DIR": f"{PACKAGES}_ext",
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),  # it looks for ninja there
}  # fmt: skip
MINUTES = 5  # a hang ends the test; nothing here takes one


def make_set(folder: Path, words_alone: int = 0) -> Path:
    """14 train records, 5 to validate; the last step of a pass has one forward pass, which two processes share. With
    `words_alone` 15, and every so manieth has no photo: one by one, three on each process, the last step leaves one without a record."""
    folder.mkdir()
    rows = []
    train = 15 if words_alone else 14
    for number in range(train + 5):
        colour = list(COLOURS)[number % 4]
        values = {"title": f"{colour} Sheet", "category3_code": colour, "full_price": Decimal(100 * (number % 4 + 1))}
        split = "train" if number < train else "validation"
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


def start(
    launcher: tuple[str, ...], words: list[str], program: tuple[str, ...] = ("-m", "seeworth.cli"), environ: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    words = [sys.executable, *launcher, *program, *words]
    return subprocess.Popen(words, env=environ or ENVIRON, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def told(process: subprocess.Popen[str]) -> str:
    """What it said, after it ended."""
    try:
        return process.communicate(timeout=60 * MINUTES)[0]
    finally:
        process.kill()


def train(launcher: tuple[str, ...], words: list[str], environ: Mapping[str, str] | None = None) -> str:
    process = start(launcher, words, environ=environ)
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


def same(one: Path, other: Path, losses: float = 1e-5, weights: float = 1e-4) -> None:
    """Two run folders whose trainings went the same way: losses, norms, and what the last checkpoints hold."""
    assert apart(figures(one), figures(other)) < losses
    (last,) = {max((run.glob("checkpoint-*")), key=lambda path: int(path.name[11:])).name for run in (one, other)}
    for name in ("weights.safetensors", "optimizer.safetensors"):
        assert apart(load_file(one / last / name), load_file(other / last / name)) < weights, name


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
    assert said.count("training 2.35 of") == said.count("trained 6 steps") == 1  # only the main process speaks
    return out


# Measured on two cores: losses and norms differ by up to 8e-7 of their size, weights by 5e-7 after six steps, and by 2e-5 where AdamW steps
# by the sign of gradients that are nearly zero. A gradient that is averaged over the processes and not summed, or a mean over forward
# passes in place of tokens, moves losses by 1e-2 and more.
def test_two_processes_of_torchrun_train_to_the_losses_of_one(alone: Path, ddp: Path) -> None:
    assert apart(figures(alone), figures(ddp)) < 1e-5
    assert len(figures(ddp)) == 2 * STEPS + 1
    assert apart(load_file(alone / "model.safetensors"), load_file(ddp / "model.safetensors")) < 1e-5


def test_a_training_goes_on_under_another_spread_and_back_on_one(alone: Path, ddp: Path, data: Path, tmp_path: Path) -> None:
    """Two processes under DDP, two under FSDP2 by accelerate launch, one: the end is that of the undisturbed run."""
    sharded = go_back(ddp, tmp_path / "sharded", 2)
    said = train(ACCELERATE + FSDP2, command(data, sharded))
    assert said.count("going on at step 2 of 6") == said.count("trained 6 steps") == 1
    last = go_back(sharded, tmp_path / "last", 4)
    again = r"2 forward passes in a step \(processes 2, each 1\), .* 1 \(processes 1, each 1\): set gradient_accumulation_steps to 2"
    with pytest.raises(SettingsError, match=again):
        run(settings(data, last))
    run(settings(data, last, gradient_accumulation_steps=2))
    for out in (sharded, last):
        same(alone, out)


def test_whatever_is_trained_is_the_same_on_two_processes(alone: Path, data: Path, tmp_path: Path) -> None:
    """One pair of processes runs them all, each under DDP and under FSDP2: the two kinds of batch that could leave a process waiting (one
    without a photo beside one with, and an empty one); LoRA in a folder's model (dropout off: each process draws its own); and Muon, whose
    products in bfloat16 magnify what sums differ by (losses to 2e-5, weights to 1.3e-4). And DDP goes on with a checkpoint of one process.
    """
    mixed = make_set(tmp_path / "set", words_alone=2)
    shutil.copytree(alone, tmp_path / "base")
    lora = {"model": str(tmp_path / "base"), "method": "lora", "lora_rank": 4, "lora_dropout": 0.0, "max_steps": 3}
    one_by_one = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 6, "packing": True, "max_steps": 4}
    kinds: dict[str, tuple[Path, dict[str, Any], tuple[float, float]]] = {
        "mixed": (mixed, one_by_one, (1e-5, 1e-4)),
        "lora": (data, lora, (1e-5, 1e-4)),
        "muon": (data, {"optim": "muon", "max_steps": 3}, (1e-4, 1e-3)),
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
            same(tmp_path / name, tmp_path / f"{name}-{strategy}", *within)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"learning_rate": -1.0}, "learning_rate is above 0"),
        ({"save_total_limit": 0}, "save_total_limit is 0"),
        ({"report_to": "mlflow"}, "report_to names 'mlflow'"),
    ],
)
def test_a_wrong_setting_is_told_by_one_process_before_anything_is_written(
    wrong: dict[str, Any], words: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    class Voice(Alone):
        @contextmanager
        def one_voice(self) -> Iterator[None]:
            try:
                yield
            except SettingsError as problem:
                heard.append(str(problem))
                raise

    monkeypatch.setattr("seeworth.train.run.make_spread", lambda _: Voice(torch.device("cpu")))
    with pytest.raises(SettingsError, match=words):
        run(settings(data, tmp_path / "run", **wrong))
    assert len(heard) == 1
    assert not (tmp_path / "run").exists()


def test_passes_of_words_alone_teach_nothing_where_only_what_reads_photos_is_trained(tmp_path: Path) -> None:
    """One process, one record a pass: every other one has no photo, so no gradient; with another photo beside it, it would be the same."""
    mixed = make_set(tmp_path / "set", words_alone=2)
    asked = {"language": "frozen", "projector": "frozen", "per_device_train_batch_size": 1, "max_steps": 8}
    run(settings(mixed, tmp_path / "run", **asked))
    norms = {step: norm for (step, name), norm in figures(tmp_path / "run").items() if name == "train/grad_norm"}
    assert len(norms) == 8
    assert 0 < sum(norm == 0 for norm in norms.values()) < 8


def test_a_second_start_reads_nothing_that_the_first_left_in_the_store() -> None:
    """What `torchrun --max_restarts` does: the others are there before the main one, and find the first start's name."""
    store, patience = torch.distributed.HashStore(), timedelta(seconds=60)
    for _ in range(3):
        with ThreadPoolExecutor(3) as pool:
            others = [pool.submit(meet, store, rank, 3, patience) for rank in (1, 2)]
            wait(others, timeout=0.1)
            parts = [meet(store, 0, 3, patience), *(one.result(60) for one in others)]
        assert [part.add("arrived", 1) for part in parts] == [1, 2, 3]  # one part for all three, in which nothing was yet


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


def test_without_a_launcher_one_process_trains(tmp_path: Path) -> None:
    one = TrainSettings(data=tmp_path, output_dir=tmp_path)
    assert make_spread(one, {}).processes == 1
    assert make_spread(one, {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}).processes == 1
    with pytest.raises(SettingsError, match="strategy fsdp needs a launcher: start with torchrun or accelerate launch"):
        make_spread(replace(one, strategy="fsdp"), {})
    with pytest.raises(SettingsError, match="srun started several tasks"):
        make_spread(one, {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"})
    with pytest.raises(SettingsError, match="LOCAL_RANK holds nothing, expected a number"):
        make_spread(one, {"RANK": "0", "WORLD_SIZE": "2"})


@pytest.mark.parametrize(
    ("asked", "said", "strategy"),
    [
        ("auto", {}, "ddp"),
        ("auto", {"ACCELERATE_USE_FSDP": "true"}, "fsdp"),
        ("auto", {"ACCELERATE_USE_DEEPSPEED": "true"}, "deepspeed"),
        ("ddp", {"ACCELERATE_USE_FSDP": "true"}, "ddp"),
        ("fsdp", {}, "fsdp"),
    ],
)
def test_the_setting_decides_and_auto_leaves_it_to_the_launcher(tmp_path: Path, asked: Any, said: dict[str, str], strategy: str) -> None:
    launch = read_launch(TrainSettings(data=tmp_path, output_dir=tmp_path, strategy=asked), PAIR | said)
    assert launch is not None
    assert (launch.rank, launch.processes, launch.local_rank, launch.strategy) == (1, 2, 1, strategy)


@pytest.mark.parametrize(
    ("more", "said", "words"),
    [
        ({"auto_find_batch_size": True}, {}, "auto_find_batch_size works on one process"),
        ({"load_in_4bit": True, "strategy": "fsdp"}, {}, "load_in_4bit: fsdp cannot cut up weights of 4 bits"),
        ({"optim": "muon", "strategy": "deepspeed"}, {}, "DeepSpeed cuts them: take adamw, or ddp or fsdp"),
        ({}, {"ACCELERATE_USE_MEGATRON_LM": "true"}, "asks for Megatron-LM: expected DDP, FSDP or DeepSpeed"),
    ],
)
def test_what_cannot_be_with_several_processes_is_refused(tmp_path: Path, more: Any, said: dict[str, str], words: str) -> None:
    one = TrainSettings(data=tmp_path, output_dir=tmp_path, **more)
    launch = read_launch(one, PAIR | said)
    assert launch is not None
    with pytest.raises(SettingsError, match=words):
        check(launch, one)


def test_what_accelerate_asks_for_and_something_of_ours_decides_is_told(tmp_path: Path) -> None:
    said = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1", "FSDP_ACTIVATION_CHECKPOINTING": "true"}
    said |= {"ACCELERATE_MIXED_PRECISION": "bf16"}
    one = TrainSettings(data=tmp_path, output_dir=tmp_path)
    launch, silent = read_launch(one, PAIR | said), read_launch(one, PAIR)
    assert launch is not None
    assert silent is not None
    assert [words.split()[0] for words in not_taken(launch)] == ["mixed_precision", "fsdp_version", "fsdp_activation_checkpointing"]
    assert not_taken(silent) == []


def test_deepspeed_that_is_not_there_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    one = TrainSettings(data=tmp_path, output_dir=tmp_path, strategy="deepspeed")
    zero = Zero.__new__(Zero)
    zero.device, zero.rank = torch.device("cpu"), 1
    launch = read_launch(one, PAIR)
    assert launch is not None
    zero.launch = launch
    with pytest.raises(SettingsError, match=r"DeepSpeed is asked for and cannot be imported .*: pip install deepspeed, or --strategy fsdp"):
        zero.settle(one)


def test_zero_2_and_3_train_to_the_losses_of_one_process_where_deepspeed_is(alone: Path, data: Path, tmp_path: Path) -> None:
    """From the start with stage 2, on from its checkpoint with stage 3: as the recipes have them."""
    if subprocess.run([sys.executable, "-c", "import deepspeed"], env=DEEPSPEED, capture_output=True, check=False).returncode:
        pytest.skip(f"deepspeed is neither installed nor in {PACKAGES}: pip install --target {PACKAGES} deepspeed")
    two = tmp_path / "two"
    train((*ACCELERATE, "--config_file", str(LAUNCH / "zero2.yaml")), command(data, two), DEEPSPEED)
    same(alone, two)
    three = go_back(two, tmp_path / "three", 2)
    train((*ACCELERATE, "--config_file", str(LAUNCH / "zero3.yaml")), command(data, three), DEEPSPEED)
    same(alone, three)


def test_a_pass_of_words_alone_gets_a_photo_where_others_may_have_one() -> None:
    words, photo = (Record(name, path, {}, name) for name, path in (("words", None), ("photo", Path("a.png"))))
    records = [words, words, photo]
    assert (first_photo(records), first_photo(records[:2])) == (2, None)
    assert places_of((0, 1), records, 2, 3, processes=1) == [Place(0, 3), Place(1, 3)]
    assert places_of((0, 1), records, 2, 3, processes=2) == [Place(0, 3), Place(1, 3), Place(2, 3, weight=False)]
    assert places_of((1, 2), records, 2, 3, processes=2) == [Place(1, 3), Place(2, 3)]
    assert places_of((), records, 2, 3, processes=2) == [Place(2, 3, weight=False)]
    assert places_of((), records[:2], None, 3, processes=2) == [Place(0, 3, weight=False)]
    assert places_of((1,), records[:2], None, 3, processes=2) == [Place(1, 3)]


@pytest.mark.parametrize("recipe", sorted(LAUNCH.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_launch_recipes_are_what_accelerate_reads(recipe: Path) -> None:
    config = load_config_from_file(str(recipe))
    assert config.num_processes == 8
    kind = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED"}[recipe.stem]
    assert config.distributed_type == kind
    if kind == "DEEPSPEED":
        assert config.deepspeed_config["zero_stage"] == int(recipe.stem[-1])
