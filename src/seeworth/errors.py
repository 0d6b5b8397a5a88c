"""Every problem a user can fix, as one tree.

    SeeworthError             exit status 1, told in one line
    ├── SettingsError         a setting that cannot be, or two that exclude each other
    ├── TaskError             a template or a value that the task cannot write
    ├── DataError             a source, a table or a dataset folder
    │   └── PhotoError        one photo file; carries a short `code` for rejected.jsonl
    ├── ModelError            a checkpoint, a tokenizer, or photo tokens that do not add up
    └── RunError              a run or evaluation folder, or a training that cannot go on

A message says what was found, what was expected, where, and what to do. This module knows nothing of anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class SeeworthError(Exception):
    """A problem that the user can fix; the command line prints it as one line and exits with status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


class SettingsError(SeeworthError):
    """A setting that cannot be, or two that exclude each other."""


class TaskError(SeeworthError):
    """A task that is not well formed, or a value that it cannot write."""


class DataError(SeeworthError):
    """A source, a table or a dataset folder that cannot be used."""


class PhotoError(DataError):
    """One photo that cannot be used. `code` is a short stable word for `rejected.jsonl`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ModelError(SeeworthError):
    """A checkpoint, a tokenizer, or photo tokens that do not add up."""


class RunError(SeeworthError):
    """A run or evaluation folder that cannot be used, or a training that cannot go on."""


@contextmanager
def told_as(error: type[SeeworthError], *caught: type[Exception], where: object = "") -> Iterator[None]:
    """Turn a library's exception into one of ours: `with told_as(ModelError, OSError, where=folder): ...`."""
    try:
        yield
    except SeeworthError:
        raise
    except caught as problem:
        raise error(f"{where}: {problem}" if where else str(problem)) from problem
