"""The unfinished file: the lines that are there already, whatever kills happened, and the way from it to the finished one.

    OUT.jsonl.part    first a line that says what was asked, then one line an input, in the order in which they were answered, each with
                      the input's number; held by one process at a time
    OUT.jsonl         the same lines in the inputs' order, without numbers; made when all are there

A line counts when it is whole: what a kill cut short is cut off. 9 bytes of memory an input are all that is held. That OUT.jsonl.part is
there means that the work is unfinished. Knows nothing of models, nor of what a line says besides its number, record_id and photo.
"""

from __future__ import annotations

import errno
import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from ..errors import DataError, ModelError, SettingsError, told_as
from .inputs import Input
from .lines import NUMBER

ASKED = "asked"  # the key of the first line
_FIRST, _BEFORE = b'{"%s": ' % ASKED.encode(), b'{"%s": ' % NUMBER.encode()  # how lines begin
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Journal:
    """The lines of one unfinished output, held by this process. A context manager; leaving it gives the file up and keeps it.

    Make it with `open`.

    Attributes:
        path: OUT.jsonl.part. count: how many lines are there. before: how many were there when it was opened.
        inputs: how many there are; known when `marked` has come to their end. codes: how many of them hold an error, by its code.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.count = self.before = 0
        self.inputs: int | None = None
        self.codes: Counter[str] = Counter()
        self._descriptor = descriptor  # what is written is in the file at once: a buffer would try again when the disk is full
        self._there = bytearray()  # 1 at the number of each line
        self._names = array("Q")  # and the digest of its record_id and photo, of lines that were there before

    @classmethod
    def open(cls, path: Path, asked: Mapping[str, Any], *, overwrite: bool = False) -> Journal:
        """Begin, or go on with what is there, or with `overwrite` begin anew.

        Args:
            asked: plain data: all that decides what the lines say.

        Raises SettingsError when another process writes it, or when what is there was asked otherwise; DataError for a foreign file.
        """
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            journal = cls(path, _held(path))
        try:
            with _told(path):
                journal._begin({"seeworth": version("seeworth"), **asked}, overwrite)
        except BaseException:
            journal.close()
            raise
        return journal

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and not self.count:  # nothing is done, so nothing is left behind
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Give the file up; it stays."""
        os.close(self._descriptor)

    def has(self, number: int) -> bool:
        """Whether an input's line is there."""
        return number < len(self._there) and bool(self._there[number])

    def marked(self, inputs: Iterable[Input]) -> Iterator[Input]:
        """The inputs, those whose line is there as `done`. Raises DataError when such a line is another input's."""
        total = 0
        for item in inputs:
            total = item.number + 1
            if not self.has(item.number):
                yield item
                continue
            if item.number < len(self._names) and self._names[item.number] not in (0, _digest(item.record.id, item.photo)):
                raise DataError(
                    f"{self.path}: input {item.number + 1} is {item.record.id!r} now, and was another one when it was answered: put the "
                    "input back as it was, or begin anew with --overwrite"
                )
            yield replace(item, done=True)
        self.inputs = total

    def add(self, line: Mapping[str, Any]) -> None:
        """Append the line of an input.

        Raises ValueError for one that is there already, DataError when the disk is full, ModelError for probabilities that are none.
        """
        number = int(line[NUMBER])
        if self.has(number):
            raise ValueError(f"input {number} has a line already")
        with told_as(ModelError, ValueError, where=f"the answer to {line['record_id']!r} holds NaN: does the model overflow?"):
            data = _text({NUMBER: number, **{key: one for key, one in line.items() if key != NUMBER}})
        with _told(self.path, self):
            self._write(data)
        self._note(number, line)

    def finish(self, output: Path, more: Callable[[Path], None] = lambda _: None) -> None:
        """Write the finished file; `more` makes further ones of it before the unfinished one goes. Raises DataError when lines lack."""
        if not self.count == self._there.count(1) == len(self._there) == self.inputs:
            told = f"{self.count} lines for {self.inputs} inputs"
            raise DataError(f"{self.path}: {told}: the input was changed since; begin anew with --overwrite")
        with _told(self.path, self):
            with replaced(output) as draft, draft.open("wb") as file:
                file.writelines(self._ordered())
                file.flush()
                os.fsync(file.fileno())
            more(output)
            self.path.unlink()

    def _ordered(self) -> Iterator[bytes]:
        """The lines in the order of their numbers, without these; only the lines' places are held."""
        places = array("Q", bytes(8 * self.count))
        with self.path.open("rb") as file:
            start = len(file.readline())
            for row in file:
                places[int(row[len(_BEFORE) : row.index(b",")])] = start
                start += len(row)
            for number, place in enumerate(places):
                file.seek(place)
                yield b"{" + file.readline().removeprefix(_BEFORE + b"%d, " % number)

    def _begin(self, asked: dict[str, Any], overwrite: bool) -> None:
        with self.path.open("rb") as file:
            first = file.readline()
            begun = first.endswith(b"\n") and not overwrite
            if begun:
                self._need_same(first, json.loads(json.dumps(asked)))
                os.truncate(self.path, self._take(file, len(first)))
        if first and not (begun or overwrite or first.startswith(_FIRST) or _FIRST.startswith(first)):
            raise self._foreign()
        if not begun:
            os.truncate(self.path, 0)
            self._write(_text({ASKED: asked}))
        self.before = self.count

    def _need_same(self, first: bytes, asked: dict[str, Any]) -> None:
        try:
            before = json.loads(first)[ASKED]
            differ = sorted(key for key in {*before, *asked} if before.get(key) != asked.get(key))
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise self._foreign() from problem
        if differ:
            shown = ", ".join(f"{key} {_short(before.get(key))} -> {_short(asked.get(key))}" for key in differ)
            raise SettingsError(f"{self.path} was begun with other settings ({shown}): give those, or begin anew with --overwrite")

    def _foreign(self) -> DataError:
        return DataError(f"{self.path}: is not what an unfinished predict leaves: move it away, or add --overwrite")

    def _take(self, file: IO[bytes], end: int) -> int:
        """Note every line from the second on, up to the first that is not whole; return where that starts."""
        for row in file:
            try:
                found = json.loads(row)
                number, name = int(found[NUMBER]), _digest(found["record_id"], found["photo"])
            except (ValueError, KeyError, TypeError):
                break
            if not row.endswith(b"\n") or number < 0 or self.has(number):
                break
            self._note(number, found)
            self._names.extend([0] * (number + 1 - len(self._names)))
            self._names[number] = name
            end += len(row)
        return end

    def _note(self, number: int, line: Mapping[str, Any]) -> None:
        self._there.extend(bytes(max(0, number + 1 - len(self._there))))
        self._there[number] = 1
        self.count += 1
        if "error" in line:
            self.codes[str(line["error"]["code"])] += 1

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` when all went well, and is gone when it did not."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def part_of(jsonl: Path) -> Path:
    """The name of the unfinished file."""
    return jsonl.with_name(jsonl.name + ".part")


def _held(path: Path) -> int:
    """The file, made when it is not there, that no other process writes: the lock goes with the process, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        import fcntl
    except ImportError:  # a system without file locks
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or os.fstat(descriptor).st_ino != path.stat().st_ino:  # whoever held it has just finished
            raise BlockingIOError
    except BlockingIOError as problem:
        os.close(descriptor)
        raise SettingsError(f"{path}: another predict writes it now: wait for it, or name another output") from problem
    return descriptor


@contextmanager
def _told(path: Path, journal: Journal | None = None) -> Iterator[None]:
    """A full disk in one line."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in _FULL:
            raise
        kept = f"{journal.count} lines are kept in {path}; " if journal else ""
        raise DataError(f"{path}: the disk is full: {kept}make room and give the same command again, it goes on") from problem


def _text(row: Mapping[str, Any]) -> bytes:
    """A line of JSON; in ASCII where a name holds bytes that are no text."""
    try:
        return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(row, allow_nan=False) + "\n").encode()


def _digest(name: object, photo: object) -> int:
    """64 bits, never 0."""
    words = f"{name}\0{photo}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(words, digest_size=8).digest(), "big") or 1


def _short(value: object) -> str:
    words = json.dumps(value, ensure_ascii=False)
    return words if len(words) <= 60 else f"{words[:57]}..."
