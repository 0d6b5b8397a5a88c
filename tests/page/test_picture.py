"""A thumbnail is small and says nothing that its photo's file said."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from seeworth.page.picture import data_uri, thumbnail


def test_a_thumbnail_holds_pixels_and_nothing_else() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    buffer = io.BytesIO()
    Image.new("RGB", (400, 300), (200, 30, 30)).save(buffer, "JPEG", comment=b"where I live", icc_profile=b"profile" * 9, exif=exif)
    photo = Image.open(buffer)  # and not open_photo, which forgets these already
    small = thumbnail(photo)
    for word in (b"where I live", b"profile", b"Camera", b"Exif"):
        assert word in buffer.getvalue()
        assert word not in small
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, image.size) == ("JPEG", (160, 120))
        assert np.abs(np.asarray(image).astype(int) - (200, 30, 30)).max() <= 4  # measured: 1
    assert photo.size == (400, 300), "the photo itself stays as it is"
    assert base64.b64decode(data_uri(small).partition(",")[2]) == small


def test_a_small_picture_is_not_enlarged() -> None:
    with Image.open(io.BytesIO(thumbnail(Image.new("L", (40, 90))))) as image:
        assert (image.mode, image.size) == ("RGB", (40, 90))
