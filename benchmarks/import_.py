"""Claims: an import costs little more than decoding its photos, and its memory hardly grows with its rows.

    python benchmarks/import_.py [--photos 1500] [--sizes 640 1280] [--rows 10000 100000]

Rate: `seeworth import` of a table and its drawn product photos of 640 and 1280 pixels (JPEG), whole, against the limit,
bare Pillow decoding the very same files, on one core and on all. Both ways of import, one process and one a core, each
beside the limit of as many cores; ours / limit is the part of the cores' time that goes into decoding.

Memory: tables of 10,000 and 100,000 rows that share 500 small photos (so that the disk is not what is measured), each
imported by a process of its own; its peak resident memory, before (modules loaded) and after, and the bytes a row of the growth.

Predicted before the first run, for 640 pixels: 0.75 of bare decoding on one core (decode 3 ms, perceptual hash 0.5, the row's three
readings and the ledger 0.3, hash and write 0.2), 0.7 on two, where starting the workers costs a second; growth of 300
bytes a row, of which 130 are the ids that `metadata` holds.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from download import decode_rate, draw_photos, timed
from PIL import Image

from seeworth.data.run import run
from seeworth.settings import ImportSettings

MEASURED = """
import sys
from pathlib import Path
from seeworth.data.run import run
from seeworth.settings import ImportSettings
def peak():
    return next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))
before = peak()
run(ImportSettings(Path(sys.argv[1]), Path(sys.argv[2]), processes=1))
print(before, peak())
"""


def main(photos: int, sizes: list[int], rows: list[int]) -> None:
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            rates(Path(name), photos, size)
    with tempfile.TemporaryDirectory() as name:
        memory(Path(name), rows)


def rates(folder: Path, photos: int, size: int) -> None:
    drawn = draw_photos(min(photos, 100), size)
    files = [folder / f"{number}.jpg" for number in range(photos)]
    for number, file in enumerate(files):
        file.write_bytes(drawn[number % len(drawn)] + str(number).encode())  # bytes behind the end: no two photos are the same
    table = write_table(folder / "photos.csv", [file.name for file in files])
    print(f"{photos} photos of {size} pixels, {sum(map(len, drawn)) / len(drawn) / 1000:.0f} kB, {os.cpu_count()} cores")
    print(f"{'':22}photos a second of the clock     photos a second of processor time")
    print(f"{'':22}ours  limit  ours/limit          ours  limit  ours/limit")
    cores = len(os.sched_getaffinity(0))
    for processes in sorted({1, cores}):
        limit = spent(lambda n=processes: decode_all(files, n))
        ours = spent(lambda n=processes: run(ImportSettings(table, folder / f"out{n}", processes=n)))
        words = [f"{photos / a:7.0f}{photos / b:7.0f}{b / a:9.2f}" for a, b in zip(ours, limit, strict=True)]
        print(f"{processes} process{'es' if processes > 1 else '':8}  {words[0]}         {words[1]}")
    print(f"in memory, one core: {decode_rate(drawn):.0f} photos/s decoded")


def spent(work: Any) -> tuple[float, float]:
    """Seconds of the clock, and of the processors for this process and its children: where other work runs beside, they tell more."""
    before = os.times()
    seconds = timed(work)
    return seconds, sum(os.times()[:4]) - sum(before[:4])


def decode_all(files: list[Path], processes: int) -> None:
    if processes == 1:
        for file in files:
            decode(file)
        return
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(decode, files, chunksize=16))


def decode(file: Path) -> None:
    Image.open(io.BytesIO(file.read_bytes())).load()


def memory(folder: Path, sizes: list[int]) -> None:
    small = draw_photos(50, 64)
    for number in range(500):
        image = Image.open(io.BytesIO(small[number % 50])).resize((48, 48))
        image.putpixel((0, 0), (number % 256, number // 256, 0))
        image.save(folder / f"small{number}.png")
    last = (0, 0)
    print(f"{'rows':>10} {'seconds':>8} {'rows/s':>8} {'MB before':>10} {'MB peak':>8}")
    for size in sizes:
        table = write_table(folder / f"rows{size}.csv", [f"small{number % 500}.png" for number in range(size)])
        start = time.perf_counter()
        words = [sys.executable, "-c", MEASURED, str(table), str(folder / f"rows{size}")]
        lines = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        before, peak = map(int, lines.splitlines()[-1].split())
        seconds = time.perf_counter() - start
        print(f"{size:>10} {seconds:8.1f} {size / seconds:8.0f} {before / 1024:10.0f} {peak / 1024:8.0f}")
        if last[0]:
            print(f"growth: {(peak - last[1]) * 1024 / (size - last[0]):.0f} bytes a row")
        last = (size, peak)


def write_table(path: Path, photos: list[str]) -> Path:
    lines = [f"Bag {number},BAGS,{number % 900 + 5},P{number // 3},{photo}" for number, photo in enumerate(photos)]
    path.write_text("\n".join(["title,category3_code,full_price,product_code,photo", *lines]) + "\n")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1500)
    parser.add_argument("--sizes", type=int, nargs="*", default=[640, 1280])
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000])
    arguments = parser.parse_args()
    main(arguments.photos, arguments.sizes, arguments.rows)
