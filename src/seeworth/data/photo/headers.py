"""What a photo file says of itself, read before any decoder is started: its format, its size, which way up it is.

A decoder is given the picture alone. Comments, colour profiles, EXIF, XMP, thumbnails and further pictures are taken out
here, so that no library ever parses them, and a file whose parts are too many to be a photo's is refused. Everything is
linear in the bytes and counts its steps. Knows nothing of pixels: `photo` decodes, `pixels` converts.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...errors import PhotoError
from .avif import stream_sizes

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
MAX_PIXELS = 50_000_000  # of a JPEG; 200 MB once decoded, a pixel takes four bytes
MAX_SIDE = 65_535  # pixels; the most a JPEG can say
_MOST = {"JPEG": MAX_PIXELS, "WEBP": 2**24, "AVIF": 2**24}  # pixels: what decodes within two seconds at its worst
_MOST_OTHERS = 25_000_000
_MAX_AVIF = 8 * 2**20  # bytes; of noise, seven million take a second
_RUN_LENGTH = (4_000_000, 2**20)  # pixels and bytes of a run-length BMP: Pillow reads it byte by byte, in Python
_MAX_PARTS = 4096  # segments, chunks, tags or blocks before the picture
_MAX_CHUNKS = 65_536  # of a PNG, which may give each row its own
_MAX_SCANS = 1_000_000_000  # scans times pixels: a progressive JPEG is gone over once a scan, and ten are usual
_MAX_UNPACKED = 2**20  # bytes of a compressed text or profile; other programs give up on more


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


def check_size(form: str, width: int, height: int) -> None:
    """Raises PhotoError, code too_large, for a picture that takes too much time and memory to decode."""
    most = _MOST.get(form, _MOST_OTHERS)
    if width * height > most:
        raise PhotoError("too_large", f"{width} x {height} pixels, expected at most {most // 10**6} million of a {form}")
    if max(width, height) > MAX_SIDE:
        raise PhotoError("too_large", f"{width} x {height} pixels, expected at most {MAX_SIDE} on a side")


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


# --- JPEG

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # not a quoted 255, a restart or padding
_SOS, _EOI = 0xDA, 0xD9
_OTHER_APPS = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # EXIF, XMP, profiles, further pictures, comments
_RARE = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # lossless, hierarchical, arithmetic
_FRAMES = {0xC0, 0xC1, 0xC2} | _RARE


def _jpeg(data: bytes) -> Header:
    """The first picture of a JPEG file, without its APP1 to 13, APP15 and comments. (APP14 tells its colours.)"""
    kept, apps = [b"\xff\xd8"], []
    shape, scans, parts, position = (0, 0, 0, 0), 0, 0, 2
    while (found := _MARKER.search(data, position)) and data[found.end() - 1] != _EOI:
        kind, start = data[found.end() - 1], found.start()
        position = start + 2 + struct.unpack_from(">H", data, start + 2)[0]
        parts += 1
        _count(parts, _MAX_PARTS, "segments")
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
    clean = sound and len(exifs) < 2 and not any(map(_turns, apps))
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


# --- PNG

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a colour type


def _png(data: bytes) -> Header:
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
            clean = clean and not text.startswith(b"Raw profile type") and not _turns(text)
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
    slim = b"".join((_SIGNATURE, *(_chunk(*one) for one in picture), _chunk(b"IDAT", b"".join(pixels)), _chunk(b"IEND", b"")))
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
    position, parts = len(_SIGNATURE), 0
    view = memoryview(data)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        _count(parts := parts + 1, _MAX_CHUNKS, "chunks")
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


# --- WebP, AVIF, BMP, GIF


def _webp(data: bytes) -> Header:
    """Its canvas is measured here: Pillow allocates it when it opens the file."""
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        check_size("WEBP", width, height)
        if data[20] & 2:  # an animation: what its first frame leaves free is transparent
            data = data[:20] + bytes([data[20] | 16]) + data[21:]
    orientation, position, parts = 1, 12, 0
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        _count(parts := parts + 1, _MAX_PARTS, "chunks")
        if kind == b"EXIF":
            orientation, _ = read_exif(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return Header("WEBP", data, orientation)


def _avif(data: bytes) -> Header:
    """Its EXIF item is renamed, so that none is read; by the standard, irot and imir alone turn the picture.

    A sequence is called a still picture: then its first picture alone is decoded.
    """
    if len(data) > _MAX_AVIF:
        raise PhotoError("too_heavy", f"an AVIF of {len(data) / 2**20:.0f} MB, expected at most {_MAX_AVIF // 2**20}: save it as JPEG")
    for found in re.finditer(rb"ispe\0{4}(.{4})(.{4})", data, re.DOTALL):
        check_size("AVIF", *(int.from_bytes(part, "big") for part in found.groups()))
    sizes = stream_sizes(data)
    check_size("AVIF", max(width for width, _ in sizes), max(height for _, height in sizes))
    if sum(width * height for width, height in sizes) > 3 * _MOST["AVIF"]:
        raise PhotoError("too_large", f"an AVIF of {len(sizes)} pictures, together over {3 * _MOST['AVIF'] // 10**6} million pixels")
    data = re.sub(rb"(infe[\x02\x03].{7,9})Exif", rb"\1none", data, flags=re.DOTALL)
    return Header("AVIF", data[:8] + b"avif" + data[12:])


def _bmp(data: bytes) -> Header:
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


def _gif(data: bytes) -> Header:
    """A GIF without what stands before its first picture, other than the last word on how that is shown."""
    flags = data[10]
    position = start = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    shown, parts = b"", 0
    while data[position] == 0x21:
        kind, begin = data[position + 1], position
        position += 2
        while length := data[position]:
            position += 1 + length
            _count(parts := parts + 1, _MAX_PARTS * 16, "blocks before its picture")
        position += 1
        _count(parts := parts + 1, _MAX_PARTS * 16, "blocks before its picture")
        shown = data[begin:position] if kind == 0xF9 else shown
    if data[position] != 0x2C:
        raise PhotoError("damaged", "a GIF without a picture")
    return Header("GIF", data[:start] + shown + data[position:])


# --- TIFF

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
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


def _tiff(data: bytes) -> Header:
    """A TIFF with the tags of its first picture alone; the directory is written anew over the old one, others are cut off."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2 if order == ">" else 3 : 4].strip(b"\0") == b"\x2b" or 43 in data[2:4]
    at, entry, count, tail = (
        (struct.unpack_from(order + "Q", data, 8)[0], "HHQ8s", "Q", "Q")
        if big
        else (struct.unpack_from(order + "I", data, 4)[0], "HHI4s", "H", "I")
    )
    number = struct.unpack_from(order + count, data, at)[0]
    _count(number, _MAX_PARTS, "tags")
    size, begin = struct.calcsize(order + entry), at + struct.calcsize(order + count)
    tags: dict[int, tuple[int, int, bytes]] = {}
    for place in range(begin, begin + size * number, size):
        tag, kind, many, value = struct.unpack_from(order + entry, data, place)
        tags.setdefault(tag, (kind, many, value))
    picture = {tag: tags[tag] for tag in sorted(tags) if tag in _PICTURE_TAGS}
    if sum(_SIZES.get(kind, 0) * many for kind, many, _ in picture.values()) > len(data):
        raise PhotoError("damaged", "a TIFF whose tags are larger than the file")

    def first(tag: int, default: int) -> int:
        kind, many, value = tags.get(tag, (3, 0, b""))
        width = _SIZES.get(kind, 1)
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
    _count(strips, 65_536, "strips")
    if compression == 7:
        _count(data.count(b"\xff\xda"), 20 * max(strips, 1), "JPEG scans")


