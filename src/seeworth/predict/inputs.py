"""What is to be answered, as a stream: a photo, a folder of photos, a table, conversations or a dataset folder -> Inputs, one at a time.

Tables are read as `import` reads them (`data.sources`, `data.rows`); a dataset folder's records are taken as they are. A row or a name
that cannot be asked about is an Input too, with its reason: each is told in the place where it stands. No photo is opened here. Knows
nothing of models, of answers or of files that are written; `Engine` is the shape of whatever turns Inputs into lines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from ..data.dataset import CONVERSATION, MANIFEST, Dataset, Rejected, read_manifest
from ..data.photo.decode import read_photo
from ..data.rows.address import Address, EmbeddedPhoto, Home, RemotePhoto
from ..data.rows.reader import Columns, Draft, RowReader
from ..data.sources import SUFFIXES, Source, open_source
from ..data.sources.folder import PHOTO_SUFFIXES, files_in, metadata_in
from ..data.sources.shards import data_files
from ..data.sources.text import format_of
from ..errors import DataError, PhotoError, SettingsError
from ..record import Record, Turn, read_turns
from ..settings import PredictSettings
from ..task import Field, Task


@dataclass(frozen=True)
class Input:
    """One thing to be answered. It can be pickled, with the bytes of photos that stand in a row.

    Attributes:
        number: its place among the inputs, from 0: what tells it apart, since ids and names may stand twice.
        record: its id, its photos, the values that the question names, the turns of a conversation; of a refused one the id alone.
        photo: its (first) photo as the line names it, None where it has no name.
        data: of each of `record.all_photos` the bytes where it stands in the row itself, else None; () where all are files.
        inside: photos that are files were found to lie in their folder, so a link that has come since is not followed.
        refused: (code, words) where it cannot be asked about.
        done: its line is written already. It is to be answered no more; it is here only so that the others stand in the same batches,
            with the same last bits, as in a run that nothing disturbed.
    """

    number: int
    record: Record
    photo: str | None
    data: tuple[bytes | None, ...] = ()
    inside: bool = False
    refused: tuple[str, str] | None = None
    done: bool = False

    def photo_bytes(self) -> list[bytes]:
        """The photo files, whole, none decoded. Raises PhotoError."""
        own = self.data or (None,) * len(self.record.all_photos)
        return [
            read_photo(path, resolved=self.inside) if held is None else held
            for path, held in zip(self.record.all_photos, own, strict=True)
        ]


Engine: TypeAlias = Callable[[Iterator[Input]], Iterator[dict[str, Any]]]
"""Whatever answers: it takes all inputs, numbered from 0 in order, and gives for each that is not `done` exactly one line, made by
`lines.answered` or `lines.refused`, in any order. It holds a bounded number of them at a time. An input that cannot be answered is a line,
never an exception; an exception ends the run, which then goes on from the lines that were given."""


@dataclass(frozen=True)
class Inputs:
    """All that is to be answered; can be read more than once.

    Attributes:
        total: how many there are. about: plain data that differs when they are others. notices: what the reader should know of how they
            were read, complete once all have been read.
    """

    total: int
    about: Mapping[str, Any]
    read: Callable[[], Iterator[Input]]
    notices: Callable[[], Sequence[str]] = field(default=lambda: ())

    def __iter__(self) -> Iterator[Input]:
        return (replace(item, number=number) for number, item in enumerate(self.read()))


def open_inputs(settings: PredictSettings, task: Task) -> Inputs:
    """What `settings.input` is. `task` is the model's: the fields that its question names are read from a table's columns.

    Raises DataError or SettingsError for what is nothing of the kind, or cannot be asked this question.
    """
    place = settings.input
    if (place / MANIFEST).is_file():
        _need_no_columns(settings, "a dataset folder")
        return _of_dataset(settings)
    if place.is_dir():
        is_table = bool(metadata_in(place)) or next(_photos_in(place), None) is None
        if is_table and (metadata_in(place) or data_files(place)):
            return _of_table(settings, task)
        _need_question(task, place)
        _need_no_columns(settings, "a folder of photos")
        return _of_folder(place)
    if not os.path.lexists(place):
        raise DataError(f"{place} is not there: give a photo, a folder of photos, a table or a dataset folder")
    if format_of(place) in SUFFIXES:
        return _of_table(settings, task)
    _need_question(task, place)
    _need_no_columns(settings, "a photo")
    alone = Input(0, Record(place.name, place, {}, ""), str(place))
    return Inputs(1, {"photo": os.path.abspath(place)}, lambda: iter([alone]))  # noqa: PTH100 - a link stays a link


def _need_question(task: Task, place: Path) -> None:
    """A photo alone says nothing that a question could name."""
    if asked := task.question_fields:
        names = ", ".join(one.name for one in asked)
        raise DataError(
            f"{place}: the model is asked {task.question!r}, and a photo alone has no {names}: give a table with a column for it, or "
            "conversations"
        )


def _need_no_columns(settings: PredictSettings, what: str) -> None:
    if settings.columns:
        raise SettingsError(f"columns are of a table; {settings.input} is {what}")
    if settings.photos:
        raise SettingsError(f"photos is where a table's photo paths start from; {settings.input} is {what}")


def _of_dataset(settings: PredictSettings) -> Inputs:
    """The records of a split. Photos are not looked for before: one that is missing is told in its place."""
    dataset = Dataset(settings.input, read_manifest(settings.input))
    split = None if settings.split == "all" else settings.split
    total = sum(dataset.counts.values()) if split is None else dataset.counts.get(split, 0)
    if not total:
        raise DataError(f"{settings.input} has no {settings.split} records: choose another --split")
    about = {"dataset": dataset.fingerprint, "split": settings.split}

    def read() -> Iterator[Input]:
        for record in dataset.stream(split):
            yield Input(0, record, str(record.photo) if record.photo else None)

    return Inputs(total, about, read)


def _photos_in(folder: Path) -> Iterator[Path]:
    return (file for file in files_in(folder) if file.suffix.lower() in PHOTO_SUFFIXES)


def _of_folder(folder: Path) -> Inputs:
    """Every file below the folder that is called like a photo, in order of their names, hidden ones left out."""
    total = others = 0
    first = ""
    for file in files_in(folder):
        if file.suffix.lower() in PHOTO_SUFFIXES:
            total += 1
        else:
            others, first = others + 1, first or str(file.relative_to(folder))
    if not total:
        raise DataError(f"{folder} holds no photo (a file that ends in {', '.join(sorted(PHOTO_SUFFIXES))}) and no table")
    notices = [f"{others} files in {folder} are not called like photos and were left out, the first is {first!r}"] if others else []

    def read() -> Iterator[Input]:
        home = Home(folder)
        for file in _photos_in(folder):
            name = file.relative_to(folder).as_posix()
            try:
                yield Input(0, Record(name, home.file_named(name).path, {}, ""), str(file), inside=True)
            except PhotoError as problem:
                yield Input(0, _bare(name), str(file), refused=(problem.code, str(problem)))

    return Inputs(total, {"folder": str(folder.resolve())}, read, lambda: notices)


def _of_table(settings: PredictSettings, task: Task) -> Inputs:
    """The rows of a table or the conversations of a file, as `import` reads them, but for the answer, which is not needed."""
    source = open_source(settings.input, settings.photos)
    columns = Columns.of(source, task, settings.columns, fields=_asked(source, task))
    reader = RowReader(source, task, columns, fields=_asked(source, task))
    total = sum(1 for _ in source.only([]))
    if not total:
        raise DataError(f"{settings.input} has no rows: expected at least one photo")
    about: dict[str, Any] = {"table": str(settings.input.resolve()), "columns": columns.to_dict(), "photos": str(source.photos.resolve())}
    if settings.input.is_file():
        state = settings.input.stat()
        about |= {"bytes": state.st_size, "changed at": state.st_mtime_ns}

    def read() -> Iterator[Input]:
        return (_of_row(reader.read(row), row.number, _is_told_whole(source, task)) for row in source)

    return Inputs(total, about, read, lambda: [*source.notices, *reader.notices])


def _asked(source: Source, task: Task) -> tuple[Field, ...]:
    """The fields that a row must have: those of the question, which a whole conversation has in its turns."""
    return () if _is_told_whole(source, task) else task.question_fields


def _is_told_whole(source: Source, task: Task) -> bool:
    """Whether rows are conversations and the model was trained on such, turn by turn: as `data.run` decides it."""
    return source.conversations and (task.question, task.answer) == (source.task.question, source.task.answer)


def _of_row(found: Draft | Rejected, number: int, whole: bool) -> Input:
    if isinstance(found, Rejected):
        return Input(0, _bare(found.id or f"row {number}"), found.photo, refused=(found.code, found.reason))
    name = found.photo_cell[:200] or None
    if remote := next((one for one in found.photos if isinstance(one, RemotePhoto)), None):
        words = f"{remote.url[:200]} is on the web: predict answers photos of this machine, `seeworth import` fetches them"
        return Input(0, _bare(found.id), name, refused=("remote", words))
    turns: tuple[Turn, ...] | None = read_turns(str(found.values[CONVERSATION])) if whole else None
    paths = [_path(one, found.number, place) for place, one in enumerate(found.photos, 1)]
    held = tuple(one.data if isinstance(one, EmbeddedPhoto) else None for one in found.photos)
    values = {} if whole else {key: one for key, one in found.values.items() if key != CONVERSATION}
    record = Record(found.id, paths[0] if paths else None, values, "", photos=tuple(paths[1:]), turns=turns)
    return Input(0, record, name, held if any(one is not None for one in held) else (), inside=True)


def _path(photo: Address, row: int, place: int) -> Path:
    """Where a photo lies; of one that lies in its row, a name that no file has."""
    return Path(f"<row {row}, photo {place}>") if isinstance(photo, EmbeddedPhoto) else photo.path  # type: ignore[union-attr]


def _bare(name: str) -> Record:
    return Record(name, None, {}, "")
