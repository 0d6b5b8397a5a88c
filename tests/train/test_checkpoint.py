"""Checkpoints: every bit comes back, and whatever goes wrong leaves the one before."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import seeworth.train.checkpoint as module
from seeworth.errors import RunError
from seeworth.train.checkpoint import (
    Checkpoint,
    check_checkpoint,
    checkpoints,
    find_checkpoint,
    forget_after,
    forget_checkpoints,
    read_checkpoint,
    to_cpu,
    write_checkpoint,
)
from seeworth.train.optimizer import MuonWithAdamW
from seeworth.train.spread.alone import fit_optimizer

STATE = {"best": {"loss": 0.1 + 0.2, "step": None}, "window": {"loss": 1e-17 / 3, "steps": 2}, "track": {}, "scaler": {}}


def model_and_optimizer(kind: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    matrices = [one for one in model.parameters() if one.ndim == 2]
    other = [one for one in model.parameters() if one.ndim < 2]
    groups = [
        {"params": matrices, "name": "language/matrices", "lr": 1e-2, "weight_decay": 0.1},
        {"params": other, "name": "language/other", "lr": 1e-3, "weight_decay": 0.0},
    ]
    return model, MuonWithAdamW(groups, betas=(0.8, 0.95)) if kind == "muon" else torch.optim.AdamW(groups, betas=(0.8, 0.95), fused=True)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for number in range(first, last):
        torch.manual_seed(number)
        model(torch.randn(7, 6)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def saved(out: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> Path:
    return write_checkpoint(out, Checkpoint(step, to_cpu(dict(model.named_parameters())), optimizer.state_dict(), STATE))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoint-3."""
    out = tmp_path_factory.mktemp("good")
    model, optimizer = model_and_optimizer("adamw")
    steps(model, optimizer, 0, 3)
    saved(out, 3, model, optimizer)
    return out


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_training_that_went_through_a_checkpoint_is_bit_equal(kind: str, tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer(kind)
    steps(model, optimizer, 0, 3)
    folder = saved(tmp_path, 3, model, optimizer)
    steps(model, optimizer, 3, 9)
    other, again = model_and_optimizer(kind)
    found = read_checkpoint(folder)
    other.load_state_dict(dict(found.weights))
    again.load_state_dict(dict(found.optimizer))
    assert found.state["best"] == STATE["best"]
    assert found.state["window"] == STATE["window"]
    steps(other, again, 3, 9)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))
    assert again.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]  # tuples are tuples
    for number, state in optimizer.state_dict()["state"].items():
        assert {name: value.dtype for name, value in state.items()} == {
            name: value.dtype for name, value in again.state_dict()["state"][number].items()
        }
        assert all(torch.equal(value, again.state_dict()["state"][number][name]) for name, value in state.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8])
def test_tensors_of_every_type_and_form_come_back(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {
        "scalar": torch.ones((), dtype=dtype),
        "turned": torch.arange(6).view(2, 3).to(dtype).T,
        "none": torch.zeros(0, 3, dtype=dtype),
    }
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "turned": weights["turned"], "name": 4}}, "param_groups": [{"params": [0]}]}
    found = read_checkpoint(write_checkpoint(tmp_path, Checkpoint(1, weights, optimizer, {})))
    assert all(torch.equal(found.weights[name], one) and found.weights[name].dtype == dtype for name, one in weights.items())
    assert torch.equal(found.optimizer["state"][0]["turned"], weights["turned"])
    assert found.optimizer["state"][0]["name"] == 4


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_flipped_bit_anywhere_is_found(good: Path, tmp_path: Path, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path / "checkpoint-3", ignore_errors=True)
    folder = Path(shutil.copytree(good / "checkpoint-3", tmp_path / "checkpoint-3"))
    path = folder / data.draw(st.sampled_from(["weights.safetensors", "optimizer.safetensors", "state.json"]))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    torn = bytearray(whole)
    torn[at // 8] ^= 1 << at % 8
    path.write_bytes(torn)
    try:
        state = check_checkpoint(folder)
    except RunError:
        return
    assert path.name == "state.json"  # a space between two words of the JSON, as another that means the same
    assert state == check_checkpoint(good / "checkpoint-3")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_torn_file_is_found(good: Path, tmp_path: Path, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path / "checkpoint-3", ignore_errors=True)
    folder = Path(shutil.copytree(good / "checkpoint-3", tmp_path / "checkpoint-3"))
    path = folder / data.draw(st.sampled_from(["weights.safetensors", "optimizer.safetensors", "state.json"]))
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 2)))
    with pytest.raises(RunError):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_a_missing_file_is_told(good: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(good / "checkpoint-3", tmp_path / "checkpoint-3"))
    (folder / name).unlink()
    with pytest.raises(RunError, match=name):
        read_checkpoint(folder)
    (folder / name).mkdir()
    with pytest.raises(RunError, match=name):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "expected a checkpoint of seeworth"),
        ("null", "is not the state"),
        ("[1]", "is not the state"),
        ('{"format": 1, "step": 3}', "is not the state"),
        ('{"global_step": 3, "log_history": []}', "is not the state"),
        ('{"format": 9, "seal": "a"}', "has format 9, expected 1"),
        ('{"format": 1, "seal": "a", "step": 3}', "is not as it was written"),
        ("\udcff", "expected a checkpoint of seeworth"),
        ("[" * 100_000, "expected a checkpoint of seeworth"),
    ],
)
def test_a_foreign_state_is_told_in_one_line(tmp_path: Path, words: str, told: str) -> None:
    (tmp_path / "state.json").write_bytes(words.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=told):
        read_checkpoint(tmp_path)


