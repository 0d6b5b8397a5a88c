"""An import that is stopped: it continues, or says why not, and ends as if nothing had been."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from seeworth.cli import main
from seeworth.data import run as run_module
from seeworth.data.dataset import Dataset
from seeworth.data.intake import stored as stored_module
from seeworth.data.intake import take as take_module
from seeworth.data.intake.ledger import Ledger
from seeworth.data.intake.stored import Stored, store
from seeworth.data.run import run
from seeworth.errors import DataError, SettingsError
from seeworth.settings import ImportSettings

HEADER = "title,category3_code,full_price,photo"
REPOSITORY = Path(__file__).resolve().parents[3]


class Stop(Exception):
    """What stops an import in these tests; to the folder it looks like a kill."""


@pytest.fixture
def take(table: Callable[..., Path], tmp_path: Path) -> Callable[..., Dataset]:
    """take(): import ten rows, one refused and one with an id that is taken, into out."""
    rows = [f"Bag {number},BAGS,{number + 5},{number}.jpg,{number}" for number in range(8)]
    source = table(HEADER + ",id", *rows, "Bag,BAGS,5,lost.jpg,8", "Bag,BAGS,5,9.jpg,7")

    def import_(name: str = "out", **changes: Any) -> Dataset:
        run(ImportSettings(**({"source": source, "output": tmp_path / name, "processes": 1} | changes)))
        return Dataset.open(tmp_path / name)

    return import_


def stop_after(monkeypatch: pytest.MonkeyPatch, name: str, calls: int) -> list[Any]:
    """Raise Stop at that call of a method of Ledger; return the arguments of the calls."""
    seen: list[Any] = []
    method = getattr(Ledger, name)

    def counted(self: Ledger, *arguments: Any, **more: Any) -> Any:
        seen.append(arguments)
        if len(seen) == calls:
            raise Stop
        return method(self, *arguments, **more)

    monkeypatch.setattr(Ledger, name, counted)
    return seen


def picture(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("name", "call"), [("put_all", 1), ("put_all", 3), ("begin_rows", 1), ("use", 4), ("use", 8), ("settle", 1), ("refused", 1)]
)
def test_the_same_command_continues_and_ends_as_the_undisturbed_one(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    take("whole")
    with monkeypatch.context() as patch:
        patch.setattr(take_module, "_CHUNK", 2)
        stop_after(patch, name, call)
        with pytest.raises(Stop):
            take()
    assert not (tmp_path / "out" / "dataset.json").exists()
    take()
    assert picture(tmp_path / "out") == picture(tmp_path / "whole")


def test_nothing_is_decoded_twice(take: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    normalise = stored_module.normalise
    monkeypatch.setattr(stored_module, "normalise", lambda data: decoded.append(data) or normalise(data))
    monkeypatch.setattr(take_module, "_CHUNK", 1)
    with monkeypatch.context() as patch:
        stop_after(patch, "begin_rows", 1)
        with pytest.raises(Stop):
            take()
    assert len(decoded) == len(set(decoded)) == 9
    take()
    assert len(decoded) == 9


def test_a_finished_import_whose_mark_is_left_is_only_cleaned(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between dataset.json and the removal of the ledger."""
    take("whole")
    unlink = Path.unlink
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, **how: stop() if path.name == ".seeworth-unfinished" else unlink(path, **how))
        with pytest.raises(Stop):
            take()
    assert (tmp_path / "out" / "dataset.json").exists()
    assert (tmp_path / "out" / ".seeworth-unfinished").exists()
    monkeypatch.setattr(run_module, "_import", stop)
    take()
    assert picture(tmp_path / "out") == picture(tmp_path / "whole")


