"""Photos: `refused()` gives bytes with the codes they may have, `kept()` gives bytes with the picture that must be seen."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageCms

from .bytes import (
    bmp_rle,
    canvas_webp,
    chunk,
    encoded,
    exif,
    gif,
    grey_tiff,
    jpeg_sized,
    jpeg_with,
    noise,
    png,
    progressive_scans,
    riff,
    scene,
    segment,
    sixteen_png,
    tiff,
)

FORMS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
UPRIGHT_TO_STORED = {  # EXIF orientation -> what a camera held that way does to the scene
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class Refused:
    """A file and the codes that it may be refused with; `whole` lets it also be kept as it was."""

    name: str
    make: Callable[[], bytes]
    codes: frozenset[str]


@dataclass(frozen=True)
class Kept:
    """A file and what must be seen: `picture`, within `tolerance` levels at every pixel (mean for lossy formats)."""

    name: str
    make: Callable[[], bytes]
    picture: Callable[[], np.ndarray]
    tolerance: float = 0.0
    mean: bool = False


def refused() -> Iterator[Refused]:
    for family in (_foreign, _cut, _bombs, _lies, _crowds, _rare):
        for name, make, codes in family():
            yield Refused(f"{family.__name__[1:]}: {name}", make, frozenset(codes.split()))


def kept() -> Iterator[Kept]:
    yield from _turned()
    yield from _colours()
    yield from _sixteen()
    yield from _metadata()
    yield from _frames()


Case = tuple[str, Callable[[], bytes], str]


def _foreign() -> Iterator[Case]:
    """Formats that Pillow reads and we do not, and what is no picture at all."""
    for form in ("PPM", "ICO", "TGA", "ICNS", "PCX", "SGI", "DDS", "JPEG2000", "PDF", "EPS", "DIB", "QOI"):
        yield form, lambda form=form: encoded(noise(64), form), "not_a_photo"
    for form in ("XBM", "MSP"):
        yield form, lambda form=form: encoded(noise(64).convert("1"), form), "not_a_photo"
    for name, start in {
        "EPS that runs a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%touch /tmp/x) (w) file\n",
        "binary EPS": b"\xc5\xd0\xd3\xc6" + bytes(30),
        "PSD": b"8BPS\0\1" + bytes(40),
        "JPEG XL": b"\xff\x0a" + bytes(40),
        "JPEG 2000 codestream": b"\xff\x4f\xff\x51" + bytes(40),
        "JPEG-LS by another start": b"\xff\xd8\x00\xf7" + bytes(40),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
        "MP4": b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + bytes(40),
        "WMF": b"\xd7\xcd\xc6\x9a" + bytes(40),
        "EMF": b"\x01\0\0\0" + bytes(36) + b" EMF",
        "FITS": b"SIMPLE  =                    T" + bytes(2880),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(40),
        "GRIB": b"GRIB\0\0\0\1" + bytes(40),
        "FLI": bytes(4) + b"\x11\xaf" + bytes(122),
        "FPX": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        "XPM": b"/* XPM */\nstatic char * x[] = {",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "web page": b"<!DOCTYPE html><html><body>404</body></html>",
        "web page after blanks": b"\n\n   <html>Sign in</html>",
        "JSON": b'{"error": "quota"}',
        "PDF": b"%PDF-1.7\n",
        "ZIP": b"PK\x03\x04" + bytes(60),
        "gzip": b"\x1f\x8b\x08" + bytes(60),
        "program": b"\x7fELF" + bytes(60),
        "script": b"#!/bin/sh\nrm -rf /\n",
        "RIFF that is sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "one byte": b"\xff",
        "zeros": bytes(5000),
        "noise": np.random.default_rng(5).bytes(5000),
        "text": "ceci n'est pas une photo".encode("utf-16"),
    }.items():
        yield name, lambda start=start: start, "not_a_photo"
    yield "nothing", lambda: b"", "empty"


def _cut() -> Iterator[Case]:
    """Every format cut short: at its first bytes, and at twelve places on the way."""
    for form in FORMS:
        whole = encoded(noise(64), form)
        for length in (1, 3, 4, 8, 12, 16, 20, 30):
            yield f"{form} at byte {length}", lambda whole=whole, length=length: whole[:length], "not_a_photo damaged"
        for percent in range(8, 97, 8):
            yield f"{form} at {percent} %", lambda whole=whole, percent=percent: whole[: len(whole) * percent // 100], "damaged not_a_photo"
    progressive = encoded(noise(64), "JPEG", progressive=True)
    for percent in (20, 50, 80):
        yield f"progressive JPEG at {percent} %", lambda percent=percent: progressive[: len(progressive) * percent // 100], "damaged"


def _bombs() -> Iterator[Case]:
    """Pictures that promise more pixels than may be decoded, with next to nothing behind them."""
    small = encoded(scene(), "JPEG")
    for width, height in ((65_535, 65_535), (10_000, 10_000), (65_535, 800)):
        yield f"JPEG {width} x {height}", lambda w=width, h=height: jpeg_sized(small, w, h), "too_large"
    for width, height in ((8000, 8000), (100_000, 100_000), (2**31 - 1, 2**31 - 1), (25_000_001, 1), (70_000, 8), (5001, 5000)):
        yield f"PNG {width} x {height}", lambda w=width, h=height: png(w, h, rows=b"\0" * 1000), "too_large"
    yield "PNG of one bit", lambda: png(60_000, 60_000, 1, 0, b"\0" * 1000), "too_large"
    for width, height in ((16_383, 16_383), (2**24, 2), (16_383, 1200)):
        yield f"animated WebP canvas {width} x {height}", lambda w=width, h=height: canvas_webp(w, h, scene(8, 8)), "too_large damaged"
    for canvas, box in (((65_535, 65_535), (0, 0, 8, 8)), ((8, 8), (0, 0, 65_535, 65_535)), ((8, 8), (65_535, 65_535, 8, 8))):
        yield f"GIF canvas {canvas} frame {box}", lambda c=canvas, b=box: gif(c, b), "too_large"
    for width, height in ((100_000, 100_000), (2**31 - 1, 1), (50_000_001, 1), (70_000, 16)):
        yield f"TIFF {width} x {height}", lambda w=width, h=height: grey_tiff(w, h), "too_large damaged"
    yield "TIFF of a vast tile", lambda: grey_tiff(t322=(4, 1, 100_000), t323=(4, 1, 100_000)), "too_large"
    yield "TIFF of a vast deflated tile", lambda: grey_tiff(t259=(3, 1, 8), t322=(4, 1, 60_000), t323=(4, 1, 60_000)), "too_large"
    for width, height in ((100_000, 100_000), (2**31 - 1, 1), (5000, 5001)):
        yield f"BMP {width} x {height}", lambda w=width, h=height: _bmp_sized(w, h), "too_large"
    yield "BMP of runs over the whole earth", lambda: bmp_rle(2000, 2001, b"\xff\x01" * 100), "too_large"
    yield "BMP of runs with a long stride", lambda: bmp_rle(65_000, 65_000, b"\0\2\xff\xff" * 100), "too_large"
    yield "BMP of a million runs", lambda: bmp_rle(1900, 1900, b"\1\1" * 600_000), "too_large"
    yield "BMP of 4-bit runs", lambda: bmp_rle(5000, 5000, b"\xff\x12" * 1000, 2), "too_large"
    yield "AVIF of 20 million pixels", _vast_avif, "too_large"
    lie = struct.pack(">II", 5000, 4000), struct.pack(">II", 64, 64)
    yield "AVIF whose box says 64 x 64 and whose stream 5000 x 4000", lambda: _vast_avif().replace(*lie), "too_large"
    avif = encoded(scene(64, 64), "AVIF")
    yield (
        "AVIF whose box says 60000 x 60000",
        lambda: avif.replace(struct.pack(">II", 64, 64), struct.pack(">II", 60_000, 60_000)),
        "too_large",
    )
    yield (
        "progressive JPEG of a thousand scans",
        lambda: progressive_scans(encoded(Image.new("RGB", (3000, 3000)), "JPEG", progressive=True), 1000),
        "too_large",
    )


@cache
def _vast_avif() -> bytes:
    return encoded(Image.new("L", (5000, 4000)), "AVIF", speed=10, quality=30)


def _bmp_sized(width: int, height: int) -> bytes:
    data = encoded(scene(), "BMP")
    return data[:18] + struct.pack("<ii", width, height) + data[26:]


def _lies() -> Iterator[Case]:
    """Headers that contradict what follows."""
    for width, height in ((7000, 7000), (65_535, 700), (3000, 3000)):
        yield f"JPEG that says {width} x {height}", lambda w=width, h=height: jpeg_sized(encoded(scene(), "JPEG"), w, h), "damaged"
    yield "JPEG of no height", lambda: jpeg_sized(encoded(scene(), "JPEG"), 48, 0), "damaged"
    yield "JPEG of two headers", lambda: _doubled_frame(encoded(scene(), "JPEG")), "damaged"
    yield "JPEG of a header alone", lambda: encoded(scene(), "JPEG")[:200] + b"\xff\xd9", "damaged"
    yield (
        "JPEG without tables",
        lambda: (
            b"\xff\xd8" + segment(0xC0, struct.pack(">BHHB", 8, 16, 16, 1) + b"\1\x11\0") + segment(0xDA, b"\1\1\0\0\x3f\0") + bytes(99)
        ),
        "damaged",
    )
    for width, height in ((4000, 4000), (17, 16), (16, 17), (16, 4000)):
        yield f"PNG that says {width} x {height}", lambda w=width, h=height: png(w, h, rows=(b"\0" + b"\x80" * 48) * 16), "damaged"
    yield "PNG of no width", lambda: png(0, 16), "damaged"
    yield "PNG of depth 3", lambda: png(16, 16, 3, 2), "damaged"
    yield "PNG without pixels", lambda: png()[:33] + chunk(b"IEND", b""), "damaged"
    yield "PNG palette without one", lambda: png(16, 16, 8, 3), "damaged"
    yield "PNG whose IHDR checksum is wrong", lambda: png().replace(png()[29:33], b"\0\0\0\0"), "damaged"
    yield "PNG whose pixels' checksum is wrong", lambda: png()[:-16] + b"\0\0\0\0" + png()[-12:], "damaged"
    yield "PNG whose chunk is longer than the file", lambda: png()[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(50), "damaged"
    yield "PNG whose pixels are no zlib", lambda: png()[:33] + chunk(b"IDAT", b"garbage" * 9) + chunk(b"IEND", b""), "damaged"
    yield "PNG of a wrong filter", lambda: png(rows=(b"\x09" + b"\x80" * 48) * 16), "damaged"
    yield "PNG changed by a text transfer", lambda: png().replace(b"\r\n", b"\n"), "not_a_photo"
    yield "WebP whose canvas is smaller than its picture", lambda: canvas_webp(4, 4, scene(8, 8)), "damaged"
    yield "WebP whose chunk is longer than the file", lambda: riff((b"VP8L", bytes(8)))[:16] + b"\xff\xff\xff\x7f" + bytes(20), "damaged"
    yield "WebP of no frame", lambda: riff((b"VP8X", bytes([2, 0, 0, 0]) + b"\x0f\0\0" * 2), (b"ANIM", bytes(6))), "damaged"
    yield "GIF without a picture", lambda: b"GIF89a\x10\0\x10\0\0\0\0;", "damaged"
    yield "GIF of no size", lambda: gif((0, 0), (0, 0, 0, 0)), "damaged too_small"
    yield "GIF whose frame is never filled", lambda: gif((300, 300), (0, 0, 300, 300)), "damaged"
    yield "GIF of code size 13", lambda: gif((16, 16), (0, 0, 16, 16), code_size=13), "damaged"
    yield "BMP of no size", lambda: _bmp_sized(0, 0), "damaged too_small"
    yield "BMP that says 4000 x 4000", lambda: _bmp_sized(4000, 4000), "damaged"
    yield "BMP whose runs end early", lambda: bmp_rle(64, 64, b"\x05\x01\0\1"), "damaged"
    yield "BMP that holds a PNG", lambda: encoded(scene(), "BMP")[:30] + struct.pack("<I", 5) + encoded(scene(), "BMP")[34:], "damaged"
    yield "BMP that holds a JPEG", lambda: encoded(scene(), "BMP")[:30] + struct.pack("<I", 4) + encoded(scene(), "BMP")[34:], "damaged"
    yield "TIFF whose strip lies beyond the end", lambda: grey_tiff(t273=(4, 1, 2**31)), "damaged"
    yield "TIFF whose directory lies beyond the end", lambda: b"II*\0" + struct.pack("<I", 2**31) + bytes(99), "damaged"
    yield "TIFF without size", lambda: tiff([(259, 3, 1, 1)], bytes(99)), "damaged"
    yield "TIFF of no bits", lambda: grey_tiff(t258=(3, 1, 0)), "unsupported"
    yield "AVIF of no picture", lambda: encoded(scene(), "AVIF").replace(b"av01", b"av02"), "damaged"
    yield "AVIF without boxes", lambda: b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "damaged"
    yield "AVIF of endless boxes", lambda: b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0\0\0\x08free" * 9000, "damaged"


def _doubled_frame(data: bytes) -> bytes:
    at = data.index(b"\xff\xc0")
    end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return data[:end] + data[at:end] + data[end:]


def _crowds() -> Iterator[Case]:
    """So many parts that reading them is the attack."""
    jpeg = encoded(scene(), "JPEG")
    yield "JPEG of 100,000 comments", lambda: jpeg_with(jpeg, segment(0xFE, b"") * 100_000), "damaged"
    yield "PNG of 100,000 empty chunks", lambda: png(extra=[chunk(b"IDAT", b"")] * 100_000), "damaged"
    yield "PNG of 70,000 texts", lambda: png(extra=[chunk(b"tEXt", b"a\0b")] * 70_000), "damaged"
    yield "WebP of 10,000 chunks", lambda: encoded(scene(), "WEBP", exif=exif(1)) + b"AAAA\0\0\0\0" * 10_000, "damaged"
    yield "GIF of 200,000 comments", lambda: gif((16, 16), (0, 0, 16, 16), b"!\xfe\x01a\0" * 200_000), "damaged"
    yield "GIF of one endless comment", lambda: gif((16, 16), (0, 0, 16, 16), b"!\xfe" + b"\x01a" * 400_000 + b"\0"), "damaged"
    many = struct.pack("<HHII", 65_000, 1, 4, 0)
    yield "TIFF of 60,000 tags", lambda: b"II*\0\x08\0\0\0" + struct.pack("<H", 60_000) + many * 60_000 + bytes(4), "damaged"
    yield (
        "TIFF whose tags all claim the whole file",
        lambda: grey_tiff(t273=(4, 100, 400), t347=(7, 9_000, 0), t320=(3, 4_000, 0)),
        "damaged",
    )
    yield "TIFF of a million strips", lambda: grey_tiff(t273=(4, 1_000_000, 400)) + bytes(4_000_000), "damaged"
    big = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 2_000_000)
    yield "BigTIFF of two million tags", lambda: big + bytes(40_000), "damaged"


def _rare() -> Iterator[Case]:
    """Encodings that no photo on the web has, and whose decoders are therefore never started."""
    for marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
        yield f"JPEG frame {marker:02X}", lambda m=marker: encoded(scene(), "JPEG").replace(b"\xff\xc0", bytes([0xFF, m])), "unsupported"
    for bits in (12, 16, 2):
        yield f"JPEG of {bits} bits", lambda b=bits: _with_bits(encoded(scene(), "JPEG"), b), "unsupported"
    for compression in (6, 32771, 32809, 34661, 34676, 34677, 34712, 34887, 34925, 50000, 50001, 50002, 52546, 0, 9999):
        yield f"TIFF compression {compression}", lambda c=compression: grey_tiff(t259=(3, 1, c)), "unsupported"
    yield "TIFF of floating point", lambda: encoded(Image.new("F", (16, 16), 0.5), "TIFF"), "unsupported"
    yield "TIFF of 32 bits", lambda: encoded(Image.new("I", (16, 16), 70_000), "TIFF"), "unsupported"
    yield "TIFF of Lab", lambda: encoded(_lab(), "TIFF"), "unsupported"
    yield "TIFF of 12 bits", lambda: grey_tiff(t258=(3, 1, 12)), "unsupported"


def _with_bits(data: bytes, bits: int) -> bytes:
    at = data.index(b"\xff\xc0") + 4
    return data[:at] + bytes([bits]) + data[at + 1 :]


def _lab() -> Image.Image:
    return ImageCms.applyTransform(
        scene(), ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    )


def _array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def _turned() -> Iterator[Kept]:
    """All eight orientations in each format that can tell them, both byte orders, not square."""
    for orientation, stored in UPRIGHT_TO_STORED.items():
        image = scene() if stored is None else scene().transpose(stored)
        for order in "<>":
            block = exif(orientation, order)
            lossy = b"Exif\0\0" + block
            yield Kept(
                f"JPEG turned {orientation}{order}",
                lambda i=image, b=lossy: encoded(i, "JPEG", quality=95, exif=b),
                lambda: _array(scene()),
                6,
                True,
            )
            yield Kept(f"PNG turned {orientation}{order}", lambda i=image, b=block: encoded(i, "PNG", exif=b), lambda: _array(scene()))
            yield Kept(
                f"WebP turned {orientation}{order}",
                lambda i=image, b=block: encoded(i, "WEBP", lossless=True, exif=b),
                lambda: _array(scene()),
            )
        yield Kept(
            f"TIFF turned {orientation}", lambda i=image, o=orientation: encoded(i, "TIFF", tiffinfo={274: o}), lambda: _array(scene())
        )
        yield Kept(
            f"LZW TIFF turned {orientation}",
            lambda i=image, o=orientation: encoded(i, "TIFF", compression="tiff_lzw", tiffinfo={274: o}),
            lambda: _array(scene()),
        )
        yield Kept(
            f"AVIF turned {orientation}",
            lambda i=image, o=orientation: encoded(i, "AVIF", quality=95, exif=exif(o)),
            lambda: _array(scene()),
            6,
            True,
        )


def _colours() -> Iterator[Kept]:
    """Every mode of 8 bits and fewer, against values worked out by hand."""
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    for form in ("PNG", "TIFF", "BMP", "GIF"):
        yield Kept(f"grey {form}", lambda f=form: encoded(Image.fromarray(ramp), f), lambda: np.stack([ramp] * 3, -1))
    bits = (np.indices((16, 16)).sum(0) % 2 * 255).astype(np.uint8)
    for form in ("PNG", "TIFF", "BMP"):
        yield Kept(f"one bit {form}", lambda f=form: encoded(Image.fromarray(bits).convert("1"), f), lambda: np.stack([bits] * 3, -1))
    yield Kept(
        "fax TIFF", lambda: encoded(Image.fromarray(bits).convert("1"), "TIFF", compression="group4"), lambda: np.stack([bits] * 3, -1)
    )
    for depth in (1, 2, 4):
        levels = np.tile(np.arange(2**depth, dtype=np.uint8), (8, 8))
        rows = b"".join(b"\0" + _packed(row, depth) for row in levels)
        wide = np.stack([levels * np.uint8(255 // (2**depth - 1))] * 3, -1)
        yield Kept(f"grey PNG of {depth} bits", lambda r=rows, w=levels.shape[1], d=depth: png(w, 8, d, 0, r), lambda w=wide: w)
    palette = bytes(range(6)) * 2
    index = np.tile(np.array([0, 1, 2, 3], dtype=np.uint8), (8, 4))
    table = np.frombuffer(palette, np.uint8).reshape(4, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in index)
    yield Kept("palette PNG", lambda: png(16, 8, 8, 3, rows, [chunk(b"PLTE", palette)]), lambda: table[index])
    alpha = np.array([0, 128, 255, 1], dtype=np.uint8)
    yield Kept(
        "palette PNG with an alpha for each colour",
        lambda: png(16, 8, 8, 3, rows, [chunk(b"PLTE", palette), chunk(b"tRNS", alpha.tobytes())]),
        lambda: _on_white(table[index], alpha[index]),
    )
    yield Kept(
        "palette PNG with one clear colour",
        lambda: png(16, 8, 8, 3, rows, [chunk(b"PLTE", palette), chunk(b"tRNS", b"\xff\0")]),
        lambda: _on_white(table[index], np.array([255, 0, 255, 255])[index]),
    )
    colours = np.random.default_rng(1).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    for form, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        yield Kept(
            f"alpha {form}",
            lambda f=form, o=options: encoded(Image.fromarray(colours, "RGBA"), f, **o),
            lambda: _on_white(colours[..., :3], colours[..., 3]),
        )
    yield Kept(
        "grey and alpha PNG",
        lambda: encoded(Image.fromarray(colours[..., :2].copy(), "LA"), "PNG"),
        lambda: _on_white(np.stack([colours[..., 0]] * 3, -1), colours[..., 1]),
    )
    yield Kept("a clear grey level", lambda: png(16, 16, 8, 0, None, [chunk(b"tRNS", b"\0\x80")]), lambda: np.full((16, 16, 3), 255))
    yield Kept("a clear colour", lambda: png(extra=[chunk(b"tRNS", b"\0\x80" * 3)]), lambda: np.full((16, 16, 3), 255))
    yield Kept("another clear colour", lambda: png(extra=[chunk(b"tRNS", b"\0\x80\0\x80\0\x81")]), lambda: np.full((16, 16, 3), 128))
    inks = np.random.default_rng(2).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    for options in ({}, {"compression": "tiff_lzw"}):
        yield Kept(f"CMYK TIFF {options}", lambda o=options: encoded(Image.fromarray(inks, "CMYK"), "TIFF", **o), lambda: _printed(inks), 1)
    for ink, colour in {
        (0, 0, 0, 0): (255, 255, 255),
        (255, 0, 0, 0): (0, 255, 255),
        (0, 0, 0, 255): (0, 0, 0),
        (0, 255, 255, 0): (255, 0, 0),
    }.items():
        yield Kept(
            f"CMYK JPEG {ink}",
            lambda i=ink: encoded(Image.new("CMYK", (16, 16), i), "JPEG", quality=95),
            lambda c=colour: np.full((16, 16, 3), c),
            2,
        )
    multiplied = np.array([[[100, 50, 0, 128]] * 16] * 16, dtype=np.uint8)
    yield Kept("TIFF multiplied by its alpha", lambda: _associated(multiplied), lambda: np.full((16, 16, 3), (227, 177, 127)), 1)


def _packed(row: np.ndarray, depth: int) -> bytes:
    bits = np.unpackbits(row[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.reshape(-1)).tobytes()


def _on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None].astype(np.float64) / 255
    return np.floor(colours * share + 255 * (1 - share) + 0.5 + 1e-9)


def _printed(inks: np.ndarray) -> np.ndarray:
    left = 1 - inks.astype(np.float64) / 255
    return 255 * left[..., :3] * left[..., 3:]


def _associated(colours: np.ndarray) -> bytes:
    head = tiff(
        [
            (256, 4, 1, 16),
            (257, 4, 1, 16),
            (258, 3, 4, 300),
            (259, 3, 1, 1),
            (262, 3, 1, 2),
            (273, 4, 1, 400),
            (277, 3, 1, 4),
            (278, 4, 1, 16),
            (279, 4, 1, 1024),
            (338, 3, 1, 1),
        ],
    )
    return (head.ljust(300, b"\0") + struct.pack("<4H", 8, 8, 8, 8)).ljust(400, b"\0") + colours.tobytes()


def _sixteen() -> Iterator[Kept]:
    """16 bits a sample, rounded to the nearest of 8, exactly."""
    wide = np.random.default_rng(3).integers(0, 65_536, (16, 300, 4), dtype=np.uint16)
    wide[0, :8] = np.array([0, 127, 128, 129, 255, 256, 385, 65_535])[:, None]
    rounded = np.floor(wide / 257 + 0.5)
    yield Kept("grey PNG of 16 bits", lambda: sixteen_png(wide[..., :1]), lambda: np.repeat(rounded[..., :1], 3, 2))
    yield Kept("RGB PNG of 16 bits", lambda: sixteen_png(wide[..., :3]), lambda: rounded[..., :3])
    yield Kept("RGBA PNG of 16 bits", lambda: sixteen_png(wide), lambda: _wide_on_white(wide[..., :3], wide[..., 3:]))
    yield Kept(
        "grey and alpha PNG of 16 bits",
        lambda: sixteen_png(wide[..., 2:]),
        lambda: np.repeat(_wide_on_white(wide[..., 2:3], wide[..., 3:]), 3, 2),
    )
    for form in ({}, {"compression": "tiff_lzw"}):
        yield Kept(
            f"grey TIFF of 16 bits {form}",
            lambda f=form: encoded(Image.fromarray(wide[..., 0].copy()), "TIFF", **f),
            lambda: np.repeat(rounded[..., :1], 3, 2),
        )
    for order in "<>":
        yield Kept(f"RGB TIFF of 16 bits {order}", lambda o=order: _wide_tiff(wide[..., :3], o), lambda: rounded[..., :3])
        yield Kept(
            f"RGBA TIFF of 16 bits {order}", lambda o=order: _wide_tiff(wide, o), lambda: _wide_on_white(wide[..., :3], wide[..., 3:])
        )
        yield Kept(f"deflated RGB TIFF of 16 bits {order}", lambda o=order: _wide_tiff(wide[..., :3], o, 8), lambda: rounded[..., :3])
    tones = np.full((16, 16, 3), 0x1234, dtype=np.uint16)
    tones[:, 8:] = 0x1235
    half = np.full((16, 16, 3), 255)
    half[:, 8:] = 18
    clear = chunk(b"tRNS", struct.pack(">3H", *[0x1234] * 3))
    yield Kept("a clear colour of 16 bits, and one next to it", lambda: sixteen_png(tones, extra=[clear]), lambda: half)
    yield Kept("a clear grey of 16 bits", lambda: sixteen_png(tones[..., :1], extra=[chunk(b"tRNS", b"\x12\x34")]), lambda: half)


def _wide_on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    laid = colours.astype(object) * alpha.astype(object) + 65_535 * (65_535 - alpha.astype(object))
    return np.vectorize(lambda level: (2 * level + 65_535 * 257) // (2 * 65_535 * 257))(laid).astype(np.uint8)


def _wide_tiff(samples: np.ndarray, order: str, compression: int = 1) -> bytes:
    height, width, channels = samples.shape
    pixels = samples.astype(f"{order}u2").tobytes()
    pixels = zlib.compress(pixels) if compression == 8 else pixels
    head = tiff(
        [
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 3, channels, 300),
            (259, 3, 1, compression),
            (262, 3, 1, 2),
            (273, 4, 1, 400),
            (277, 3, 1, channels),
            (278, 4, 1, height),
            (279, 4, 1, len(pixels)),
            *([(338, 3, 1, 2)] if channels == 4 else []),
        ],
        order=order,
    )
    return (head.ljust(300, b"\0") + struct.pack(f"{order}4H", *[16] * 4)).ljust(400, b"\0") + pixels


def _metadata() -> Iterator[Kept]:
    """What stands round a sound picture neither costs it nor changes it."""
    jpeg, flat = encoded(scene(), "JPEG", quality=95), lambda: np.full((16, 16, 3), 128)
    bomb = zlib.compress(bytes(50_000_000), 9)
    for kind in (b"zTXt", b"iCCP"):
        yield Kept(f"PNG with a bomb in {kind.decode()}", lambda k=kind: png(extra=[chunk(k, b"a\0\0" + bomb)]), flat)
    yield Kept("PNG with a bomb in iTXt", lambda: png(extra=[chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)]), flat)
    yield Kept("PNG with 200 bombs", lambda: png(extra=[chunk(b"zTXt", b"a\0\0" + bomb)] * 200), flat)
    yield Kept("PNG whose comment has a wrong checksum", lambda: png(extra=[chunk(b"tEXt", b"a\0b", 7)]), flat)
    yield Kept("PNG of unknown chunks", lambda: png(extra=[chunk(b"quUx", b"\xff" * 999)] * 50), flat)
    yield Kept("PNG in 5,000 chunks of pixels", lambda: _crumbled(png()), flat)
    yield Kept("PNG without an end", lambda: png()[:-12], flat)
    yield Kept("PNG with a program behind it", lambda: png() + b"PK\x03\x04" + bytes(99), flat)
    yield Kept("PNG that EXIF turns by 9", lambda: png(extra=[chunk(b"eXIf", exif(9))]), flat)
    yield Kept("PNG of broken EXIF", lambda: png(extra=[chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")]), flat)
    blocks = {
        "garbage": b"Exif\0\0garbage",
        "empty": b"Exif\0\0",
        "two": b"Exif\0\0" + exif(1),
        "tags beyond the end": b"Exif\0\0" + exif(1, entries=[(0x9000, 2, 2**31, 2**31)] * 50),
        "tags that claim it all": b"Exif\0\0" + exif(1, entries=[(700 + i, 7, 60_000, 0) for i in range(4000)]),
        "a directory in a circle": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\1\0\0\0\x08\0\0\0\x08\0\0\0",
        "65,535 tags promised": b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        "orientation as words": b"Exif\0\0" + exif(None, entries=[(0x112, 2, 4, 0x36)]),
        "orientation 0": b"Exif\0\0" + exif(0),
        "XMP that says 6": b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>',
        "multi-picture index": b"MPF\0II*\0" + b"\xff" * 100,
    }
    for name, block in blocks.items():
        marker = 0xE2 if block.startswith(b"MPF") else 0xE1
        yield Kept(f"JPEG with EXIF: {name}", lambda b=block, m=marker: jpeg_with(jpeg, segment(m, b)), lambda: _array(scene()), 6, True)
    turned = jpeg_with(encoded(scene().transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95), segment(0xE1, b"Exif\0\0" + exif(6)))
    lying = jpeg_with(turned, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<tiff:Orientation>3</tiff:Orientation>"))
    yield Kept("JPEG whose XMP contradicts its EXIF", lambda: lying, lambda: _array(scene()), 6, True)
    for name, profile in {"garbage": b"garbage", "CMYK": bytes(16) + b"CMYK" + bytes(200)}.items():
        yield Kept(
            f"JPEG with a profile: {name}",
            lambda p=profile: encoded(scene(), "JPEG", quality=95, icc_profile=p),
            lambda: _array(scene()),
            6,
            True,
        )
    yield Kept("JPEG that is also a ZIP", lambda: jpeg + b"PK\x05\x06" + bytes(18), lambda: _array(scene()), 6, True)
    yield Kept(
        "JPEG with a second one behind it", lambda: jpeg + encoded(Image.new("RGB", (9, 9)), "JPEG"), lambda: _array(scene()), 6, True
    )
    yield Kept("JPEG with padded markers", lambda: jpeg[:2] + b"\xff\xff\xff" + jpeg[2:], lambda: _array(scene()), 6, True)
    yield Kept(
        "MPO",
        lambda: encoded(scene(), "MPO", quality=95, save_all=True, append_images=[Image.new("RGB", (48, 32))]),
        lambda: _array(scene()),
        6,
        True,
    )
    yield Kept(
        "JPEG of 20 scans",
        lambda: progressive_scans(encoded(scene(), "JPEG", quality=95, progressive=True), 11),
        lambda: _array(scene()),
        6,
        True,
    )
    yield Kept("TIFF whose directories go in a circle", lambda: _circle(), lambda: np.full((16, 16, 3), 96))
    yield Kept(
        "TIFF of odd tags",
        lambda: grey_tiff(t700=(1, 2**31, 2**31), t34675=(7, 2**30, 9), t34665=(4, 1, 8)),
        lambda: np.full((16, 16, 3), 96),
    )
    yield Kept(
        "TIFF with another picture",
        lambda: encoded(scene(), "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
        lambda: _array(scene()),
    )
    yield Kept("JPEG in a TIFF", lambda: encoded(scene(), "TIFF", compression="jpeg", quality=95), lambda: _array(scene()), 6, True)


def _circle() -> bytes:
    data = bytearray(grey_tiff())
    end = 10 + 12 * struct.unpack("<H", data[8:10])[0]
    data[end : end + 4] = struct.pack("<I", 8)
    return bytes(data)


def _crumbled(data: bytes) -> bytes:
    pixels = data[41:-16]
    return data[:33] + b"".join(chunk(b"IDAT", pixels[i : i + 1]) for i in range(5000)) + data[-12:]


def _frames() -> Iterator[Kept]:
    """Of an animation the first frame, on white where it draws nothing."""
    red, white = np.full((20, 20, 3), (255, 0, 0)), np.full((20, 20, 3), 255)
    inside = white.copy()
    inside[5:15, 5:15] = (255, 0, 0)
    yield Kept("GIF", lambda: gif((20, 20), (0, 0, 20, 20)), lambda: red)
    yield Kept("GIF that is all clear", lambda: gif((20, 20), (0, 0, 20, 20), clear=1), lambda: white)
    yield Kept("GIF with another clear colour", lambda: gif((20, 20), (0, 0, 20, 20), clear=0), lambda: red)
    yield Kept("GIF whose frame is smaller than its canvas", lambda: gif((20, 20), (5, 5, 10, 10)), lambda: inside)
    yield Kept("GIF with 1,000 comments", lambda: gif((20, 20), (0, 0, 20, 20), b"!\xfe\x01a\0" * 1000), lambda: red)
    corner = np.full((35, 35, 3), 255)
    corner[15:, 15:] = (255, 0, 0)
    yield Kept("GIF whose frame leaves its canvas", lambda: gif((20, 20), (15, 15, 20, 20)), lambda: corner)
    first = scene()
    others = [Image.new("RGB", first.size)] * 3
    yield Kept("animated PNG", lambda: encoded(first, "PNG", save_all=True, append_images=others), lambda: _array(first))
    yield Kept("animated WebP", lambda: encoded(first, "WEBP", lossless=True, save_all=True, append_images=others), lambda: _array(first))
    yield Kept(
        "animated AVIF", lambda: encoded(first, "AVIF", quality=95, save_all=True, append_images=others), lambda: _array(first), 6, True
    )
    spot = np.full((64, 64, 3), 255)
    spot[:8, :8] = _array(scene(8, 8))
    yield Kept("WebP whose frame is smaller than its canvas", lambda: canvas_webp(64, 64, scene(8, 8)), lambda: spot)