def test_a_changed_state_is_told(good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good / "checkpoint-3", tmp_path / "checkpoint-3"))
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "step": 4}))
    with pytest.raises(RunError, match="changed by hand"):
        read_checkpoint(folder)


@pytest.mark.parametrize("kind", ["fifo", "device", "huge"])
def test_a_state_that_is_no_file_of_reasonable_size_is_told_at_once(
    kind: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(good / "checkpoint-3", tmp_path / "checkpoint-3"))
    if kind == "huge":
        monkeypatch.setattr(module, "MOST_STATE", 100)
    else:
        (folder / "state.json").unlink()
        os.mkfifo(folder / "state.json") if kind == "fifo" else (folder / "state.json").symlink_to("/dev/zero")
    with pytest.raises(RunError, match="found a device, a pipe or over"):
        check_checkpoint(folder)


def sealed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The checkpoint with another state, and hashes that fit it: as one who wants to do harm would make it."""
    state = json.loads((folder / "state.json").read_text())
    del state["seal"]
    for name in ("weights.safetensors", "optimizer.safetensors"):
        path = folder / name
        state["files"][name] = {"bytes": path.stat().st_size, "blake2b": module._hash(path)}
    change(state)
    (folder / "state.json").write_text(module._text({"seal": module._seal(state), **state}))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1}, {"step": "3"}, {"step": True}, {"optimizer": []}, {"files": "x"}, {"files": {}}, {"best": "x"},
        {"best": {"step": "../.."}},
        {"files": {"weights.safetensors": {}, "optimizer.safetensors": {}}},
        {"files": {"weights.safetensors": {"bytes": 1, "blake2b": ""}, "../../etc/passwd": {"bytes": 1, "blake2b": ""}}},
    ],
)  # fmt: skip
def test_a_state_made_by_hand_is_told_though_its_seal_fits(change: dict[str, Any], good: Path, tmp_path: Path) -> None:
    folder = sealed(Path(shutil.copytree(good / "checkpoint-3", tmp_path / "checkpoint-3")), lambda state: state.update(change))
    with pytest.raises(RunError, match="it was made by hand"):
        check_checkpoint(folder)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("content", [pickle.dumps(Evil()), struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 8) + b"{" * 8, b""])
@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
def test_a_pickle_or_a_huge_header_in_the_place_of_tensors_is_told_and_not_run(
    name: str, content: bytes, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(good / "checkpoint-3", tmp_path / "checkpoint-3"))
    (folder / name).write_bytes(content)
    with pytest.raises(RunError, match="cannot be read, name an earlier one"):
        read_checkpoint(sealed(folder, lambda state: None))
    assert not (tmp_path / "evil").exists()


def other_shape(state: dict[str, Any]) -> None:
    state["state"][0]["exp_avg"] = torch.zeros(1)


def other_count(state: dict[str, Any]) -> None:
    state["param_groups"][0]["params"].pop()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (other_shape, r"exp_avg of number 0 is \[1\], here \[5, 6\]"),  # torch's fused kernel would read behind its end
        (other_count, r"\[1, 4\] in the checkpoint's groups"),
        (lambda state: state["state"].pop(0), "it has 5 of 6"),
        (lambda state: state.pop("state"), "is none of ours"),
        (lambda state: state.update(param_groups=[{}, {}]), "is none of ours"),
    ],
)
def test_an_optimizer_of_other_tensors_is_told(change: Callable[[dict[str, Any]], Any], told: str) -> None:
    model, optimizer = model_and_optimizer("adamw")
    steps(model, optimizer, 0, 1)
    state = optimizer.state_dict()
    fit_optimizer(optimizer, state)
    change(state)
    with pytest.raises(RunError, match=told):
        fit_optimizer(optimizer, state)


CALLS = ["mkdir", "save weights", "save optimizer", "write state", "fsync", "rename"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("again", [False, True])
def test_a_disk_that_fills_at_any_write_leaves_the_checkpoint_before(
    call: str, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = model_and_optimizer("adamw")
    steps(model, optimizer, 0, 3)
    first = saved(tmp_path, 3, model, optimizer)
    steps(model, optimizer, 3, 4)
    step = 3 if again else 4  # 3: the same one once more, as after a damaged one
    with monkeypatch.context() as patch:
        _fail(patch, call)
        with pytest.raises(RunError, match=r"could not be written .*No space left") as told:
            saved(tmp_path, step, model, optimizer)
    if not (again and call == "rename"):
        assert f"{first} is whole" in str(told.value)
        assert check_checkpoint(first)["step"] == 3
    assert {path.name for path in tmp_path.iterdir()} <= {"checkpoint-3"}
    assert check_checkpoint(saved(tmp_path, step, model, optimizer))["step"] == step


def _fail(patch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call.startswith("save"):
        save: Callable[..., None] = module.save_file
        patch.setattr(module, "save_file", lambda tensors, path: full() if call.removeprefix("save ") in path.name else save(tensors, path))
    elif call == "write state":
        patch.setattr(module, "write_whole", full)
    elif call == "fsync":
        patch.setattr(os, "fsync", full)
    else:
        patch.setattr(Path, call, full)


REALLY_FULL = """
import resource, sys, torch
from pathlib import Path
from seeworth.errors import RunError
from seeworth.train.checkpoint import Checkpoint, write_checkpoint, check_checkpoint
out, kind = Path(sys.argv[1]), sys.argv[2]
def made(step, numbers):
    one = torch.ones(numbers)
    return Checkpoint(step, {"w": one}, {"state": {0: {"m": one}}, "param_groups": [{"params": [0]}]}, {})
