"""The only place a photo file is decoded: any photo -> an upright RGB picture of 8 bits, as the model will see it.

What a file is, its content says, never its name, and only the decoders of FORMATS are ever started. Size limits are
checked before anything is decoded. Knows nothing of tables, tasks or tensors.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from ..errors import PhotoError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
MAX_PIXELS = 50_000_000  # 150 MB as RGB
MAX_BYTES = 64 * 2**20
MIN_SIDE = 8  # pixels; below it a shop's photo is a spacer or a tracking pixel

_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_photo(photo: Path | bytes) -> Image.Image:
    """Decode a photo, from a file or from its bytes, to mode "RGB": upright, alpha laid on white, the first frame.

    16-bit grey is scaled to 8 bits; colour profiles are not applied. Raises PhotoError, whose code is one of
    missing, not_a_file, unreadable, empty, too_heavy (over MAX_BYTES), not_a_photo, too_large (over MAX_PIXELS),
    damaged (cut short, too), unsupported (floating point, Lab).
    """
    return _decode(photo if isinstance(photo, bytes) else read_photo(photo))[0]


def read_photo(path: Path) -> bytes:
    """The bytes of a photo file. Raises PhotoError for what is no regular file or weighs over MAX_BYTES."""
    try:
        _need_regular(path, path.stat())  # before opening: opening a device may do something, opening a FIFO waits for ever
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
            _need_regular(path, os.fstat(file.fileno()))  # it may have been replaced meanwhile
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as problem:
        raise PhotoError("missing", f"there is no file {path}") from problem
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        raise PhotoError("unreadable", f"{path}: {problem}") from problem
    if len(data) > MAX_BYTES:
        raise PhotoError("too_heavy", f"{path}: over {MAX_BYTES // 2**20} MB, the most a photo file may have")
    return data


def normalise(data: bytes) -> tuple[bytes, str, int, int, str]:
    """What a dataset folder stores of a photo: (bytes, extension, width, height, phash).

    `open_photo` gives the same pixels for what comes out as for what went in. A plain RGB JPEG or PNG that stands
    upright is kept byte for byte, its metadata with it; anything else becomes a PNG. Raises PhotoError as `open_photo`
    does, and with code too_small below MIN_SIDE pixels.
    """
    image, plain = _decode(data)
    if min(image.size) < MIN_SIDE:
        raise PhotoError("too_small", f"{image.width} x {image.height} pixels, expected at least {MIN_SIDE} on each side")
    extension = {"JPEG": "jpg", "PNG": "png"}.get(plain, "png")
    if not plain:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=3)  # 3: half the time of 6 for a tenth more bytes
        data = buffer.getvalue()
    return data, extension, image.width, image.height, phash(image)


def phash(image: Image.Image) -> str:
    """Perceptual hash: 64 bits as 16 hex digits, near in Hamming distance when the pictures look alike.

    The picture as 32 x 32 grey values, its two-dimensional DCT-II, and of the 8 x 8 lowest frequencies whether each
    lies above their median (C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
    in the form of the Python package imagehash).
    """
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=3.0), dtype=np.float64)
    n = np.arange(32)
    cosines = np.cos(np.pi * n[:8, None] * (2 * n[None, :] + 1) / 64)
    low = np.round(cosines @ grey @ cosines.T, 3)  # rounded: a blank picture must not be told by the noise of the sum
    return np.packbits(low > np.median(low)).tobytes().hex()


def _need_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        raise PhotoError("not_a_file", f"{path}: expected a photo file, found {what}")


def _decode(data: bytes) -> tuple[Image.Image, str]:
    """The RGB picture, and the format's name when the bytes are already a plain upright RGB JPEG or PNG, else ""."""
    if not data:
        raise PhotoError("empty", "the file holds no bytes")
    if len(data) > MAX_BYTES:
        raise PhotoError("too_heavy", f"{len(data) / 2**20:.0f} MB, expected at most {MAX_BYTES // 2**20} MB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; what matters is an exception
            with Image.open(io.BytesIO(data), formats=FORMATS) as file:
                _check_size(file)
                file.load()
                turn = _UPRIGHT.get(_orientation(file))
                plain = turn is None and _is_plain(file)
                image = _to_rgb(file)
    except PhotoError:
        raise
    except UnidentifiedImageError as problem:
        raise PhotoError("not_a_photo", f"expected {', '.join(FORMATS)}, found {_looks_like(data)}") from problem
    except Image.DecompressionBombError as problem:
        raise PhotoError("too_large", str(problem)) from problem
    except Exception as problem:  # on damaged bytes the decoders raise nearly anything: struct.error, KeyError, SyntaxError ...
        raise PhotoError("damaged", f"the file is damaged or cut short ({type(problem).__name__}: {problem})") from problem
    if turn is not None:
        image = image.transpose(turn)
    return image, str(file.format) if plain else ""


def _check_size(file: Image.Image) -> None:
    width, height = file.size
    if width * height > MAX_PIXELS:
        raise PhotoError("too_large", f"{width} x {height} pixels, expected at most {MAX_PIXELS // 10**6} million")
    if isinstance(file, TiffImagePlugin.TiffImageFile):  # a small picture may be declared as one vast tile
        tile = [file.tag_v2.get(tag, 0) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
        if tile[0] * tile[1] > MAX_PIXELS:
            raise PhotoError("too_large", f"a tile of {tile[0]} x {tile[1]} pixels, expected at most {MAX_PIXELS // 10**6} million")


def _is_plain(file: Image.Image) -> bool:
    """Whether any program shows these bytes as we do. (A JPEG that holds several pictures has the format MPO.)"""
    if file.format not in ("JPEG", "PNG") or getattr(file, "n_frames", 1) > 1:
        return False
    return file.mode == "RGB" and "transparency" not in file.info


def _orientation(file: Image.Image) -> int:
    """EXIF orientation of a loaded picture, 1 to 8; 1 when its EXIF cannot be read. (A TIFF is upright once loaded.)"""
    try:
        return int(file.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata round a sound picture; its readers raise nearly anything
        return 1


def _to_rgb(file: Image.Image) -> Image.Image:
    if file.mode.startswith("I;16"):
        grey = np.asarray(file).astype(np.float64)
        return Image.fromarray(np.round(grey / 257).astype(np.uint8)).convert("RGB")
    if file.mode in ("I", "F", "LAB"):
        raise PhotoError("unsupported", f"pixels of kind {file.mode}, whose white is not known: save it with 8 or 16 bits a channel")
    if file.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in file.info:
        alpha = file.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", alpha.size, "white"), alpha).convert("RGB")
    return file.convert("RGB")


def _looks_like(data: bytes) -> str:
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")) or b"<html" in start:
        return "a web page"
    if start.startswith((b"<?xml", b"<svg")):
        return "XML or SVG"
    if data.startswith(b"%PDF"):
        return "a PDF"
    return f"{len(data)} bytes of something else"
