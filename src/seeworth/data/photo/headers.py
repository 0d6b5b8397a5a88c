"""What a photo file says of itself, read before any decoder is started: its format, its size, which way up it is.

A decoder is given the picture alone. Comments, colour profiles, EXIF, XMP, thumbnails and further pictures are taken out
here, so that no library ever parses them, and a file whose parts are too many to be a photo's is refused. Everything is
linear in the bytes and counts its steps. Here the format is told; `jpeg`, `png`, `tiff` and `others` read it. Knows nothing of
pixels: `decode` decodes, `pixels` converts.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from ...errors import PhotoError
from .header import FORMATS, Header
from .jpeg import read_jpeg
from .others import read_avif, read_bmp, read_gif, read_webp
from .png import SIGNATURE, read_png
from .tiff import read_tiff

_READERS: dict[str, tuple[re.Pattern[bytes], Callable[[bytes], Header]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), read_jpeg),
    "PNG": (re.compile(re.escape(SIGNATURE)), read_png),
    "WEBP": (re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL), read_webp),
    "AVIF": (re.compile(rb".{4}ftyp(avi[fs]|(mif1|msf1).{0,64}avi[fs])", re.DOTALL), read_avif),
    "BMP": (re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), read_bmp),
    "TIFF": (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), read_tiff),
    "GIF": (re.compile(rb"GIF8[79]a"), read_gif),
}


def read_header(data: bytes) -> Header:
    """Tell a photo's format by its first bytes and take out all but the picture.

    Raises PhotoError with code not_a_photo, damaged, unsupported (an encoding that photos do not have) or too_large.
    """
    for form, (magic, read) in _READERS.items():
        if magic.match(data):
            try:
                return read(data)
            except (struct.error, IndexError, KeyError) as problem:
                raise PhotoError("damaged", f"the {form} file is damaged or cut short") from problem
    raise PhotoError("not_a_photo", f"expected {', '.join(FORMATS)}, found {looks_like(data)}")


def looks_like(data: bytes) -> str:
    """What a file that is no photo seems to be, in words."""
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")) or b"<html" in start:
        return "a web page"
    if start.startswith((b"<?xml", b"<svg")):
        return "XML or SVG"
    if data.startswith(b"%PDF"):
        return "a PDF"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return "a HEIC photo: save it as JPEG"
    if data[:4] in (b"PK\x03\x04", b"Rar!") or data[:3] == b"\x1f\x8b\x08":
        return "an archive"
    return f"{len(data)} bytes of something else"
