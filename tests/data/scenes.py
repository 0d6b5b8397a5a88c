"""Product-like pictures for the tests of near-identical photos."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw


def scene(seed: int, size: tuple[int, int] = (300, 240)) -> Image.Image:
    """A product-like picture of its own for each seed: a coloured shape with details on a light ground."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (300, 240), tuple(int(level) for level in rng.integers(200, 256, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = rng.integers(20, 220), rng.integers(15, 170)
        w, h = rng.integers(15, 90, 2)
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)((x, y, x + w, y + h), fill=colour)
    return image.resize(size, Image.Resampling.LANCZOS)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
