"""A part becomes pixels: its outline gives a mask, the mask a rounded height, and the light falls on that height.

    1 mask     outline at twice the size, halved            2 height   rounded edges + folds + creases + texture
    3 colour   role or traits, times pattern and tone       4 light    Lambert + Blinn-Phong highlight + reflections
    5 lay      contact shadow, then the part over what is there

Knows nothing of kinds or prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .geometry import Part, Points, Role
from .texture import MATERIALS, PATTERNS, Colour, Grid, Material, Plane, colour, stretched_cloud

_MATT = Material(crumple=0.01)
_SHINY = Material(shine=0.8, gloss=30, mirror=0.3)


@dataclass(frozen=True)
class Light:
    """Where the light comes from (unit vector to it, z towards the camera) and the share that comes from everywhere."""

    direction: tuple[float, float, float]
    ambient: float


@dataclass(frozen=True)
class Look:
    """What the roles look like in one photo: colours float32[3], 0 to 1, and materials."""

    colour: Colour
    second: Colour
    material: Material
    pattern: str
    sole: Colour
    metal: Material

    def of(self, role: Role) -> tuple[Colour, Material, str]:
        """Colour, material and pattern of a role."""
        white, dark = colour(0.93, 0.92, 0.89), colour(0.10, 0.10, 0.11)
        own = self.colour if self.material.rgb is None else colour(*self.material.rgb)
        table: dict[Role, tuple[Colour, Material, str]] = {
            "main": (own, self.material, self.pattern),
            "trim": (own * np.float32(0.86), self.material, ""),
            "strap": (self.colour, MATERIALS["Leather"], ""),
            "edge": (self.colour * np.float32(0.62), _MATT, ""),
            "lining": (self.colour * np.float32(0.42), _MATT, ""),
            "metal": (colour(*(self.metal.rgb or (0.7, 0.7, 0.7))), self.metal, ""),
            "sole": (self.sole, _MATT, ""),
            "white": (white, _MATT, ""),
            "paper": (white, Material(crumple=0.004), ""),
            "dark": (dark, _MATT, ""),
            "button": (self.colour * np.float32(0.5) + np.float32(0.06), _SHINY, ""),
            "glass": (np.float32(0.02) + self.colour * np.float32(0.85), Material(shine=0.9, gloss=40, mirror=0.25), ""),
            "dial": (self.colour, Material(shine=0.4, gloss=30), ""),
            "gem": (self.colour, Material(shine=1.0, gloss=20, mirror=0.7), ""),
            "diamond": (colour(0.93, 0.96, 1.0), Material(shine=1.0, gloss=10, mirror=1.0), ""),
        }
        return table[role]


@dataclass
class Stage:
    """The photo being made: `rgb` float32[h, w, 3], the way from product units to pixels, and its light."""

    rgb: NDArray[np.float32]
    matrix: Points
    offset: Points
    unit: float
    light: Light
    rng: np.random.Generator

    def to_pixels(self, points: Points) -> Points:
        """Product units -> pixels."""
        return points @ self.matrix.T + self.offset

    def draw(self, part: Part, look: Look) -> None:
        """Lay one part over what is there."""
        window = _window(self, part)
        if window is None:
            return
        left, top, right, bottom = window
        mask, small = _mask(self, part, window)
        base, material, pattern = look.of(part.role)
        grid = _grid(self, part, window)
        height, coverage = _height(self, part, material, window, small)
        relief, tone = material.texture(grid) if material.texture else (0.0, 1.0)
        albedo = _albedo(grid, base, look.second, pattern, tone)
        for line in part.seams:
            mark = _lines(self, [(line, 0.014)], window)[..., None]
            albedo = albedo * (1 - 0.5 * mark)
            if material.stitched and part.role == "main":
                albedo = albedo + 0.25 * np.roll(mark, 2, axis=1)
        lit = shade(height + np.float32(self.unit) * relief, albedo, material, self.light, grid)
        if material.fuzz:
            mask = _fuzzy(mask, coverage, material, grid)
        target = self.rgb[top:bottom, left:right]
        if part.shadow:
            dx, dy = (round(-component * 0.05 * self.unit) for component in self.light.direction[:2])
            target *= (1 - part.shadow * 0.75 * np.roll(coverage, (dy, dx), axis=(0, 1)))[..., None]
        target += mask[..., None] * (lit - target)


def shade(height: Plane, albedo: NDArray[np.float32], material: Material, light: Light, grid: Grid) -> NDArray[np.float32]:
    """Light a height field (pixels). Lambert's cosine law and Blinn's (1977) highlight; returns float32[h, w, 3]."""
    slope_y, slope_x = np.gradient(height)
    scale = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    lx, ly, lz = light.direction
    diffuse = np.maximum((lz - lx * slope_x - ly * slope_y) * scale, 0)
    amount = light.ambient + (1 - light.ambient) * diffuse / lz
    rgb = (albedo + np.float32(0.015)) * amount[..., None]
    if material.mirror:
        tilt = (slope_x * 0.6 + slope_y) * scale + 0.25 * grid.v
        studio = 0.55 + 0.55 * np.sin(tilt * 7 + 0.6) + 0.35 * (np.sin(tilt * 17) > 0.6)
        rgb = rgb * (1 - 0.85 * material.mirror + 0.85 * material.mirror * studio[..., None])
    if material.sheen:
        bands = np.sin((0.8 * grid.u + grid.v) * 6.5 + 2.2 * grid.cloud(0.7))
        rgb = rgb * (1 + 0.7 * material.sheen * bands[..., None]) + (0.42 * material.sheen * np.maximum(bands, 0) ** 3)[..., None]
    if material.shine:
        half = colour(lx, ly, lz + 1) / np.float32(np.sqrt(lx**2 + ly**2 + (lz + 1) ** 2))
        shine = np.maximum((half[2] - half[0] * slope_x - half[1] * slope_y) * scale, 0)
        flat = half[2] ** material.gloss
        rgb = rgb + (material.shine * 0.75 * np.maximum(shine**material.gloss - 0.7 * flat, 0))[..., None]
    if material.fuzz:
        rgb = rgb + (np.float32(7.0 * material.fuzz) * (1 - scale))[..., None]
    return np.asarray(np.maximum(rgb, 0), dtype=np.float32)


def _window(stage: Stage, part: Part) -> tuple[int, int, int, int] | None:
    """The part's pixels with a margin, cut to the photo, on multiples of 2: left, top, right, bottom."""
    points = [*part.shapes, *(line for line, _ in part.strokes)]
    pixels = stage.to_pixels(np.concatenate(points))
    margin = 0.1 * stage.unit + 4
    height, width = stage.rgb.shape[:2]
    low = np.maximum(np.floor((pixels.min(axis=0) - margin) / 2) * 2, 0).astype(int)
    high = np.minimum(np.ceil((pixels.max(axis=0) + margin) / 2) * 2, (width, height)).astype(int)
    return (int(low[0]), int(low[1]), int(high[0]), int(high[1])) if (high - low > 3).all() else None


