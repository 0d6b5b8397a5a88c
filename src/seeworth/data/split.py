"""Which records belong together, and in which split they stand.

A group is everything that shares a group cell (a product code) or the very same photo, and whatever these join. Knows
nothing of tables or photos: a record is a group cell and the sha256 of its photo here.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from ..record import Split

SHARES: tuple[tuple[Split, float], ...] = (("train", 0.8), ("validation", 0.1), ("test", 0.1))


def group_records(keys: Sequence[tuple[str, str]]) -> list[str]:
    """The group name of each record.

    Args:
        keys: (group cell, "" when there is none; sha256 of the photo) of each record, in the order of the source.

    A group has the name of its first record: its cell, or else the first 16 digits of its photo's sha256. So a group's
    name, and with it its split, stays when rows are added after the others.
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}  # union-find over cells and photos
    first: dict[tuple[str, str], int] = {}  # of each root, the first record

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]
            node = parent[node]
        return node

    for number, (cell, sha256) in enumerate(keys):
        roots = {root(("photo", sha256))} | ({root(("cell", cell))} if cell else set())
        top = min(roots, key=lambda node: first.get(node, number))
        first.setdefault(top, number)
        for node in roots:
            parent[node] = top
    names = [cell or sha256[:16] for cell, sha256 in keys]
    return [names[first[root(("photo", sha256))]] for _, sha256 in keys]


def split_of(group: str, seed: int) -> Split:
    """The split of a group: 80 % train, 10 % validation, 10 % test, by a hash of its name.

    It depends on the group and the seed alone, so adding other groups moves nothing.
    """
    digest = hashlib.sha256(f"{seed}\n{group}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for split, share in SHARES:
        if place < share:
            return split
        place -= share
    return SHARES[-1][0]


def leaks(groups: Iterable[str], splits: Iterable[Split | None]) -> dict[str, int]:
    """Groups that stand in more than one split, with the number of their records that have a split."""
    found: dict[str, list[Split]] = defaultdict(list)
    for group, split in zip(groups, splits, strict=True):
        if split is not None:
            found[group].append(split)
    return {group: len(splits) for group, splits in found.items() if len(set(splits)) > 1}
