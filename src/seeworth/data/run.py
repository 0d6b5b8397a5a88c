"""`seeworth import`: a table or a folder of photos -> a dataset folder. The order of the steps, and what is told of them.

    1  source, task and columns are known to be good        sources, rows
    2  the folder is ours, new or to be continued           resume, ledger
    3  every photo is decoded and stored                    take, stored, fetch, download, guard
    4  every row is judged; groups and splits are dealt     here, divide
    5  the table is written, the manifest last              dataset

The rows are read anew in each of the steps 3, 4 and 5; between them only some hundred bytes of each row are held
(what groups it), the rest lies in the ledger: memory hardly grows with the rows. A killed import continues at step 3.
"""

from __future__ import annotations

import errno
import hashlib
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import DataError, SettingsError
from ..record import Split
from ..say import say
from ..settings import ImportSettings, to_plain
from ..task import Task, task_columns
from .dataset import MANIFEST, REJECTED, UNASSIGNED, Dataset, Further, Rejected, Row, write_dataset, write_rejected
from .intake.ledger import Ledger, key_of
from .intake.resume import begin, is_finished, sweep, untouched
from .intake.stored import Stored
from .intake.take import take_photos
from .photo.look import SIZE
from .progress import watched
from .rows.address import Address, LocalPhoto, RemotePhoto
from .rows.reader import Columns, Draft, RowReader, Seen
from .sources import Source, open_source
from .split.divide import Before, Division, Entry, divide, stratum_field, words_sha256
from .split.groups import Member, Shown
from .workers import processors

_FEW = 200  # rows; one process is done with them before others have started
_HOW = {"output", "overwrite", "processes", "connections", "connections_per_host", "timeout", "retries"}  # change nothing in the dataset


def run(settings: ImportSettings) -> None:
    """Import a source into a dataset folder and print a short account.

    Nothing is deleted or written before the source, the task and the columns are known to be good. Raises DataError,
    TaskError or SettingsError; when no row can be used, rejected.jsonl in the unfinished folder tells why.
    """
    _check(settings)
    source = open_source(settings.source, settings.photos)
    task = Task.load(settings.task) if settings.task else source.task
    chosen = (task_columns(settings.task) if settings.task else {}) | (settings.columns or {})
    columns = Columns.of(source, task, chosen)
    _keep_apart(settings, source)
    reader = RowReader(source, task, columns)
    total = sum(1 for _ in source.only([]))
    asked = _asked(settings, source, task, columns)
    if not settings.overwrite and is_finished(settings.output, asked) and untouched(_files(source, reader), settings.output):
        say(f"{settings.output}: this import is finished already, and its source has not changed since: nothing to do")
        for line in _summary(Dataset.open(settings.output), total):
            say(line)
        return
    try:
        with begin(settings.output, asked, settings.overwrite) as ledger:
            if not (settings.output / MANIFEST).exists():
                _import(settings, source, reader, ledger, total, asked)
            for line in _summary(Dataset.open(settings.output), total):
                say(line)
            ledger.finish()
    except (OSError, sqlite3.Error) as problem:
        raise _disk_full(settings, problem) from problem
    except KeyboardInterrupt:
        say(f"{settings.output}: left unfinished; the same command continues it", error=True)
        raise


def _import(settings: ImportSettings, source: Source, reader: RowReader, ledger: Ledger, total: int, asked: dict[str, Any]) -> None:
    """Steps 3 to 5 into a folder that is ours."""
    task, columns = reader.task, reader.columns
    processes = settings.processes or (1 if total <= _FEW else processors())
    for line in take_photos(_photos(watched(source, total, "rows"), reader), settings, ledger, processes):
        say(line)
    kept = array("q")
    division = _deal(settings, reader, _judged(source, reader, ledger, kept))
    sweep(settings.output, ledger.is_used)
    if not kept:
        write_rejected(settings.output, ledger.refused())
        raise DataError(_nothing_kept(settings, total, ledger))
    account = {
        "verb": "import",
        "settings": asked["settings"],
        "sha256": asked["sha256"],
        "rows": total,
        "columns": columns.to_dict(),
        **division.account,
        "notices": [*source.notices, *reader.notices, *division.notices],
    }
    rows = _rows(source, reader, ledger, kept, zip(division.groups, division.splits, strict=True))
    turns = source.conversations and (task.question, task.answer) == (source.task.question, source.task.answer)
    shape = {"conversations": source.conversations, "turns": turns}
    write_dataset(settings.output, task, rows, source=account, rejected=ledger.refused(), unmark=False, **shape)


