"""Claim: a table of a million rows is drawn at flat memory; a twin's table, too.

    python benchmarks/sample.py [--rows 10000 100000 1000000] [--like DATASET] [--processes 0]

Three ways to a table of as many rows, each in a process of its own, side by side: ours (`seeworth sample OUT --photos 0`), the naive way
(the plan and all rows as lists, then the file), the limit (the csv module writing one row that is already there). With --like also
the twin. RSS is the peak of the process that writes and, behind the +, of the largest worker.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

WORK = """
import csv, json, resource, sys, time
from pathlib import Path
way, rows, folder, processes, like = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
from seeworth.data.sample import run as sample
from seeworth.data.draw.catalogue import plan
from seeworth.settings import SampleSettings

def ours():
    settings = SampleSettings(folder / "out", rows=rows, photos=0, processes=processes)
    sample.run(settings)

def twin():
    sample.run(SampleSettings(folder / "out", like=Path(like), rows=rows, photos=0, processes=processes))

def naive():
    made = [sample._values(product, "") for product in plan(rows, 0)]
    with (folder / "naive.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sample.COLUMNS)
        writer.writeheader()
        writer.writerows(made)

def limit():
    row = list(sample._values(plan(1, 0)[0], "").values())
    with (folder / "limit.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        for _ in range(rows):
            writer.writerow(row)

if __name__ == "__main__":
    start = time.perf_counter()
    {"ours": ours, "twin": twin, "naive": naive, "limit": limit}[way]()
    seconds = time.perf_counter() - start
    own, workers = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps([rows / seconds, own, workers]))
"""


def main(sizes: list[int], like: str, processes: int) -> None:
    """Print a line for each number of rows and each way."""
    print(f"{'rows':>10} {'way':>6} {'rows/s':>10} {'RSS MB':>14}")
    for rows in sizes:
        for way in ("ours", *(["twin"] if like else []), "naive", "limit"):
            with tempfile.TemporaryDirectory() as folder:
                speed, own, workers = _run(Path(folder), way, str(rows), str(processes), like)
            print(f"{rows:>10,} {way:>6} {speed:>10,.0f} {own:>8.0f} +{workers:>4.0f}", flush=True)


def _run(folder: Path, way: str, rows: str, processes: str, like: str) -> list[float]:
    script = folder / "work.py"  # a file, not -c: worker processes import it again
    script.write_text(WORK, encoding="utf-8")
    command = [sys.executable, str(script), way, rows, str(folder), processes, like]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    read: Callable[[str], list[float]] = json.loads
    return read(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--like", default="")
    parser.add_argument("--processes", type=int, default=0)
    arguments = parser.parse_args()
    main(arguments.rows, arguments.like, arguments.processes)
