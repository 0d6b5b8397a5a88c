"""The only place a photo file is decoded: any photo -> an upright RGB picture of 8 bits, as the model will see it.

What a file is, its content says, never its name, and only the decoders of FORMATS are ever started, each by its own class
and on the picture alone (`headers` takes the rest out and checks limits first). Knows nothing of tables, tasks or tensors.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ...errors import PhotoError
from .exif import read_exif
from .header import FORMATS, MAX_PIXELS, Header, check_size
from .headers import read_header
from .look import SEEN, seen
from .pixels import to_rgb
from .quiet import silence_decoders

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "MIN_SIDE", "Photo", "glance", "normalise", "open_photo", "photo_size", "read_photo"]

MAX_BYTES = 64 * 2**20
MIN_SIDE = 8  # pixels; below it a shop's photo is a spacer or a tracking pixel

_DECODERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "AVIF": AvifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "GIF": GifImageFile,
}
silence_decoders()


def open_photo(photo: Path | bytes) -> Image.Image:
    """Decode a photo, from a file or from its bytes, to mode "RGB": upright, alpha laid on white, the first frame.

    16 bits are rounded to 8; colour profiles are not applied. Takes at most two seconds and 600 MiB for any bytes. Raises
    PhotoError, whose code is one of missing, not_a_file, unreadable, empty, too_heavy (over MAX_BYTES), not_a_photo,
    too_large (over the pixels that `headers` allows a format), damaged (cut short, too), unsupported (floating point,
    Lab, rare encodings).
    """
    return _decode(photo if isinstance(photo, bytes) else read_photo(photo)).image


def photo_size(photo: Path | bytes) -> tuple[int, int]:
    """(width, height) in pixels of what `open_photo` would give, no pixel decoded. Raises PhotoError as it does, but for damaged pixels."""
    header, file, _ = _begin(photo if isinstance(photo, bytes) else read_photo(photo))
    width, height = file.size
    return (height, width) if header.orientation >= 5 else (width, height)


def read_photo(path: Path, *, resolved: bool = False) -> bytes:
    """The bytes of a photo file. Raises PhotoError for what is no regular file or weighs over MAX_BYTES.

    With `resolved` the path was found to lie in its folder and to hold no link; one that has come since is not followed.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | (getattr(os, "O_NOFOLLOW", 0) if resolved else 0)
    try:
        _need_regular(path, path.stat())  # before opening: opening a device may do something, opening a FIFO waits for ever
        with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())  # it may have been replaced meanwhile
            _need_regular(path, status)
            if resolved and os.path.realpath(path) != os.fspath(path):
                raise PhotoError("outside", f"{path}: a folder on the way was replaced by a link while photos were read")
            data = file.read(status.st_size + 1) or b""  # None: a file of the kernel's that has nothing to say now
            while len(data) <= MAX_BYTES and (more := file.read(MAX_BYTES)):  # it grew, or did not tell its size
                data += more
    except FileNotFoundError as problem:
        raise PhotoError("missing", f"there is no file {path}") from problem
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        raise PhotoError("unreadable", f"{path}: {problem}") from problem
    _need_light(path, len(data))
    return data


class Photo(NamedTuple):
    """What a dataset folder knows of a photo as it is seen, in pixels and as `look` has it."""

    width: int
    height: int
    phash: str
    look: str


def glance(data: bytes) -> Photo:
    """How large a photo is and how it looks. Opens what `open_photo` opens, and raises PhotoError for what that raises it for."""
    return _photo(_decode(data, small=True))


