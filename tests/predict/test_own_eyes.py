"""What a loaded run gives to baselines: its vision features, and the model before fine-tuning."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seeworth.data.dataset import Dataset, Row, store_photo, write_dataset
from seeworth.encode import Encoder
from seeworth.phi3v import Phi3VForCausalLM, Phi3VProcessor
from seeworth.phi3v.tiny import make_tiny
from seeworth.predict.own_eyes import before, sees
from seeworth.predict.vlm import VLM, load_run
from seeworth.record import Record
from seeworth.settings import TrainSettings
from seeworth.task import Field, Task
from seeworth.train.run import run as train

COLOURS = {"Red": (220, 30, 30), "Green": (30, 180, 60), "Blue": (40, 60, 220), "White": (240, 240, 240)}
TASK = Task(fields=(Field("title"), Field("category3_code", "category", choices=tuple(COLOURS)), Field("full_price", "number", "USD")))
WORDS = 24  # tokens of an answer, of a model that has hardly learnt


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HOME/data, a base model in HOME/base, and runs that began with it: HOME/lora (an adapter alone), HOME/mixed (and a part in full)."""
    home = tmp_path_factory.mktemp("eyes")
    data = home / "data"
    data.mkdir()
    rows = []
    for number in range(24):
        colour = list(COLOURS)[number % 4]
        Image.new("RGB", (40 + number, 60), COLOURS[colour]).save(home / "photo.png")
        name, sha256 = store_photo(data, (home / "photo.png").read_bytes(), "png")
        values = {"title": f"{colour} Sheet", "category3_code": colour, "full_price": Decimal(100 * (number % 4 + 1))}
        split = "train" if number < 16 else "test"
        rows.append(Row(f"r{number:02}", name, f"g{number}", split, 40 + number, 60, sha256, "0" * 16, values))  # type: ignore[arg-type]
    write_dataset(data, TASK, rows, source={"kind": "test"})
    texts = [TASK.write(row.values) for row in rows] + [TASK.prompt()]
    model, processor = make_tiny(texts, seed=3)
    model.save_pretrained(home / "base")
    processor.save_pretrained(home / "base")
    plain = {
        "model": str(home / "base"), "max_steps": 3, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_crops": 1,
        "learning_rate": 0.1, "evals_per_run": 0, "eval_records": 2, "report_to": "none", "doctor": False, "lora_rank": 4,
    }  # fmt: skip
    parts = {"method": "lora", "vision": "frozen", "projector": "frozen"}
    train(TrainSettings(data=data, output_dir=home / "lora", **parts, **plain))  # type: ignore[arg-type]
    train(TrainSettings(data=data, output_dir=home / "mixed", method="lora", vision="frozen", projector="full", **plain))  # type: ignore[arg-type]
    return home


def _asked(home: Path) -> list[Record]:
    return Dataset.open(home / "data").records("test")


def _base(home: Path) -> list[str]:
    model = Phi3VForCausalLM.from_pretrained(home / "base", dtype=torch.float32)
    vlm = VLM(model.eval(), Encoder(Phi3VProcessor.from_pretrained(home / "base"), TASK), max_new_tokens=WORDS)
    return [one.text for one in vlm(_asked(home))]


@pytest.mark.parametrize("name", ["lora", "mixed"])
def test_the_model_before_fine_tuning_says_what_the_base_says_and_the_tuned_one_is_left_as_it_was(home: Path, name: str) -> None:
    tuned = load_run(home / name, max_new_tokens=WORDS)
    tuned.constraint = None  # free words: held to the task, two models that know nothing may say the same
    first = [one.text for one in tuned(_asked(home))]
    untuned, why = before(tuned, home / name)
    assert untuned is not None
    assert why == ""
    tuned.samples = 2
    said = list(untuned(_asked(home)))
    tuned.samples = 0
    assert [one.text for one in said] == _base(home)
    assert not any(one.samples for one in said)  # it is asked for words alone
    assert first != _base(home)
    assert [one.text for one in tuned(_asked(home))] == first


def test_a_model_trained_from_random_weights_has_no_model_before_it(home: Path, tmp_path: Path) -> None:
    train(
        TrainSettings(
            data=home / "data", output_dir=tmp_path / "tiny", model="tiny", max_steps=1, evals_per_run=0, eval_records=2, report_to="none",
            doctor=False, per_device_train_batch_size=8, gradient_accumulation_steps=1,
        )
    )  # fmt: skip
    untuned, why = before(load_run(tmp_path / "tiny"), tmp_path / "tiny")
    assert untuned is None
    assert "trained from random weights" in why


def test_vision_features_are_those_of_the_models_own_tower_on_the_whole_photo(home: Path) -> None:
    tuned = load_run(home / "lora")
    see, why = sees(tuned, home / "lora")
    assert why == ""
    records = _asked(home)
    found = see([*records, Record("words", None, records[0].values, "w")])
    example = tuned.encoder.example(records[2], answer=False)
    with torch.no_grad():
        expected = tuned.model.base_model.model.model.vision_embed_tokens.see(example.tiles[0][:1])[0].mean(dim=(0, 1))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[2], expected.numpy(), atol=1e-5)
    assert not found[-1].any()
    assert len({row.tobytes() for row in found}) == len(found)
