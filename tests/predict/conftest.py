"""A tiny model that has learnt a little of a shop of five colours, and its records."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from grain import grain
from seeworth.encode import Encoder, collate
from seeworth.phi3v.tiny import make_tiny
from seeworth.record import Record
from seeworth.task import Field, Task

COLOURS = {"Red Coats": "red", "Green Coats": "green", "Blue Hats": "blue", "Black Hats": "black", "Shirts": "white"}
TASK = Task(fields=(Field("title"), Field("category3_code", "category"), Field("full_price", "number", "USD")))


@dataclass
class Shop:
    """The trained parts and records that it was not trained on, of photos in three sizes."""

    model: Any
    encoder: Encoder
    task: Task
    records: list[Record]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Twenty-five steps: answers mostly in form, often wrong, no two probabilities alike."""
    folder = tmp_path_factory.mktemp("shop")
    torch.manual_seed(3)
    records = [_record(number, folder) for number in range(40)]
    task = TASK.with_choices(record.values for record in records)
    model, processor = make_tiny([task.write(record.values) for record in records], seed=1, num_crops=2)
    encoder = Encoder(processor, task)
    examples = [encoder.example(record) for record in records[:15]]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(25):
        loss = model(**collate(examples, pad_id=processor.tokenizer.pad_token_id), logits_at_labels=True, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return Shop(model.eval(), encoder, task, records[24:])


def _record(number: int, folder: Path) -> Record:
    category = list(COLOURS)[number % len(COLOURS)]
    size = ((60, 60), (120, 60), (60, 110))[number % 3]
    path = folder / f"{number}.png"
    Image.blend(grain(size, 60, number).convert("RGB"), Image.new("RGB", size, COLOURS[category]), 0.6).save(path)
    values = {"title": f"Fine {category[:-1]} No {number}", "category3_code": category, "full_price": Decimal(100 + 37 * number % 900)}
    return Record(str(number), path, values, str(number))
