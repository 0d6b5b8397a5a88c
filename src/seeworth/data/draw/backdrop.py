"""What lies behind the product: a studio sweep, a wall and a shelf, wood, marble, cloth, concrete, paper.

Worked out at half the photo's size and enlarged: a background is a little out of focus. Knows nothing of products.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .texture import Colour, Plane, cloud, colour

Photo = NDArray[np.float32]
_LIGHT = ((0.95, 0.95, 0.94), (0.92, 0.91, 0.89), (0.89, 0.90, 0.91), (0.90, 0.86, 0.87), (0.88, 0.84, 0.79), (0.85, 0.88, 0.86))
_GREY = ((0.75, 0.77, 0.80), (0.66, 0.64, 0.61), (0.62, 0.58, 0.52), (0.52, 0.53, 0.56))
_WOODS = ((0.72, 0.56, 0.40), (0.58, 0.43, 0.30), (0.82, 0.73, 0.61), (0.46, 0.36, 0.28))


def backdrop(width: int, height: int, avoid: Photo, rng: np.random.Generator) -> Photo:
    """float32[height, width, 3], 0 to 1. `avoid` is the product's colour: backgrounds too near to it are drawn again."""
    small = ((height + 1) // 2, (width + 1) // 2)
    for _ in range(8):
        state = rng.integers(2**32)
        draw = _KINDS[int(rng.choice(len(_KINDS), p=_WEIGHTS))]
        image = draw(small, np.random.default_rng(state))
        if float(np.abs(image.mean(axis=(0, 1)) - avoid).max()) > 0.24:
            break
    planes = (Image.fromarray(np.ascontiguousarray(plane)) for plane in image.transpose(2, 0, 1))
    return np.stack([np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR)) for plane in planes], axis=-1)


def _tone(rng: np.random.Generator) -> Colour:
    tones = _LIGHT if rng.random() < 0.8 else _GREY
    tone = np.array(tones[int(rng.integers(len(tones)))]) + rng.normal(0, 0.012, 3)
    return np.clip(tone, 0.05, 0.97).astype(np.float32)


def _paint(plane: Plane, tone: Colour) -> Photo:
    return plane[..., None] * tone


def _rows(shape: tuple[int, int]) -> Plane:
    return np.broadcast_to(np.linspace(0, 1, shape[0], dtype=np.float32)[:, None], shape)


def _columns(shape: tuple[int, int]) -> Plane:
    return np.broadcast_to(np.linspace(0, 1, shape[1], dtype=np.float32)[None, :], shape)


def _sweep(shape: tuple[int, int], rng: np.random.Generator) -> Photo:
    """A studio's paper roll: a soft turn from wall to floor."""
    turn = 1 / (1 + np.exp(-(_rows(shape) - np.float32(rng.uniform(0.6, 0.8))) * 14))
    pool = (_columns(shape) - np.float32(rng.uniform(0.3, 0.7))) ** 2 + (_rows(shape) - np.float32(0.4)) ** 2
    return _paint(1.03 - 0.2 * pool + np.float32(rng.uniform(-0.12, 0.06)) * turn, _tone(rng))


def _gradient(shape: tuple[int, int], rng: np.random.Generator) -> Photo:
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.float32(np.cos(angle)) * (_columns(shape) - 0.5) + np.float32(np.sin(angle)) * (_rows(shape) - 0.5)
    return _paint(1 + np.float32(0.15) * ramp, _tone(rng))


def _shelf(shape: tuple[int, int], rng: np.random.Generator) -> Photo:
    """A wall above, the edge of a shelf below."""
    wall = _paint(1 + 0.03 * cloud(shape, 40, rng), _tone(rng))
    board = _wood(shape, rng) if rng.random() < 0.5 else _paint(_rows(shape) * 0.2 + 0.8, _tone(rng))
    edge = rng.uniform(0.72, 0.88)
    below = np.clip((_rows(shape) - np.float32(edge)) * shape[0], 0, 1)
    line = np.exp(-(((_rows(shape) - np.float32(edge)) * 60) ** 2))
    return np.asarray((wall + below[..., None] * (board - wall)) * (1 - 0.25 * line[..., None]))


def _wood(shape: tuple[int, int], rng: np.random.Generator) -> Photo:
    """Planks with grain, across or upright."""
    upright = rng.random() < 0.5
    if upright:
        return _wood_across((shape[1], shape[0]), rng).transpose(1, 0, 2)
    return _wood_across(shape, rng)


def _wood_across(shape: tuple[int, int], rng: np.random.Generator) -> Photo:
    planks = int(rng.integers(3, 7))
    place = _rows(shape) * planks + np.float32(rng.random())
    index = np.floor(place).astype(int)
    shift = rng.random(planks + 2).astype(np.float32)[index]
    stretched = cloud((shape[0], max(8, shape[1] // 10)), 3.0, rng)
    grain = np.asarray(Image.fromarray(stretched).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
    rings = np.sin(place * 9 + 5 * cloud(shape, 45, rng) + shift * 20)
    gap = np.clip(np.minimum(place % 1, 1 - place % 1) * shape[0] / planks / 1.2, 0.45, 1)
    tone = colour(*_WOODS[int(rng.integers(len(_WOODS)))])
    return _paint((0.92 + 0.16 * shift + 0.07 * grain + 0.05 * rings) * gap, tone)


def _marble(shape: tuple[int, int], rng: np.random.Generator) -> Photo:
    warp = cloud(shape, 50, rng) + 0.5 * cloud(shape, 22, rng) + 0.25 * cloud(shape, 9, rng)
    place = _columns(shape) * np.float32(rng.uniform(-3, 3)) + _rows(shape) * np.float32(rng.uniform(1, 3))
    vein = np.exp(-((np.sin((place + 0.35 * warp) * 3.2) / 0.09) ** 2))
    dark = rng.random() < 0.2
    tone = colour(0.22, 0.23, 0.24) if dark else colour(0.91, 0.90, 0.89)
    plane = 1 + 0.04 * warp + (0.9 if dark else -0.16) * vein
    return _paint(plane.astype(np.float32), tone)


def _cloth(shape: tuple[int, int], rng: np.random.Generator) -> Photo:
    """A bed sheet or linen: wide soft creases."""
    creases = np.abs(cloud(shape, 60, rng)) + 0.5 * np.abs(cloud(shape, 26, rng))
    weave = rng.standard_normal(shape, dtype=np.float32)
    return _paint(0.86 + 0.22 * creases + 0.02 * weave, _tone(rng))


def _concrete(shape: tuple[int, int], rng: np.random.Generator) -> Photo:
    plane = 1 + 0.08 * cloud(shape, 50, rng) + 0.04 * cloud(shape, 12, rng) + 0.03 * cloud(shape, 2, rng)
    return _paint(plane, colour(0.66, 0.66, 0.65) * np.float32(rng.uniform(0.7, 1.25)))


_Draw = Callable[[tuple[int, int], np.random.Generator], Photo]
_KINDS: tuple[_Draw, ...] = (_sweep, _gradient, _shelf, _wood, _marble, _cloth, _concrete)
_WEIGHTS = (0.56, 0.2, 0.07, 0.05, 0.04, 0.05, 0.03)  # a shop takes most of its photos in a studio
