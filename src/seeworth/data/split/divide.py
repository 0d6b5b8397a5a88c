"""From the records of an import to their groups and splits, and what is told of them.

`groups` says what belongs together and `split` where it stands; here the three sources of a split meet: the source's own
column, an earlier dataset folder, and the deal. Knows nothing of how rows are read or photos stored.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...record import SPLITS, Split, Value
from ...task import Task
from ..dataset import CONVERSATION, Dataset
from ..rows.cells import shown
from .deal import leaks, split_records, too_small
from .groups import Groups, Member, group_records


class Entry(NamedTuple):
    """What of one record decides its split: `stratum` is its category, `split` the source's own, None when it has none."""

    id: str
    member: Member
    stratum: str
    split: Split | None


@dataclass(frozen=True)
class Division:
    """Groups and splits of the records in their order, an account for dataset.json, and notices for people."""

    groups: list[str]
    splits: list[Split | None]
    account: dict[str, Any]
    notices: list[str]


def stratum_field(task: Task) -> str | None:
    """The field whose values are the strata: the task's first category; None when it has none, and all records are one stratum."""
    return next((one.name for one in task.fields if one.kind == "category"), None)


def words_sha256(values: Mapping[str, Value], name: str) -> str:
    """What stands for a photo's sha256 in a record of words alone, `name`."""
    return hashlib.sha256(str(values.get(CONVERSATION, name)).encode("utf-8", "surrogatepass")).hexdigest()


class Before:
    """The splits of an earlier dataset folder, by id and by the bytes of a photo.

    `named`: ids come from a column of the source, so that they name a record there too; row numbers do not.
    """

    def __init__(self, folder: Path, named: bool) -> None:
        """Raises DataError when it is no dataset folder."""
        dataset = Dataset.open(folder)
        named = named and dataset.manifest["source"].get("columns", {}).get("id", "") is not None
        self._ids: dict[str, Split] = {}
        self._photos: dict[str, Split] = {}
        for row in dataset.rows():
            if row.split:
                first = row.sha256 or words_sha256(row.values, row.id)
                self._photos |= dict.fromkeys([first, *(one.sha256 for one in row.further)], row.split)
                if named:
                    self._ids[row.id] = row.split

    def split_of(self, entry: Entry) -> Split | None:
        photos = (entry.member.sha256, *(one.sha256 for one in entry.member.further))
        return self._ids.get(entry.id) or next((split for sha256 in photos if (split := self._photos.get(sha256))), None)


def divide(entries: Iterable[Entry], *, column: str | None, strata: str | None, seed: int, before: Before | None = None) -> Division:
    """Group the records and give each its split; they are taken one by one.

    Args:
        column: the source's own split column, whose splits are taken as they are; None to deal them.
        strata: the field that `Entry.stratum` comes from, for the account.
        before: what records of an earlier folder keep; it decides nothing where the source has its own split.
    """
    cells: list[str] = []
    own: list[Split | None] = []
    strata_of: list[str] = []
    had: list[Split | None] = []

    def members() -> Iterator[Member]:
        for entry in entries:
            cells.append(entry.member.cell)
            own.append(entry.split)
            strata_of.append(entry.stratum)
            had.append(before.split_of(entry) if before and not column else None)
            yield entry.member

    groups = group_records(members())
    kept, notices = _kept(groups, had)
    if before and column:
        notices.append(f"splits are those of the source's column {column}; the earlier folder decided none")
    splits: list[Split | None] = own if column else [*split_records(groups.first, groups.founds, strata_of, seed, kept)]
    leaked = _leaks(groups, cells, splits)
    account = {
        "split": f"the source's column {column}" if column else f"80/10/10 by group, seed {seed}",
        "strata": None if column else strata,
        "groups": len(set(groups.first)),
        "near_identical": sum(1 for size in Counter(groups.alike).values() if size > 1),
        "leaks": leaked,
    }
    return Division(groups.names, splits, account, [*groups.largest, *notices, *_split_notices(column, groups.first, splits, leaked)])


def _leaks(groups: Groups, cells: Sequence[str], splits: Sequence[Split | None]) -> dict[str, Any]:
    """Groups in two splits: how many, how many records, examples; and how many group cells and near-identical photos are."""
    torn = leaks(groups.first, splits)
    return {
        "groups": len(torn),
        "records": sum(torn.values()),
        "examples": sorted(groups.names[one] for one in torn)[:10],
        "cells": len(leaks(cells, splits).keys() - {""}),
        "photos": len(leaks(groups.alike, splits)),
    }


def _kept(groups: Groups, moves: Sequence[Split | None]) -> tuple[dict[int, Split], list[str]]:
    """The split of each group that holds an earlier record, by its first record; what was trained on stays in train."""
    found: dict[int, Counter[Split]] = defaultdict(Counter)
    for first, split in zip(groups.first, moves, strict=True):
        if split:
            found[first][split] += 1
    kept = {first: next(split for split in SPLITS if split in counts) for first, counts in found.items()}
    torn = [first for first, counts in found.items() if len(counts) > 1]
    if not torn:
        return kept, []
    moved = sum(sum(found[first].values()) - found[first][kept[first]] for first in torn)
    return kept, [
        f"{len(torn)} groups hold records that stood in different splits of the earlier folder, e.g. {shown(groups.names[torn[0]])}: "
        f"{moved} records moved, to train if one of their group was there, else to validation"
    ]


def _split_notices(column: str | None, first: Sequence[int], splits: Sequence[Split | None], leaked: dict[str, Any]) -> list[str]:
    counts = Counter(splits)
    notices = [f"no record is in the {split} split" for split in SPLITS if not counts[split]]
    if small := too_small(first, splits):
        notices.append(small)
    if column and counts[None]:
        notices.append(f"{counts[None]} records have no split: they are kept, and used by nothing until they are given one")
    if leaked["groups"]:
        notices.append(
            f"the source's own split is leaky: {leaked['groups']} groups ({leaked['records']} records) stand in more than one split, e.g. "
            f"{shown(leaked['examples'][0])} ({leaked['cells']} group cells and {leaked['photos']} near-identical photos do): what is "
            "measured on them is too good; leave split= out to split by group"
        )
    return notices