# --- EXIF and XMP


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
    for place in range(start + 2, start + 2 + 12 * min(number, room, _MAX_PARTS), 12):
        tag, kind, many = struct.unpack_from(order + "HHI", exif, place)
        size += _SIZES.get(kind, 0) * many
        if tag == 0x0112 and kind == 3 and many == 1:
            orientation = struct.unpack_from(order + "H", exif, place + 8)[0]
    return orientation if 1 <= orientation <= 8 else 1, number <= min(room, _MAX_PARTS) and size <= 2 * len(exif)


def _turns(metadata: bytes) -> bool:
    """Whether XMP says that the picture lies on its side: some programs believe it, most do not, and neither do we."""
    return b"tiff:Orientation" in metadata and not re.search(rb'tiff:Orientation(="|>)1\b', metadata)


def _count(found: int, most: int, what: str) -> None:
    if found > most:
        raise PhotoError("damaged", f"over {most} {what}: no photo has so many")


_READERS: dict[str, tuple[re.Pattern[bytes], Callable[[bytes], Header]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), _jpeg),
    "PNG": (re.compile(re.escape(_SIGNATURE)), _png),
    "WEBP": (re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL), _webp),
    "AVIF": (re.compile(rb".{4}ftyp(avi[fs]|(mif1|msf1).{0,64}avi[fs])", re.DOTALL), _avif),
    "BMP": (re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), _bmp),
    "TIFF": (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), _tiff),
    "GIF": (re.compile(rb"GIF8[79]a"), _gif),
}