def normalise(data: bytes) -> tuple[bytes, str, Photo]:
    """What a dataset folder stores of a photo, and how it looks: (bytes, extension, what `glance` tells of it).

    `open_photo` gives the same pixels for what comes out as for what went in. A plain RGB JPEG or PNG that stands
    upright is kept byte for byte, its metadata with it; anything else becomes a PNG. Raises PhotoError as `open_photo`
    does, and with code too_small below MIN_SIDE pixels.
    """
    decoded = _decode(data, small=True)
    if min(decoded.size) < MIN_SIDE:
        raise PhotoError("too_small", f"{decoded.size[0]} x {decoded.size[1]} pixels, expected at least {MIN_SIDE} on each side")
    if not decoded.plain:
        buffer = io.BytesIO()
        # runs alone: of photos a tenth smaller than level 3 and in two thirds of its time, a fifth of level 6
        decoded.image.save(buffer, "PNG", compress_level=1, compress_type=3)
        data = buffer.getvalue()
    return data, {"JPEG": "jpg"}.get(decoded.plain, "png"), _photo(decoded)


def _photo(decoded: _Decoded) -> Photo:
    return Photo(*decoded.size, *seen(decoded.image, decoded.extent))


def _need_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        raise PhotoError("not_a_file", f"{path}: expected a photo file, found {what}")
    _need_light(path, status.st_size)


def _need_light(where: object, size: int) -> None:
    if size > MAX_BYTES:
        raise PhotoError("too_heavy", f"{where}: over {MAX_BYTES // 2**20} MB, the most a photo file may have")


class _Decoded(NamedTuple):
    """A photo as an RGB picture.

    Attributes:
        image: perhaps smaller than the photo. size: of the photo, in pixels. extent: of the photo, in pixels of `image`.
        plain: the format's name when the bytes are an upright RGB JPEG or PNG, else "".
    """

    image: Image.Image
    size: tuple[int, int]
    extent: tuple[float, float]
    plain: str


def _decode(data: bytes, *, small: bool = False) -> _Decoded:
    """The photo as it is seen; with `small`, a plain JPEG only as large as `look` wants it.

    libjpeg then makes a half, a quarter or an eighth of the pixels in about half the time. It reads every coded bit of the file
    all the same, so what is damaged or cut short is found as well.
    """
    header, file, plain = _begin(data)
    size, drafted = file.size, None
    with _told(header):
        if small and plain and header.format == "JPEG":
            drafted = file.draft("RGB", (SEEN, SEEN))
        image = to_rgb(header, file, lambda: _start(header))
    extent = drafted[1][2:] if drafted else image.size
    return _Decoded(image, size if plain else image.size, extent, header.format if plain else "")


def _begin(data: bytes) -> tuple[Header, ImageFile.ImageFile, bool]:
    """The header, a decoder that has read no pixel yet, and whether the bytes are a plain upright RGB JPEG or PNG."""
    if not data:
        raise PhotoError("empty", "the file holds no bytes")
    _need_light("the photo", len(data))
    header = read_header(data)
    with _told(header):
        file = _start(header)
        if header.format == "AVIF":  # libavif says in an EXIF block of its own how irot and imir turn the picture
            header = replace(header, orientation=read_exif(file.info.get("exif", b""))[0])
        plain = header.clean and header.orientation == 1 and header.format in ("JPEG", "PNG") and file.mode == "RGB"
        return header, file, plain and "transparency" not in file.info


@contextmanager
def _told(header: Header) -> Iterator[None]:
    """Whatever a decoder raises, as a PhotoError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files; what matters is an exception
            yield
    except PhotoError:
        raise
    except Image.DecompressionBombError as problem:  # a GIF's frame far beyond its canvas
        raise PhotoError("too_large", str(problem)) from problem
    except Exception as problem:  # on damaged bytes the decoders raise nearly anything: struct.error, KeyError, SyntaxError ...
        raise PhotoError("damaged", f"the {header.format} is damaged or cut short ({type(problem).__name__}: {problem})") from problem


def _start(header: Header) -> ImageFile.ImageFile:
    """The decoder of a file, which has read its size and no pixel yet."""
    file = _DECODERS[header.format](io.BytesIO(header.data))
    check_size(header.format, *file.size)
    return file
