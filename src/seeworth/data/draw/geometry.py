"""Outlines: smooth curves, limbs, ellipses, and the Part they make up.

Points are float[n, 2], x to the right and y down, in whatever unit the shape is drawn in: `scene` fits the whole
product to the photo. Knows nothing of colours, materials or pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]
Role: TypeAlias = Literal[
    "main", "trim", "lining", "metal", "sole", "edge", "white", "dark", "glass", "dial", "gem", "diamond", "button", "strap", "paper"
]


@dataclass(frozen=True)
class Part:
    """One piece of a product, drawn over the pieces before it.

    Args:
        shapes: closed outlines, filled.
        role: what it is made of: "main" takes the product's colour, material and pattern.
        strokes: lines with a width, filled too.
        holes: closed outlines, cut out.
        puff: how far in from its edge the surface rounds, in units of half the product's longer side.
        folds: lines with a width and a height (below 0: a valley), same unit.
        seams: thin dark lines.
        grain: direction of material and pattern, in radians.
        shadow: strength of its shadow on what lies below it, 0 to 1.
    """

    shapes: tuple[Points, ...]
    role: Role = "main"
    strokes: tuple[tuple[Points, float], ...] = ()
    holes: tuple[Points, ...] = ()
    puff: float = 0.1
    folds: tuple[tuple[Points, float, float], ...] = ()
    seams: tuple[Points, ...] = ()
    grain: float = 0.0
    shadow: float = 0.5

    def moved(self, move: Callable[[Points], Points]) -> Part:
        """The part with `move` applied to all its points; widths, heights and grain stay."""
        return replace(
            self,
            shapes=tuple(move(shape) for shape in self.shapes),
            strokes=tuple((move(line), width) for line, width in self.strokes),
            holes=tuple(move(hole) for hole in self.holes),
            folds=tuple((move(line), width, height) for line, width, height in self.folds),
            seams=tuple(move(line) for line in self.seams),
        )


def path(*points: tuple[float, float]) -> Points:
    """Points as an array."""
    return np.array(points, dtype=np.float64)


def smooth(points: Points, rounds: int = 3, closed: bool = True) -> Points:
    """Cut corners `rounds` times (Chaikin 1974). A point given twice stays a corner."""
    for _ in range(rounds):
        after = np.roll(points, -1, axis=0) if closed else points[1:]
        before = points if closed else points[:-1]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1).reshape(-1, 2)
        points = cut if closed else np.concatenate([points[:1], cut, points[-1:]])
    return points


def mirror(points: Points) -> Points:
    """The other side: x turned to -x."""
    return points * [-1.0, 1.0]


def both(half: Points) -> Points:
    """A closed outline from its right half, given from top to bottom."""
    return np.concatenate([half, mirror(half)[::-1]])


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0) -> Points:
    """An ellipse, or the part of it between two angles in degrees (0 to the right, 90 down)."""
    angle = np.radians(np.linspace(start, end, 48))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> Points:
    """A rectangle with round corners."""
    if radius <= 0:
        return path((left, top), (right, top), (right, bottom), (left, bottom))
    r = min(radius, (right - left) / 2, (bottom - top) / 2)
    corners = ((right - r, bottom - r, 0), (left + r, bottom - r, 90), (left + r, top + r, 180), (right - r, top + r, 270))
    return np.concatenate([ellipse(x, y, r, r, start, start + 90)[::6] for x, y, start in corners])


def limb(line: Points, widths: Sequence[float], rounds: int = 2) -> Points:
    """A strip along a line, with a width at each point: sleeves, legs, straps."""
    step = np.gradient(line, axis=0)
    side = np.stack([-step[:, 1], step[:, 0]], axis=1) / (np.linalg.norm(step, axis=1, keepdims=True) + 1e-9)
    half = side * np.asarray(widths, dtype=np.float64)[:, None] / 2
    left, right = line + half, (line - half)[::-1]
    return np.concatenate([smooth(left, rounds, closed=False), smooth(right, rounds, closed=False)])


def curve(*points: tuple[float, float]) -> Points:
    """A smooth open line."""
    return smooth(path(*points), 3, closed=False)


def placed(parts: Sequence[Part], at: tuple[float, float], angle: float, flip: bool = False) -> list[Part]:
    """The parts, mirrored if asked, turned by `angle` radians and moved by `at`."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def move(points: Points) -> Points:
        return np.asarray((mirror(points) if flip else points) @ turn.T + at)

    return [replace(part.moved(move), grain=(-part.grain if flip else part.grain) + angle) for part in parts]


def extent(parts: Sequence[Part]) -> tuple[Points, Points]:
    """Least and greatest x and y of all parts."""
    points = np.concatenate([p for part in parts for p in (*part.shapes, *(line for line, _ in part.strokes))])
    return points.min(axis=0), points.max(axis=0)
