"""Any decoded picture -> RGB of 8 bits, on white, upright. Rounded exactly; in bands, so that no large copy is made.

Knows nothing of files other than what `Header` says of one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from ...errors import PhotoError
from .header import Header

UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BAND = 256  # rows
Pixels: TypeAlias = NDArray[Any]


def to_rgb(header: Header, file: ImageFile.ImageFile, again: Callable[[], ImageFile.ImageFile]) -> Image.Image:
    """The picture as it is to be seen, from a decoder that has not yet decoded.

    Args:
        again: starts a second decoder of the same file; 16-bit colours need it.

    Raises PhotoError, code unsupported, for pixels whose white is not known (floating point, 32 bits, Lab), and whatever
    a decoder raises on damaged bytes.
    """
    drawn = _drawn(file)
    if file.mode in ("I", "F", "LAB"):
        raise PhotoError("unsupported", f"pixels of kind {file.mode}, whose white is not known: save it with 8 or 16 bits a channel")
    if header.paired:
        image = _from_bands(file, _grey_on_white)
    elif header.bits == 16 and _rawmode(file).startswith(("RGB;", "RGBX;", "RGBA;")):
        image = _sixteen_bits(header, file, again())
    else:
        file.load()
        image = _from_bands(file, partial(_grey, clear=header.clear)) if file.mode.startswith("I;16") else _eight_bits(file)
    if drawn is not None:
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image.crop(drawn), drawn)
        image = canvas
    turn = UPRIGHT.get(header.orientation)
    return image.transpose(turn) if turn is not None else image


def _drawn(file: ImageFile.ImageFile) -> tuple[int, int, int, int] | None:
    """The part of a GIF's canvas that its first frame covers, None when that is all: what no frame has drawn is transparent."""
    box = file.tile[0].extents if file.format == "GIF" and file.tile else None
    return box if box is not None and box != (0, 0, *file.size) else None


def _eight_bits(file: ImageFile.ImageFile) -> Image.Image:
    if "transparency" in file.info or file.mode in ("RGBA", "LA", "PA"):
        image = file if file.mode == "RGBA" else file.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    if file.mode == "RGB":
        file.info = {}
        return file  # not convert, which copies
    return file.convert("RGB")


def _sixteen_bits(header: Header, high: ImageFile.ImageFile, low: ImageFile.ImageFile) -> Image.Image:
    """Decoded twice: Pillow gives the upper bytes of 16-bit colours, and the lower ones when told that they are swapped."""
    rawmode = _rawmode(low)
    swapped = rawmode[:-1] + {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[rawmode[-1]]
    low.tile = [one._replace(args=swapped if isinstance(one.args, str) else (swapped, *(one.args or ())[1:])) for one in low.tile]
    low.load()

    def colours(upper: Pixels, top: int) -> Pixels:
        lower = np.asarray(low.crop((0, top, low.width, top + len(upper))))
        band = upper.astype(np.uint16) << 8 | lower
        if upper.shape[2] == 4:
            return _on_white(band[..., :3], band[..., 3:])
        levels = _rounded(band)
        if len(header.clear) == 3:
            levels[(band == header.clear).all(axis=2)] = 255
        return levels

    return _from_bands(high, colours)


def _grey(band: Pixels, top: int, clear: tuple[int, ...]) -> Pixels:
    levels = _rounded(band)
    if clear:
        levels[band == clear[0]] = 255
    return levels


def _grey_on_white(band: Pixels, top: int) -> Pixels:
    """Grey and alpha of 16 bits each, read as four channels of 8."""
    wide = band.astype(np.uint16)
    return _on_white(wide[..., 0] << 8 | wide[..., 1], wide[..., 2] << 8 | wide[..., 3])


def _rounded(levels: Pixels) -> Pixels:
    """16 bits -> 8: a 257th, rounded to the nearest (there are no halves)."""
    return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_white(levels: Pixels, alpha: Pixels) -> Pixels:
    """Levels of 16 bits at alpha of 16 bits over white -> 8 bits, rounded once."""
    wide, share = levels.astype(np.uint64), alpha.astype(np.uint64)
    laid = wide * share + 65535 * (65535 - share)
    return ((laid + 65535 * 257 // 2) // (65535 * 257)).astype(np.uint8)


def _from_bands(file: ImageFile.ImageFile, convert: Callable[[Pixels, int], Pixels]) -> Image.Image:
    """An RGB picture from what `convert` makes of each band of a decoded one: uint8[row, column] or uint8[row, column, 3]."""
    file.load()
    image = Image.new("RGB", file.size)
    for top in range(0, file.height, _BAND):
        band = np.asarray(file.crop((0, top, file.width, min(top + _BAND, file.height))))
        image.paste(Image.fromarray(convert(band, top)), (0, top))
    return image


def _rawmode(file: ImageFile.ImageFile) -> str:
    """How the file orders its samples, as Pillow calls it: "RGB;16B"."""
    args = file.tile[0].args if file.tile else ""
    return str(args if isinstance(args, str) else (args or ("",))[0])
