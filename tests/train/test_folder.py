"""The run folder: whose it is, whether a training goes on in it, from which checkpoint."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seeworth.errors import RunError, SettingsError
from seeworth.settings import TrainSettings
from seeworth.train.checkpoint import Checkpoint, checkpoints, write_checkpoint
from seeworth.train.folder import FREE, Claim, claim, how_to_go_on

TASK = {"question": "What?", "answer": "{title}", "fields": [{"name": "title", "kind": "text"}]}


def settings(out: Path, **more: Any) -> TrainSettings:
    return TrainSettings(data=Path("data"), output_dir=out, **more)


def take(out: Path, fingerprint: str = "f", task: Any = TASK, **more: Any) -> Claim:
    with ExitStack() as held:
        taken = claim(settings(out, **more), fingerprint, held, task=task)
        taken.begin()
        return taken


def save(out: Path, step: int, best: int | None = None) -> Path:
    one = {"w": torch.full((9,), float(step))}
    optimizer = {"state": {0: {"m": one["w"]}}, "param_groups": [{"params": [0]}]}
    return write_checkpoint(out, Checkpoint(step, one, optimizer, {"best": {"loss": 1.0, "step": best}}))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A training broken off: checkpoints of the steps 2, 4 and 6, the best 4."""
    folder = tmp_path / "out"
    assert take(folder) == Claim(folder, None, False)
    for step in (2, 4, 6):
        save(folder, step, min(step, 4))
    return folder


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def names(out: Path) -> list[str]:
    return [path.name for path in checkpoints(out)]


def test_the_same_command_goes_on_from_the_last_checkpoint(out: Path) -> None:
    assert take(out) == Claim(out, out / "checkpoint-6", False)
    (out / "run.json").write_text('{"settings": {}}')
    assert take(out).finished
    (out / "run.json").write_text('{"settings":')  # as a full disk leaves what a tool has copied
    with pytest.raises(RunError, match=r"run.json: is damaged, .*: delete it, and the same command goes on from .*checkpoint-6$"):
        take(out)


def test_what_a_kill_left_half_written_is_gone_when_it_goes_on(out: Path) -> None:
    for name in (".tmpidR5AU", ".run.json.17.0123abcd", ".tmpnotours", ".keep"):
        (out / name).write_text("half")
    take(out)
    assert {path.name for path in out.iterdir() if path.name[0] == "." and path.name != ".lock"} == {".tmpnotours", ".keep"}


def test_without_a_checkpoint_it_starts_anew_with_whatever_settings(tmp_path: Path) -> None:
    take(tmp_path / "out")
    assert take(tmp_path / "out", seed=3) == Claim(tmp_path / "out", None, False)
    assert json.loads((tmp_path / "out" / "started.json").read_text())["settings"]["seed"] == 3


