"""The header of a TIFF file: the tags of its first picture alone. Knows nothing of how it is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ...errors import PhotoError
from .exif import SIZES
from .header import MAX_PARTS, Header, check_size, count_parts

_PICTURE_TAGS = {
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    277,
    278,
    279,
    284,
    292,
    293,
    317,
    320,
    322,
    323,
    324,
    325,
    338,
    339,
    347,
    529,
    530,
    531,
    532,
}
_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}  # none, fax, LZW, JPEG, deflate, PackBits; no lzma, zstd, webp, SGI


def read_tiff(data: bytes) -> Header:
    """A TIFF with the tags of its first picture alone; the directory is written anew over the old one, others are cut off."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2 if order == ">" else 3 : 4].strip(b"\0") == b"\x2b" or 43 in data[2:4]
    at, entry, count, tail = (
        (struct.unpack_from(order + "Q", data, 8)[0], "HHQ8s", "Q", "Q")
        if big
        else (struct.unpack_from(order + "I", data, 4)[0], "HHI4s", "H", "I")
    )
    number = struct.unpack_from(order + count, data, at)[0]
    count_parts(number, MAX_PARTS, "tags")
    size, begin = struct.calcsize(order + entry), at + struct.calcsize(order + count)
    tags: dict[int, tuple[int, int, bytes]] = {}
    for place in range(begin, begin + size * number, size):
        tag, kind, many, value = struct.unpack_from(order + entry, data, place)
        tags.setdefault(tag, (kind, many, value))
    picture = {tag: tags[tag] for tag in sorted(tags) if tag in _PICTURE_TAGS}
    if sum(SIZES.get(kind, 0) * many for kind, many, _ in picture.values()) > len(data):
        raise PhotoError("damaged", "a TIFF whose tags are larger than the file")

    def first(tag: int, default: int) -> int:
        kind, many, value = tags.get(tag, (3, 0, b""))
        width = SIZES.get(kind, 1)
        if many * width > len(value) and many:  # the values stand elsewhere
            elsewhere = int.from_bytes(value, "little" if order == "<" else "big")
            value = data[elsewhere : elsewhere + width]
        return int.from_bytes(value[:width], "little" if order == "<" else "big") if many else default

    _check_tiff(first, max(picture.get(tag, (0, 0, b""))[1] for tag in (273, 324)), data)
    body = b"".join(struct.pack(order + entry, tag, *values) for tag, values in picture.items())
    slim = bytearray(data)
    directory = struct.pack(order + count, len(picture)) + body + bytes(struct.calcsize(tail))
    slim[at : at + len(directory)] = directory
    return Header("TIFF", bytes(slim), first(274, 1), bits=16 if first(258, 1) == 16 else 8)


def _check_tiff(first: Callable[[int, int], int], strips: int, data: bytes) -> None:
    compression, bits, photometric = first(259, 1), first(258, 1), first(262, 0)
    if compression not in _COMPRESSIONS:
        raise PhotoError("unsupported", f"a TIFF with compression {compression}: save it with LZW or without")
    if bits not in (1, 2, 4, 8, 16, 32, 64) or (bits, photometric) == (16, 0):
        raise PhotoError("unsupported", f"a TIFF of {bits} bits in an unusual form: save it with 8 or 16 bits a channel")
    check_size("TIFF", first(256, 0), first(257, 0))
    check_size("TIFF", first(322, 0), first(323, 0))
    count_parts(strips, 65_536, "strips")
    if compression == 7:
        count_parts(data.count(b"\xff\xda"), 20 * max(strips, 1), "JPEG scans")
