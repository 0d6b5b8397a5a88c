"""Photo bytes changed at random: no crash, no hang over two seconds, memory within its bound; prints a table of codes.

    python tests/soak/fuzz_photos.py [FILES=10000] [SEED=0]

Bit flips, bytes set, blocks copied, moved and cut, lengths in headers edited, splices of two formats; the seeds are the
corpus. Each worker is a process that says which file it is at, so a worker that dies or hangs names its file; the file is
saved beside this script's working folder and the others go on.
"""

from __future__ import annotations

import multiprocessing
import random
import re
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))

from corpus.bytes import encoded, noise, scene
from corpus.photos import FORMS, kept, refused

from seeworth.data.photo.decode import normalise
from seeworth.errors import PhotoError

SECONDS = 2.0  # of processor time for one file
MEMORY = 600 * 2**20  # bytes, the most a worker may come to hold; see docs/data.md
HUNG = 20.0  # seconds of the clock after which a worker is taken for hung, on a machine that does other things too


def seeds() -> list[bytes]:
    """Valid photos in all formats and sizes, and the small files of the corpus."""
    found = [encoded(image, form) for form in FORMS for image in (scene(), noise(40), scene(300, 200))]
    found += [
        encoded(noise(40), "JPEG", progressive=True),
        encoded(scene().convert("CMYK"), "JPEG"),
        encoded(scene().convert("RGBA"), "PNG"),
    ]
    for case in (*kept(), *(one for one in refused() if "AVIF of 20 million" not in one.name and "stream 5000" not in one.name)):
        data = case.make()
        if 0 < len(data) < 30_000:
            found.append(data)
    return found


def mutated(pool: list[bytes], draw: random.Random) -> bytes:
    """One file with one to eight changes."""
    data = bytearray(draw.choice(pool))
    for _ in range(draw.choice((1, 1, 2, 3, 5, 8))):
        if not data:
            break
        at = draw.randrange(len(data))
        early = min(at, draw.randrange(1, 200))  # headers stand at the start
        match draw.randrange(9):
            case 0:
                data[at] ^= 1 << draw.randrange(8)
            case 1:
                data[early % len(data)] = draw.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, draw.randrange(256)))
            case 2:
                size = draw.choice((2, 4))
                value = draw.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, draw.randrange(2**16)))
                data[early : early + size] = (value % 2 ** (8 * size)).to_bytes(size, draw.choice(("big", "little")))
            case 3:
                del data[draw.choice((at, early)) :][: draw.randrange(1, 64)]
            case 4:
                length = draw.randrange(1, 400)
                data[at:at] = data[early : early + length] * draw.choice((1, 1, 2, 50))
            case 5:
                del data[at:]
            case 6:
                other = draw.choice(pool)
                data[at:] = other[draw.randrange(len(other)) :]
            case 7:
                data[early : early + 4] = struct.pack(">I", draw.randrange(2**24))
            case 8:
                del data[at : at + draw.randrange(1, 64)]
    return bytes(data[:200_000])


def work(numbers: range, seed: int, at: Any, results: Any) -> None:
    """Runs in a worker: (number, code, seconds, peak memory) for each file."""
    pool = seeds()
    for number in numbers:
        data = mutated(pool, random.Random(f"{seed} {number}"))
        at.value = number
        start = time.process_time()
        try:
            code = f"kept as {normalise(data)[1]}"
        except PhotoError as problem:
            code = problem.code
        except BaseException as problem:
            code = f"CRASH {type(problem).__name__}: {problem}"
        results.put((number, code, time.process_time() - start, _peak()))
    at.value = -1


def _peak() -> int:
    """Bytes this process has held at most. (ru_maxrss would count what its parent held.)"""
    found = re.search(r"VmHWM:\s+([0-9]+)", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


def fuzz(files: int, seed: int = 0, workers: int = 2) -> tuple[Counter[str], list[str], float, int]:
    """(how often each code, what went wrong in words, seconds of the slowest file, peak memory of a worker in bytes)."""
    context = multiprocessing.get_context("spawn")
    codes: Counter[str] = Counter()
    faults: list[str] = []
    slowest, peak = 0.0, 0
    results = context.SimpleQueue()
    todo = [range(part, files, workers) for part in range(workers)]
    running: list[tuple[Any, Any, range, list[float]]] = []

    def start(numbers: range) -> None:
        at = context.Value("q", -2)
        process = context.Process(target=work, args=(numbers, seed, at, results))
        process.start()
        running.append((process, at, numbers, [-2, time.monotonic()]))

    for numbers in todo:
        start(numbers)
    while running or not results.empty():
        while not results.empty():
            number, code, seconds, memory = results.get()
            codes[code] += 1
            slowest, peak = max(slowest, seconds), max(peak, memory)
            if code.startswith("CRASH") or seconds > SECONDS or memory > MEMORY:
                faults.append(f"file {number}: {code}, {seconds:.1f} s, peak {memory / 2**20:.0f} MiB")
        for one in list(running):
            process, at, numbers, seen = one
            now = at.value
            if now != seen[0]:
                seen[:] = [now, time.monotonic()]
            hung = now >= 0 and time.monotonic() - seen[1] > HUNG
            if hung:
                process.kill()
                process.join()
            if process.is_alive():
                continue
            running.remove(one)
            if now != -1 and results.empty():
                faults.append(f"file {now}: the worker {'hung' if hung else f'died with status {process.exitcode}'}")
                following = range(now + numbers.step, numbers.stop, numbers.step)
                if now >= 0 and len(following):
                    start(following)
            elif now != -1:
                running.append(one)
        time.sleep(0.01)
    return codes, faults, slowest, peak


def main() -> int:
    files, seed = (int(word) for word in (*sys.argv[1:], *("10000", "0")[len(sys.argv) - 1 :]))
    begin = time.monotonic()
    codes, faults, slowest, peak = fuzz(files, seed)
    for code, count in codes.most_common():
        print(f"{count:8} {code}")
    done = sum(codes.values())
    print(f"{done} of {files} files in {time.monotonic() - begin:.0f} s; slowest {slowest:.2f} s; peak memory {peak / 2**20:.0f} MiB")
    pool = seeds() if faults else []
    for fault in faults:
        print(fault)
        number = fault.split()[1].rstrip(":")
        Path(f"crasher-{seed}-{number}.bin").write_bytes(mutated(pool, random.Random(f"{seed} {number}")))
    return 1 if faults or done != files else 0


if __name__ == "__main__":
    sys.exit(main())
