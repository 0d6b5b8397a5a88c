"""What an unfinished import knows already: every photo that is done, in one SQLite file on disk.

The file is the mark of the unfinished folder too, and its lock: one process holds it, and loses it when it dies, however
it dies. A photo's line is written when the photo is stored, so what a killed import had finished is neither fetched nor
decoded again; the lists of an import's second half (ids, photos in use, refused rows) are kept here as well, out of
memory. Knows nothing of how photos are fetched or decoded, nor of what a row means.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import DataError, SettingsError
from ..dataset import Rejected
from ..download.url import same_url
from ..rows.address import Address, EmbeddedPhoto, LocalPhoto
from .stored import Stored

_VERSION = 1
_TABLES = {
    "asked": "(asked TEXT)",
    "photo": "(key BLOB PRIMARY KEY, state TEXT, final INTEGER, stored TEXT) WITHOUT ROWID",
    "job": "(number INTEGER PRIMARY KEY, key BLOB UNIQUE, host TEXT, url TEXT)",
    "used": "(file_name TEXT PRIMARY KEY) WITHOUT ROWID",
    "refused": "(row INTEGER PRIMARY KEY, code TEXT, line TEXT)",
}
_PUT = "INSERT OR REPLACE INTO photo VALUES (?, ?, ?, ?)"


class Job(NamedTuple):
    """A photo on the web that has to be fetched; `number` counts them in the order of the rows."""

    number: int
    key: bytes
    url: str


class Ledger:
    """The ledger of one unfinished folder, held by this process alone. A context manager; leaving it gives the lock up."""

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises SettingsError when another process holds it, DataError when it is none of ours."""
        self.path = path
        path.touch()
        inode = path.stat().st_ino
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")  # a kill loses nothing, a power cut the last few photos
            self._db.execute("BEGIN EXCLUSIVE")
            if (version := self._db.execute("PRAGMA user_version").fetchone()[0]) not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"version {version}")
            for name, columns in _TABLES.items():
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {name} {columns}")
            self._db.execute("CREATE INDEX IF NOT EXISTS job_host ON job (host, number)")
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
            self._db.execute("COMMIT")
            if not path.exists() or path.stat().st_ino != inode:  # the import that held it has just finished
                raise sqlite3.OperationalError("the file was locked and is gone")
        except sqlite3.DatabaseError as problem:
            self._db.close()
            if "locked" in str(problem):
                raise SettingsError(f"{path.parent}: another import writes into it now: wait for it, or choose another folder") from problem
            raise DataError(f"{path}: is no ledger of this seeworth ({problem}): make the folder again with --overwrite") from problem

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def finish(self) -> None:
        """The import is done and told: take the mark away, and with it the ledger."""
        self.close()
        self.path.unlink()

    def close(self) -> None:
        """Give the lock up."""
        self._db.close()

    @property
    def asked(self) -> dict[str, Any] | None:
        """What the import was asked when it began; None: it has not begun."""
        row = self._db.execute("SELECT asked FROM asked").fetchone()
        return json.loads(row[0]) if row else None

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Note what is asked."""
        self._db.execute("INSERT INTO asked VALUES (?)", (json.dumps(dict(asked)),))

    def reset(self) -> None:
        """Forget everything."""
        self._many(*(f"DELETE FROM {name}" for name in _TABLES))  # noqa: S608

    def resume(self) -> None:
        """Keep the photos that are done; forget what was only a failure that may have passed, and the lists of the second half."""
        self._many("DELETE FROM photo WHERE NOT final", *(f"DELETE FROM {name}" for name in ("job", "used", "refused")))  # noqa: S608

    def get(self, key: bytes) -> Stored | None:
        """What became of a photo; None: it is not done."""
        row = self._db.execute("SELECT stored FROM photo WHERE key = ?", (key,)).fetchone()
        return Stored(**json.loads(row[0])) if row else None

    def is_done(self, key: bytes, state: str) -> bool:
        """Whether a photo is done, and its file still in the `state` that it was read in."""
        row = self._db.execute("SELECT state, stored FROM photo WHERE key = ?", (key,)).fetchone()
        if not row or row[0] != state:
            return False
        name = json.loads(row[1])["file_name"]
        return not name or _holds_something(self.path.parent / name)

    def put(self, key: bytes, stored: Stored, state: str = "", *, final: bool = True) -> None:
        """Note what became of a photo. `final` False: it is tried again when the import is continued."""
        self._db.execute(_PUT, (key, state, final, json.dumps(vars(stored))))

    def put_all(self, photos: Iterable[tuple[bytes, Stored, str]]) -> None:
        """Note what became of some photos, as (key, stored, state), in one transaction."""
        self._db.execute("BEGIN")
        self._db.executemany(_PUT, [(key, state, True, json.dumps(vars(stored))) for key, stored, state in photos])
        self._db.execute("COMMIT")

    def add_jobs(self, jobs: Iterable[tuple[bytes, str, str]]) -> None:
        """Photos to fetch, as (key, host, url); the same one twice is one."""
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR IGNORE INTO job (key, host, url) VALUES (?, ?, ?)", jobs)
        self._db.execute("COMMIT")

    def jobs(self, host: str, after: int, limit: int) -> list[Job]:
        """The next jobs of a host, in order."""
        query = "SELECT number, key, url FROM job WHERE host = ? AND number > ? ORDER BY number LIMIT ?"
        return [Job(*row) for row in self._db.execute(query, (host, after, limit))]

    def hosts(self) -> list[tuple[str, int]]:
        """The hosts that have jobs, with their number, in the order of the rows."""
        return list(self._db.execute("SELECT host, count(*) FROM job GROUP BY host ORDER BY min(number)"))

    def is_job(self, key: bytes) -> bool:
        return self._db.execute("SELECT 1 FROM job WHERE key = ?", (key,)).fetchone() is not None

    def drop_done_jobs(self) -> None:
        self._db.execute("DELETE FROM job WHERE key IN (SELECT key FROM photo)")

    def begin_rows(self) -> None:
        """From here to `settle` the notes on rows are one transaction: a killed import makes them anew."""
        self._db.execute("BEGIN")

    def use(self, file_name: str) -> None:
        """Note that a stored photo stands in a kept row."""
        self._db.execute("INSERT OR IGNORE INTO used VALUES (?)", (file_name,))

    def is_used(self, file_name: str) -> bool:
        return self._db.execute("SELECT 1 FROM used WHERE file_name = ?", (file_name,)).fetchone() is not None

    def refuse(self, rejected: Rejected) -> None:
        self._db.execute("INSERT INTO refused VALUES (?, ?, ?)", (rejected.row, rejected.code, json.dumps(asdict(rejected))))

    def refused(self) -> Iterator[Rejected]:
        """Every refused row, in the order of the source."""
        last = -1
        while rows := self._db.execute("SELECT row, line FROM refused WHERE row > ? ORDER BY row LIMIT 1000", (last,)).fetchall():
            last = rows[-1][0]
            yield from (Rejected(**json.loads(line)) for _, line in rows)

    def refused_by_code(self) -> Counter[str]:
        return Counter(dict(self._db.execute("SELECT code, count(*) FROM refused GROUP BY code ORDER BY min(row)")))

    def settle(self) -> None:
        """All is noted: back to the one file, which a finished import removes in one step."""
        self._db.execute("COMMIT")
        self._db.execute("PRAGMA journal_mode = DELETE")

    def _many(self, *statements: str) -> None:
        self._db.execute("BEGIN")
        for statement in statements:
            self._db.execute(statement)
        self._db.execute("COMMIT")


def key_of(photo: Address) -> bytes:
    """The key of a photo, 16 bytes: of a file its path, of a URL what it asks for, of bytes in the row their content."""
    if isinstance(photo, LocalPhoto):
        kind, name = b"file", os.fsencode(photo.path)
    elif isinstance(photo, EmbeddedPhoto):
        kind, name = b"data", photo.data
    else:
        kind, name = b"url", same_url(photo.url).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(kind + b"\0" + name, digest_size=16).digest()


def state_of(photo: Address) -> str:
    """What tells that a file was changed since it was read: its size and time; "" for all else."""
    if not isinstance(photo, LocalPhoto):
        return ""
    try:
        status = photo.path.stat()
    except (OSError, ValueError):
        return "none"
    return f"{status.st_size} {status.st_mtime_ns}"


def _holds_something(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False