def test_a_finished_import_that_is_asked_for_again_has_nothing_to_do(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a kill between the removal of the ledger and the end of the process."""
    take()
    before = picture(tmp_path / "out")
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_import", stop)
        take(processes=2, retries=1)
    printed = capsys.readouterr().out
    assert "this import is finished already, and its source has not changed since: nothing to do" in printed
    assert "8 of 10 rows kept" in printed
    assert picture(tmp_path / "out") == before
    with pytest.raises(SettingsError, match="is there already"):
        take(seed=3)


@pytest.mark.parametrize("change", ["a row", "a photo", "a photo that was lost"])
def test_a_finished_import_of_what_was_changed_since_is_there_already(
    take: Callable[..., Dataset], tmp_path: Path, change: str, photo_bytes: Callable[..., bytes]
) -> None:
    take()
    source = tmp_path / "source"
    if change == "a row":
        with (source / "products.csv").open("a") as file:
            file.write("Bag,BAGS,5,1.jpg,99\n")
    else:
        _written(tmp_path / "new.jpg", photo_bytes(78)).replace(source / {"a photo": "3.jpg"}.get(change, "lost.jpg"))
    with pytest.raises(SettingsError, match="is there already"):
        take()


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    os.utime(path, (0, 0))  # as old as a copy that keeps its times
    return path


def stop(*_: Any) -> None:
    raise Stop


def test_another_command_is_refused_with_what_differs(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, "begin_rows", 1)
        with pytest.raises(Stop):
            take()
    with pytest.raises(SettingsError, match=r'asked otherwise \(seed was 0, is 3\)'):
        take(seed=3)
    with (tmp_path / "source" / "products.csv").open("a") as file:
        file.write("Bag,BAGS,5,1.jpg,77\n")
    with pytest.raises(SettingsError, match=r"asked otherwise \(sha256 was .*add --overwrite"):
        take()
    assert len(take(overwrite=True).records()) == 9


def test_how_it_is_done_may_change(take: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(take_module, "_CHUNK", 3)
        stop_after(patch, "put_all", 2)
        with pytest.raises(Stop):
            take()
    assert len(take(processes=2, connections=3, connections_per_host=2, timeout=5, retries=0).records()) == 8


def test_a_command_with_overwrite_continues_its_own_import(take: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    take()
    with monkeypatch.context() as patch:
        stop_after(patch, "begin_rows", 1)
        with pytest.raises(Stop):
            take(overwrite=True)
    put = stop_after(monkeypatch, "put_all", 99)
    assert take(overwrite=True).records()
    assert not put
    with pytest.raises(SettingsError, match="--overwrite"):
        take(seed=3)


def test_overwrite_begins_anew_where_the_import_had_none(take: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, "begin_rows", 1)
        with pytest.raises(Stop):
            take()
    put = stop_after(monkeypatch, "put_all", 99)
    take(overwrite=True)
    assert len(put) == 1  # ten photos in one chunk


def test_a_photo_that_was_mended_meanwhile_is_read_again(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo_bytes: Callable[..., bytes]
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, "begin_rows", 1)
        with pytest.raises(Stop):
            take()
    (tmp_path / "source" / "lost.jpg").write_bytes(photo_bytes(77))
    assert len(take().records()) == 9


def test_a_second_import_into_the_folder_is_told(take: Callable[..., Dataset], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with Ledger(tmp_path / "out" / ".seeworth-unfinished"):
        for overwrite in (False, True):
            with pytest.raises(SettingsError, match="another import writes into it now"):
                take(overwrite=overwrite)
    assert take().records()


def test_a_full_disk_is_told_and_then_continued(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take("whole")
    for place, problem in (
        ("seeworth.data.intake.stored.store_photo", OSError(errno.ENOSPC, "No space left on device")),
        ("seeworth.data.run.write_dataset", OSError(errno.ENOSPC, "No space left on device")),
        ("seeworth.data.intake.ledger.Ledger.put_all", sqlite3.OperationalError("database or disk is full")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *_, problem=problem, **__: (_ for _ in ()).throw(problem))
            with pytest.raises(DataError, match="the disk is full: make room and give the same command again"):
                take()
    take()
    assert picture(tmp_path / "out") == picture(tmp_path / "whole")


def test_a_photo_that_kills_its_worker_is_refused_and_the_rest_is_kept(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take_module, "store", _die_on_3)
    dataset = take(processes=2)
    assert [record.id for record in dataset.records()] == [str(number) for number in range(8) if number != 3]
    refused = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert {one["row"]: one["code"] for one in refused}[4] == "crashed"


def _die_on_3(folder: Path, photo: Path | bytes) -> Stored:
    if isinstance(photo, Path) and photo.name == "3.jpg":
        os.kill(os.getpid(), signal.SIGKILL)
    return store(folder, photo)


def test_the_keyboard_stops_it_with_a_word_on_how_to_go_on(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seeworth.data.run._judged", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert main(["import", str(tmp_path / "source" / "products.csv"), str(tmp_path / "out"), "--processes", "1"]) == 130
    assert "the same command continues it" in capsys.readouterr().err


def test_drafts_and_photos_of_no_record_are_swept_and_nothing_else(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take("whole")
    with monkeypatch.context() as patch:
        stop_after(patch, "begin_rows", 1)
        with pytest.raises(Stop):
            take()
    photos = tmp_path / "out" / "photos"
    shelf = next(photos.iterdir())
    (shelf / f".{'a' * 64}.jpg.12.0123abcd").touch()
    (photos / "zz").mkdir()
    (photos / "zz" / f"{'f' * 64}.jpg").touch()
    (tmp_path / "out" / ".body.12.0123abcd").touch()
    (tmp_path / "out" / ".dataset.json.12.0123abcd").touch()
    take()
    assert picture(tmp_path / "out") == picture(tmp_path / "whole")


def test_a_source_that_changes_while_it_is_read_is_told(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = run_module._judged

    def change(*arguments: Any) -> Any:
        (tmp_path / "source" / "products.csv").write_text(HEADER + ",id\nBag,BAGS,5,never-seen.jpg,0\n")
        return judged(*arguments)

    monkeypatch.setattr(run_module, "_judged", change)
    with pytest.raises(DataError, match="changed while it was read"):
        take()


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    code = (
        "import time\nfrom seeworth.data.workers import Workers\n"
        "if __name__ == '__main__':\n"
        "    with Workers(2) as workers:\n"
        "        workers.submit(abs, [1], abs).result(); print(*workers._pool._processes, flush=True); time.sleep(60)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    with subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        children = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert children
    for _ in range(100):
        if not any(Path(f"/proc/{child}").exists() for child in children):
            return
        time.sleep(0.05)
    pytest.fail("workers outlive their parent")


def test_six_kills_change_nothing_and_cost_no_more_than_they_may(tmp_path: Path) -> None:
    """The short form of tests/soak/kill_import.py, where 200 are done."""
    spec = spec_from_file_location("kill_import", REPOSITORY / "tests" / "soak" / "kill_import.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    counts = module.soak(kills=6, rows=40, seed=1, processes=1, folder=tmp_path, form=module.Fork, kinds=module.QUICK)
    assert counts["kills"] == 6
    assert counts["urls"] > 15