first = write_checkpoint(out, made(1, 10))
if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_checkpoint(out, made(2, 10_000_000))
except RunError as problem:
    print(problem)
check_checkpoint(first)
print([path.name for path in out.iterdir()])
"""


def test_a_limit_on_the_files_size_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    told = _really_full(tmp_path, "limit")
    assert "checkpoint-2 could not be written" in told[0]
    assert "checkpoint-1 is whole: free some space" in told[0]
    assert told[1:] == ["['checkpoint-1']"]


def test_a_disk_that_is_really_full_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], capture_output=True, check=False).returncode:
        pytest.skip("a file system of 2 MB cannot be mounted here")
    try:
        told = _really_full(tmp_path, "disk")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert "checkpoint-2 could not be written" in told[0]
    assert told[1:] == ["['checkpoint-1']"]


def _really_full(out: Path, kind: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", REALLY_FULL, str(out), kind], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def made(out: Path, *numbers: int, best: dict[int, int] | None = None) -> None:
    """Checkpoints of these steps; `best` says of some which they hold for the best."""
    for number in numbers:
        state = {"best": {"loss": None, "step": (best or {}).get(number)}}
        write_checkpoint(out, Checkpoint(number, {"w": torch.zeros(1)}, {"state": {}, "param_groups": []}, state))


def steps_in(out: Path) -> set[int]:
    return {int(path.name.removeprefix("checkpoint-")) for path in checkpoints(out)}


@pytest.mark.parametrize(
    ("keep", "best", "kept"),
    [
        (1, {}, {40}), (2, {}, {30, 40}), (9, {}, {10, 20, 30, 40}),
        (1, {40: 40}, {40}),
        (1, {20: 20, 30: 20, 40: 20}, {20, 40}),  # the limit is 1, the best and the last are two
        (2, {10: 10, 20: 10, 30: 10, 40: 10}, {10, 40}), (3, {10: 10, 20: 10, 30: 10, 40: 10}, {10, 30, 40}),
        (2, {20: 20, 30: 20, 40: 40}, {20, 40}),  # 30 could not end without 20: the two would be one too many
        (3, {20: 20, 30: 20, 40: 40}, {20, 30, 40}),
    ],
)  # fmt: skip
def test_the_best_and_the_last_are_always_kept(tmp_path: Path, keep: int, best: dict[int, int], kept: set[int]) -> None:
    made(tmp_path, 10, 20, 30, 40, best=best)
    (tmp_path / "checkpoint-25.unfinished").mkdir()
    (tmp_path / "checkpoint-5.gone").mkdir()
    (tmp_path / "checkpoint-best").mkdir()  # a user's own
    forget_checkpoints(tmp_path, keep)
    assert {path.name for path in tmp_path.iterdir()} == {f"checkpoint-{number}" for number in kept} | {"checkpoint-best"}


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12), st.integers(1, 5))
def test_whatever_is_kept_can_be_gone_on_from_to_the_end(
    tmp_path_factory: pytest.TempPathFactory, course: list[tuple[bool, bool]], keep: int
) -> None:
    """A course of saves, each with or without an evaluation before it, that may be the best; one is forgotten after each."""
    out, best = tmp_path_factory.mktemp("keep"), None
    for step, (evaluated, better) in enumerate(course, 1):
        best = step if evaluated and (better or best is None) else best
        made(out, step, best={} if best is None else {step: best})
        forget_checkpoints(out, keep)
        kept = steps_in(out)
        needed = {step} if best is None else {step, best}
        assert needed <= kept
        assert len(kept) <= max(keep, len(needed))
        assert len(kept) >= min(keep, step) or best is not None
        for one in kept:
            assert module.best_of(check_checkpoint(out / f"checkpoint-{one}")) in {None, *kept}


def test_when_the_last_is_damaged_nothing_is_forgotten(tmp_path: Path) -> None:
    made(tmp_path, 1, 2, 3)
    (tmp_path / "checkpoint-3" / "state.json").write_text("{}")
    with pytest.raises(RunError, match="is not the state"):
        forget_checkpoints(tmp_path, 1)
    assert steps_in(tmp_path) == {1, 2, 3}


def test_a_kill_while_checkpoints_are_forgotten_leaves_no_half_one_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, 10, 20, 30)

    def killed(path: Path, **_: Any) -> None:
        next(iter(path.iterdir())).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(module.shutil, "rmtree", lambda path, **more: killed(path) if path.exists() else None)
    with pytest.raises(KeyboardInterrupt):
        forget_after(tmp_path, 10)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-20", "checkpoint-10"]
    assert all((path / "state.json").exists() for path in checkpoints(tmp_path))
    monkeypatch.undo()
    forget_after(tmp_path, 10)
    forget_checkpoints(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]


def test_links_are_read_and_unlinked_and_what_they_point_to_stays(good: Path, tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(good / "checkpoint-3", tmp_path / "elsewhere"))
    out = tmp_path / "out"
    out.mkdir()
    for name in ("checkpoint-3", "checkpoint-4.unfinished", "checkpoint-2.gone"):
        (out / name).symlink_to(elsewhere)
    found = find_checkpoint(out)
    assert found is not None
    assert read_checkpoint(found).step == 3
    model, optimizer = model_and_optimizer("adamw")
    steps(model, optimizer, 0, 1)
    saved(out, 3, model, optimizer)
    saved(out, 4, model, optimizer)
    forget_checkpoints(out, 1)
    assert [path.name for path in out.iterdir()] == ["checkpoint-4"]
    assert check_checkpoint(elsewhere)["step"] == 3


def test_the_last_is_the_one_of_most_steps_not_of_the_last_name(tmp_path: Path) -> None:
    made(tmp_path, 9, 10, 100)
    assert steps_in(tmp_path) == {9, 10, 100}
    (tmp_path / "checkpoint-200").mkdir()  # nothing in it
    (tmp_path / "checkpoint-300.unfinished").mkdir()
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert find_checkpoint(tmp_path / "checkpoint-9") is None
