"""What a photo looks like in 168 bytes, and whether two photos are near-identical: one altered copy of the other.

A perceptual hash alone does not tell that: product photos on white resemble each other, and a crop of 3 % already turns
8 of its 64 bits. So a photo is seen twice, whole and without its outermost 2.5 %, which is what a copy has lost that was
cropped, or what it has gained that was framed; the hashes only propose pairs, and small pictures decide:

    alike(a, b)   one hash of a is within FAR bits of one of b (whole and whole, whole and inner),
                  the shapes agree within 10 %, the colours within CHROMA, and the pictures, after their brightness and
                  contrast are made equal, within RESIDUE grey levels and 35 % of their own contrast

The figures behind these limits are in docs/data.md. Knows nothing of records, groups or splits.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FAR = 8  # bits between two hashes of 64
MARGIN = 0.025  # of a side, left out on each side of the inner picture
RESIDUE, RELATIVE = 10.0, 0.35  # grey levels, and their share of the picture's own contrast (both root mean square)
CHROMA = 6.0  # root mean square of the difference in Cb and Cr
GAIN, SHIFT, SHAPE = 0.3, 32.0, 0.1  # of contrast (logarithm), of mean brightness (levels), of width / height (logarithm)
FLAT = 2.0  # grey levels; a picture with less contrast is blank, and its hash is noise

GREYS, COLOURS = 64, 32  # bytes: 8 x 8 of Y, 4 x 4 of Cb and of Cr
SIZE = 8 + 2 * GREYS + COLOURS

SEEN = 48  # pixels of the shorter side that are enough for all this

Ints: TypeAlias = NDArray[np.int64]
Hashes: TypeAlias = NDArray[np.uint64]
Bytes: TypeAlias = NDArray[np.uint8]
Flags: TypeAlias = NDArray[np.bool_]


def phash(image: Image.Image) -> str:
    """Perceptual hash: 64 bits as 16 hex digits, near in Hamming distance when the pictures look alike.

    The two-dimensional DCT-II of the grey picture, and of its 8 x 8 lowest frequencies whether each lies above their median
    (C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010).
    """
    return seen(image)[0]


def seen(image: Image.Image, extent: tuple[float, float] | None = None) -> tuple[str, str]:
    """(phash, look) of a picture; a look is 2 x SIZE hex digits: the inner picture's phash, then Y whole and inner, Cb and Cr.

    Args:
        image: may have been shrunk, to no less than SEEN pixels a side.
        extent: its true width and height, in its own pixels, when the last column and row stand for less than others.
    """
    wide, high = extent or image.size
    step = max(1, min(image.size) // SEEN)
    small = image if step == 1 else image.reduce(step)
    across, down = _weights(wide, step), _weights(high, step)
    grey, *colours = np.moveaxis(np.asarray(small.convert("YCbCr"), dtype=np.float64), 2, 0)
    seen = down[:32] @ grey @ across[:32].T
    blurs = [seen[16:24, 16:24], seen[24:, 24:], *(down[32:] @ colour @ across[32:].T for colour in colours)]
    levels = np.concatenate([np.rint(blur).ravel() for blur in blurs]).astype(np.uint8)
    return _above_median(seen[:8, :8]), _above_median(seen[8:16, 8:16]) + levels.tobytes().hex()


def _above_median(low: NDArray[np.float64]) -> str:
    low = np.round(low, 6)  # a blank picture must not be told by the noise of the sum
    middle = np.sort(low, axis=None)[31:33].sum() / 2  # the median; np.median takes as long as all the rest
    return np.packbits(low > middle).tobytes().hex()


@lru_cache(1024)
def _weights(length: float, step: int) -> NDArray[np.float64]:
    """float64[36, pixel]: what each pixel of a side adds to a hash or to a blur, exact however the pixels lie.

    Rows 0 to 7 integrate cos(pi k x) over the side, x from 0 to 1, which is the DCT-II for small pixels; 8 to 15 do over the inner
    part of the side. Rows 16 to 23 and 24 to 31 are averages of eighths, whole and inner, 32 to 35 of quarters, each with a half of
    either neighbour: triangles, so that a small shift changes little.

    Args:
        length: of the side. step: of a pixel.
    """
    edges = np.minimum(np.arange(0, length + step, step), length) / length
    inner = np.clip((edges - MARGIN) / (1 - 2 * MARGIN), 0, 1)
    return np.concatenate([_waves(edges), _waves(inner), _triangles(edges, 8), _triangles(inner, 8), _triangles(edges, 4)])


def _waves(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    turns = np.pi * np.arange(1, 8)[:, None]
    return np.diff(np.concatenate([edges[None], np.sin(turns * edges) / turns]))


def _triangles(edges: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    away = np.clip(edges * count - np.arange(count)[:, None] - 0.5, -1, 1)
    parts = np.diff(away - away * np.abs(away) / 2)  # the integral of 1 - |x|
    return np.asarray(parts / parts.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Looks:
    """The looks of n photos as compact arrays, 192 bytes a photo.

    Attributes:
        whole, inner: uint64[n], perceptual hashes. grey: uint8[n, 2, 64], Y whole and inner. colour: uint8[n, 32].
        shape: float32[n], logarithm of width / height. contrast: float32[n, 2], standard deviation of `grey`.
    """

    whole: Hashes
    inner: Hashes
    grey: Bytes
    colour: Bytes
    shape: NDArray[np.float32]
    contrast: NDArray[np.float32]

    @classmethod
    def of(cls, photos: Iterable[tuple[str, str, int, int]]) -> Looks:
        """From (phash, look, width, height) of each photo; taken one by one."""
        data, shape = bytearray(), array("f")
        for whole, look, width, height in photos:
            data += bytes.fromhex(whole + look)
            shape.append(math.log(width / height))
        table = np.frombuffer(data, dtype=np.uint8).reshape(-1, 8 + SIZE)
        hashes = np.ascontiguousarray(table[:, :16]).view(">u8").astype(np.uint64)
        grey = table[:, 16 : 16 + 2 * GREYS].reshape(-1, 2, GREYS)
        contrast = np.concatenate([part.std(axis=2, dtype=np.float32) for part in np.array_split(grey, len(grey) // 65536 + 1)])
        colour = table[:, 16 + 2 * GREYS :]
        return cls(hashes[:, 0].copy(), hashes[:, 1].copy(), grey, colour, np.array(shape, dtype=np.float32), contrast)

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def flat(self) -> Flags:
        """bool[n]: blank photos, such as a placeholder. They are like no other: only the very same bytes tie them."""
        return np.asarray(self.contrast[:, 0] < FLAT)

    def alike(self, a: Ints, b: Ints) -> Flags:
        """bool[pair]: whether photos a[k] and b[k], whose hashes are near, are near-identical."""
        near = np.abs(self.shape[a] - self.shape[b]) <= SHAPE
        near &= (self.contrast[a, 0] >= FLAT) & (self.contrast[b, 0] >= FLAT)
        at = np.flatnonzero(near)
        apart = self.colour[a[at]].astype(np.float32) - self.colour[b[at]]
        at = at[np.einsum("pc,pc->p", apart, apart) <= COLOURS * CHROMA**2]
        found = np.zeros(len(a), dtype=np.bool_)
        found[at] = self._same(a[at], 0, b[at], 0) | self._same(a[at], 0, b[at], 1) | self._same(a[at], 1, b[at], 0)
        return found

    def _same(self, a: Ints, view: int, b: Ints, other: int) -> Flags:
        """Whether `grey[a, view]` and `grey[b, other]` agree once their means and contrasts are made equal."""
        one, two = self.grey[a, view].astype(np.float32), self.grey[b, other].astype(np.float32)
        mean, mean2 = one.mean(axis=1), two.mean(axis=1)
        spread, spread2 = self.contrast[a, view], self.contrast[b, other]
        both = np.maximum(spread * spread2, 1e-6)
        correlation = (np.einsum("pg,pg->p", one, two) / GREYS - mean * mean2) / both
        relative = np.sqrt(np.maximum(2 - 2 * correlation, 0))
        gain = np.abs(np.log(np.maximum(spread, 1e-3) / np.maximum(spread2, 1e-3)))
        fits = (relative <= RELATIVE) & (relative * np.sqrt(both) <= RESIDUE)
        return np.asarray(fits & (gain <= GAIN) & (np.abs(mean - mean2) <= SHIFT))