def _flat(points: Points) -> list[float]:
    return [float(number) for number in points.ravel()]


def _plane(image: Image.Image) -> Plane:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _mask(stage: Stage, part: Part, window: tuple[int, int, int, int]) -> tuple[Plane, Plane]:
    """Coverage 0 to 1 at the photo's size and at half of it."""
    left, top, right, bottom = window
    image = Image.new("L", ((right - left) * 2, (bottom - top) * 2))
    draw = ImageDraw.Draw(image)
    for shapes, ink in ((part.shapes, 255), (part.holes, 0)):
        for shape in shapes:
            draw.polygon(_flat((stage.to_pixels(shape) - (left, top)) * 2), fill=ink)
    for line, width in part.strokes:
        pixels = (stage.to_pixels(line) - (left, top)) * 2
        draw.line(_flat(pixels), fill=255, width=max(2, round(width * stage.unit * 2)), joint="curve")
    full = image.reduce(2)
    return _plane(full), _plane(full.reduce(2))


def _lines(stage: Stage, lines: list[tuple[Points, float]], window: tuple[int, int, int, int]) -> Plane:
    """Thin lines, coverage 0 to 1."""
    left, top, right, bottom = window
    image = Image.new("L", ((right - left) * 2, (bottom - top) * 2))
    draw = ImageDraw.Draw(image)
    for line, width in lines:
        draw.line(_flat((stage.to_pixels(line) - (left, top)) * 2), fill=255, width=max(2, round(width * stage.unit * 2)))
    return _plane(image.reduce(2))


