"""5,000 records from a predictions.jsonl to the page: python tests/soak/many_records.py [RECORDS]. Fails where the page is 10 MB or more.

The records have long titles, 60 categories and photos of noise, the worst that a JPEG can be given; a minute on one core.
"""

from __future__ import annotations

import argparse
import io
import time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from seeworth.data.dataset import Row, prepare_folder, store_photo, write_dataset
from seeworth.evaluate.run import run as evaluate
from seeworth.record import Prediction, write_predictions
from seeworth.report.run import run as report
from seeworth.settings import EvaluateSettings, ReportSettings
from seeworth.task import Task

MOST = 10_000_000  # bytes


def main() -> None:
    """Make the data, evaluate, draw, and hold the page against MOST."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=5000)
    with TemporaryDirectory() as place:
        home = Path(place)
        _data(home, parser.parse_args().records)
        begun = time.perf_counter()
        folder = evaluate(EvaluateSettings(run=home / "predictions.jsonl", data=home / "data", output=home / "evaluation", bootstrap=200))
        evaluated = time.perf_counter()
        size = report(ReportSettings(evaluation=folder)).stat().st_size
        print(f"evaluated in {evaluated - begun:.0f} s, drawn in {time.perf_counter() - evaluated:.1f} s: {size / 1e6:.2f} MB")
        if size >= MOST:
            raise SystemExit(f"the page has {size:,} bytes, expected less than {MOST:,}")


def _data(home: Path, many: int) -> None:
    rng, task = np.random.default_rng(0), Task()
    prepare_folder(home / "data", overwrite=False)
    rows, predictions = [], []
    for number in range(many + 60):
        category, price = f"CATEGORY {number % 60}", Decimal(int(rng.integers(10, 30_000)))
        title = " ".join(f"word{word}" for word in rng.integers(0, 100, 14))
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).resize((320, 320), Image.Resampling.NEAREST).save(buffer, "JPEG")
        name, sha256 = store_photo(home / "data", buffer.getvalue(), "jpg")
        values = {"title": title, "category3_code": category, "full_price": price}
        split = "test" if number < many else "train"
        rows.append(Row(f"record-{number:06d}", name, f"g{number // 2}", split, 320, 320, sha256, "0" * 16, values))
        if split == "test":
            predictions.append(_answer(rng, task, rows[-1]))
    write_dataset(home / "data", task, rows, source={"kind": "soak"})
    write_predictions(home / "predictions.jsonl", predictions)


def _answer(rng: np.random.Generator, task: Task, row: Row) -> Prediction:
    price = round(float(row.values["full_price"]) * float(np.exp(rng.normal(0, 0.3))), 2)
    said = {"title": str(row.values["title"])[::-1], "category3_code": row.values["category3_code"], "full_price": Decimal(str(price))}
    text = task.write(said) if rng.random() < 0.98 else "I cannot tell."
    own = {"median": price, "low": price * 0.8, "high": price * 1.3}
    sure = {"category3_code": float(rng.random())}
    return Prediction(str(row.id), text, 0.01, confidence=sure, distribution={"full_price": own})


if __name__ == "__main__":
    main()
