"""`seeworth import`: a table or a folder of photos -> a dataset folder. The order of the steps, and what is told of them.

The steps themselves live beside it: `sources` and `rows` read, `photo` decodes, `split` groups, `dataset` writes.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

from ..errors import DataError, PhotoError, SettingsError
from ..record import SPLITS, Split
from ..settings import ImportSettings, to_plain
from ..task import Task
from .address import Address, EmbeddedPhoto, RemotePhoto
from .cells import shown
from .dataset import REJECTED, UNASSIGNED, Dataset, Rejected, Row, prepare_folder, store_photo, write_dataset, write_rejected
from .photo import normalise, read_photo
from .progress import watched
from .rows import Columns, Draft, RowReader
from .sources import Source, open_source
from .split import group_records, leaks, split_of

_FEW = 200  # rows; one process is done with them before others have started
_WINDOW = 2048  # photos given to the pool at a time


@dataclass(frozen=True)
class Stored:
    """What became of one photo: where it is stored, or why not."""

    file_name: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    phash: str = ""
    code: str = ""
    reason: str = ""


Judged: TypeAlias = tuple[Draft | Rejected, Stored]


def run(settings: ImportSettings) -> None:
    """Import a source into a dataset folder and print a short account.

    Nothing is deleted or written before the source, the task and the columns are known to be good. Raises DataError,
    TaskError or SettingsError; when no row can be used, rejected.jsonl in the unfinished folder tells why.
    """
    source = open_source(settings.source, settings.photos)
    task = Task.load(settings.task) if settings.task else source.task
    columns = Columns.of(source, task, settings.columns)
    _keep_apart(settings.output, source)
    reader = RowReader(source, task, columns)
    total = sum(1 for _ in source)
    prepare_folder(settings.output, settings.overwrite)

    kept, rejected = _take(source, reader, settings, total)
    if not kept:
        write_rejected(settings.output, rejected)
        raise DataError(_nothing_kept(settings, total, rejected))
    groups = group_records([(draft.group, stored.sha256) for draft, stored in kept])
    splits = [draft.split if columns.split else split_of(group, settings.seed) for (draft, _), group in zip(kept, groups, strict=True)]
    leaked = leaks(groups, splits)
    notices = [*source.notices, *reader.notices, *_split_notices(columns, splits, leaked)]
    account = {
        "verb": "import",
        "settings": to_plain(settings),
        "sha256": _table_sha256(settings.source),
        "rows": total,
        "columns": columns.to_dict(),
        "split": f"the source's column {columns.split}" if columns.split else f"80/10/10 by group, seed {settings.seed}",
        "groups": len(set(groups)),
        "leaks": {"groups": len(leaked), "records": sum(leaked.values()), "examples": sorted(leaked)[:10]},
        "notices": notices,
    }
    rows = (_row(draft, stored, group, split) for (draft, stored), group, split in zip(kept, groups, splits, strict=True))
    write_dataset(settings.output, task, rows, source=account, rejected=rejected)
    for line in _summary(Dataset.open(settings.output), total, rejected, notices):
        print(line)


def _take(source: Source, reader: RowReader, settings: ImportSettings, total: int) -> tuple[list[tuple[Draft, Stored]], list[Rejected]]:
    """Every row, judged in the order of the source: its cells, then its photo, then whether its id is taken."""
    kept: list[tuple[Draft, Stored]] = []
    rejected: list[Rejected] = []
    needless: set[str] = set()  # photos stored for a row that was refused after all
    owners: dict[str, int] = {}
    processes = 1 if total <= _FEW else settings.processes or _processors()
    with closing(_with_photos(map(reader.read, source), settings.output, processes)) as judged:
        for draft, stored in watched(judged, total, "photos"):
            if isinstance(draft, Rejected):
                rejected.append(draft)
            elif stored.code:
                rejected.append(_refuse(draft, stored.code, stored.reason))
            elif draft.id in owners:
                rejected.append(_refuse(draft, "duplicate_id", f"row {owners[draft.id]} has the id {shown(draft.id)} already"))
                needless.add(stored.file_name)
            else:
                owners[draft.id] = draft.number
                kept.append((draft, stored))
    for file_name in needless - {stored.file_name for _, stored in kept}:
        (settings.output / file_name).unlink()
    return kept, rejected


def _with_photos(drafts: Iterable[Draft | Rejected], folder: Path, processes: int) -> Generator[Judged, None, None]:
    """The drafts in their order, with their photos stored; decoding is spread over `processes`."""
    store = partial(_store, folder)
    if processes == 1:
        yield from ((draft, Stored() if isinstance(draft, Rejected) else store(draft.photo)) for draft in drafts)
        return
    drafts = iter(drafts)
    # spawn, not fork: a process that already runs threads (a tracker, Arrow) cannot be forked safely
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        while window := list(islice(drafts, _WINDOW)):
            photos = [draft.photo for draft in window if isinstance(draft, Draft)]
            try:
                results = iter(pool.map(store, photos, chunksize=8))
                yield from ((draft, Stored() if isinstance(draft, Rejected) else next(results)) for draft in window)
            except BrokenProcessPool as problem:
                where = f"rows {window[0].number if isinstance(window[0], Draft) else window[0].row} and following"
                raise DataError(f"{where}: a worker process died, perhaps for lack of memory: try --processes 1") from problem


def _store(folder: Path, photo: Address) -> Stored:
    """Runs in a worker process: one photo from its file into the dataset folder."""
    if isinstance(photo, RemotePhoto):
        return Stored(code="remote_photo", reason=f"{shown(photo.url)} is on the web; it is not downloaded yet: fetch it and name the file")
    try:
        found = photo.data if isinstance(photo, EmbeddedPhoto) else read_photo(photo.path, resolved=True)
        data, extension, width, height, phash = normalise(found)
    except PhotoError as problem:
        return Stored(code=problem.code, reason=str(problem))
    file_name, sha256 = store_photo(folder, data, extension)
    return Stored(file_name, sha256, width, height, phash)


def _refuse(draft: Draft, code: str, reason: str) -> Rejected:
    return Rejected(draft.number, draft.id, draft.photo_cell[:200], code, reason)


def _row(draft: Draft, stored: Stored, group: str, split: Split | None) -> Row:
    return Row(draft.id, stored.file_name, group, split, stored.width, stored.height, stored.sha256, stored.phash, draft.values)


def _keep_apart(output: Path, source: Source) -> None:
    """The dataset folder must not lie among the photos of an image folder, nor hold the source: one would eat the other."""
    out, path = output.resolve(), source.path.resolve()
    if path.is_relative_to(out) or source.photos.resolve().is_relative_to(out) or (path.is_dir() and out.is_relative_to(path)):
        raise SettingsError(f"{output}: the dataset folder and its source {source.path} lie in one another: choose another folder")


def _split_notices(columns: Columns, splits: Sequence[Split | None], leaked: dict[str, int]) -> list[str]:
    counts = Counter(splits)
    notices = [f"no record is in the {split} split" for split in SPLITS if not counts[split]]
    if columns.split and counts[None]:
        notices.append(f"{counts[None]} records have no split: they are kept, and used by nothing until they are given one")
    if leaked:
        notices.append(
            f"the source's own split is leaky: {len(leaked)} groups ({sum(leaked.values())} records) stand in more than one split, e.g. "
            f"{shown(min(leaked))}: what is measured on them is too good; leave split= out to split by group"
        )
    return notices


def _summary(dataset: Dataset, total: int, rejected: Sequence[Rejected], notices: Iterable[str]) -> Iterator[str]:
    for notice in notices:
        yield f"note: {notice}"
    counts = ", ".join(f"{split} {count}" for split, count in dataset.counts.items() if count or split != UNASSIGNED)
    yield f"{sum(dataset.counts.values())} of {total} rows kept: {counts}"
    if rejected:
        yield f"{len(rejected)} refused: {_by_reason(rejected)} (each with its reason in {dataset.folder / REJECTED})"
    yield f"dataset folder: {dataset.folder}"


def _nothing_kept(settings: ImportSettings, total: int, rejected: Sequence[Rejected]) -> str:
    if not total:
        return f"{settings.source}: has no rows; expected at least one photo"
    first = rejected[0]
    return (
        f"{settings.source}: none of {total} rows can be used: {_by_reason(rejected)}; row {first.row}: {first.reason} "
        f"(all reasons are in {settings.output / REJECTED})"
    )


def _by_reason(rejected: Iterable[Rejected]) -> str:
    return ", ".join(f"{count} {code}" for code, count in Counter(one.code for one in rejected).most_common())


def _table_sha256(path: Path) -> str | None:
    if path.is_dir():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _processors() -> int:
    """Processors this process may use; a container is often given fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
