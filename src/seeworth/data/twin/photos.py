"""Photos of a twin: each real category is given one kind of drawn product, and a price its material, pattern and size.

27 kinds are there. More categories than that share them and are told apart by colour, and from 271 on by material and pattern too
(up to about 1,080 stay different). Drawn with `data.draw`, at the sizes of the real photos. Knows nothing of tables.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image

from ..draw.catalogue import COLOURS, KINDS, Kind, Traits, list_price
from ..draw.scene import render

LARGEST = 768  # pixels; larger photos are drawn at this size and enlarged
_SMALLEST = 64
_PROBES = 6  # formats looked at, small, before the photo is drawn
_NEAR = 1.2  # how far a drawn format may be from the wanted one before another is looked for


@dataclass(frozen=True)
class Role:
    """What a category looks like: a kind, its colours, and of its pairs of material and pattern every `pairs[1]`th from `pairs[0]` on."""

    kind: str
    colours: tuple[str, ...]
    pairs: tuple[int, int]


def cast(categories: Sequence[str]) -> dict[str, Role]:
    """A role for each category, the most frequent first. A category named like a kind, as COATS, gets it."""
    rounds = math.ceil(len(categories) / len(KINDS))
    colours, deeper = tuple(COLOURS), math.ceil(rounds / len(COLOURS))
    free = [(number, kind.code) for number in range(rounds) for kind in KINDS]
    roles: dict[str, Role] = {}
    named = {category: kind.code for category in categories for kind in KINDS if _key(category) in (_key(kind.code), _key(kind.noun))}
    for category in sorted(categories, key=lambda category: category not in named):  # a stable sort: by frequency otherwise
        wanted = named.get(category)
        slot = next((one for one in free if one[1] == wanted), free[0])
        free.remove(slot)
        number = slot[0]
        own = colours[number % len(colours) :: min(rounds, len(colours))]
        roles[category] = Role(slot[1], own, (number // len(colours), deeper))
    return roles


def traits_of(role: Role, level: float, title: str, rng: Random) -> Traits:
    """What is drawn: dearer materials, patterns and sizes for a higher `level` (0 to 1, where the price stands in its category).

    A colour that the title names is used where the category has it.
    """
    looks = _looks(role)
    place = min(max(level + rng.gauss(0, 0.04), 0.0), 1.0)
    material, pattern, size = looks[min(int(place * len(looks)), len(looks) - 1)]
    said = [colour for colour in role.colours if re.search(rf"\b{colour}\b", title, re.IGNORECASE)]
    return Traits(_KINDS[role.kind], said[0] if said else rng.choice(role.colours), material, pattern, size)


def draw(traits: Traits, size: tuple[int, int], rng: Random) -> bytes:
    """The product as a JPEG of exactly this width and height."""
    width, height = size
    seed = [rng.getrandbits(32)]
    for number in range(_PROBES):
        small = render(traits, _SMALLEST, np.random.default_rng([*seed, number]))
        if max(width * small.height / (height * small.width), height * small.width / (width * small.height)) < _NEAR:
            break
    longer = min(max(width, height, _SMALLEST), LARGEST)
    image = _fitted(render(traits, longer, np.random.default_rng([*seed, number])), width, height)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=rng.randrange(80, 94), subsampling=0)
    return file.getvalue()


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """The whole picture in a frame of this size; what is missing at the sides repeats its edges, as a backdrop goes on."""
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if abs(inner[0] - width) <= 0.03 * width and abs(inner[1] - height) <= 0.03 * height:
        return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(image.resize(inner, Image.Resampling.LANCZOS))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    sides = ((top, height - inner[1] - top), (left, width - inner[0] - left), (0, 0))
    return Image.fromarray(np.pad(pixels, sides, mode="edge"), "RGB")


_KINDS: dict[str, Kind] = {kind.code: kind for kind in KINDS}


@lru_cache(maxsize=4096)
def _looks(role: Role) -> tuple[tuple[str, str, str], ...]:
    """(material, pattern, size) that the role may have, the cheapest first."""
    kind = _KINDS[role.kind]
    pairs = [(material, pattern) for material in kind.materials for pattern in kind.patterns]
    pairs = pairs[role.pairs[0] % min(role.pairs[1], len(pairs)) :: role.pairs[1]]
    looks = [(material, pattern, size) for material, pattern in pairs for size in kind.sizes]
    return tuple(sorted(looks, key=lambda look: list_price(Traits(kind, next(iter(COLOURS)), *look))))


def _key(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower()).removesuffix("s")
