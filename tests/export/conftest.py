"""A small base model in a folder, LoRA runs on it that were trained for some steps, and a full one; made once for all tests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seeworth.data.dataset import Dataset, Row, prepare_folder, store_photo, write_dataset
from seeworth.phi3v import Phi3VForCausalLM
from seeworth.phi3v.tiny import make_tiny, tiny_config
from seeworth.predict.vlm import load_run
from seeworth.settings import ExportSettings, TrainSettings
from seeworth.task import Field, Task
from seeworth.train.run import run as train

COLOURS = {"Red": (220, 30, 30), "Green": (30, 180, 60), "Blue": (40, 60, 220), "White": (240, 240, 240)}
TASK = Task(fields=(Field("title"), Field("category3_code", "category"), Field("full_price", "number", "USD")))


@dataclass(frozen=True)
class Home:
    """Where data, base and runs lie."""

    folder: Path
    data: Path
    base: Path

    def settings(self, out: Path, **more: Any) -> TrainSettings:
        plain = {"model": str(self.base), "method": "lora", "lora_rank": 8, "lora_dropout": 0.0, "max_steps": 8, "report_to": "none",
                 "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "learning_rate": 2e-2, "evals_per_run": 1,
                 "eval_records": 0, "doctor": False}  # fmt: skip
        return TrainSettings(data=self.data, output_dir=out, **(plain | more))

    def run(self, name: str, **more: Any) -> Path:
        """A finished training of that name, made when it is not there."""
        out = self.folder / name
        if not out.exists():
            train(self.settings(out, **more))
        return out

    def export(self, run: Path, out: Path, **more: Any) -> ExportSettings:
        return ExportSettings(run=run, output=out, **({"probes": 4, "max_new_tokens": 12, "batch_size": 8} | more))


def photo(colour: tuple[int, int, int], number: int) -> bytes:
    rng = np.random.default_rng(number)
    size = ((60, 44), (90, 50), (50, 80))[number % 3]
    noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    file = io.BytesIO()
    Image.blend(noise, Image.new("RGB", size, colour), 0.7).save(file, "PNG")
    return file.getvalue()


def make_data(folder: Path, rows: int = 264, train_rows: int = 48, validation: int = 16) -> Path:
    prepare_folder(folder, False)
    lines = []
    for number in range(rows):
        colour = list(COLOURS)[number % 4]
        name, sha256 = store_photo(folder, photo(COLOURS[colour], number), "png")
        split = "train" if number < train_rows else "validation" if number < train_rows + validation else "test"
        width, height = Image.open(folder / name).size
        price = Decimal(100 * (number % 4 + 1) + number % 10)
        values = {"title": f"{colour} Sheet {number % 7}", "category3_code": colour.upper(), "full_price": price}
        lines.append(Row(f"r{number}", name, f"g{number}", split, width, height, sha256, "0" * 16, values))  # type: ignore[arg-type]
    write_dataset(folder, TASK, lines, source={"kind": "test"})
    return folder


def make_base(folder: Path, data: Path) -> Path:
    """A pretrained model's stand-in: random weights, two layers, 4 tiles; a multiple of 64 wide, as 4-bit weights want it."""
    records = Dataset.open(data).records("train")
    _, processor = make_tiny([TASK.write(record.values) for record in records] + [TASK.prompt()], num_crops=2)
    config = tiny_config(len(processor.tokenizer), processor.ids).to_dict()
    config |= {"hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 4, "num_hidden_layers": 2}
    torch.manual_seed(0)
    Phi3VForCausalLM(Phi3VForCausalLM.config_class.from_dict(config)).float().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("export")
    data = make_data(folder / "shop")
    return Home(folder, data, make_base(folder / "base", data))


@pytest.fixture(scope="session")
def lora(home: Home) -> Path:
    """LoRA on all three parts."""
    return home.run("lora")


@pytest.fixture(scope="session")
def full(home: Home) -> Path:
    return home.run("full", method="full", learning_rate=2e-3)


@pytest.fixture(scope="session")
def words() -> Callable[..., list[str]]:
    """What a run folder answers to records."""

    def ask(run: Path, records: Any, **more: Any) -> list[str]:
        return [one.text for one in load_run(run, max_new_tokens=12, **more)(records)]

    return ask


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "export.json").read_text()))
