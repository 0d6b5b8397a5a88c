"""Occlusion: what each part of a photo does to the answer, held against photos that are painted and asked the plain way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from grain import grain
from seeworth.data.photo.decode import open_photo
from seeworth.encode import Encoder
from seeworth.errors import SettingsError, TaskError
from seeworth.evaluate.run import _rivals as rivals
from seeworth.predict.occlusion import middle, occlude
from seeworth.predict.vlm import VLM
from seeworth.record import Prediction, Record
from seeworth.settings import EvaluateSettings
from seeworth.task import Field, Task

from .conftest import Shop

LEFT, RIGHT = (220, 60, 40), (20, 100, 240)
MEAN = (120, 80, 140)  # of two halves: a whole number, so that a painted photo has exactly the covered colour


@pytest.fixture(scope="module")
def vlm(shop: Shop) -> VLM:
    return VLM(shop.model, shop.encoder, batch_size=3, constrained=shop.task, distribution=True)


def _halves(width: int, height: int, left: tuple[int, int, int] = LEFT, right: tuple[int, int, int] = RIGHT) -> Image.Image:
    """Two halves beside each other, or below each other in a tall photo."""
    photo = Image.new("RGB", (width, height), left)
    box = (width // 2, 0, width, height) if width >= height else (0, height // 2, width, height)
    photo.paste(right, box)
    return photo


@torch.inference_mode()
def _plainly(vlm: VLM, photo: Image.Image) -> Prediction:
    record = Record("photo", Path("photo"), {}, "photo")
    return vlm.answer_examples([record], [vlm.encoder.example(record, answer=False, photos=[photo])])[0]


def _changes(vlm: VLM, base: Image.Image, covered: list[Image.Image]) -> tuple[list[float], list[float]]:
    """(price, category) as `occlude` tells them, of photos that are asked one by one, tower and all."""
    first, others = _plainly(vlm, base), [_plainly(vlm, one) for one in covered]
    word = str(vlm.encoder.task.read(first.text).values["category3_code"])
    price = [middle(one.distribution["full_price"]["values"]) for one in (first, *others)]
    chance = [one.distribution["category3_code"]["choices"][word] for one in (first, *others)]
    return [one / price[0] - 1 for one in price[1:]], [chance[0] - one for one in chance[1:]]


@pytest.mark.parametrize("size", [(224, 112), (112, 224), (112, 112)])  # of tiles, so that nothing is scaled
def test_a_cell_does_what_painting_it_with_the_photos_mean_colour_does(vlm: VLM, size: tuple[int, int]) -> None:
    wide = size[0] >= size[1]
    found = occlude(vlm, _halves(*size), rows=1 if wide else 2, columns=2 if wide else 1)
    painted = [_halves(*size, left=MEAN), _halves(*size, right=MEAN)]
    price, category = _changes(vlm, _halves(*size), painted)
    assert np.abs(price).max() > 0.001
    assert np.abs(category).max() > 0.001
    np.testing.assert_allclose(
        np.ravel(np.array(found.changes["full_price"], dtype=float)), price, atol=1e-3
    )  # measured 9e-5: the probabilities behind it are rounded
    np.testing.assert_allclose(np.ravel(np.array(found.changes["category3_code"], dtype=float)), category, atol=2e-5)  # told to 6 digits


def test_the_base_is_what_the_model_says_of_the_whole_photo(vlm: VLM) -> None:
    photo = _halves(60, 110)
    found, plain = occlude(vlm, photo, rows=2, columns=3), _plainly(vlm, photo)
    assert found.words == plain.text
    values = vlm.encoder.task.read(plain.text).values
    assert found.base["category3_code"] == values["category3_code"]
    assert found.base["title"] == values["title"]
    assert found.base["full_price"] == plain.distribution["full_price"]["median"]
    assert all(len(grid) == 2 and {len(row) for row in grid} == {3} for grid in found.changes.values())
    assert found.to_dict() == {"rows": 2, "columns": 3, "words": found.words, "base": found.base, "changes": found.changes}


def test_a_photo_of_one_colour_hangs_on_none_of_its_parts_and_batches_do_not_matter(vlm: VLM, shop: Shop) -> None:
    plain = occlude(vlm, Image.new("RGB", (336, 336), (10, 200, 30)), rows=2, columns=2)
    assert all(abs(one or 0) < 1e-5 for grid in plain.changes.values() for row in grid for one in row)
    one_by_one = VLM(shop.model, shop.encoder, batch_size=1, constrained=shop.task, distribution=True)
    photo = grain((120, 60), 90, "occlusion").convert("RGB")
    first, second = occlude(vlm, photo, rows=2, columns=2), occlude(one_by_one, photo, rows=2, columns=2)
    assert first.words == second.words
    for name, grid in first.changes.items():
        np.testing.assert_allclose(np.array(grid, dtype=float), np.array(second.changes[name], dtype=float), atol=1e-3)


def test_without_probabilities_a_category_moves_by_0_or_1_and_what_is_not_read_is_none(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    free = VLM(shop.model, shop.encoder, batch_size=5)
    words = [
        "Product: Hat, Category: Shirts, Full Price: 100",
        "Product: Hat, Category: Shirts, Full Price: 80",
        "Product: Cap, Category: Blue Hats, Full Price: 130",
        "Product: Hat, Category: Shirts, Full Price: dear",
        "nothing",
    ]
    said = iter(words)
    monkeypatch.setattr(VLM, "answer_examples", lambda self, records, examples: [Prediction("photo", next(said), 0.0) for _ in examples])
    found = occlude(free, Image.new("RGB", (50, 50)), rows=2, columns=2)
    assert found.changes == {"category3_code": [[0.0, 1.0], [0.0, 1.0]], "full_price": [[-0.2, 0.3], [None, None]]}
    assert found.base == {"title": "Hat", "category3_code": "Shirts", "full_price": 100.0}


def test_the_model_is_left_as_it_was(shop: Shop) -> None:
    own = VLM(shop.model, shop.encoder, constrained=shop.task, distribution=False)
    shop.model.train()
    found = occlude(own, Image.new("RGB", (40, 60), "red"), rows=1, columns=1, fields=["full_price"])
    assert shop.model.training
    shop.model.eval()
    assert own.distribution is False
    assert list(found.changes) == ["full_price"]


def test_cells_smaller_than_a_pixel_are_empty_and_change_nothing(vlm: VLM) -> None:
    found = occlude(vlm, Image.new("RGB", (4000, 4), "blue"), rows=8, columns=1, fields=["full_price"])
    assert len(found.changes["full_price"]) == 8
    assert found.changes["full_price"][0] == [0.0]


def test_a_question_with_a_field_takes_it_from_the_record(shop: Shop) -> None:
    task = replace(shop.task, question="What does this {title} cost?")
    asking = VLM(shop.model, Encoder(shop.encoder.processor, task), constrained=task)
    photo = Image.new("RGB", (40, 40), "green")
    with pytest.raises(TaskError, match="title"):
        occlude(asking, photo, rows=1, columns=1)
    assert occlude(asking, photo, rows=1, columns=1, record=shop.records[0]).changes


@pytest.mark.parametrize(
    ("asked", "words"),
    [({"rows": 0}, "0 rows"), ({"columns": 33}, "33 columns"), ({"fields": ["title"]}, "'title' is no number"), ({"fields": ["x"]}, "'x'")],
)
def test_what_cannot_be_asked_is_told_in_a_line(vlm: VLM, asked: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        occlude(vlm, Image.new("RGB", (40, 40)), **asked)  # type: ignore[arg-type]


def test_a_task_of_words_alone_has_nothing_to_tell(shop: Shop) -> None:
    words = Task(question="What?", answer="{title}", fields=(Field("title"),))
    with pytest.raises(SettingsError, match="neither a number nor a category"):
        occlude(VLM(shop.model, Encoder(shop.encoder.processor, words)), Image.new("RGB", (40, 40)))


NUMBERS = st.integers(-(10**8), 10**8).map(lambda one: one / 100)
PAIRS = st.lists(st.tuples(NUMBERS, st.floats(0.001, 1)), min_size=1, max_size=20, unique_by=lambda pair: pair[0])


@given(PAIRS, st.integers(-10, 10))
def test_the_middle_lies_among_the_numbers_and_moves_with_them(values: list[tuple[float, float]], by: int) -> None:
    numbers = [number for number, _ in values]
    found = middle(values)
    assert min(numbers) <= found <= max(numbers)
    assert middle([(number + by, p) for number, p in values]) == pytest.approx(found + by, abs=1e-6)
    assert middle([(-number, p) for number, p in values]) == pytest.approx(-found, abs=1e-6)


def test_the_middle_moves_with_probability_where_the_median_does_not() -> None:
    assert middle([(100, 0.5), (200, 0.5)]) == pytest.approx(150)
    assert 100 < middle([(100, 0.6), (200, 0.4)]) < middle([(100, 0.55), (200, 0.45)])


def test_an_evaluation_covers_the_photos_of_its_own_run(vlm: VLM, shop: Shop, tmp_path: Path) -> None:
    cover = rivals(EvaluateSettings(run=tmp_path, baselines="cheap"), tmp_path, vlm).cover
    assert cover is not None
    found = cover(shop.records[0])
    assert found == occlude(vlm, open_photo(shop.records[0].photo or tmp_path)).to_dict()
    assert (found["rows"], found["columns"]) == (6, 6)
