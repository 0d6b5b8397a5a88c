"""The short form of tests/soak/fuzz_photos.py, and what it does about a worker that dies."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "soak" / "fuzz_photos.py"
spec = importlib.util.spec_from_file_location("fuzz_photos", PATH)
assert spec
assert spec.loader
fuzz_photos = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz_photos)


def test_400_changed_files_crash_and_hang_nothing() -> None:
    """In this process, one after the other; the long form runs 10,000 in workers."""
    import random
    import time
    from collections import Counter

    from seeworth.data.photo.decode import normalise
    from seeworth.errors import PhotoError

    pool = fuzz_photos.seeds()
    codes: Counter[str] = Counter()
    for number in range(400):
        data = fuzz_photos.mutated(pool, random.Random(f"short {number}"))
        start = time.process_time()
        try:
            codes["kept as " + normalise(data)[1]] += 1
        except PhotoError as problem:
            codes[problem.code] += 1
        assert time.process_time() - start < fuzz_photos.SECONDS, number
    assert codes["damaged"] > 50
    assert codes["kept as png"] > 10
    assert codes["kept as jpg"] > 2
