"""Records of several photos, of several turns and of words alone are trained, answered, measured and reported like any other."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from grain import grain
from seeworth.data.ablate import blank, swap
from seeworth.data.dataset import Dataset
from seeworth.data.photo.decode import photo_size
from seeworth.data.run import run as import_
from seeworth.encode import Encoder, collate
from seeworth.evaluate.folder import read_manifest
from seeworth.evaluate.run import run as evaluate
from seeworth.phi3v.tiny import make_tiny
from seeworth.predict.baselines import NearestPhoto
from seeworth.predict.lines import line
from seeworth.predict.vlm import VLM
from seeworth.record import Record
from seeworth.report.run import run as report
from seeworth.settings import EvaluateSettings, ImportSettings, ReportSettings

HUES = ["red", "green", "blue", "white"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """36 records: a photo and its colour, two photos in two turns, a word without photo; the splits are named."""
    folder = tmp_path_factory.mktemp("talks")

    def draw(hue: str, name: str) -> str:
        noise = grain((90, 60 if hue == "red" else 90), 40, name).convert("RGB")
        Image.blend(noise, Image.new("RGB", noise.size, hue), 0.7).save(folder / name)
        return name

    lines = []
    for number in range(36):
        one, two = HUES[number % 4], HUES[(number // 4 + number) % 4]
        kinds: list[tuple[list[str], list[str]]] = [
            (["<image>Which?", one], [one]),
            (["<image>Which?", one, "And <image>?", two], [one, two]),
            ([f"Say {one} {number}.", one], []),
        ]
        words, shown = kinds[number % 3]
        said = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(words)]
        split = ("train", "train", "test", "validation")[number // 3 % 4]
        images = [draw(hue, f"{number}-{place}.png") for place, hue in enumerate(shown)]
        lines.append(json.dumps({"id": f"r{number}", "images": images, "messages": said, "split": split}))
    (folder / "talks.jsonl").write_text("\n".join(lines))
    import_(ImportSettings(folder / "talks.jsonl", folder / "data", columns={"split": "split"}, processes=1))
    return Dataset.open(folder / "data")


@pytest.fixture(scope="module")
def vlm(dataset: Dataset) -> VLM:
    """A tiny model after thirty steps on batches that mix all kinds, packed and padded in turn."""
    records = dataset.records("train")
    model, processor = make_tiny([dataset.task.write(one.values) for one in records] + ["Which? And? Say"], seed=1)
    encoder = Encoder(processor, dataset.task)
    examples = [encoder.example(record) for record in records]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    losses = []
    for step in range(30):
        batch = collate(examples, pad_id=processor.tokenizer.pad_token_id, packed=step % 2 == 1)
        loss = model(**batch, logits_at_labels=True, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3  # measured 6.5 to 0.8
    return VLM(model.eval(), encoder, batch_size=5, max_new_tokens=12)


def test_each_is_answered_at_its_last_question_in_a_batch_as_alone(vlm: VLM, dataset: Dataset) -> None:
    records = dataset.records("test")
    assert {len(record.all_photos) for record in records} == {0, 1, 2}
    together = [one.text for one in vlm(records)]
    assert together == [vlm.answer([record])[0] for record in records]
    assert any(text in HUES for text in together)


def test_words_alone_have_no_photo_in_the_predictions(vlm: VLM, dataset: Dataset) -> None:
    records = dataset.records("test")
    for record, prediction in zip(records, vlm(records), strict=True):
        found = line(record, prediction, dataset.task)
        assert found["photo"] == (str(record.photo) if record.photo else None)
        json.dumps(found)


def test_they_are_measured_and_reported(vlm: VLM, dataset: Dataset, tmp_path: Path) -> None:
    records = dataset.records("test")
    told = tmp_path / "run"
    told.mkdir()
    about = {"format": 1, "model": "tiny", "method": "full", "dtype": "float32", "attn_implementation": "auto", "data": str(dataset.folder)}
    (told / "run.json").write_text(json.dumps(about | {"data_fingerprint": dataset.fingerprint, "task": dataset.task.to_dict()}))
    settings = EvaluateSettings(run=told, output=tmp_path / "out", bootstrap=50)
    out = evaluate(settings, predictor=vlm, console=Console(file=io.StringIO(), width=80))
    content = read_manifest(out)
    assert content["data"]["records"] == len(records)
    assert content["grounding"]["own"]["value"]["n"] == sum(len(record.all_photos) == 1 for record in records)
    report(ReportSettings(out))
    assert "<html" in (out / "report.html").read_text()


def test_a_blank_takes_every_photo_away_and_a_swap_takes_its_size_along(dataset: Dataset, tmp_path: Path) -> None:
    records = dataset.records()
    for before, after in zip(records, blank(records, tmp_path), strict=True):
        assert [photo_size(path) for path in after.all_photos] == list(before.sizes) == list(after.sizes)
        assert not set(after.all_photos) & set(before.all_photos)
    single = [replace(record, group=record.id) for record in records if len(record.all_photos) == 1]
    for record in swap(single, 0):
        assert [photo_size(path) for path in record.all_photos] == list(record.sizes)


def test_the_nearest_photo_of_words_alone_is_that_of_words_alone(dataset: Dataset) -> None:
    told = {"answer": "no photo"}
    train = [record if record.photo else replace(record, values={**record.values, **told}) for record in dataset.records("train")]
    asked: list[Record] = dataset.records("test")
    for record, prediction in zip(asked, NearestPhoto(dataset.task, train)(asked), strict=True):
        assert (prediction.text == "no photo") == (record.photo is None)


def test_the_photo_that_cannot_be_opened_is_told_whichever_it_is(vlm: VLM, dataset: Dataset, tmp_path: Path) -> None:
    two = next(record for record in dataset.records() if len(record.all_photos) == 2)
    gone: Callable[[Any], Any] = lambda record: replace(record, photos=(tmp_path / "gone.png",))  # noqa: E731
    with pytest.raises(Exception, match=rf"record {two.id}, photo .*gone\.png"):
        vlm.answer([gone(two)])
