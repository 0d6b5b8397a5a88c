"""The header of a JPEG file: its frame, and its first picture alone. Knows nothing of how it is decoded."""

from __future__ import annotations

import re
import struct

from ...errors import PhotoError
from .exif import read_exif, turns
from .header import MAX_PARTS, Header, check_size, count_parts

_MAX_SCANS = 1_000_000_000  # scans times pixels: a progressive JPEG is gone over once a scan, and ten are usual
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # not a quoted 255, a restart or padding
_SOS, _EOI = 0xDA, 0xD9
_OTHER_APPS = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # EXIF, XMP, profiles, further pictures, comments
_RARE = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # lossless, hierarchical, arithmetic
_FRAMES = {0xC0, 0xC1, 0xC2} | _RARE


def read_jpeg(data: bytes) -> Header:
    """The first picture of a JPEG file, without its APP1 to 13, APP15 and comments. (APP14 tells its colours.)"""
    kept, apps = [b"\xff\xd8"], []
    shape, scans, parts, position = (0, 0, 0, 0), 0, 0, 2
    while (found := _MARKER.search(data, position)) and data[found.end() - 1] != _EOI:
        kind, start = data[found.end() - 1], found.start()
        position = start + 2 + struct.unpack_from(">H", data, start + 2)[0]
        parts += 1
        count_parts(parts, MAX_PARTS, "segments")
        if kind in _OTHER_APPS:
            apps.append(data[start + 4 : position])
            continue
        if kind in _FRAMES:
            shape = _jpeg_shape(kind, struct.unpack_from(">BHHB", data, start + 4), shape)
        if kind == _SOS:
            if (len(data) - position) * 8 < shape[1] * shape[2] // 64:  # each block of 8 x 8 takes a bit at the very least
                raise PhotoError("damaged", f"a JPEG that says {shape[2]} x {shape[1]} pixels and holds {len(data)} bytes")
            if shape[0] < 0xC2 and data[start + 4] == shape[3]:  # the whole picture in one scan, whose end the decoder knows
                kept.append(data[start:])
                break
            scans += 1
            if scans > 1 and scans * shape[1] * shape[2] > _MAX_SCANS:
                raise PhotoError(
                    "too_large", f"a JPEG of {shape[2]} x {shape[1]} pixels in {scans} scans or more: save it as a baseline JPEG"
                )
            following = _MARKER.search(data, position)
            position = following.start() if following else len(data)
        kept.append(data[start:position])
    else:
        kept.append(data[found.start() : found.end()] if found else b"")
    exifs = [body for body in apps if body.startswith(b"Exif\0")]
    orientation, sound = read_exif(exifs[0]) if exifs else (1, True)
    clean = sound and len(exifs) < 2 and not any(map(turns, apps))
    return Header("JPEG", b"".join(kept), orientation, clean)


def _jpeg_shape(kind: int, frame: tuple[int, int, int, int], before: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(kind, height, width, components) as a frame header tells them."""
    bits, height, width, components = frame
    if kind in _RARE or bits != 8:
        raise PhotoError("unsupported", f"a JPEG of a rare kind (frame {kind:02X}, {bits} bits): save it as a baseline JPEG")
    if any(before):
        raise PhotoError("damaged", "a JPEG with two frame headers")
    check_size("JPEG" if components < 4 else "CMYK JPEG", width, height)
    return kind, height, width, components