def _grid(stage: Stage, part: Part, window: tuple[int, int, int, int]) -> Grid:
    left, top, right, bottom = window
    cos, sin = np.cos(part.grain), np.sin(part.grain)
    turn = np.array([[cos, sin], [-sin, cos]]) @ np.linalg.inv(stage.matrix)
    x = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(stage.offset[0])
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(stage.offset[1])
    (a, b), (c, d) = turn.astype(np.float32)
    return Grid(a * x + b * y, c * x + d * y, stage.unit, stage.rng)


def _height(stage: Stage, part: Part, material: Material, window: tuple[int, int, int, int], small: Plane) -> tuple[Plane, Plane]:
    """Height in pixels and a softened mask, both at the photo's size; worked out at half the size, where it is smooth."""
    unit = stage.unit / 2
    edge = blur(small, max(1, round(part.puff * unit / 2)))
    body = blur(small, max(1, round(0.16 * unit)))
    height = edge * np.float32(1.15 * part.puff * unit) + body * np.float32(0.16 * unit * min(1.0, part.puff / 0.08))
    if part.folds:
        height = height + _folds(stage, part, window, (small.shape[1], small.shape[0]))
    if material.crumple:
        shape = (small.shape[0], small.shape[1])
        lean = float(stage.rng.uniform(0.15, 0.5)) * float(stage.rng.choice([-1, 1]))
        creased = stretched_cloud(shape, (0.15 * unit, 0.6 * unit), stage.rng, lean)
        creased = creased + 0.7 * stretched_cloud(shape, (0.36 * unit, 0.26 * unit), stage.rng, -1.6 * lean)
        height = height + creased * np.float32(material.crumple * unit)
    size = (window[2] - window[0], window[3] - window[1])
    large = Image.fromarray(height * np.float32(2)).resize(size, Image.Resampling.BICUBIC)
    soft = Image.fromarray(blur(small, max(1, round(0.03 * unit)))).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(large), np.asarray(soft)


def _folds(stage: Stage, part: Part, window: tuple[int, int, int, int], size: tuple[int, int]) -> Plane:
    image = Image.new("F", size)
    draw = ImageDraw.Draw(image)
    unit = stage.unit / 2
    for line, width, height in part.folds:
        pixels = (stage.to_pixels(line) - window[:2]) / 2
        draw.line(_flat(pixels), fill=height * unit * 2, width=max(1, round(width * unit)), joint="curve")
    return blur(np.asarray(image, dtype=np.float32), max(1, round(0.035 * unit)))


def blur(plane: Plane, radius: int) -> Plane:
    """Two box blurs of `radius` pixels, edges repeated: close to a Gaussian of 0.8 radius."""
    size = 2 * radius + 1
    for _ in range(4):  # down, across, down, across: each pass turns the plane over
        reach = np.clip(np.arange(-radius - 1, plane.shape[0] + radius), 0, plane.shape[0] - 1)
        total = plane[reach].cumsum(axis=0, dtype=np.float32)
        plane = np.ascontiguousarray(((total[size:] - total[:-size]) / np.float32(size)).T)
    return plane


def _albedo(grid: Grid, base: Colour, second: Colour, pattern: str, tone: Plane | float) -> NDArray[np.float32]:
    albedo = np.broadcast_to(base, (*grid.u.shape, 3))
    if pattern in PATTERNS:
        albedo = albedo + PATTERNS[pattern](grid)[..., None] * (second - base)
    return albedo * (tone[..., None] if isinstance(tone, np.ndarray) else np.float32(tone))


def _fuzzy(mask: Plane, coverage: Plane, material: Material, grid: Grid) -> Plane:
    """An edge of fine hairs: the mask, plus the soft one where the noise is high."""
    hairs = np.clip(coverage * 2.4 + 0.35 * grid.cloud(0.012) + 0.25 * grid.cloud(0.05) - 0.45, 0, 1) * min(1.0, material.fuzz * 16)
    return np.asarray(np.maximum(mask * np.clip(coverage * 2.2 - 0.35, 0, 1), hairs * (coverage > 0.02)), dtype=np.float32)

