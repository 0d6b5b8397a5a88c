"""A small shop whose photos can be read with the naked eye: the background's hue is the category, and the
width of the white square is the price. Looker reads both off the pixels, so it fails when the photo is taken away."""

from __future__ import annotations

import colorsys
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from seeworth.data.dataset import Dataset, Row, prepare_folder, store_photo, write_dataset
from seeworth.data.photo.decode import open_photo
from seeworth.record import Record, Split
from seeworth.task import Field, Task

NAMES = ["Bags", "Backpacks", "Belts", "Boots", "Bracelets", "Caps", "Clutches", "Coats", "Dresses", "Earrings", "Gloves", "Hats"]
NAMES += ["Jackets", "Jeans", "Necklaces", "Pumps", "Rings", "Sandals", "Scarves", "Shirts", "Shorts", "Skirts", "Sneakers", "Totes"]
NAMES += ["Vests", "Watches"]


class Shop:
    """A dataset folder with its task, and the answer of somebody who looks at the photos."""

    def __init__(self, folder: Path, task: Task, categories: int, side: int) -> None:
        self.folder, self.task, self.side = folder, task, side
        self.names = NAMES[:categories]

    @property
    def dataset(self) -> Dataset:
        return Dataset.open(self.folder)

    def values(self, category: int, width: int) -> dict[str, str | Decimal]:
        known = {
            "title": f"{self.names[category][:-1]} size {width // 8}, Category: new",
            "category3_code": self.names[category],
            "full_price": Decimal(width * width),
        }
        return {one.name: known[one.name] for one in self.task.fields}

    def draw(self, category: int, width: int, number: int) -> bytes:
        """The last pixel holds the number, so that no two records have the same photo."""
        red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(category / len(self.names), 0.9, 0.7))
        image = Image.new("RGB", (self.side, self.side), (red, green, blue))
        at, end = (self.side - width) // 2, (self.side - width) // 2 + width - 1
        ImageDraw.Draw(image).rectangle((at, at, end, end), fill="white")
        image.putpixel((self.side - 1, self.side - 1), (number % 256, number // 256, 0))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    def look(self, record: Record) -> str:
        """What the photo shows; of no photo, always the same."""
        if record.photo is None:
            return self.task.write(self.values(0, 1))
        pixels = np.asarray(open_photo(record.photo))
        red, green, blue = pixels[0, 0] / 255
        category = round(colorsys.rgb_to_hsv(red, green, blue)[0] * len(self.names)) % len(self.names)
        width = int((pixels[len(pixels) // 2].min(axis=1) > 250).sum())
        return self.task.write(self.values(category, max(width, 1)))


def make_shop(folder: Path, *, task: Task | None = None, rows: int = 120, categories: int = 6, side: int = 64) -> Shop:
    """Two records a group; of ten groups five train, one validates, four test."""
    shop = Shop(folder, task or Task(), categories, side)
    rng = np.random.default_rng(7)
    prepare_folder(folder, False)
    splits: list[Split] = ["train"] * 5 + ["validation"] + ["test"] * 4
    lines = []
    for number in range(rows):
        group = number // 2
        category = group % categories
        width = int(rng.integers(side // 4, side - 4))
        file_name, sha256 = store_photo(folder, shop.draw(category, width, number), "png")
        split = splits[group // categories % 10]
        lines.append(Row(f"r{number}", file_name, f"g{group}", split, side, side, sha256, "0" * 16, shop.values(category, width)))
    write_dataset(folder, shop.task, lines, source={"kind": "test"})
    return shop


def make_run(folder: Path, shop: Shop, **changes: object) -> Path:
    """A run folder as train leaves it, without weights: what evaluate reads before it asks."""
    folder.mkdir()
    data = shop.dataset
    how = {"method": "full", "dtype": "float32", "attn_implementation": "auto"}
    what = {"data": str(shop.folder), "data_fingerprint": data.fingerprint, "task": data.task.to_dict()}
    about = {"format": 1, "model": "tiny", **how, **what}
    (folder / "run.json").write_text(json.dumps(about | changes))
    events: list[dict[str, object]] = [{"step": step, "seconds": step, "train/loss": 3 / (1 + step / 20)} for step in range(0, 200, 10)]
    for step in range(25, 200, 25):
        shares = {"eval/parse_rate": 1.0, "eval/title_exact": step / 400, "eval/category3_code_accuracy": step / 210}
        events.append({"step": step, "eval/loss": 3.2 / (1 + step / 20), "eval/full_price_mae": 900 - step, **shares})
    events += [{"step": 199, "eval/answers": [{"photo": "x"}]}, {"summary": {"eval/best_loss": 0.3}}]
    (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return make_shop(tmp_path_factory.mktemp("shop") / "data")


@pytest.fixture(scope="session")
def text_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose task has neither number nor category."""
    task = Task("What is it?", "It is a {title}.", (Field("title"),))
    return make_shop(tmp_path_factory.mktemp("text") / "data", task=task, rows=120, categories=6)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Path]:
    return lambda shop, **changes: make_run(tmp_path / "run", shop, **changes)


@pytest.fixture(scope="session")
def make_a_shop() -> Callable[..., Shop]:
    return make_shop
