"""Blocks that come back as they were stored, or not at all: kills, concurrent writers, torn tails, flipped bits, full disks."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from inspect import getsource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seeworth import shards as module
from seeworth.shards import Shards

WRITER = """
import hashlib, sys
from pathlib import Path
from seeworth.shards import Shards

{functions}
store = Shards(Path(sys.argv[1]), "seed")
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    store.put(key(number), block(number))
print("done", flush=True)
"""


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def block(number: int) -> bytes:
    """Up to 200 kB that say whose they are, from the first byte to the last."""
    return hashlib.shake_128(str(number).encode()).digest(1 + number * 7919 % 200_000)


def quiet(words: str) -> None:
    """For stores whose damage is the test's own doing."""


def writer(folder: Path, first: int, last: int) -> subprocess.Popen[str]:
    """A process that stores some numbers' blocks as soon as it is told a line."""
    code = WRITER.format(functions=getsource(key) + getsource(block))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(first), str(last)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()


def assert_true_or_absent(store: Shards, numbers: range) -> int:
    """Each block is right or not there; how many are there."""
    there = 0
    for number in numbers:
        view = store.get(key(number))
        if view is not None:
            assert bytes(view) == block(number)
            there += 1
    return there


def test_what_is_stored_comes_back_here_and_to_others(tmp_path: Path) -> None:
    store, other = Shards(tmp_path / "made" / "new"), Shards(tmp_path / "made" / "new")
    assert not (tmp_path / "made").exists()
    for number in range(20):
        assert store.get(key(number)) is None
        assert store.put(key(number), block(number))
    assert assert_true_or_absent(store, range(30)) == 20
    assert assert_true_or_absent(other, range(30)) == 0
    assert other.refresh() == 20
    assert assert_true_or_absent(other, range(30)) == 20
    assert other.refresh() == store.refresh() == 0
    assert len(other) == len(store) == 20
    assert store.size == other.size == sum(len(block(number)) for number in range(20))
    assert len(list((tmp_path / "made" / "new").iterdir())) == 2


def test_a_block_that_is_there_is_not_stored_again(tmp_path: Path) -> None:
    store = Shards(tmp_path)
    assert store.put(key(1), block(1))
    before = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert store.put(key(1), block(1))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == before


def test_a_file_that_is_full_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", 300_000)
    store = Shards(tmp_path)
    for number in range(12):
        assert store.put(key(number), block(number + 20))
    sizes = [path.stat().st_size for path in tmp_path.glob("*.blocks")]
    assert len(sizes) > 2
    assert max(sizes) <= 300_000
    after = Shards(tmp_path)
    assert all(bytes(after.get(key(number)) or b"") == block(number + 20) for number in range(12))


