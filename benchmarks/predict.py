"""How much memory predict holds while the inputs grow, and how fast it is without a model: a table of N rows about one photo.

    python benchmarks/predict.py [--rows 20000 200000] [--photo_side 64]

A predictor that says the same of all stands in for the model, so all that is measured is ours: rows read, photos read and decoded, lines
written, put in order, and the Parquet made of them. Each number of rows is a process of its own; its memory is the most that it ever had
resident (VmHWM) once predict had begun, over what it had then. The naive way holds records and predictions as lists, and opens no photo.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from seeworth.predict.inputs import open_inputs
from seeworth.predict.local import Plain
from seeworth.predict.predictor import FakePredictor
from seeworth.predict.run import run
from seeworth.record import write_predictions
from seeworth.settings import PredictSettings
from seeworth.task import Task

WORDS = "Product: Tie in Red Silk, Slim, Category: TIES, Full Price: 105"


def resident(key: str) -> float:
    """Megabytes of this process: VmRSS now, VmHWM at most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def prepare(folder: Path, rows: int, side: int) -> PredictSettings:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    Task().save(folder / "model" / "task.yaml")
    Image.effect_noise((side, side), 60).convert("RGB").save(folder / "a.jpg")
    with (folder / "table.csv").open("w") as file:
        file.write("id,photo\n")
        file.writelines(f"row-{number:09d},a.jpg\n" for number in range(rows))
    return PredictSettings(str(folder / "model"), folder / "table.csv", folder / "out.parquet")


def streamed(settings: PredictSettings) -> None:
    run(settings, model=Plain(FakePredictor(lambda _: WORDS), Task()))


def naive(settings: PredictSettings) -> None:
    records = [item.record for item in open_inputs(settings, Task())]
    predictions = list(FakePredictor(lambda _: WORDS)(records))
    write_predictions(settings.output, predictions)


def measure(way: str, rows: int, side: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        settings = prepare(Path(name), rows, side)
        before, start = resident("VmRSS"), time.perf_counter()
        {"ours": streamed, "naive": naive}[way](settings)
        seconds, most = time.perf_counter() - start, resident("VmHWM") - before
        print(f"| {way} | {rows:,} | {most:.0f} MB more than the {before:.0f} MB at the start | {rows / seconds:.0f}/s |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--photo_side", type=int, default=64)
    parser.add_argument("--way", choices=("ours", "naive"), help="measure this one here, not each in a process of its own")
    arguments = parser.parse_args()
    if arguments.way:
        measure(arguments.way, arguments.rows[0], arguments.photo_side)
    else:
        print("| way | rows | memory | rate |\n| --- | ---: | --- | ---: |", flush=True)
        for way in ("ours", "naive"):
            for rows in arguments.rows:
                words = ["--way", way, "--rows", str(rows), "--photo_side", str(arguments.photo_side)]
                subprocess.run([sys.executable, __file__, *words], check=True, stderr=subprocess.DEVNULL)
