"""The photos of an answered record as one small picture to look at. Knows nothing of trackers."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ..data.photo.decode import open_photo
from .listener import Row


def picture(data: Path, row: Row, side: int) -> Image.Image | None:
    """RGB, its photos from left to right, each at most `side` pixels wide and high; None for a record of words alone.

    `data` is the dataset folder that the row's paths start from. Raises PhotoError when a photo cannot be opened.
    """
    photos = [open_photo(data / name) for name in (row["photo"], *row.get("photos", ())) if name is not None]
    for photo in photos:
        photo.thumbnail((side, side))
    if len(photos) < 2:
        return photos[0] if photos else None
    whole = Image.new("RGB", (sum(photo.width for photo in photos), max(photo.height for photo in photos)), "white")
    left = 0
    for photo in photos:
        whole.paste(photo, (left, 0))
        left += photo.width
    return whole
