"""Which columns hang together: categories as a tree of "given its parent", learnt by mutual information.

Starting from the path of categories, the column that knows most of one already taken is taken next (C. K. Chow and C. N. Liu,
"Approximating discrete probability distributions with dependence trees", 1968), with the bias of small tables taken off
(G. Miller, 1955). What is drawn along that tree holds only pairs that the real set holds. Knows nothing of what a column says.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from .texts import Weighted

_LEAST = 0.02  # of a column's entropy: what is known of it through another column below this is chance


@dataclass(frozen=True)
class Link:
    """One column, given its parent: value of the parent -> values. `same`: share of the groups whose records agree."""

    column: str
    parent: str | None
    given: Mapping[str, Weighted]
    same: float

    def draw(self, rng: Random, parent: str) -> str:
        chosen: str = self.given[parent].draw(rng)
        return chosen


def learn_links(columns: Mapping[str, Sequence[str]], root: str, groups: Sequence[str], fixed: frozenset[str]) -> list[Link]:
    """The tree below `root`, in the order in which it is to be drawn; `fixed` columns never vary in a group."""
    coded = {name: _codes(cells) for name, cells in columns.items()}
    entropy = {name: _entropy(Counter(codes)) for name, codes in coded.items()}
    best: dict[str, tuple[float, str | None]] = {name: (0.0, None) for name in columns if name != root}
    links: list[Link] = []
    taken = root
    while best:
        for name in best:
            known = _information(coded[name], coded[taken], entropy[name], entropy[taken])
            if known > max(best[name][0] + 1e-9, _LEAST * entropy[name]):
                best[name] = known, taken
        taken = max(best, key=lambda name: (best[name][0] / (entropy[name] or 1.0), name))
        parent = best.pop(taken)[1]
        links.append(_link(taken, parent, columns, groups, taken in fixed))
    return links


def determines(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether the first column decides the second, in all but one row in fifty."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for one, two in zip(first, second, strict=True):
        seen[one][two] += 1
    return sum(max(counts.values()) for counts in seen.values()) >= 0.98 * len(first)


def agreement(cells: Sequence[str], groups: Sequence[str]) -> float:
    """Of the groups with several records, the share whose records have one value; 1 when no group has several."""
    found: dict[str, set[str]] = defaultdict(set)
    sizes = Counter(groups)
    for cell, group in zip(cells, groups, strict=True):
        found[group].add(cell)
    several = [group for group, size in sizes.items() if size > 1]
    return sum(len(found[group]) == 1 for group in several) / len(several) if several else 1.0


def _link(name: str, parent: str | None, columns: Mapping[str, Sequence[str]], groups: Sequence[str], fixed: bool) -> Link:
    above = columns[parent] if parent else [""] * len(columns[name])
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one, value in zip(above, columns[name], strict=True):
        counts[one][value] += 1
    given = {one: Weighted.of(counter) for one, counter in counts.items()}
    return Link(name, parent, given, 1.0 if fixed else agreement(columns[name], groups))


def _codes(cells: Sequence[str]) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(cell, len(numbers)) for cell in cells]


def _entropy(counts: Counter[int] | Counter[tuple[int, int]]) -> float:
    total = sum(counts.values())
    return -sum(count / total * math.log(count / total) for count in counts.values())


def _information(one: Sequence[int], two: Sequence[int], entropy_one: float, entropy_two: float) -> float:
    joint = Counter(zip(one, two, strict=True))
    cells = len(joint) - len(set(one)) - len(set(two)) + 1
    return entropy_one + entropy_two - _entropy(joint) - max(cells, 0) / (2 * len(one))
