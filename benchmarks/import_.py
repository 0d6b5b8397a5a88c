"""Claims: an import costs little more than decoding its photos, and its memory hardly grows with its rows.

    python benchmarks/import_.py [--photos 3000] [--sizes 640 1280] [--rounds 2] [--rows 10000 100000]

Rate: the command `seeworth import`, whole, from the start of its process to its end, on a table and its drawn product photos of
640 and 1280 pixels (JPEG), against the limit: bare Pillow decoding the very same files in as many processes, fresh ones too, whose
start is not counted. Both with one process and with one a core, in turns, so that other work on the machine hits both; the
best of the rounds counts. "ours / limit" is the part of the processors' time that decoding would take. The fixed part of the command,
measured on a table of one photo, is told beside it, and the rate without it. Photos and dataset folders lie in memory (/dev/shm), where
there is that, for both: ext4 takes 0.05 ms of processor time for a new file, but up to 0.5 ms while it remembers many deleted ones.

Memory: tables of 10,000 and 100,000 rows that share 500 small photos (so that the disk is not what is measured), each
imported by a process of its own; its peak resident memory, before (modules loaded) and after, and the bytes a row of the growth.

Budget of a photo of 640 pixels and 50 kB, in milliseconds of one core on which bare decoding takes 1.30, so that 1.86 are allowed:
decoding at an eighth of the pixels 0.70 (all of the Huffman code, a 64th of the rest), reading and its checks 0.05,
hash and look 0.10, SHA-256 and writing 0.15; the row read three times 0.20, the ledger 0.10, the table 0.05; to and from a worker
0.05; start-up 0.6 s, 0.20 a photo of 3,000: 1.60 in all, 0.81. With two processes 0.4 s more for starting them: 0.75.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

from download import draw_photos, timed
from PIL import Image

MEASURED = """
import sys
from itertools import permutations
from pathlib import Path
from seeworth.data.run import run
from seeworth.settings import ImportSettings
def peak():
    return next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))
before = peak()
run(ImportSettings(Path(sys.argv[1]), Path(sys.argv[2]), processes=1))
print(before, peak())
"""


def main(photos: int, sizes: list[int], rounds: int, rows: list[int]) -> None:
    memory_disk = Path("/dev/shm")
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=memory_disk if memory_disk.is_dir() else None) as name:
            rates(Path(name), photos, size, rounds)
    with tempfile.TemporaryDirectory() as name:
        memory(Path(name), rows)


def rates(folder: Path, photos: int, size: int, rounds: int) -> None:
    drawn = draw_photos(min(photos, 100), size)
    files = [folder / f"{number}.jpg" for number in range(photos)]
    for number, file in enumerate(files):
        file.write_bytes(varied(drawn, number))
    table = write_table(folder / "photos.csv", [file.name for file in files])
    single = write_table(folder / "photo.csv", [files[0].name])
    cores = len(os.sched_getaffinity(0))
    print(f"{photos} photos of {size} pixels, {sum(map(len, drawn)) / len(drawn) / 1000:.0f} kB, {cores} cores, {rounds} rounds")
    print(f"{'':14}photos a second of the clock     of processor time               without the fixed part")
    print(f"{'':14}ours  limit  ours/limit          ours  limit  ours/limit         ours/limit")
    for processes in sorted({1, cores}):
        times: dict[str, list[tuple[float, float]]] = {"fixed": [], "limit": [], "ours": []}
        for number in range(rounds):
            out = folder / f"out-{processes}-{number}"
            times["fixed"].append(spent(command, single, out.with_suffix(".one"), processes))
            times["limit"].append(bare(folder, photos, processes))
            times["ours"].append(spent(command, table, out, processes))
            shutil.rmtree(out)
        fixed, limit, ours = ([min(one) for one in zip(*times[what], strict=True)] for what in ("fixed", "limit", "ours"))
        words = [f"{photos / a:7.0f}{photos / b:7.0f}{b / a:9.2f}" for a, b in zip(ours, limit, strict=True)]
        rest = limit[1] / (ours[1] - fixed[1])
        print(f"{processes} process{'es' if processes > 1 else '':2} {words[0]}         {words[1]}         {rest:9.2f}")
        print(f"{'':14}fixed part {fixed[0]:.2f} s of the clock, {fixed[1]:.2f} s of processor time")


def varied(drawn: list[bytes], number: int) -> bytes:
    """A photo that looks like none before it: a drawn one turned, mirrored, its colours exchanged; 48 of each."""
    turn, colours = divmod(number // len(drawn), 6)
    image = Image.open(io.BytesIO(drawn[number % len(drawn)]))
    bands = image.split()
    image = Image.merge("RGB", [bands[one] for one in list(permutations(range(3)))[colours]])
    buffer = io.BytesIO()
    (image.transpose(Image.Transpose(turn % 8 - 1)) if turn % 8 else image).save(buffer, "JPEG", quality=88, subsampling=0)
    return buffer.getvalue() + str(number).encode()  # bytes behind the end: no two photos are the same


def command(table: Path, out: Path, processes: int) -> None:
    """The whole command, in a process of its own."""
    words = [sys.executable, "-m", "seeworth.cli", "import", str(table), str(out), "--processes", str(processes)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def spent(work: Any, *words: Any) -> tuple[float, float]:
    """Seconds of the clock, and of the processors for this process and its children: where other work runs beside, they tell more."""
    before = os.times()
    seconds = timed(lambda: work(*words))
    return seconds, sum(os.times()[:4]) - sum(before[:4])


def bare(folder: Path, photos: int, processes: int) -> tuple[float, float]:
    """The same of decoding alone, as a fresh process tells it."""
    words = [sys.executable, __file__, "--decode", str(folder), str(photos), str(processes)]
    clock, processor = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return float(clock), float(processor)


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
    parser.add_argument("--photos", type=int, default=3000)
    parser.add_argument("--sizes", type=int, nargs="*", default=[640, 1280])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--decode", nargs=3, metavar=("FOLDER", "PHOTOS", "PROCESSES"), help="the limit alone")
    arguments = parser.parse_args()
    if arguments.decode:
        place, count, number = arguments.decode
        print(*spent(decode_all, [Path(place) / f"{one}.jpg" for one in range(int(count))], int(number)))
        sys.exit()
    main(arguments.photos, arguments.sizes, arguments.rounds, arguments.rows)
