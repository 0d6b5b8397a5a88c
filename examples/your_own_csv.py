"""Your own table, in Python: a CSV with photos -> a dataset folder -> a run -> an answer.

    python examples/your_own_csv.py

The table is made here, three columns and drawn photos; put your own path, columns and task in its place.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

from PIL import Image

from seeworth.data.dataset import Dataset
from seeworth.data.run import run as import_
from seeworth.predict.vlm import load_run
from seeworth.settings import ImportSettings, TrainSettings
from seeworth.train.run import run as train

TASK = """
question: Which colour, and how much?
answer: "{colour} for {price} EUR"
fields:
  - {name: colour, kind: category}
  - {name: price, kind: number, unit: EUR}
"""
PAINTS = {"red": (210, 40, 40), "green": (40, 160, 70), "blue": (50, 70, 210)}


def main(home: Path) -> None:
    """Work in `home`."""
    with (home / "paints.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["picture", "colour", "price"])
        for number in range(60):
            name, colour = f"{number}.png", list(PAINTS)[number % 3]
            Image.new("RGB", (64 + number, 64), PAINTS[colour]).save(home / name)
            table.writerow([name, colour, f"{10 * (number % 3 + 1)},50"])
    (home / "task.yaml").write_text(TASK)

    import_(ImportSettings(source=home / "paints.csv", output=home / "data", task=home / "task.yaml", columns={"photo": "picture"}))
    train(TrainSettings(data=home / "data", output_dir=home / "run", model="tiny", max_steps=80, per_device_train_batch_size=8,
                        gradient_accumulation_steps=1, learning_rate=1e-3, report_to="none"))  # fmt: skip

    record = Dataset.open(home / "data").records("train")[0]
    model = load_run(home / "run")
    for prediction in model([record]):
        print(prediction.text, "->", dict(model.encoder.task.read(prediction.text).values))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
