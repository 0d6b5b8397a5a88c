"""In which split a group stands: 80 % train, 10 % validation, 10 % test, in every category, and for good.

A group has the split of its first record. That record took the next place of its stratum (the records of one category)
when it came; places are dealt in blocks of ten, 8 train, 1 validation and 1 test in an order that the seed shuffles. As
nothing in this looks ahead, rows added after the others move no old record; only a new row that ties two old groups
together moves the later one.

The first place of a stratum is train, so that no category is tested that was never trained on; but where nearly every
group has a category of its own, this would leave nothing to test, and then the first place helps the split that is short.

Knows nothing of tables or photos; `groups` says what belongs together.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from ...record import SPLITS, Split

BLOCK: tuple[Split, ...] = ("train",) * 8 + ("validation", "test")
SHORT, PATIENCE = 0.05, 2  # a split is short with fewer than this share of the groups, less so many

FEW = 30  # groups of validation or test, below which what is measured on them says little

SHARES: tuple[tuple[Split, float], ...] = (("train", 0.8), ("validation", 0.1), ("test", 0.1))

Label = TypeVar("Label")


def split_records(first: Sequence[int], founds: Sequence[bool], strata: Iterable[str], seed: int, kept: Mapping[int, Split]) -> list[Split]:
    """The split of each record.

    Args:
        first, founds: of `groups.Groups`. strata: the category of each record, "" for all when there is none.
        kept: first record of a group -> the split it has whatever its place.
    """
    splits: list[Split] = []
    deal = Deal(seed)
    for number, (one, founder, stratum) in enumerate(zip(first, founds, strata, strict=True)):
        place = deal.next(stratum) if founder else "train"  # the first record of a group is always a founder
        splits.append(kept.get(one) or (splits[one] if one < number else place))
    return splits


class Deal:
    """Deals the places of all strata, in the order in which groups come."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dealt: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        self._ahead: dict[str, list[Split]] = {}  # stratum -> what is left of its block, the next place last
        self._blocks: Counter[str] = Counter()

    def next(self, stratum: str) -> Split:
        """The split of the next group of a stratum."""
        ahead = self._ahead.get(stratum)
        if not ahead:
            ahead = self._ahead[stratum] = self._first(stratum) if ahead is None else self._shuffled(BLOCK, stratum)
        split = ahead.pop()
        self.dealt[split] += 1
        return split

    def _first(self, stratum: str) -> list[Split]:
        """The first block, from its end: it starts with train, or else with a split that is short and then train."""
        start: list[Split] = [short, "train"] if (short := self._short()) else ["train"]
        rest = list(BLOCK)
        for split in start:
            rest.remove(split)
        return [*self._shuffled(rest, stratum), *reversed(start)]

    def _short(self) -> Split | None:
        """Validation or test when it has far less than its share of the groups so far, the shorter of the two."""
        short: Split = "test" if self.dealt["test"] <= self.dealt["validation"] else "validation"
        return short if self.dealt[short] < SHORT * sum(self.dealt.values()) - PATIENCE else None

    def _shuffled(self, splits: Sequence[Split], stratum: str) -> list[Split]:
        """By a hash, not a library's random numbers, which may change with its version."""
        self._blocks[stratum] += 1
        key = f"{self.seed}\n{self._blocks[stratum]}\n{stratum}\n"
        draws = [hashlib.sha256(f"{key}{place}".encode("utf-8", "surrogatepass")).digest() for place in range(len(splits))]
        return [split for _, split in sorted(zip(draws, splits, strict=True))]


def split_of(group: str, seed: int) -> Split:
    """The split of a group by a hash of its name alone, without strata: for drawn samples, whose groups are known beforehand."""
    digest = hashlib.sha256(f"{seed}\n{group}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for split, share in SHARES:
        if place < share:
            return split
        place -= share
    return SHARES[-1][0]


def too_small(labels: Iterable[Label], splits: Iterable[Split | None]) -> str | None:
    """What to know when validation or test hold some groups but fewer than FEW; None when they do not.

    `labels`: the group of each record. Records of one group are much alike, so that groups count, not records. The error told is
    the half width of a 95 % interval of a share near one half, 0.98 / sqrt(groups).
    """
    held = {(label, split) for label, split in zip(labels, splits, strict=True) if split}
    counts = Counter(split for _, split in held)
    small = {split: counts[split] for split in ("validation", "test") if 0 < counts[split] < FEW}
    if not small:
        return None
    sides = " and ".join(f"{count} {'group' if count == 1 else 'groups'} ({split})" for split, count in small.items())
    error = min(50, round(98 / min(small.values()) ** 0.5))
    return (
        f"{'/'.join(str(counts[split]) for split in SPLITS)} groups are in train/validation/test: what is measured on {sides} says little: "
        f"a share may be off by {error} points: expected at least {FEW}: add rows, or compare nothing by it"
    )


def leaks(labels: Iterable[Label], splits: Iterable[Split | None]) -> dict[Label, int]:
    """Labels (groups, say) that stand in more than one split, with the number of their records that have a split."""
    found: dict[Label, list[Split]] = defaultdict(list)
    for label, split in zip(labels, splits, strict=True):
        if split is not None:
            found[label].append(split)
    return {label: len(splits) for label, splits in found.items() if len(set(splits)) > 1}
