"""Claim: a million records are grouped by cell and near-identical photo, and split, in about a minute and under 1 GB.

    python benchmarks/groups.py [--records 1000000]

Hashes and looks are random; about one record in eleven is a planted copy of an earlier one, its hash 0 to 7 bits off and its
look the same, and one in five shares its group cell with another. Printed side by side: ours;
the naive way, every pair of hashes, measured on a subset and
extrapolated by the square; the limit, one pass over the same arrays that only sorts them for the three bands.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np

from seeworth.data.photo.look import FAR, SIZE
from seeworth.data.split.deal import split_records
from seeworth.data.split.groups import Member, group_records
from seeworth.data.split.near import BANDS

SUBSET = 20_000  # records of the naive way


def main(records: int) -> None:
    """Print time, memory and what was found."""
    rng = np.random.default_rng(0)
    source = np.where(rng.random(records) < 0.1, (rng.random(records) * np.arange(records)).astype(np.int64), -1)  # of copies
    whole = rng.integers(0, 2**64, records, dtype=np.uint64)
    source[source >= 0] = np.where(source[source[source >= 0]] >= 0, -1, source[source >= 0])  # no copies of copies
    copies = np.flatnonzero(source >= 0)
    whole[copies] = whole[source[copies]] ^ _few_bits(rng, len(copies))
    start, busy = time.perf_counter(), time.process_time()
    groups = group_records(_members(rng, whole, source))
    grouped = time.perf_counter() - start
    strata = (f"category {number % 27}" for number in range(records))
    splits = split_records(groups.first, groups.founds, strata, 0, {})
    ours, busy = time.perf_counter() - start, time.process_time() - busy
    found = sum(groups.alike[copy] == groups.alike[source[copy]] for copy in copies.tolist())
    print(f"{records:,} records: {len(set(groups.first)):,} groups, {found:,} of {len(copies):,} planted copies found")
    print(f"splits  {dict(Counter(splits))}")
    print(f"ours    {ours:8.1f} s, {grouped:.1f} s of it groups; {busy:.1f} s of one processor; {_memory():.0f} MB at most")
    naive = _every_pair(whole[:SUBSET]) * (records / min(records, SUBSET)) ** 2
    print(f"naive   {naive:8.1f} s, every pair of hashes, extrapolated from {min(records, SUBSET):,} records: {naive / ours:.0f} x ours")
    print(f"limit   {_sort(whole):8.1f} s, sorting for the bands alone")


def _few_bits(rng: np.random.Generator, count: int) -> np.ndarray:
    """uint64[count] with 0 to FAR - 1 bits set."""
    flips = np.zeros(count, dtype=np.uint64)
    for bit in range(FAR):
        one = np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64)
        flips ^= np.where(rng.random(count) < bit / FAR, one, np.uint64(0))
    return flips


def _members(rng: np.random.Generator, whole: np.ndarray, source: np.ndarray) -> Iterator[Member]:
    """Inner hash and pictures are eight random words; a copy has those of its source."""
    words = rng.integers(0, 2**64, (len(whole), 8), dtype=np.uint64)
    words[source >= 0] = words[source[source >= 0]]
    for number, (one, word) in enumerate(zip(whole.tolist(), words, strict=True)):
        look = (word.tobytes() * 3)[:SIZE].hex()
        yield Member(f"P{number // 2}" if number % 10 < 2 else "", f"{number:064x}", f"{one:016x}", look, 400, 400)


def _every_pair(hashes: np.ndarray) -> float:
    start = time.perf_counter()
    for number in range(len(hashes)):
        np.flatnonzero(np.bitwise_count(hashes[:number] ^ hashes[number]) <= FAR)
    return time.perf_counter() - start


def _sort(hashes: np.ndarray) -> float:
    start = time.perf_counter()
    for first, bits in BANDS:
        np.argsort((hashes >> np.uint64(first)) & np.uint64((1 << bits) - 1), kind="stable")
    return time.perf_counter() - start


def _memory() -> float:
    """Most memory held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    main(parser.parse_args().records)
