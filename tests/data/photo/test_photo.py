from __future__ import annotations

import contextlib
import io
import os
import socket
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from corpus.bytes import encoded, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from seeworth.data.photo import decode as photo_module
from seeworth.data.photo.decode import Photo, glance, normalise, open_photo
from seeworth.data.photo.look import Looks, phash, seen
from seeworth.data.photo.pixels import UPRIGHT
from seeworth.errors import PhotoError


def apart(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures, in grey levels."""
    assert one.size == other.size
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


def code_of(data: bytes | Path) -> str:
    with pytest.raises(PhotoError) as problem:
        open_photo(data)
    assert "\n" not in str(problem.value)
    return problem.value.code


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF"])
def test_every_format_is_opened_by_content_whatever_its_name(form: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.gif.txt"
    path.write_bytes(encoded(scene(), form))
    image = open_photo(path)
    assert image.mode == "RGB"
    assert apart(image, scene()) < 8  # lossy formats measured up to 4.0 here, a flipped picture 150


def test_a_gif_shows_its_first_frame() -> None:
    frames = [scene().quantize(16), Image.new("RGB", (48, 32), "black").quantize(16)]
    image = open_photo(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert apart(image, scene()) == 0


def test_an_animated_png_becomes_its_first_frame() -> None:
    data, extension, *_ = normalise(encoded(scene(), "PNG", save_all=True, append_images=[Image.new("RGB", (48, 32))]))
    assert extension == "png"
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 1
    assert apart(open_photo(data), scene()) == 0


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_stands_upright(form: str, orientation: int) -> None:
    inverse = {6: 8, 8: 6}.get(orientation, orientation)  # what a camera held that way writes
    stored = scene() if orientation == 1 else scene().transpose(UPRIGHT[inverse])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_photo(encoded(stored, form, exif=exif))
    assert apart(image, scene()) < 8


def test_unreadable_exif_does_not_cost_the_photo() -> None:
    data = encoded(scene(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert apart(open_photo(data), scene()) < 8


def test_alpha_lies_on_white() -> None:
    image = scene().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    assert open_photo(encoded(image, "PNG")).getextrema() == ((255, 255),) * 3
    image.putalpha(Image.new("L", image.size, 128))
    half = open_photo(encoded(image, "WEBP", lossless=True, exact=True)).getpixel((2, 2))
    assert half == pytest.approx((227, 142, 142), abs=1)  # (200, 30, 30) at 128/255 over white


def test_a_transparent_palette_or_grey_level_lies_on_white() -> None:
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.paste(1, (8, 0, 16, 16))
    opened = open_photo(encoded(palette, "PNG", transparency=0))
    assert opened.getpixel((2, 2)) == (255, 255, 255)
    assert opened.getpixel((12, 2)) == (40, 50, 60)
    grey = Image.new("L", (16, 16), 7)
    assert open_photo(encoded(grey, "PNG", transparency=7)).getpixel((2, 2)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "form"), [("L", "JPEG"), ("L", "PNG"), ("1", "PNG"), ("1", "TIFF"), ("LA", "PNG")])
def test_grey_and_black_and_white_become_rgb(mode: str, form: str) -> None:
    ramp = Image.linear_gradient("L").resize((32, 32))
    source = ramp.convert(mode)
    assert apart(open_photo(encoded(source, form)), source.convert("RGB")) < 2


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(form: str) -> None:
    levels = np.linspace(0, 65535, 64 * 16).astype(np.uint16).reshape(16, 64)
    image = np.asarray(open_photo(encoded(Image.fromarray(levels), form)))
    assert np.abs(image[..., 0].astype(float) - levels / 257).max() <= 0.5


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(form: str) -> None:
    options = {"quality": 95} if form == "JPEG" else {}
    assert apart(open_photo(encoded(scene().convert("CMYK"), form, **options)), scene()) < 8


def test_pixels_without_a_known_white_are_refused() -> None:
    assert code_of(encoded(Image.new("F", (16, 16), 0.5), "TIFF")) == "unsupported"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_photo_cut_short_is_refused(form: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, form)
    assert code_of(data[: int(len(data) * share)]) in ("damaged", "not_a_photo")


@pytest.mark.parametrize(
    ("data", "code", "word"),
    [
        (b"", "empty", "no bytes"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not_a_photo", "a web page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_a_photo", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not_a_photo", "something else"),
        (b"%PDF-1.7 ...", "not_a_photo", "a PDF"),
        (os.urandom(2000), "not_a_photo", "something else"),
    ],
)
def test_what_is_no_photo_is_told_apart(data: bytes, code: str, word: str) -> None:
    with pytest.raises(PhotoError, match=word) as problem:
        open_photo(data)
    assert problem.value.code == code


def test_only_the_listed_decoders_are_started() -> None:
    """PPM, ICO and TGA are formats that Pillow reads and we do not."""
    for form in ("PPM", "ICO", "TGA"):
        assert code_of(encoded(scene(), form)) == "not_a_photo"


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises any size, with next to nothing behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(8000, 8000), (11_000, 11_000), (100_000, 100_000), (50_000_001, 1)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    start = time.monotonic()
    assert code_of(png_of_size(*size)) == "too_large"
    assert time.monotonic() - start < 0.5


def test_a_tiff_with_a_vast_tile_is_refused() -> None:
    entries = [(256, 4, 16), (257, 4, 16), (258, 3, 8), (259, 3, 5), (262, 3, 1), (277, 3, 1), (322, 4, 100_000), (323, 4, 100_000)]
    entries += [(324, 4, 8), (325, 4, 4)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    assert code_of(b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0\0\0\0") == "too_large"


def test_a_heavy_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_module, "MAX_BYTES", 1000)
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(scene(), "BMP"))
    assert code_of(path) == "too_heavy"
    assert code_of(path.read_bytes()) == "too_heavy"


def test_folders_pipes_sockets_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
        for name in ("pipe.jpg", "socket.jpg", ".", "/dev/zero"):
            assert code_of(tmp_path / name) == "not_a_file"
    assert code_of(tmp_path / "nowhere.jpg") == "missing"
    assert code_of(Path("nul\0byte.jpg")) == "unreadable"


def test_a_plain_photo_is_kept_byte_for_byte() -> None:
    for form, extension in (("JPEG", "jpg"), ("PNG", "png")):
        data = encoded(scene(), form)
        assert normalise(data) == (data, extension, Photo(48, 32, *seen(open_photo(data))))


def odd_photos() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "turned": encoded(scene(), "JPEG", exif=exif),
        "cmyk": encoded(scene().convert("CMYK"), "JPEG"),
        "alpha": encoded(scene().convert("RGBA"), "PNG"),
        "grey": encoded(scene().convert("L"), "JPEG"),
        "webp": encoded(scene(), "WEBP"),
        "transparent colour": encoded(scene(), "PNG", transparency=(200, 30, 30)),
    }


@pytest.mark.parametrize("name", odd_photos())
def test_normalising_changes_no_pixel_and_is_done_after_once(name: str) -> None:
    data = odd_photos()[name]
    stored, extension, photo = normalise(data)
    assert (extension, (photo.width, photo.height)) == ("png", open_photo(data).size)
    assert apart(open_photo(stored), open_photo(data)) == 0
    assert normalise(stored) == (stored, "png", photo)


def test_a_spacer_is_too_small() -> None:
    with pytest.raises(PhotoError, match="1 x 1 pixels, expected at least 8") as problem:
        normalise(encoded(Image.new("RGB", (1, 1)), "GIF"))
    assert problem.value.code == "too_small"


def blobs(seed: int) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((160, 120), Image.Resampling.BICUBIC)


def distance(one: Image.Image, other: Image.Image) -> int:
    return (int(phash(one), 16) ^ int(phash(other), 16)).bit_count()


def test_a_copy_is_near_in_phash_and_another_photo_is_far() -> None:
    for seed in range(5):
        image = blobs(seed)
        shrunk = open_photo(encoded(image.resize((90, 68)), "JPEG", quality=60))
        assert distance(image, shrunk) <= 6  # measured: at most 2
        assert distance(image, blobs(seed + 100)) >= 16  # measured: at least 22


def test_phash_has_one_bit_for_each_low_frequency() -> None:
    assert phash(Image.new("RGB", (40, 40), "white")) == "8000000000000000"  # of a blank, the mean alone is above the median, 0
    wave = 128 + 100 * np.cos(np.pi * 3 * (2 * np.arange(32) + 1) / 64)  # frequency 3 from left to right: bit 3 of the first row
    picture = Image.fromarray(np.tile(np.round(wave), (32, 1)).astype(np.uint8))
    assert int(phash(picture), 16) >> 56 & 0b11111000 == 0b10010000
    assert phash(picture) != phash(picture.transpose(Image.Transpose.ROTATE_90))


@settings(max_examples=60, deadline=None)
@given(st.integers(96, 900), st.integers(96, 900), st.sampled_from([0, 1, 2]), st.booleans(), st.integers(0, 9))
def test_a_jpeg_looks_the_same_at_a_glance_as_in_full(width: int, height: int, subsampling: int, progressive: bool, seed: int) -> None:
    """A glance decodes an eighth of the pixels or more; sides that no block of 8 divides are part of it."""
    image = blobs(seed).resize((width, height), Image.Resampling.BICUBIC)
    data = encoded(image, "JPEG", quality=90, subsampling=subsampling, progressive=progressive)
    quick, full = glance(data), seen(open_photo(data))
    assert (quick.width, quick.height) == image.size
    assert (int(quick.phash, 16) ^ int(full[0], 16)).bit_count() <= 4  # measured over 2,000: at most 2
    one, two = (Looks.of([(*parts, *image.size)]) for parts in ((quick.phash, quick.look), full))
    assert np.abs(one.grey.astype(int) - two.grey).max() <= 3  # levels; measured: at most 1
    assert np.abs(one.colour.astype(int) - two.colour).max() <= 3


JPEGS = [encoded(blobs(3).resize((420, 300)), "JPEG", progressive=one, subsampling=two) for one in (False, True) for two in (0, 2)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(JPEGS), st.data())
def test_a_glance_opens_exactly_what_decoding_in_full_opens(jpeg: bytes, data: st.DataObject) -> None:
    """Whatever is damaged or cut short: the smaller picture must not hide it."""
    raw = bytearray(jpeg)
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from([0, 0xFF, 0xD9, 0xDA, 0x7F, 0x55]))
    broken = bytes(raw[: data.draw(st.sampled_from([len(raw), data.draw(st.integers(0, len(raw)))]))])
    codes = []
    for opening in (open_photo, glance):
        try:
            opening(broken)
            codes.append("")
        except PhotoError as problem:
            codes.append(problem.code)
    assert codes[0] == codes[1]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]), st.data())
def test_a_changed_byte_gives_a_photo_or_a_photo_error_and_nothing_else(form: str, data: st.DataObject) -> None:
    raw = bytearray(encoded(scene(), form))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PhotoError):
        assert open_photo(bytes(raw)).mode == "RGB"


MODES = {
    "RGB": ("PNG", "JPEG", "WEBP", "BMP", "TIFF"),
    "RGBA": ("PNG", "WEBP", "TIFF"),
    "L": ("PNG", "JPEG", "TIFF", "BMP", "GIF"),
    "LA": ("PNG",),
}
MODES |= {"1": ("PNG", "TIFF", "BMP"), "P": ("PNG", "GIF", "BMP"), "CMYK": ("JPEG", "TIFF"), "I;16": ("PNG", "TIFF")}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_stored_of_any_picture_shows_what_was_seen_of_it(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(sorted(MODES)))
    form = data.draw(st.sampled_from(MODES[mode]))
    width, height = data.draw(st.integers(8, 70)), data.draw(st.integers(8, 70))
    draw = np.random.default_rng(data.draw(st.integers(0, 9)))
    if mode == "I;16":
        image = Image.fromarray(draw.integers(0, 65536, (height, width), dtype=np.uint16))
    else:
        image = Image.fromarray(draw.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = data.draw(st.integers(0, 9))
    options = {"exif": exif} if form in ("JPEG", "PNG", "WEBP", "TIFF") and mode in ("RGB", "RGBA", "L") else {}
    if mode in ("P", "L") and form in ("PNG", "GIF") and data.draw(st.booleans()):
        options["transparency"] = 3
    source = encoded(image, form, **options)
    shown = open_photo(source)
    stored, extension, photo = normalise(source)
    again = open_photo(stored)
    assert again.tobytes() == shown.tobytes()
    assert again.size == shown.size
    assert photo == Photo(*shown.size, *seen(shown)) == glance(source) == glance(stored)
    assert normalise(stored) == (stored, extension, photo)
    with Image.open(io.BytesIO(stored)) as elsewhere:  # and any program without our care sees it too
        assert elsewhere.format == {"jpg": "JPEG", "png": "PNG"}[extension]
        assert (elsewhere.mode, elsewhere.getexif().get(0x0112, 1) in range(2, 9)) == ("RGB", False)
        assert elsewhere.tobytes() == shown.tobytes()


def test_a_stored_png_holds_pixels_and_nothing_else() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    stored, *_ = normalise(encoded(scene(), "JPEG", exif=exif, icc_profile=b"profile" * 99, comment=b"where I live"))
    assert stored[:8] == b"\x89PNG\r\n\x1a\n"
    for word in (b"Camera", b"profile", b"where I live", b"iCCP", b"eXIf", b"tEXt"):
        assert word not in stored


def test_only_classes_of_the_listed_formats_are_ever_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by Pillow's registry, which a plug-in may extend, nor by the formats that a file may hold inside."""
    made: set[str] = set()
    begin = ImageFile.ImageFile.__init__

    def watched(self: ImageFile.ImageFile, *words: object, **more: object) -> None:
        made.add(type(self).__name__)
        begin(self, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageFile.ImageFile, "__init__", watched)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("Image.open chooses among all decoders"))
    for form in ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "MPO"):
        normalise(encoded(scene(), form))
    for form in ("ICO", "ICNS", "EPS", "JPEG2000", "PPM", "TGA", "PDF"):
        code_of(encoded(scene(), form))
    assert made == {f"{name}ImageFile" for name in ("Jpeg", "Png", "WebP", "Avif", "Bmp", "Tiff", "Gif")}
