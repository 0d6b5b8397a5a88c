"""What every reader of a photo file's header shares: the header, and the limits that it is held against.

Knows nothing of any format.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import PhotoError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
MAX_PIXELS = 50_000_000  # of a JPEG; 200 MB once decoded, a pixel takes four bytes
MAX_SIDE = 65_535  # pixels; the most a JPEG can say
MAX_PARTS = 4096  # segments, chunks, tags or blocks before the picture
MOST = {"JPEG": MAX_PIXELS, "WEBP": 2**24, "AVIF": 2**24}  # pixels: what decodes within two seconds at its worst
_MOST_OTHERS = 25_000_000


@dataclass(frozen=True)
class Header:
    """A photo file before it is decoded.

    Attributes:
        format: one of FORMATS.
        data: the file with the picture alone in it, as the decoder takes it.
        orientation: EXIF, 1 to 8.
        clean: every program shows the file as we do, and is not hurt by what stands round its picture.
        bits: of a sample; 16 or 8, and 8 when fewer.
        clear: of a PNG with 16 bits, the samples that are transparent (its tRNS chunk).
        paired: of a PNG that is grey and alpha of 16 bits each; `data` calls it RGBA of 8 bits, whose bytes are laid alike.
    """

    format: str
    data: bytes
    orientation: int = 1
    clean: bool = True
    bits: int = 8
    clear: tuple[int, ...] = ()
    paired: bool = False


def check_size(form: str, width: int, height: int) -> None:
    """Raises PhotoError, code too_large, for a picture that takes too much time and memory to decode."""
    most = MOST.get(form, _MOST_OTHERS)
    if width * height > most:
        raise PhotoError("too_large", f"{width} x {height} pixels, expected at most {most // 10**6} million of a {form}")
    if max(width, height) > MAX_SIDE:
        raise PhotoError("too_large", f"{width} x {height} pixels, expected at most {MAX_SIDE} on a side")


def count_parts(found: int, most: int, what: str) -> None:
    if found > most:
        raise PhotoError("damaged", f"over {most} {what}: no photo has so many")
