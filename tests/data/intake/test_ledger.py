"""The ledger of an unfinished import: what it keeps, and that one process holds it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seeworth.data.dataset import Rejected
from seeworth.data.intake.ledger import Job, Ledger, key_of, state_of
from seeworth.data.intake.stored import Stored
from seeworth.data.rows.address import Address, EmbeddedPhoto, LocalPhoto, RemotePhoto
from seeworth.errors import DataError, SettingsError

GOOD = Stored("photos/ab/ab.jpg", "ab", 40, 30, "0123456789abcdef")
BAD = Stored(code="damaged", reason='it says "\ud800 no"')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def test_photos_put_together_are_noted_all_or_none(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.put_all([(b"a", GOOD, ""), (b"b", BAD, "12 34")])
        assert (ledger.get(b"a"), ledger.get(b"b")) == (GOOD, BAD)

    def broken() -> Iterator[tuple[bytes, Stored, str]]:
        yield b"c", GOOD, ""
        raise KeyError

    with Ledger(path) as ledger, pytest.raises(KeyError):
        ledger.put_all(broken())
    with Ledger(path) as ledger:
        assert ledger.get(b"c") is None
        assert ledger.is_done(b"b", "12 34")


def test_what_is_put_is_got_also_after_it_was_closed(path: Path) -> None:
    with Ledger(path) as ledger:
        assert ledger.get(b"a") is None
        ledger.put(b"a", GOOD)
        ledger.put(b"b", BAD)
    with Ledger(path) as ledger:
        assert (ledger.get(b"a"), ledger.get(b"b"), ledger.get(b"c")) == (GOOD, BAD, None)


def test_continuing_forgets_what_may_pass_and_the_lists_and_no_photo(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.begin({"seed": 0})
        ledger.put(b"a", GOOD)
        ledger.put(b"b", BAD, final=False)
        ledger.add_jobs([(b"c", "x:80", "http://x/")])
        ledger.resume()
        assert (ledger.get(b"a"), ledger.get(b"b"), ledger.hosts(), ledger.asked) == (GOOD, None, [], {"seed": 0})
        ledger.reset()
        assert (ledger.get(b"a"), ledger.asked) == (None, None)


def test_jobs_are_one_for_each_key_and_come_in_order_by_host(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.add_jobs([(b"1", "b:80", "http://b/1"), (b"2", "a:80", "http://a/2"), (b"1", "b:80", "http://b/1")])
        ledger.add_jobs([(b"3", "b:80", "http://b/3"), (b"2", "a:80", "http://a/2")])
        assert ledger.hosts() == [("b:80", 2), ("a:80", 1)]
        first, last = ledger.jobs("b:80", 0, 10)
        assert (first, last.url) == (Job(first.number, b"1", "http://b/1"), "http://b/3")
        assert ledger.jobs("b:80", first.number, 10) == [last]
        assert ledger.is_job(b"2")
        ledger.put(b"2", GOOD)
        ledger.drop_done_jobs()
        assert not ledger.is_job(b"2")


def test_a_photo_is_done_while_its_file_and_its_stored_photo_are_what_they_were(path: Path) -> None:
    photo = path.parent / "photo.jpg"
    photo.write_bytes(b"1")
    one = LocalPhoto(photo)
    stored = path.parent / GOOD.file_name
    with Ledger(path) as ledger:
        assert not ledger.is_done(key_of(one), state_of(one))
        ledger.put(key_of(one), GOOD, state_of(one))
        assert not ledger.is_done(key_of(one), state_of(one))  # its stored photo was lost
        stored.parent.mkdir(parents=True)
        stored.write_bytes(b"1")
        assert ledger.is_done(key_of(one), state_of(one))
        photo.write_bytes(b"another")
        assert not ledger.is_done(key_of(one), state_of(one))
        ledger.put(key_of(one), BAD, state_of(one))
        assert ledger.is_done(key_of(one), state_of(one))
        photo.unlink()
        assert not ledger.is_done(key_of(one), state_of(one))


def test_photos_and_refusals_are_kept_for_the_second_half(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.begin_rows()
        refusals = [Rejected(2, "\ud800", None, "damaged", "b"), Rejected(9, None, "x", "missing", "a")]
        for one in reversed(refusals):
            ledger.refuse(one)
        ledger.use("photos/a")
        ledger.settle()
        assert list(ledger.refused()) == refusals
        assert ledger.refused_by_code() == {"damaged": 1, "missing": 1}
        assert (ledger.is_used("photos/a"), ledger.is_used("photos/b")) == (True, False)
    assert [one.name for one in path.parent.iterdir()] == ["ledger"]  # one file, to be removed in one step


def test_keys_tell_photos_apart(tmp_path: Path) -> None:
    photos: list[Address] = [
        LocalPhoto(tmp_path / "a"), LocalPhoto(tmp_path / "b\udcff"), RemotePhoto("http://x/a"), RemotePhoto("http://["),
        RemotePhoto("\ud800"), EmbeddedPhoto(b"a"), EmbeddedPhoto(b"b"),
    ]  # fmt: skip
    keys = [key_of(photo) for photo in photos]
    assert len(set(keys)) == len(photos)
    assert key_of(RemotePhoto("http://me:pw@x:80/a#b")) == keys[2]
    assert {len(key) for key in keys} == {16}


def test_another_process_is_told_and_a_dead_one_holds_nothing(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from seeworth.data.intake.ledger import Ledger;"
        "held = Ledger(Path(sys.argv[1])); print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(SettingsError, match="another import writes into it now"):
            Ledger(path)
        other.kill()
    with Ledger(path) as ledger:
        assert ledger.asked is None


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + bytes(2000)])
def test_a_damaged_ledger_is_told(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"no ledger of this seeworth .*--overwrite"):
        Ledger(path)


def test_a_ledger_of_another_version_is_told(path: Path) -> None:
    with Ledger(path):
        pass
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(DataError, match="version 99"):
        Ledger(path)
