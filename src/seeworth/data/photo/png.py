"""The header of a PNG file: its picture alone, and whether that is whole. Knows nothing of how it is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from ...errors import PhotoError
from .exif import read_exif, turns
from .header import Header, check_size, count_parts

_MAX_CHUNKS = 65_536  # of a PNG, which may give each row its own
_MAX_UNPACKED = 2**20  # bytes of a compressed text or profile; other programs give up on more
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a colour type


def read_png(data: bytes) -> Header:
    """A PNG's picture: IHDR, PLTE, tRNS, its IDATs as one, IEND. Of an animated PNG, the picture that is no animation."""
    first: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    clean, unpacked = data.endswith(b"\0\0\0\0IEND\xaeB`\x82"), 0
    for kind, body, sound in _png_chunks(data):
        if not sound and kind[:1].isupper():
            raise PhotoError("damaged", f"the PNG is damaged or cut short: the checksum of a {kind.decode('latin-1')} chunk is wrong")
        if kind == b"IDAT":
            pixels.append(body)
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf"):
            first.setdefault(kind, bytes(body))
        elif kind in (b"zTXt", b"iCCP", b"iTXt", b"tEXt"):
            text = bytes(body)
            unpacked += _unpacked(text) if unpacked <= _MAX_UNPACKED else 0
            clean = clean and not text.startswith(b"Raw profile type") and not turns(text)
        clean = clean and sound and kind != b"acTL" and unpacked <= _MAX_UNPACKED
    width, height, depth, colour = struct.unpack_from(">IIBB", first[b"IHDR"])
    check_size("PNG", width, height)
    if colour == 3 and b"PLTE" not in first:
        raise PhotoError("damaged", "a PNG of palette colours without a palette")
    _need_rows(pixels, _png_rows(width, height, depth * _CHANNELS.get(colour, 1), first[b"IHDR"][12]))
    orientation, sound = read_exif(first[b"eXIf"]) if b"eXIf" in first else (1, True)
    clear = first.get(b"tRNS", b"") if depth == 16 else b""
    paired = (depth, colour) == (16, 4)
    if paired:
        first[b"IHDR"] = first[b"IHDR"][:8] + b"\x08\x06" + first[b"IHDR"][10:]
    if depth == 16:
        first.pop(b"tRNS", None)
    picture = [(kind, first[kind]) for kind in (b"IHDR", b"PLTE", b"tRNS") if kind in first]
    slim = b"".join((SIGNATURE, *(_chunk(*one) for one in picture), _chunk(b"IDAT", b"".join(pixels)), _chunk(b"IEND", b"")))
    samples = struct.unpack(f">{len(clear) // 2}H", clear[: len(clear) // 2 * 2])
    return Header("PNG", slim, orientation, clean and sound and depth <= 8, 16 if depth == 16 else 8, samples, paired)


def _png_rows(width: int, height: int, bits: int, interlaced: int) -> int:
    """Bytes that all rows of a PNG take, with the filter byte before each; an interlaced one is seven smaller pictures."""
    passes = (
        ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        if interlaced
        else ((0, 0, 1, 1),)
    )
    sides = [((width - x + dx - 1) // dx, (height - y + dy - 1) // dy) for x, y, dx, dy in passes]
    return sum(high * (1 + (wide * bits + 7) // 8) for wide, high in sides if wide > 0 and high > 0)


def _need_rows(pixels: list[memoryview], needed: int) -> None:
    """Pillow takes rows that are missing for black ones, other programs give up."""
    stream = zlib.decompressobj()
    found = 0
    for part in pixels:
        rest: bytes | memoryview = part
        while rest and found < needed:
            try:
                found += len(stream.decompress(rest, 2**18))
            except zlib.error as problem:
                raise PhotoError("damaged", f"the PNG is damaged: {problem}") from problem
            rest = stream.unconsumed_tail
    if found < needed:
        raise PhotoError("damaged", f"the PNG is cut short: its picture takes {needed} bytes, found {found}")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bool]]:
    """(kind, body, whether its checksum is right) of each chunk up to IEND; a last one that is cut short ends them."""
    position, parts = len(SIGNATURE), 0
    view = memoryview(data)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        count_parts(parts := parts + 1, _MAX_CHUNKS, "chunks")
        yield kind, view[position + 8 : end], view[end : end + 4] == struct.pack(">I", zlib.crc32(view[position + 4 : end]))
        if kind == b"IEND" or end + 4 > len(data):
            return
        position = end + 4


def _unpacked(body: bytes) -> int:
    """Bytes that a zTXt, iCCP or iTXt chunk unpacks to, looked at no further than what is too many."""
    where = body.find(b"\x78", body.find(b"\0"))  # the first byte of a zlib stream
    try:
        return len(zlib.decompressobj().decompress(body[where:], _MAX_UNPACKED + 1)) if where >= 0 else len(body)
    except zlib.error:
        return len(body)
