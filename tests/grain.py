"""Photos' noise that is the same in every run, which Pillow's `effect_noise` is not: a test that fails once must fail again."""

from __future__ import annotations

import numpy as np
from PIL import Image


def grain(size: tuple[int, int], spread: float, seed: object) -> Image.Image:
    """A grey picture of normal noise around 128, of (width, height); another one for each seed, told by its repr."""
    rng = np.random.default_rng(list(repr(seed).encode()))
    return Image.fromarray(rng.normal(128, spread, size[::-1]).clip(0, 255).astype(np.uint8), "L")
