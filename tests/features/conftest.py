"""A tiny model, its encoder, and photos of several shapes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seeworth.encode import Encoder
from seeworth.phi3v import Phi3VForCausalLM
from seeworth.phi3v.tiny import make_tiny
from seeworth.record import Record
from seeworth.task import Task

TASK = Task()
VALUES = {"title": "Long Coat in Camel", "category3_code": "COATS", "full_price": Decimal(1290)}
SIZES = [(60, 90), (112, 112), (240, 60), (90, 200), (500, 500), (40, 40), (33, 300)]

MakePhotos = Callable[..., list[Record]]


@pytest.fixture(scope="session")
def made() -> tuple[Phi3VForCausalLM, Encoder]:
    """The tiny model at 4 crops, and its encoder; never changed by a test."""
    return fresh()


def fresh(num_crops: int = 4, seed: int = 0) -> tuple[Phi3VForCausalLM, Encoder]:
    model, processor = make_tiny([TASK.write(VALUES), TASK.prompt()], num_crops=num_crops, seed=seed)
    return model.eval(), Encoder(processor, TASK)


@pytest.fixture
def photos(tmp_path: Path) -> MakePhotos:
    """So many records, each with a photo of its own in a dataset folder, named by its content."""

    def make(count: int = len(SIZES), seed: int = 0) -> list[Record]:
        rng = np.random.default_rng(seed)
        records = []
        for number in range(count):
            width, height = SIZES[number % len(SIZES)]
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(buffer, "PNG")
            name = hashlib.sha256(buffer.getvalue()).hexdigest()
            path = tmp_path / "data" / "photos" / name[:2] / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(buffer.getvalue())
            records.append(Record(f"r{number}", path, VALUES, f"g{number}", "train"))
        return records

    return make