@pytest.mark.parametrize("what", ["blocks", "index"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_file_cut_anywhere_loses_only_what_was_behind_the_cut(tmp_path_factory: Any, what: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("cut")
    store = Shards(folder)
    ends = []
    for number in range(6):
        store.put(key(number), block(number))
        ends.append(sum(len(block(one)) for one in range(number + 1)) if what == "blocks" else 64 * (number + 1))
    path = next(folder.glob(f"*.{what}"))
    cut = data.draw(st.integers(0, ends[-1]))
    os.truncate(path, cut)
    after = Shards(folder, tell=quiet)
    assert assert_true_or_absent(after, range(6)) == sum(end <= cut for end in ends)
    for number in range(6):
        assert after.put(key(number), block(number))
    assert assert_true_or_absent(Shards(folder, tell=quiet), range(6)) == 6
    shutil.rmtree(folder)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_flipped_bit_anywhere_costs_at_most_its_own_block_and_is_told_in_one_line(tmp_path_factory: Any, seed: int) -> None:
    folder = tmp_path_factory.mktemp("flip")
    store = Shards(folder)
    for number in range(6):
        store.put(key(number), block(number))
    draw = random.Random(seed)
    path = draw.choice(sorted(folder.iterdir()))
    content = bytearray(path.read_bytes())
    place = draw.randrange(len(content))
    content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    told: list[str] = []
    after = Shards(folder, tell=told.append)
    there = assert_true_or_absent(after, range(6))
    padding = path.suffix == ".index" and 48 <= place % 64 < 56  # these too are under the checksum
    assert there == 5 or (padding and there == 6)
    assert after.damaged == len(told) == 6 - there
    shutil.rmtree(folder)


def test_a_block_stored_again_after_damage_is_found_by_all_who_come_later(tmp_path: Path) -> None:
    store = Shards(tmp_path)
    store.put(key(1), block(1))
    path = next(tmp_path.glob("*.blocks"))
    path.write_bytes(b"\0" * path.stat().st_size)
    told: list[str] = []
    second = Shards(tmp_path, tell=told.append)
    assert second.get(key(1)) is None
    assert key(1) not in second
    assert second.put(key(1), block(1))
    assert bytes(second.get(key(1)) or b"") == block(1)
    assert bytes(Shards(tmp_path, tell=quiet).get(key(1)) or b"") == block(1)
    assert len(told) == 1
    assert "damaged" in told[0]


def test_an_index_of_another_folder_is_not_read(tmp_path: Path) -> None:
    Shards(tmp_path, "one tower").put(key(1), block(1))
    assert len(Shards(tmp_path, "one tower")) == 1
    assert len(Shards(tmp_path, "another", quiet)) == 0


def test_foreign_files_and_vanished_ones_do_no_harm(tmp_path: Path) -> None:
    store = Shards(tmp_path)
    store.put(key(1), block(1))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "alone.index").write_bytes(b"x" * 640)
    reader = Shards(tmp_path, tell=quiet)
    assert len(reader) == 1
    next(tmp_path.glob("*-*.blocks")).unlink()
    assert reader.get(key(1)) is None
    assert bytes(store.get(key(1)) or b"") == block(1) or store.get(key(1)) is None


@pytest.mark.parametrize("moment", ["spare", "write"])
def test_a_full_disk_is_told_once_and_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    told: list[str] = []
    store = Shards(tmp_path, tell=told.append)
    assert store.put(key(1), block(1))
    if moment == "spare":
        usage = namedtuple("usage", "free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9))
    else:
        whole = module._write_at

        def half(file: Any, place: int, data: Any) -> None:
            whole(file, place, bytes(data)[: len(data) // 2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(module, "_write_at", half)
    assert not store.put(key(2), block(2))
    assert not store.put(key(3), block(3))
    assert store.stopped
    assert len(told) == 1
    assert "nothing more is stored" in told[0]
    assert next(tmp_path.glob("*.blocks")).stat().st_size == len(block(1))
    assert next(tmp_path.glob("*.index")).stat().st_size == 64
    assert bytes(store.get(key(1)) or b"") == block(1)
    assert len(Shards(tmp_path)) == 1


def test_a_disk_that_is_really_full_is_told_once(tmp_path: Path) -> None:
    """RLIMIT_FSIZE ends a file in the middle of a block, as a full disk does."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from seeworth.shards import Shards\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n"
        "store = Shards(Path(sys.argv[1]))\n"
        "print([store.put(bytes([n]) * 32, bytes([n]) * 30000) for n in range(6)])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, True, True, False, False, False]"
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    after = Shards(tmp_path)
    assert [bytes(after.get(bytes([n]) * 32) or b"") for n in range(4)] == [bytes([n]) * 30000 for n in range(3)] + [b""]


def test_a_folder_that_cannot_be_made_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    store = Shards(tmp_path / "file" / "below", tell=told.append)
    assert not store.put(key(1), block(1))
    assert not store.put(key(2), block(2))
    assert len(told) == 1


def test_two_writers_at_once_never_spoil_a_block(tmp_path: Path) -> None:
    """Overlapping numbers: some blocks are stored twice, each whole."""
    both = [writer(tmp_path, 0, 60), writer(tmp_path, 30, 90)]
    for process in both:
        go(process)
    reader = Shards(tmp_path, "seed")
    while any(process.poll() is None for process in both):
        reader.refresh()
        assert_true_or_absent(reader, range(0, 90, 7))
    for process in both:
        process.communicate()
        assert process.returncode == 0
    reader.refresh()
    assert assert_true_or_absent(reader, range(90)) == 90
    assert reader.damaged == 0
    assert len(list(tmp_path.glob("*.index"))) == 2


def test_writers_killed_at_any_moment_leave_only_whole_blocks(tmp_path: Path) -> None:
    """The short form of tests/soak/kill_features.py."""
    draw = random.Random(0)
    for _ in range(4):
        both = [writer(tmp_path, 0, 4000), writer(tmp_path, 2000, 6000)]
        for process in both:
            go(process)
        time.sleep(draw.uniform(0.0, 0.25))
        for process in both:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        store = Shards(tmp_path, "seed")
        assert assert_true_or_absent(store, range(6000)) == len(store)
        assert store.damaged == 0
    assert len(store) > 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_writes_to_files_of_its_own(tmp_path: Path) -> None:
    store = Shards(tmp_path)
    store.put(key(0), block(0))
    child = os.fork()
    if child == 0:
        store.put(key(1), block(1))
        os._exit(0)
    store.put(key(2), block(2))
    assert os.waitpid(child, 0)[1] == 0
    store.put(key(3), block(3))
    assert assert_true_or_absent(Shards(tmp_path), range(4)) == 4
    assert len(list(tmp_path.glob("*.index"))) == 2


def test_a_copy_for_another_process_reads_the_same_files(tmp_path: Path) -> None:
    store = Shards(tmp_path, "seed")
    for number in range(5):
        store.put(key(number), block(number))
    copy = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 2000
    assert assert_true_or_absent(copy, range(5)) == 5


def test_blocks_are_mapped_and_writing_into_one_changes_no_file(tmp_path: Path) -> None:
    store = Shards(tmp_path)
    store.put(key(1), block(1))
    before = next(tmp_path.glob("*.blocks")).read_bytes()
    view = store.get(key(1))
    assert view is not None
    view[0] ^= 255
    assert next(tmp_path.glob("*.blocks")).read_bytes() == before
    assert bytes(Shards(tmp_path).get(key(1)) or b"") == block(1)


def test_memory_stays_flat_however_much_is_read(tmp_path: Path) -> None:
    """200 MB of blocks; of the memory that is this process's own, less than 20 MB more."""
    store = Shards(tmp_path)
    for number in range(50):
        store.put(key(number), bytes([number]) * 4_000_000)
    before = _own_memory()
    views = [Shards(tmp_path).get(key(number)) for number in range(50)]
    total = sum(view[100] for view in views if view is not None)
    assert total == sum(range(50))
    assert _own_memory() - before < 20_000_000


def _own_memory() -> int:
    """Bytes that are not backed by a file."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")
    return int(status.read_text().split("RssAnon:")[1].split()[0]) * 1024
