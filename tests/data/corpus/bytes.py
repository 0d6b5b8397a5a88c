"""Image files written by hand, so that each of their parts can lie."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def scene(width: int = 48, height: int = 32) -> Image.Image:
    """Four quarters of different colours, so that every turn and flip shows."""
    image = Image.new("RGB", (width, height), (200, 30, 30))
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height // 2 - 1), fill=(30, 200, 30))
    draw.rectangle((0, height // 2, width // 2 - 1, height), fill=(30, 30, 200))
    draw.rectangle((width // 2, height // 2, width, height), fill=(240, 240, 60))
    return image


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(side: int = 64, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8))


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)


def png(
    width: int = 16,
    height: int = 16,
    depth: int = 8,
    colour: int = 2,
    rows: bytes | None = None,
    extra: Iterable[bytes] = (),
    interlace: int = 0,
) -> bytes:
    """A PNG of raw rows (each with its filter byte); mid-grey when None. `extra` chunks go before its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    stride = (width * channels * depth + 7) // 8
    body = rows if rows is not None else (b"\0" + b"\x80" * stride) * height
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return SIGNATURE + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def sixteen_png(samples: np.ndarray, **options: Any) -> bytes:
    """uint16[row, column, channel] as a PNG of 16 bits a sample."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows, **options)


def exif(orientation: int | None, order: str = "<", entries: Iterable[tuple[int, int, int, int]] = ()) -> bytes:
    """An EXIF block (without the "Exif" words) with an orientation and any other (tag, type, count, value)."""
    tags = sorted([*([(0x112, 3, 1, orientation)] if orientation is not None else []), *entries])
    body = b""
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        body += struct.pack(order + ("HHIHH" if short else "HHII"), tag, kind, count, value, *([0] if short else []))
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "IH", 8, len(tags)) + body + b"\0\0\0\0"


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_with(data: bytes, *segments: bytes) -> bytes:
    """Segments put right behind a JPEG's start."""
    return data[:2] + b"".join(segments) + data[2:]


def jpeg_sized(data: bytes, width: int, height: int) -> bytes:
    """The same JPEG whose frame header claims another size."""
    at = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC2))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def progressive_scans(data: bytes, times: int) -> bytes:
    """A progressive JPEG whose last scan stands many times."""
    at = data.rfind(b"\xff\xda")
    return data[:at] + (data[at:-2]) * times + data[-2:]


def tiff(entries: Iterable[tuple[int, int, int, int]], tail: bytes = b"", order: str = "<", following: int = 0) -> bytes:
    """A TIFF of one directory of (tag, type, count, value), with `tail` behind it."""
    entries = list(entries)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    body = b"".join(
        struct.pack(
            order + ("HHIHH" if (kind, count) == (3, 1) else "HHII"), tag, kind, count, value, *([0] if (kind, count) == (3, 1) else [])
        )
        for tag, kind, count, value in entries
    )
    return magic + struct.pack(order + "IH", 8, len(entries)) + body + struct.pack(order + "I", following) + tail


def grey_tiff(width: int = 16, height: int = 16, **changes: tuple[int, int, int]) -> bytes:
    """A plain grey TIFF; `t259=(kind, count, value)` changes or adds a tag."""
    tags = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 400)}
    tags |= {277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, min(width * height, 2**31))}
    tags |= {int(name[1:]): values for name, values in changes.items()}
    data = tiff((tag, *tags[tag]) for tag in sorted(tags))
    return data.ljust(400, b"\0") + b"\x60" * min(width * height, 10_000)


def gif(
    canvas: tuple[int, int],
    box: tuple[int, int, int, int],
    extensions: bytes = b"",
    clear: int | None = None,
    pixel: int = 1,
    code_size: int = 2,
) -> bytes:
    """A GIF of two colours, black and red, whose only frame fills `box` (left, top, width, height) with one of them."""
    left, top, width, height = box
    control = b"" if clear is None else b"!\xf9\x04\x01\0\0" + bytes([clear]) + b"\0"
    codes = _gif_codes(pixel, width * height)
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + b"\0\0\0\xff\0\0"
    return head + extensions + control + b"," + struct.pack("<HHHHB", left, top, width, height, 0) + bytes([code_size]) + codes + b";"


def _gif_codes(pixel: int, count: int) -> bytes:
    """LZW without compression: a clear code before every second pixel keeps all codes 3 bits wide."""
    bits = ""
    for number in range(min(count, 20_000)):
        if number % 2 == 0:
            bits = "100" + bits
        bits = f"{pixel:03b}" + bits
    bits = "101" + bits
    raw = int(bits, 2).to_bytes((len(bits) + 7) // 8, "little")
    return b"".join(bytes([len(part)]) + part for part in (raw[i : i + 255] for i in range(0, len(raw), 255))) + b"\0"


def bmp_rle(width: int, height: int, codes: bytes, compression: int = 1) -> bytes:
    palette = b"".join(bytes([i, i, i, 0]) for i in range(256 if compression == 1 else 16))
    bits = 8 if compression == 1 else 4
    start = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(codes), 0, 0, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", start + len(codes), 0, 0, start) + info + palette + codes


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def canvas_webp(width: int, height: int, frame: Image.Image, flags: int = 2) -> bytes:
    """An animated WebP whose canvas claims a size, with one small frame in its corner."""
    stream = encoded(frame, "WEBP", lossless=True)[12:]
    anmf = struct.pack("<I", 0)[:3] * 2 + b"".join((side - 1).to_bytes(3, "little") for side in frame.size) + b"\x64\0\0\0" + stream
    vp8x = bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff((b"VP8X", vp8x), (b"ANIM", b"\xff\xff\xff\xff\0\0"), (b"ANMF", anmf))
