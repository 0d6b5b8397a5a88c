"""One photo, all the way: photo -> tiles -> prompt -> words -> fields -> score, each value printed. Runs in seconds on a CPU.

    python examples/one_photo.py

The tiny model here is trained for a moment on 48 drawn photos, so that there is something to see; expect wrong answers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from seeworth.data.dataset import Dataset
from seeworth.data.sample.run import run as sample
from seeworth.evaluate.score import score
from seeworth.predict.vlm import load_run
from seeworth.settings import SampleSettings, TrainSettings
from seeworth.train.run import run as train


def main(home: Path) -> None:
    """Work in `home`."""
    sample(SampleSettings(output=home / "data", rows=48, processes=1))
    train(TrainSettings(data=home / "data", output_dir=home / "run", model="tiny", max_steps=40, per_device_train_batch_size=8,
                        gradient_accumulation_steps=1, learning_rate=1e-3, report_to="none"))  # fmt: skip

    record = Dataset.open(home / "data").records("train")[0]
    model = load_run(home / "run")
    task, processor = model.encoder.task, model.encoder.processor

    photo = Image.open(record.photo)
    print("photo        ", photo.size, "pixels")
    tiles, tiling = processor.image_processor.tiles(photo)
    print("tiles        ", tuple(tiles.shape), f"= {tiling.rows} x {tiling.columns} and a global view")
    print("photo tokens ", tiling.num_tokens)
    example = model.encoder.example(record)
    print("question     ", task.prompt(record.values))
    print("ids          ", len(example.input_ids), "of which labelled", sum(label != -100 for label in example.labels))
    features = model.model.image_features(tiles[None], tiles.new_tensor(example.image_sizes).long())
    print("photo rows   ", tuple(features[0].shape))
    prediction = next(model([record]))
    print("answer       ", prediction.text)
    print("read         ", dict(task.read(prediction.text).values))
    print("truth        ", task.write(record.values))
    print("score        ", score(record, prediction, task))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
