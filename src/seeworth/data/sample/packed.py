"""A plan of any length in 17 bytes a row: the same products as `catalogue.plan`, made when they are asked for.

Knows nothing of how they are drawn or written.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from ..draw.catalogue import COLOURS, KINDS, Product, Traits, list_price, plan_groups, plan_random

_ROW = np.dtype([("code", "u4"), ("kind", "u1"), ("colour", "u1"), ("material", "u1"), ("pattern", "u1"), ("size", "u1"),
                 ("full_price", "u4"), ("price", "u4")])  # fmt: skip
_COLOURS = tuple(COLOURS)
_COLOUR_PLACES = {colour: place for place, colour in enumerate(_COLOURS)}
_WORDS = [(tuple(kind.materials), tuple(kind.patterns), tuple(kind.sizes)) for kind in KINDS]
_KIND_PLACES = {kind.code: place for place, kind in enumerate(KINDS)}


class PackedPlan:
    """`rows` products; `plan[a:b]` is a part that travels lightly to another process."""

    def __init__(self, rows: NDArray[np.void]) -> None:
        self._rows = rows

    @classmethod
    def of(cls, rows: int, seed: int) -> PackedPlan:
        """The products of `catalogue.plan(rows, seed)`, in its order."""
        rng = plan_random(seed)
        packed = np.empty(rows, dtype=_ROW)
        place = 0
        for group in plan_groups(rows, rng):
            for product in group:
                packed[place] = _pack(product)
                place += 1
        return cls(packed[rng.permutation(rows)])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice) -> PackedPlan:
        return PackedPlan(self._rows[part])

    def __iter__(self) -> Iterator[Product]:
        for start in range(0, len(self._rows), 4096):
            yield from (_unpack(row) for row in self._rows[start : start + 4096].tolist())

    def floor(self) -> float:
        """What `catalogue.floor` says of these products, without holding them."""
        total = sum((abs(product.full_price - list_price(product.traits)) for product in self), Decimal(0))
        return float(total / len(self))

    @property
    def groups(self) -> int:
        return len(np.unique(self._rows["code"]))

    @property
    def kinds(self) -> int:
        return len(np.unique(self._rows["kind"]))


def _pack(product: Product) -> tuple[int, ...]:
    traits = product.traits
    kind = _KIND_PLACES[traits.kind.code]
    materials, patterns, sizes = _WORDS[kind]
    return (
        int(product.code), kind, _COLOUR_PLACES[traits.colour], materials.index(traits.material), patterns.index(traits.pattern),
        sizes.index(traits.size), int(product.full_price), int(product.price),
    )  # fmt: skip


def _unpack(row: tuple[int, ...]) -> Product:
    code, kind, colour, material, pattern, size, full_price, price = row
    materials, patterns, sizes = _WORDS[kind]
    traits = Traits(KINDS[kind], _COLOURS[colour], materials[material], patterns[pattern], sizes[size])
    return Product(f"{code:07d}", traits, Decimal(full_price), Decimal(price))
