"""What photos may cost: memory and time of one worker, and what a photo file may be on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from corpus.bytes import canvas_webp, encoded, grey_tiff, jpeg_sized, png, scene
from PIL import Image

from seeworth.data.photo.decode import MAX_BYTES, read_photo
from seeworth.errors import PhotoError

IDLE = 110  # MiB that Python, numpy and Pillow take; measured: 34
PEAK = 600  # MiB of a worker at the limits; measured: 466 for 49 million pixels of grey JPEG, turned, 337 for alpha


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak memory of a process")


def peak_of(tmp_path: Path, *photos: bytes) -> tuple[int, list[str]]:
    """Peak memory in MiB of a new process that normalises these photos, and what became of each."""
    paths = []
    for number, data in enumerate(photos):
        paths.append(tmp_path / f"{number}.bin")
        paths[-1].write_bytes(data)
    program = textwrap.dedent("""
        import re, sys
        from pathlib import Path
        from seeworth.data.photo.decode import normalise, read_photo
        from seeworth.errors import PhotoError
        for path in sys.argv[1:]:
            try:
                print(normalise(read_photo(Path(path)))[1])
            except PhotoError as problem:
                print(problem.code)
        print(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1])  # ru_maxrss would be the parent's
    """)
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    *fates, peak = done.stdout.split()
    return int(peak) // 1024, fates


@needs_proc
def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    small = encoded(scene(), "JPEG")
    bombs = [png(60_000, 60_000, rows=bytes(1000)), jpeg_sized(small, 65_535, 65_535), canvas_webp(16_383, 16_383, scene(8, 8))]
    bombs += [grey_tiff(t322=(4, 1, 60_000), t323=(4, 1, 60_000)), jpeg_sized(small, 7000, 7000)]
    peak, fates = peak_of(tmp_path, *bombs)
    assert fates == ["too_large"] * 4 + ["damaged"]
    assert peak < IDLE


@needs_proc
def test_the_largest_photos_stay_within_the_bound(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    peak, fates = peak_of(tmp_path, encoded(Image.new("L", (8000, 6000), 99), "JPEG", exif=exif))
    assert fates == ["png"]
    assert peak < PEAK


def test_a_huge_sparse_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)
    start = time.monotonic()
    with pytest.raises(PhotoError) as problem:
        read_photo(path)
    assert problem.value.code == "too_heavy"
    assert time.monotonic() - start < 0.5


def test_a_file_of_just_the_most_bytes_is_read_and_one_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES)
    assert len(read_photo(path)) == MAX_BYTES
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(PhotoError, match="64 MB"):
        read_photo(path)


@pytest.mark.parametrize("name", ["/proc/self/mem", "/proc/self/environ", "/proc/kmsg", "/dev/null", "/dev/urandom", "/dev/stdin"])
def test_files_of_the_kernel_neither_hang_nor_harm(name: str) -> None:
    path = Path(name)
    if not path.exists():
        pytest.skip(f"no {name} here")
    start = time.monotonic()
    try:
        assert len(read_photo(path)) < 100_000
    except PhotoError as problem:
        assert problem.code in ("not_a_file", "unreadable", "missing")  # noqa: PT017
    assert time.monotonic() - start < 1


def test_a_file_replaced_by_a_link_after_it_was_judged_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    photo = tmp_path / "home" / "a.jpg"
    photo.parent.mkdir()
    photo.symlink_to(secret)  # as if it had come between the check and the reading
    with pytest.raises(PhotoError) as problem:
        read_photo(photo, resolved=True)
    assert problem.value.code == "unreadable"
    assert read_photo(photo) == b"secret"  # a photo that the user names may be a link


def test_a_folder_replaced_by_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_text("secret")
    (tmp_path / "home").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PhotoError) as problem:
        read_photo(tmp_path / "home" / "a.jpg", resolved=True)
    assert problem.value.code == "outside"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(PhotoError) as problem:
        read_photo(path)
    assert problem.value.code == "unreadable"


@pytest.mark.parametrize(
    "name", ["line\nbreak.jpg", "tab\t.jpg", "\udcff\udcfe.jpg", "CON", "nul.jpg", "a:b.jpg", "-rf", "%s%n.jpg", "é" * 100]
)
def test_an_odd_name_names_its_file_and_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert read_photo(tmp_path / name) == b"x"
    (tmp_path / name).unlink()
    with pytest.raises(PhotoError) as problem:
        read_photo(tmp_path / name)
    assert problem.value.code == "missing"
    assert "\n" not in str(problem.value)
