"""What a surface is made of and what is printed on it: materials and patterns, large enough to be told at 112 pixels.

Surface coordinates u, v are float32[h, w] in units of half the product's longer side. A texture gives relief (height in
the same unit, which the light then shades) and tone (a factor on the colour). Knows nothing of outlines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane: TypeAlias = NDArray[np.float32]
Colour: TypeAlias = NDArray[np.float32]
TAU = np.float32(2 * np.pi)

RGB: dict[str, tuple[float, float, float]] = {
    "Black": (0.13, 0.13, 0.14), "White": (0.93, 0.92, 0.90), "Grey": (0.50, 0.51, 0.53), "Navy": (0.12, 0.17, 0.38),
    "Camel": (0.75, 0.56, 0.35), "Red": (0.74, 0.09, 0.12), "Green": (0.13, 0.42, 0.24), "Sky Blue": (0.48, 0.71, 0.90),
    "Pink": (0.95, 0.60, 0.70), "Yellow": (0.95, 0.78, 0.20),
}  # fmt: skip
"""Red, green and blue of the colour words, 0 to 1."""
SECOND: dict[str, str] = {
    "Black": "White", "White": "Navy", "Grey": "White", "Navy": "White", "Camel": "Black",
    "Red": "White", "Green": "White", "Sky Blue": "Navy", "Pink": "Red", "Yellow": "Black",
}  # fmt: skip
"""The second colour of a pattern on each colour."""


def colour(red: float, green: float, blue: float) -> Colour:
    """A colour float32[3] from parts of 0 to 1."""
    return np.array((red, green, blue), dtype=np.float32)


@dataclass(frozen=True)
class Grid:
    """Where a texture is evaluated: coordinates, pixels a unit, and random numbers of this photo."""

    u: Plane
    v: Plane
    unit: float
    rng: np.random.Generator

    def cloud(self, cell: float) -> Plane:
        """Smooth noise from -1 to 1, with blobs of `cell` units."""
        return cloud((self.u.shape[0], self.u.shape[1]), max(1.5, cell * self.unit), self.rng)


def cloud(shape: tuple[int, int], cell: float, rng: np.random.Generator) -> Plane:
    """Smooth noise float32[shape] from -1 to 1, with blobs of `cell` pixels."""
    return stretched_cloud(shape, (cell, cell), rng)


def stretched_cloud(shape: tuple[int, int], cell: tuple[float, float], rng: np.random.Generator, angle: float = 0.0) -> Plane:
    """Smooth noise float32[shape] from -1 to 1, with blobs `cell` pixels wide and high, turned by `angle` radians."""
    wide, high = max(1.0, cell[0]), max(1.0, cell[1])
    rows, columns = shape
    if not angle:
        small = rng.random((int(rows / high) + 3, int(columns / wide) + 3), dtype=np.float32) * 2 - 1
        part = (0.5, 0.5, 0.5 + columns / wide, 0.5 + rows / high)
        return np.asarray(Image.fromarray(small).resize((columns, rows), Image.Resampling.BICUBIC, box=part))
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    reach = abs(columns * cos) + abs(rows * sin), abs(columns * sin) + abs(rows * cos)
    small = rng.random((int(reach[1] / high) + 6, int(reach[0] / wide) + 6), dtype=np.float32) * 2 - 1
    # pixel (x, y) of the photo takes its value from (a x + b y + c, d x + e y + f) of the small plane
    a, b, d, e = cos / wide, -sin / wide, sin / high, cos / high
    c, f = (small.shape[1] - a * columns - b * rows) / 2, (small.shape[0] - d * columns - e * rows) / 2
    turned = Image.fromarray(small).transform((columns, rows), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC)
    return np.asarray(turned)


Texture: TypeAlias = Callable[[Grid], tuple[Plane | float, Plane | float]]


@dataclass(frozen=True)
class Material:
    """How a material takes the light.

    `texture` gives relief and tone; `crumple` is the height of its soft creases; `shine` and `gloss` are strength and
    exponent of the highlight; `sheen` adds silk's wide light bands; `fuzz` softens edges by so many units and lights
    them from behind; `mirror` reflects a studio instead of being lit; `rgb` replaces the product's colour.
    """

    texture: Texture | None = None
    crumple: float = 0.0
    shine: float = 0.0
    gloss: float = 12.0
    sheen: float = 0.0
    fuzz: float = 0.0
    mirror: float = 0.0
    rgb: tuple[float, float, float] | None = None
    stitched: bool = False


def _ribs(grid: Grid) -> tuple[Plane, Plane]:
    wave = np.cos(grid.u * (TAU / 0.145))
    return 0.018 * wave, 1 + 0.3 * wave


def _cables(grid: Grid) -> tuple[Plane, Plane]:
    across = (grid.u / 0.36) % 1 - 0.5
    swing = 0.16 * np.sin(grid.v * (TAU / 0.3))
    bump = np.exp(-(((across - swing) / 0.09) ** 2)) + np.exp(-(((across + swing) / 0.09) ** 2))
    bump = np.minimum(bump, 1) + 0.5 * np.exp(-(((np.abs(across) - 0.42) / 0.045) ** 2))
    return 0.03 * bump, 0.66 + 0.44 * bump


def _denim(grid: Grid) -> tuple[Plane, Plane]:
    twill = np.cos((grid.u + grid.v) * (TAU / 0.095))
    return 0.004 * twill, 1.02 + 0.17 * twill + 0.22 * grid.cloud(0.4)


def _canvas(grid: Grid) -> tuple[Plane, Plane]:
    weave = np.cos(grid.u * (TAU / 0.115)) * np.cos(grid.v * (TAU / 0.115))
    return 0.008 * weave, 1 + 0.24 * weave


def _tweed(grid: Grid) -> tuple[Plane, Plane]:
    noise = grid.cloud(0.036)
    light, dark = _soft((noise - 0.5) * 0.62), _soft((-noise - 0.5) * 0.62)
    return 0.006 * noise, 1 + 0.55 * light - 0.45 * dark


def _crocodile(grid: Grid) -> tuple[Plane, Plane]:
    row = np.floor(grid.v / 0.17)
    x = (grid.u / 0.21 + 0.5 * (row % 2) + 0.08 * np.sin(row * 7)) % 1 - 0.5
    y = (grid.v / 0.17) % 1 - 0.5
    bump = 1 - np.minimum((2.1 * x) ** 4 + (2.1 * y) ** 4, 1)
    return 0.035 * bump, 0.45 + 0.6 * bump


def _quilt(grid: Grid) -> tuple[Plane, Plane]:
    wave = np.abs(np.sin(grid.v * (TAU / 0.5)))
    return 0.07 * np.sqrt(wave), 0.62 + 0.45 * np.minimum(wave * 2.5, 1)


def _curls(grid: Grid) -> tuple[Plane, Plane]:
    noise: Plane = grid.cloud(0.062) + np.float32(0.5) * grid.cloud(0.03)
    return 0.020 * noise, 1 + 0.22 * noise


def _straw(grid: Grid) -> tuple[Plane, Plane]:
    weave = np.cos((grid.u + grid.v) * (TAU / 0.16)) * np.cos((grid.u - grid.v) * (TAU / 0.16))
    return 0.01 * weave, 0.95 + 0.32 * weave


def _nap(grid: Grid) -> tuple[Plane, Plane]:
    brushed, grain = grid.cloud(0.13), grid.cloud(0.022)
    return 0.002 * grain, 0.97 + 0.15 * np.clip(brushed * 2.5, -1, 1) + 0.14 * grain


def _brushed(grid: Grid) -> tuple[Plane, Plane]:
    fibres = stretched_cloud((grid.u.shape[0], grid.u.shape[1]), (0.03 * grid.unit, 0.16 * grid.unit), grid.rng)
    return 0.004 * fibres, 1.05 + 0.18 * fibres


def _sequins(grid: Grid) -> tuple[Plane, Plane]:
    size = 0.075
    row = np.floor(grid.v / size)
    x, y = (grid.u / size + 0.5 * (row % 2)) % 1 - 0.5, (grid.v / size) % 1 - 0.5
    column = np.floor(grid.u / size + 0.5 * (row % 2))
    chance = np.abs(np.sin(column * 12.9898 + row * 78.233) * 43758.547) % 1
    disc = np.clip(1.35 - 2.2 * np.hypot(x, y), 0, 1)
    return 0.0 * disc, 0.45 + disc * (0.35 + 2.6 * chance**5)


MATERIALS: dict[str, Material] = {
    "Cotton": Material(crumple=0.030),
    "Wool": Material(_tweed, crumple=0.012),
    "Wool Felt": Material(_tweed, crumple=0.0),
    "Ribbed Wool": Material(_ribs, crumple=0.012),
    "Cable-Knit Wool": Material(_cables, crumple=0.008),
    "Cashmere": Material(_brushed, crumple=0.010, fuzz=0.06),
    "Shearling": Material(_curls, fuzz=0.02),
    "Silk": Material(crumple=0.022, shine=0.25, gloss=8, sheen=0.6),
    "Sequinned": Material(_sequins, crumple=0.01),
    "Denim": Material(_denim, crumple=0.022, stitched=True),
    "Canvas": Material(_canvas, crumple=0.006),
    "Quilted Nylon": Material(_quilt, crumple=0.018, shine=0.45, gloss=14),
    "Leather": Material(crumple=0.030, shine=0.75, gloss=16, stitched=True),
    "Patent": Material(crumple=0.004, shine=1.0, gloss=40, mirror=0.45),
    "Crocodile": Material(_crocodile, shine=0.6, gloss=18),
    "Suede": Material(_nap, crumple=0.004, fuzz=0.012),
    "Rubber": Material(shine=0.9, gloss=30, mirror=0.2),
    "Straw": Material(_straw),
    "Acetate": Material(shine=0.8, gloss=26, mirror=0.15),
    "Steel": Material(mirror=1.0, shine=0.5, gloss=30, rgb=(0.70, 0.72, 0.75)),
    "Silver": Material(mirror=1.0, shine=0.5, gloss=30, rgb=(0.76, 0.77, 0.79)),
    "Gold": Material(mirror=1.0, shine=0.5, gloss=30, rgb=(0.90, 0.66, 0.22)),
}
"""Every material word of the catalogue."""


def _stripes(grid: Grid) -> Plane:
    return _soft(np.sin(grid.v * (TAU / 0.30)) - 0.25)


def _dots(grid: Grid) -> Plane:
    row = np.floor(grid.v / 0.20)
    x, y = (grid.u / 0.23 + 0.5 * (row % 2)) % 1 - 0.5, (grid.v / 0.20) % 1 - 0.5
    return _soft((0.3 - np.hypot(x, y)) * 6)


def _checks(grid: Grid) -> Plane:
    across, down = np.cos(grid.u * (TAU / 0.44)), np.cos(grid.v * (TAU / 0.44))
    bands = 0.42 * _soft(across - 0.3) + 0.42 * _soft(down - 0.3)
    lines = np.maximum(_soft((-across - 0.96) * 12), _soft((-down - 0.96) * 12))
    return np.asarray(np.maximum(bands, np.float32(0.8) * lines))


def _soft(value: Plane) -> Plane:
    return np.asarray(np.clip(value * 4 + 0.5, 0, 1), dtype=np.float32)


PATTERNS: dict[str, Callable[[Grid], Plane]] = {"Striped": _stripes, "Dotted": _dots, "Checked": _checks}
"""How much of the second colour shows, 0 to 1, by pattern word; other words are told by the shape."""
