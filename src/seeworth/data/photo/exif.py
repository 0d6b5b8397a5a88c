"""EXIF and XMP: which way up a photo is. Knows nothing of the files that hold them."""

from __future__ import annotations

import re
import struct

from .header import MAX_PARTS

# bytes of a value, by its kind in TIFF and EXIF
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def read_exif(exif: bytes) -> tuple[int, bool]:
    """The orientation in an EXIF block, 1 to 8, and whether the block is sound; (1, False) when it cannot be read."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if not order or len(exif) < 10:
        return 1, not exif
    start = struct.unpack_from(order + "I", exif, 4)[0]
    if start + 2 > len(exif):
        return 1, False
    number = struct.unpack_from(order + "H", exif, start)[0]
    room = (len(exif) - start - 2) // 12
    size = 0
    orientation = 1
    for place in range(start + 2, start + 2 + 12 * min(number, room, MAX_PARTS), 12):
        tag, kind, many = struct.unpack_from(order + "HHI", exif, place)
        size += SIZES.get(kind, 0) * many
        if tag == 0x0112 and kind == 3 and many == 1:
            orientation = struct.unpack_from(order + "H", exif, place + 8)[0]
    return orientation if 1 <= orientation <= 8 else 1, number <= min(room, MAX_PARTS) and size <= 2 * len(exif)


def turns(metadata: bytes) -> bool:
    """Whether XMP says that the picture lies on its side: some programs believe it, most do not, and neither do we."""
    return b"tiff:Orientation" in metadata and not re.search(rb'tiff:Orientation(="|>)1\b', metadata)
