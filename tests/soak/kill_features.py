"""The proof that kept features survive anything: writers of one store are killed at random moments, over and over, bits are flipped
and files are cut between; every block that is read is right, or is not there and is told.

    python tests/soak/kill_features.py [--rounds 200] [--writers 3] [--seed 0]

Prints one line a tenth of the rounds, and ends with status 1 at the first wrong block. tests/test_shards.py holds the short form.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from inspect import getsource
from pathlib import Path

from seeworth.shards import Shards

WRITER = """
import hashlib, sys
from pathlib import Path
from seeworth.shards import Shards

{functions}
store = Shards(Path(sys.argv[1]), "soak", lambda words: None)
print("ready", flush=True)
for number in range(int(sys.argv[2]), 10**9):
    if number % 50 == 0:
        store.refresh()
    store.put(key(number), block(number))
"""


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def block(number: int) -> bytes:
    return hashlib.shake_128(str(number).encode()).digest(1 + number * 7919 % 100_000)


def harm(folder: Path, draw: random.Random) -> str:
    """Flip a bit, cut a file, or leave all as it is."""
    files = sorted(path for path in folder.iterdir() if path.stat().st_size)
    what = draw.choice(["nothing", "bit", "cut"]) if files else "nothing"
    if what == "nothing":
        return what
    path = draw.choice(files)
    if what == "cut":
        os.truncate(path, draw.randrange(path.stat().st_size))
        return what
    with path.open("r+b") as file:
        place = draw.randrange(path.stat().st_size)
        file.seek(place)
        old = file.read(1)[0]
        file.seek(place)
        file.write(bytes([old ^ 1 << draw.randrange(8)]))
    return what


def main(rounds: int, writers: int, seed: int) -> int:
    draw, code = random.Random(seed), WRITER.format(functions=getsource(key) + getsource(block))
    harms = damaged = read = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number in range(1, rounds + 1):
            start = draw.randrange(0, 3000)
            asked = [[sys.executable, "-c", code, place, str(start + 40 * n)] for n in range(writers)]
            running = [subprocess.Popen(one, stdout=subprocess.PIPE) for one in asked]
            for process in running:
                assert process.stdout is not None
                process.stdout.readline()
            time.sleep(draw.uniform(0.0, 0.3))
            for process in running:
                process.kill()
                process.communicate()
            harms += harm(folder, draw) != "nothing"
            store = Shards(folder, "soak", lambda words: None)
            before = store.damaged
            for one in range(10_000):
                view = store.get(key(one))
                if view is not None:
                    read += 1
                    if bytes(view) != block(one):
                        print(f"round {number}: block {one} is wrong")
                        return 1
            damaged += store.damaged - before
            if number % max(rounds // 10, 1) == 0:
                size = sum(path.stat().st_size for path in folder.iterdir())
                print(
                    f"{number} rounds, {len(store)} blocks, {size / 1e6:.0f} MB, {read} read and right, {harms} harms, {damaged} told",
                    flush=True,
                )
            if sum(path.stat().st_size for path in folder.iterdir()) > 2e9:
                for path in folder.iterdir():
                    path.unlink()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(main(given.rounds, given.writers, given.seed))