def _files(source: Source, reader: RowReader) -> Iterator[Path]:
    """All that a source reads on this machine: its table or its folder with all in it, and the photos that the rows name."""
    yield source.path
    if source.path.is_dir():
        yield from source.path.rglob("*")
    for photo in _photos(source, reader):
        if isinstance(photo, LocalPhoto):
            yield photo.path


def _photos(source: Iterable[Any], reader: RowReader) -> Iterator[Address]:
    """The photo of every row whose cells are good."""
    for row in source:
        if isinstance(draft := reader.read(row), Draft):
            yield from draft.photos


def _judged(source: Source, reader: RowReader, ledger: Ledger, kept: array[int]) -> Iterator[Entry]:
    """Every row in the order of the source: its cells, then its photo, then whether its id or all of it stood before.

    What decides the split of the kept ones comes out, and their row numbers go into `kept`; the refused go to the ledger.
    """
    strata = stratum_field(reader.task)
    seen = Seen()
    ledger.begin_rows()
    for row in source:
        draft = reader.read(row)
        if isinstance(draft, Rejected):
            ledger.refuse(draft)
            continue
        photos = _stored(ledger, draft)
        if bad := next((one for one in photos if one.code), None):
            which = f"photo {photos.index(bad) + 1} of {len(photos)}: " if len(photos) > 1 else ""
            ledger.refuse(_refuse(draft, bad.code, which + bad.reason))
        elif fault := seen.take(draft, "".join(one.sha256 for one in photos)):
            ledger.refuse(_refuse(draft, *fault))
        else:
            for one in photos:
                ledger.use(one.file_name)
            kept.append(draft.number)
            yield Entry(draft.id, _member(draft, photos), str(draft.values[strata]) if strata else "", draft.split)
    ledger.settle()


def _deal(settings: ImportSettings, reader: RowReader, entries: Iterable[Entry]) -> Division:
    """The group and the split of every kept record, in their order."""
    columns = reader.columns
    before = Before(settings.earlier, named=columns.id is not None) if settings.earlier else None
    return divide(entries, column=columns.split, strata=stratum_field(reader.task), seed=settings.seed, before=before)


def _rows(
    source: Source, reader: RowReader, ledger: Ledger, kept: Sequence[int], dealt: Iterable[tuple[str, Split | None]]
) -> Iterator[Row]:
    for draft, (group, split) in zip(_drafts(source, reader, kept), dealt, strict=True):
        one, *more = _stored(ledger, draft) or [Stored()]
        sources = [photo.url if isinstance(photo, RemotePhoto) else "" for photo in draft.further]
        further = [Further(each.file_name, each.width, each.height, each.sha256, each.phash, url)
                   for each, url in zip(more, sources, strict=True)]  # fmt: skip
        yield Row(draft.id, one.file_name, group, split, one.width, one.height, one.sha256, one.phash, draft.values, tuple(further))


def _drafts(source: Source, reader: RowReader, kept: Sequence[int]) -> Iterator[Draft]:
    """The kept rows once more. Raises DataError when the source is not what it was a moment ago."""
    numbers = iter(kept)
    wanted = next(numbers, None)
    for row in source:
        if row.number == wanted:
            draft = reader.read(row)
            if not isinstance(draft, Draft):
                break
            yield draft
            wanted = next(numbers, None)
    if wanted is not None:
        raise _changed(source)


def _member(draft: Draft, photos: Sequence[Stored]) -> Member:
    """What of a record decides its group. Words alone are like a blank photo: tied to none but the very same words."""
    shown = [Shown(one.sha256, one.phash, one.look, one.width, one.height) for one in photos]
    if not shown:
        shown = [Shown(words_sha256(draft.values, draft.id), "0" * 16, "0" * 2 * SIZE, 1, 1)]
    return Member(draft.group, *shown[0], tuple(shown[1:]))


