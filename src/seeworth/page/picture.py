"""A photo as a page shows it: small, and without a word that its file held. Knows nothing of files."""

from __future__ import annotations

import base64
import io

from PIL import Image


def thumbnail(image: Image.Image, side: int = 160) -> bytes:
    """A picture as a small JPEG, its longer side at most `side` pixels; its pixels alone: no comment, profile or other metadata."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    clean = Image.new("RGB", small.size)  # Pillow would write a comment that `info` holds
    clean.paste(small)
    buffer = io.BytesIO()
    clean.save(buffer, "JPEG", quality=75, optimize=True)
    return buffer.getvalue()


def data_uri(jpeg: bytes) -> str:
    """JPEG bytes as an `<img src>` that needs no file."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
