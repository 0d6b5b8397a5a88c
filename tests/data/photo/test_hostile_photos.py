"""Every photo of the corpus has its fate: a picture that is right to the level, or one line and a code; within two seconds."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from corpus.bytes import grey_tiff
from corpus.photos import Kept, Refused, kept, refused

from seeworth.data.photo.decode import normalise, open_photo, photo_size
from seeworth.errors import PhotoError

SECONDS = 2.0  # of this process; measured: at most 0.4, for a thousand comments and the like under 0.1


@pytest.mark.parametrize("case", list(refused()), ids=lambda case: case.name)
def test_a_hostile_photo_is_refused_with_its_code(case: Refused) -> None:
    data = case.make()
    start = time.process_time()
    with pytest.raises(PhotoError) as problem:
        normalise(data)
    assert time.process_time() - start < SECONDS
    assert problem.value.code in case.codes, str(problem.value)
    assert "\n" not in str(problem.value)
    assert len(str(problem.value)) < 300


@pytest.mark.parametrize("case", list(kept()), ids=lambda case: case.name)
def test_an_odd_photo_is_seen_as_it_should_be(case: Kept) -> None:
    data = case.make()
    start = time.process_time()
    seen = np.asarray(open_photo(data)).astype(float)
    assert time.process_time() - start < SECONDS
    expected = case.picture().astype(float)
    assert seen.shape == expected.shape
    error = np.abs(seen - expected)
    assert (error.mean() if case.mean else error.max()) <= case.tolerance


@pytest.mark.parametrize("case", list(kept()), ids=lambda case: case.name)
def test_what_is_stored_shows_the_same_and_is_stored_as_it_is_from_then_on(case: Kept) -> None:
    data = case.make()
    stored, extension, photo = normalise(data)
    image = open_photo(stored)
    assert image.size == (photo.width, photo.height)
    assert image.tobytes() == open_photo(data).tobytes()
    assert normalise(stored) == (stored, extension, photo)


@pytest.mark.parametrize("case", list(kept()), ids=lambda case: case.name)
def test_the_size_is_told_without_decoding(case: Kept) -> None:
    data = case.make()
    assert photo_size(data) == open_photo(data).size


def test_hostile_tiffs_write_nothing_to_stderr() -> None:
    lzw = grey_tiff(t259=(3, 1, 5))  # codes that are none: libtiff itself says "Using code not yet in table"
    samples = grey_tiff(t277=(3, 1, 9728))  # Pillow's log says "More samples per pixel than can be decoded"
    program = (
        "import sys\n"
        "from seeworth.data.photo.decode import open_photo\n"
        "from seeworth.errors import PhotoError\n"
        "for data in sys.argv[1:]:\n"
        "    try:\n"
        "        open_photo(bytes.fromhex(data))\n"
        "    except PhotoError as problem:\n"
        "        print(problem.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, lzw.hex(), samples.hex()], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["damaged", "damaged"], "")