def _stored(ledger: Ledger, draft: Draft) -> list[Stored]:
    """What became of the photos of a row."""
    found = [ledger.get(key_of(photo)) for photo in draft.photos]
    if None in found:
        raise DataError(f"row {draft.number}: its photo is not the one that it was: the source was changed while it was read; import again")
    return [one for one in found if one]


def _changed(source: Source) -> DataError:
    return DataError(f"{source.path}: was changed while it was read: import again")


def _refuse(draft: Draft, code: str, reason: str) -> Rejected:
    return Rejected(draft.number, draft.id, draft.photo_cell[:200], code, reason)


def _asked(settings: ImportSettings, source: Source, task: Task, columns: Columns) -> dict[str, Any]:
    """All that decides what the dataset will hold: an import continues only what was asked the same."""
    return {
        "seeworth": version("seeworth"),
        "settings": {name: value for name, value in to_plain(settings).items() if name not in _HOW},
        "sha256": _table_sha256(source.path),
        "columns": columns.to_dict(),
        "task": task.to_dict(),
    }


def _check(settings: ImportSettings) -> None:
    limits = {"processes": (0, 512), "connections": (1, 1000), "connections_per_host": (1, 1000)}
    for name, (low, high) in (limits | {"timeout": (0.1, 3600), "retries": (0, 100)}).items():
        if not low <= getattr(settings, name) <= high:
            raise SettingsError(f"{name} is {getattr(settings, name)}: expected {low} to {high}")
    if settings.earlier:
        earlier = Dataset.open(settings.earlier).folder.resolve()
        if earlier.is_relative_to(settings.output.resolve()) or settings.output.resolve().is_relative_to(earlier):
            raise SettingsError(f"{settings.output}: the dataset folder and the earlier one lie in one another: choose another folder")


def _keep_apart(settings: ImportSettings, source: Source) -> None:
    """The dataset folder must not lie among the photos of an image folder, nor hold the source: one would eat the other."""
    out, path = settings.output.resolve(), source.path.resolve()
    if path.is_relative_to(out) or source.photos.resolve().is_relative_to(out) or (path.is_dir() and out.is_relative_to(path)):
        raise SettingsError(f"{settings.output}: the dataset folder and its source {source.path} lie in one another: choose another folder")


def _disk_full(settings: ImportSettings, problem: OSError | sqlite3.Error) -> Exception:
    """A full disk in words; any other problem as it is."""
    full = problem.errno in (errno.ENOSPC, errno.EDQUOT) if isinstance(problem, OSError) else "full" in str(problem)
    if full:
        return DataError(f"{settings.output}: the disk is full: make room and give the same command again; it continues where it stopped")
    if isinstance(problem, sqlite3.Error):
        return DataError(f"{settings.output}: its ledger cannot be used ({problem}): give the same command again, or --overwrite")
    return problem


def _summary(dataset: Dataset, total: int) -> Iterator[str]:
    for notice in dataset.manifest["source"]["notices"]:
        yield f"note: {notice}"
    counts = ", ".join(f"{split} {count}" for split, count in dataset.counts.items() if count or split != UNASSIGNED)
    yield f"{sum(dataset.counts.values())} of {total} rows kept: {counts}"
    if rejected := Counter(dataset.manifest["rejected"]):
        yield f"{rejected.total()} refused: {_by_reason(rejected)} (each with its reason in {dataset.folder / REJECTED})"
    yield f"dataset folder: {dataset.folder}"


def _nothing_kept(settings: ImportSettings, total: int, ledger: Ledger) -> str:
    if not total:
        return f"{settings.source}: has no rows; expected at least one photo"
    first = next(ledger.refused())
    return (
        f"{settings.source}: none of {total} rows can be used: {_by_reason(ledger.refused_by_code())}; row {first.row}: {first.reason} "
        f"(all reasons are in {settings.output / REJECTED})"
    )


def _by_reason(codes: Counter[str]) -> str:
    return ", ".join(f"{count} {code}" for code, count in codes.most_common())


def _table_sha256(path: Path) -> str | None:
    if path.is_dir():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
