"""The headers of WebP, AVIF, BMP and GIF files. Knows nothing of how they are decoded."""

from __future__ import annotations

import re
import struct

from ...errors import PhotoError
from .avif import stream_sizes
from .exif import read_exif
from .header import MAX_PARTS, MOST, Header, check_size, count_parts

_MAX_AVIF = 8 * 2**20  # bytes; of noise, seven million take a second
_RUN_LENGTH = (4_000_000, 2**20)  # pixels and bytes of a run-length BMP: Pillow reads it byte by byte, in Python


def read_webp(data: bytes) -> Header:
    """Its canvas is measured here: Pillow allocates it when it opens the file."""
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        check_size("WEBP", width, height)
        if data[20] & 2:  # an animation: what its first frame leaves free is transparent
            data = data[:20] + bytes([data[20] | 16]) + data[21:]
    orientation, position, parts = 1, 12, 0
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        count_parts(parts := parts + 1, MAX_PARTS, "chunks")
        if kind == b"EXIF":
            orientation, _ = read_exif(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return Header("WEBP", data, orientation)


def read_avif(data: bytes) -> Header:
    """Its EXIF item is renamed, so that none is read; by the standard, irot and imir alone turn the picture.

    A sequence is called a still picture: then its first picture alone is decoded.
    """
    if len(data) > _MAX_AVIF:
        raise PhotoError("too_heavy", f"an AVIF of {len(data) / 2**20:.0f} MB, expected at most {_MAX_AVIF // 2**20}: save it as JPEG")
    for found in re.finditer(rb"ispe\0{4}(.{4})(.{4})", data, re.DOTALL):
        check_size("AVIF", *(int.from_bytes(part, "big") for part in found.groups()))
    sizes = stream_sizes(data)
    check_size("AVIF", max(width for width, _ in sizes), max(height for _, height in sizes))
    if sum(width * height for width, height in sizes) > 3 * MOST["AVIF"]:
        raise PhotoError("too_large", f"an AVIF of {len(sizes)} pictures, together over {3 * MOST['AVIF'] // 10**6} million pixels")
    data = re.sub(rb"(infe[\x02\x03].{7,9})Exif", rb"\1none", data, flags=re.DOTALL)
    return Header("AVIF", data[:8] + b"avif" + data[12:])


def read_bmp(data: bytes) -> Header:
    size, width, height = struct.unpack_from("<Iii", data, 14)
    if (
        size >= 40
        and struct.unpack_from("<I", data, 30)[0] in (1, 2)
        and (abs(width * height) > _RUN_LENGTH[0] or len(data) > _RUN_LENGTH[1])
    ):
        raise PhotoError(
            "too_large", f"a run-length BMP of {width} x {abs(height)} pixels, expected at most 4 million and 1 MB: save it as PNG"
        )
    return Header("BMP", data)


def read_gif(data: bytes) -> Header:
    """A GIF without what stands before its first picture, other than the last word on how that is shown."""
    flags = data[10]
    position = start = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    shown, parts = b"", 0
    while data[position] == 0x21:
        kind, begin = data[position + 1], position
        position += 2
        while length := data[position]:
            position += 1 + length
            count_parts(parts := parts + 1, MAX_PARTS * 16, "blocks before its picture")
        position += 1
        count_parts(parts := parts + 1, MAX_PARTS * 16, "blocks before its picture")
        shown = data[begin:position] if kind == 0xF9 else shown
    if data[position] != 0x2C:
        raise PhotoError("damaged", "a GIF without a picture")
    return Header("GIF", data[:start] + shown + data[position:])
