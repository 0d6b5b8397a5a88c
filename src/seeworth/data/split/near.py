"""Which photos are near-identical, among a million, without looking at every pair.

The 64 bits of a hash are cut into three bands of 21, 21 and 22 bits. Of two hashes at most 8 bits apart, some band holds
at most 2 of these bits (three bands with 3 or more each would make 9). So for each band, photos are sorted by its bits, and
each photo looks into its own bucket and into those one or two bit flips away; what lies there is compared in full, and
where the hashes are near, the looks are.

A bucket is searched up to its first MOST photos, the earliest ones, so that a source full of one picture cannot take for
ever; whether a pair is found depends on earlier photos only, and stays when photos are added after them.

Knows nothing of records, groups or splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TypeAlias

import numpy as np

from ..photo.look import FAR, Flags, Hashes, Ints, Looks

MOST = 128  # photos of one bucket that are compared; fits a byte, so that the table of counts fits the cache
BANDS = ((0, 21), (21, 21), (42, 22))  # first bit and number of bits
CHUNK = 1 << 20  # pairs of hashes compared at a time
SLICE = 1 << 14  # pairs of looks
SEARCHED = 1 << 12  # photos whose buckets are found by search; for more, a table of all keys is made, which takes 0.4 s

Pairs: TypeAlias = tuple[Ints, Ints]


def look_alikes(looks: Looks) -> tuple[Ints, Flags]:
    """Photos that near-identical ones tie together, however long the chain.

    Returns (int64[photo], the first photo of its cluster; bool[photo], whether it is near-identical to an earlier one).
    The second of photo k depends on photos 0 to k alone.
    """
    parent = np.arange(len(looks))
    tied = np.zeros(len(looks), dtype=np.bool_)
    for later, earlier in _in_slices(near_pairs(looks.whole, looks.inner)):
        news = (_roots(parent, later) != _roots(parent, earlier)) | ~tied[later]
        later, earlier = later[news], earlier[news]
        alike = looks.alike(later, earlier)
        later, earlier = later[alike], earlier[alike]
        tied[later] = True
        for one, two in {*zip(_roots(parent, later).tolist(), _roots(parent, earlier).tolist(), strict=True)}:
            _join(parent, one, two)
    return _roots(parent, np.arange(len(looks))), tied


def _in_slices(pairs: Iterator[Pairs]) -> Iterator[Pairs]:
    """The same pairs a few at a time, so that what the first ones tie spares the others the comparison of their looks."""
    for later, earlier in pairs:
        for start in range(0, len(later), SLICE):
            yield later[start : start + SLICE], earlier[start : start + SLICE]


def _roots(parent: Ints, photos: Ints) -> Ints:
    """The first photo of each photo's cluster, remembered on the way."""
    roots = parent[photos]
    while not np.array_equal(above := parent[roots], roots):
        roots = above
    parent[photos] = roots
    return roots


def _join(parent: Ints, one: int, two: int) -> None:
    while (above := int(parent[one])) != one:
        one = above
    while (above := int(parent[two])) != two:
        two = above
    parent[max(one, two)] = min(one, two)


def near_pairs(whole: Hashes, inner: Hashes) -> Iterator[Pairs]:
    """Chunks of (later, earlier): photos of which whole and whole, or whole and inner, are at most FAR bits apart.

    A pair may come more than once. uint64[n] each; memory is that of a few arrays of n and of CHUNK.
    """
    if len(whole) <= MOST:
        yield from _every_pair(whole, inner)
        return
    yield from _banded(whole, whole, True)
    yield from _banded(inner, whole, False)


def _every_pair(whole: Hashes, inner: Hashes) -> Iterator[Pairs]:
    later, earlier = np.tril_indices(len(whole), -1)
    for a, b in ((whole, whole), (inner, whole), (whole, inner)):
        near = np.bitwise_count(a[later] ^ b[earlier]) <= FAR
        yield later[near], earlier[near]


def _banded(asking: Hashes, table: Hashes, same: bool) -> Iterator[Pairs]:
    """Pairs of a photo's hash in `asking` and another's in `table`; `same` when both are one array."""
    for first, bits in BANDS:
        buckets = _Buckets(table, first, bits)
        keys = buckets.key(asking)
        order = np.argsort(keys, kind="stable")  # neighbours ask for neighbouring buckets: twice as fast
        keys = keys[order]
        for flip in _flips(bits):
            mine = np.flatnonzero(keys & (1 << (flip.bit_length() - 1)) == 0) if same and flip else None
            asked = keys if mine is None else keys[mine]
            for who, photo in buckets.members(asked ^ flip):
                asker = order[who if mine is None else mine[who]]
                near = (np.bitwise_count(asking[asker] ^ table[photo]) <= FAR) & (asker > photo if same and not flip else asker != photo)
                if near.any():
                    yield np.maximum(asker[near], photo[near]), np.minimum(asker[near], photo[near])


class _Buckets:
    """Photos by the bits of one band."""

    def __init__(self, hashes: Hashes, first: int, bits: int) -> None:
        self.first, self.mask = np.uint64(first), np.uint64((1 << bits) - 1)
        keys = self.key(hashes)
        self.order = np.argsort(keys, kind="stable")  # within a bucket the earliest photo comes first
        self.keys: Ints | None = None
        if len(hashes) <= SEARCHED:
            self.keys, start, count = np.unique(keys[self.order], return_index=True, return_counts=True)
        else:
            count = np.bincount(keys, minlength=1 << bits)
            start = np.cumsum(count) - count
        self.start, self.count = start.astype(np.int32), np.minimum(count, MOST).astype(np.uint8)

    def key(self, hashes: Hashes) -> Ints:
        return ((hashes >> self.first) & self.mask).astype(np.int64)

    def found(self, keys: Ints) -> tuple[Ints, Ints, Ints]:
        """Of the keys that have a bucket: their place in `keys`, the bucket's start in `order`, how many are to be compared."""
        if self.keys is None:  # a table of all keys there may be: no search, but millions of entries to make
            place, count = keys, self.count[keys]
        else:
            place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            count = np.where(self.keys[place] == keys, self.count[place], 0)
        who = np.flatnonzero(count)
        return who, self.start[place[who]].astype(np.int64), count[who].astype(np.int64)

    def members(self, keys: Ints) -> Iterator[Pairs]:
        """Chunks of (place in `keys`, photo) for the first MOST photos of each bucket."""
        who, start, count = self.found(keys)
        if not len(who):
            return
        ends = np.cumsum(count)
        cuts = np.searchsorted(ends, np.arange(0, ends[-1], CHUNK), side="right")
        for low, high in zip(cuts, [*cuts[1:], len(who)], strict=True):
            counts = count[low:high]
            place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            yield np.repeat(who[low:high], counts), self.order[np.repeat(start[low:high], counts) + place]


def _flips(bits: int) -> list[int]:
    """No bit, each bit, each two bits of a band."""
    one = [1 << bit for bit in range(bits)]
    return [0, *one, *(a | b for a, b in combinations(one, 2))]