def test_a_damaged_last_checkpoint_is_told_and_the_one_before_gone_on_from(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(out / "checkpoint-6" / "weights.safetensors")
    assert take(out).checkpoint == out / "checkpoint-4"
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "checkpoint-6/weights.safetensors is not as state.json says" in told
    assert names(out) == ["checkpoint-4", "checkpoint-2"]


def test_a_checkpoint_whose_best_is_damaged_is_passed_over_too(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(out / "checkpoint-4" / "state.json")
    assert take(out).checkpoint == out / "checkpoint-2"
    assert capsys.readouterr().err.count("going on from the one before") == 2


def test_when_no_checkpoint_is_whole_nothing_is_deleted(out: Path) -> None:
    for path in checkpoints(out):
        damage(path / "optimizer.safetensors")
    with pytest.raises(RunError, match="none of its checkpoints is whole"):
        take(out)
    assert len(names(out)) == 3
    assert take(out, overwrite=True).checkpoint is None


def test_a_checkpoint_under_a_wrong_number_is_passed_over(out: Path) -> None:
    (out / "checkpoint-6").rename(out / "checkpoint-9")
    assert take(out).checkpoint == out / "checkpoint-4"


def test_an_older_checkpoint_can_be_named_and_the_newer_ones_go(out: Path) -> None:
    for word in ("checkpoint-4", str(out / "checkpoint-4"), f"{out}/../out/checkpoint-4/"):
        save(out, 6, 4)
        assert take(out, resume_from_checkpoint=word).checkpoint == out / "checkpoint-4"
        assert names(out) == ["checkpoint-4", "checkpoint-2"]
    assert take(out).checkpoint == out / "checkpoint-4"


def test_a_named_checkpoint_that_is_damaged_is_refused_and_the_newer_ones_stay(out: Path) -> None:
    damage(out / "checkpoint-2" / "weights.safetensors")
    with pytest.raises(RunError, match="is damaged"):
        take(out, resume_from_checkpoint="checkpoint-2")
    assert len(names(out)) == 3


def test_what_is_no_checkpoint_of_this_run_is_refused(out: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    take(other)
    save(other, 2)
    for word in (str(other / "checkpoint-2"), str(tmp_path), "checkpoint-3", "true", str(out), ""):
        with pytest.raises(SettingsError, match=r"is no checkpoint of .* name one of these"):
            take(out, resume_from_checkpoint=word)
    with pytest.raises(SettingsError, match="holds no training that could go on"):
        take(tmp_path / "new", resume_from_checkpoint="checkpoint-3")
    assert len(names(out)) == 3


def changed(value: Any) -> Any:
    """Another value of about the same kind; `None` and words become other words: the claim only compares."""
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}x"


def test_every_setting_is_either_free_or_told(out: Path) -> None:
    """Which are free is proved in test_loop: log and weights do not depend on them."""
    plain = settings(out)
    for one in fields(TrainSettings):
        if one.name in ("output_dir", "overwrite", "resume_from_checkpoint"):
            continue
        other = replace(plain, **{one.name: changed(getattr(plain, one.name))})
        with ExitStack() as held:
            if one.name in FREE:
                assert claim(other, "f", held, task=TASK).checkpoint == out / "checkpoint-6"
            else:
                told = rf"trained with other settings \({one.name} .* -> .*\): give the same"
                if one.name == "gradient_accumulation_steps":
                    told += r"|trained with 16 forward passes in a step"  # as many on all processes together
                with pytest.raises(SettingsError, match=told):
                    claim(other, "f", held, task=TASK)
    assert {one.name for one in fields(TrainSettings)} >= FREE


def test_with_overwrite_nothing_is_deleted_before_it_begins(out: Path) -> None:
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with ExitStack() as held:
        taken = claim(settings(out, overwrite=True, seed=9), "f", held, task=TASK)
        assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
        assert how_to_go_on(taken, overwrite=True) == f"the run in {out} is untouched"
        taken.begin()
        assert {path.name for path in out.iterdir()} == {"started.json", ".lock"}
        assert json.loads((out / "started.json").read_text())["settings"]["seed"] == 9
        save(out, 2)
        taken.begin()  # a smaller batch is tried: what was written since stays
        assert names(out) == ["checkpoint-2"]
        assert how_to_go_on(taken, overwrite=True).endswith("checkpoint-2 stays: the same command goes on from there, without --overwrite")


@pytest.mark.parametrize("name", ["data", "model"])
@pytest.mark.parametrize("where", [".", "deep/inside", "a link in it"])
def test_overwrite_never_deletes_what_the_training_reads(out: Path, tmp_path: Path, name: str, where: str) -> None:
    place = out / where
    if where == "a link in it":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    place.mkdir(parents=True, exist_ok=True)
    given = {"data": Path("data"), "model": "tiny", name: place if name == "data" else str(place)}
    with ExitStack() as held, pytest.raises(SettingsError, match=f"{name} .* lies in output_dir .*, which --overwrite empties"):
        claim(TrainSettings(output_dir=out, overwrite=True, **given), "f", held, task=TASK)  # type: ignore[arg-type]
    assert len(names(out)) == 3


def test_a_run_folder_named_tiny_is_not_the_model_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    take(Path("tiny"), model="tiny")
    assert take(Path("tiny"), model="tiny", overwrite=True) == Claim(Path("tiny"), None, False)


def test_overwrite_and_a_checkpoint_to_go_on_from_exclude_each_other(out: Path) -> None:
    with pytest.raises(SettingsError, match=r"resume_from_checkpoint checkpoint-2 goes on in .*, --overwrite empties it"):
        take(out, overwrite=True, resume_from_checkpoint="checkpoint-2")
    assert len(names(out)) == 3


def test_an_only_checkpoint_that_lost_its_state_is_not_trained_over(tmp_path: Path) -> None:
    take(tmp_path / "out")
    (save(tmp_path / "out", 2) / "state.json").unlink()
    with pytest.raises(RunError, match="none of its checkpoints is whole"):
        take(tmp_path / "out")


def test_another_dataset_or_another_task_is_told(out: Path) -> None:
    with pytest.raises(SettingsError, match="data is not the dataset that"):
        take(out, "g")
    with pytest.raises(SettingsError, match="has another task"):
        take(out, task={**TASK, "question": "Who?"})


def test_never_and_overwrite(out: Path) -> None:
    with pytest.raises(SettingsError, match="is not empty: name another folder, add --overwrite, or let it go on"):
        take(out, resume_from_checkpoint="never")
    (out / "wandb").mkdir()
    (out / "link").symlink_to(out.parent)
    assert take(out, overwrite=True, seed=9) == Claim(out, None, False)
    assert {path.name for path in out.iterdir()} == {"started.json", ".lock"}
    assert out.parent.exists()


@pytest.mark.parametrize("name", ["log.jsonl", "started.json", "run.json", "checkpoint-3", "thesis.txt"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_never_touched(tmp_path: Path, name: str, overwrite: bool) -> None:
    (tmp_path / name).write_text('{"started": "a thesis"}')
    with pytest.raises(SettingsError, match="is not empty and no run folder"):
        take(tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("more", [{"processes": "x"}, {"settings": {}, "processes": 2}])
def test_a_start_that_was_changed_by_hand_is_told(out: Path, more: dict[str, Any]) -> None:
    path = out / "started.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    with pytest.raises(RunError, match=r"started\.json: was changed by hand"):
        take(out)


@pytest.mark.parametrize("words", ["", "{", "[]", '{"settings": 3}', "\x00"])
def test_a_damaged_start_is_told(out: Path, words: str) -> None:
    (out / "started.json").write_text(words)
    (out / "run.json").write_text('{"settings": {}}')
    with pytest.raises(RunError, match=r"started\.json: is damaged or not there"):
        take(out)


def test_a_kill_before_anything_was_written_leaves_a_folder_that_is_free(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".started.json.123.0a1b2c3d").write_text("{")
    assert take(tmp_path) == Claim(tmp_path, None, False)


def test_a_kill_while_a_folder_is_emptied_leaves_one_that_can_be_emptied(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (out / "run.json").write_text('{"settings": {}}')
    for name in ("a", "z"):
        (out / name).mkdir()
    left = []
    for calls in range(1, 40):
        copy = out.with_name(f"copy{calls}")
        shutil.copytree(out, copy)
        with monkeypatch.context() as patch:
            _killed_at(patch, calls)
            try:
                take(copy, overwrite=True)
            except KeyboardInterrupt:
                left.append({path.name for path in copy.iterdir()})
            else:
                break
        assert "run.json" not in left[-1]
        assert "started.json" in left[-1] or left[-1] == {".lock"}
        assert take(copy, overwrite=True) == Claim(copy, None, False)
    assert len(left) > 5


def _killed_at(patch: pytest.MonkeyPatch, calls: int) -> None:
    """A kill right after the so many-th deletion or renaming."""
    count = 0

    def counted(work: Any) -> Any:
        def done(*args: Any, **more: Any) -> Any:
            nonlocal count
            result = work(*args, **more)
            count += 1
            if count == calls:
                raise KeyboardInterrupt
            return result

        return done

    patch.setattr(os, "unlink", counted(os.unlink))
    patch.setattr(os, "rename", counted(os.rename))
    patch.setattr(os, "rmdir", counted(os.rmdir))


HOLD = """
import os, sys, time
from contextlib import ExitStack
from pathlib import Path
from seeworth.settings import TrainSettings
from seeworth.train.folder import claim
with ExitStack() as held:
    claim(TrainSettings(data=Path("data"), output_dir=Path(sys.argv[1])), "f", held)
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_trains_in_a_folder_and_a_killed_ones_worker_does_not_hold_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, start_new_session=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        for overwrite in (False, True):
            with pytest.raises(SettingsError, match="another process trains in it"):
                take(out, task=None, overwrite=overwrite)
        holder.kill()
        holder.wait()
        try:
            for _ in range(100):  # the system closes the files of a killed process in its own time
                try:
                    assert take(out, task=None).checkpoint is None
                    break
                except SettingsError:
                    time.sleep(0.05)
            else:
                pytest.fail("a worker of the killed process holds the folder")
            os.killpg(holder.pid, 0)  # it was alive all the while
        finally:
            os.killpg(holder.pid, 9)


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("place", ["mkdir", "open", "write_bytes"])
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, place: str) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, place, refuse)
    with pytest.raises(SettingsError, match=rf"output_dir .*out cannot be written, name another folder: .*{os.strerror(error)}"):
        take(tmp_path / "out")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(SettingsError, match="is a file: name a folder"):
        take(tmp_path / "out", overwrite=True)
