"""Baselines: what each answers, and for which tasks there is one."""

from __future__ import annotations

import subprocess
import sys
import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seeworth.errors import DataError
from seeworth.predict.baselines import MedianOfCategory, MedianOfPredicted, MostCommonAnswer, NearestPhoto, baselines, photo_vectors
from seeworth.record import Prediction, Record, Value
from seeworth.task import Field, Task

TASK = Task()


def _record(name: str, title: str, category: str, price: str, photo: Path = Path("none.png")) -> Record:
    values: dict[str, Value] = {"title": title, "category3_code": category, "full_price": Decimal(price)}
    return Record(name, photo, values, name)


TRAIN = [
    _record("1", "Red bag", "Bags", "100"),
    _record("2", "Red bag", "Bags", "300"),
    _record("3", "Blue bag", "Bags", "200"),
    _record("4", "Ring, Category: gold", "Rings", "9000"),
]


def _read(task: Task, text: str) -> dict[str, Value]:
    reading = task.read(text)
    assert not reading.problems
    return dict(reading.values)


def test_the_most_common_answer_is_the_commonest_words_and_the_median_number() -> None:
    answers = list(MostCommonAnswer(TASK, TRAIN)(TRAIN))
    assert {answer.text for answer in answers} == {"Product: Red bag, Category: Bags, Full Price: 200"}
    assert [answer.record_id for answer in answers] == ["1", "2", "3", "4"]


def test_the_median_is_one_that_the_task_can_write() -> None:
    long = [_record("a", "x", "y", "0.00000000000001"), _record("b", "x", "y", "0.00000000000002")]
    text = next(MostCommonAnswer(TASK, long)(long)).text
    assert _read(TASK, text)["full_price"] == Decimal("0.00000000000001")


def test_the_median_of_the_true_category_is_an_oracle_on_the_category_alone() -> None:
    oracle = MedianOfCategory(TASK, TRAIN)
    asked = [_record("t", "Unknown", "Rings", "1"), _record("u", "Unknown", "Bags", "1")]
    ring, bag = (_read(TASK, answer.text) for answer in oracle(asked))
    assert ring == {"title": "Ring, Category: gold", "category3_code": "Rings", "full_price": Decimal(9000)}
    assert bag == {"title": "Red bag", "category3_code": "Bags", "full_price": Decimal(200)}
    assert oracle.given == ("category3_code",)
    assert "true category" in oracle.name


def test_a_category_without_train_records_gets_the_typical_values_of_all() -> None:
    answer = _read(TASK, next(MedianOfCategory(TASK, TRAIN)([_record("t", "x", "Hats", "1")])).text)
    assert answer == {"title": "Red bag", "category3_code": "Hats", "full_price": Decimal(200)}


def test_the_median_of_the_predicted_category_follows_what_the_model_said() -> None:
    asked = [_record("t", "Unknown", "Rings", "1"), _record("u", "Unknown", "Bags", "1"), _record("v", "Unknown", "Bags", "1")]
    said = [Prediction("t", "Product: x, Category: Bags, Full Price: 7", 0), Prediction("u", "no idea", 0)]
    said.append(Prediction("v", "Product: x, Category: Rings, Full Price: 7", 0))
    baseline = MedianOfPredicted(TASK, TRAIN, said)
    wrong, unread, other = (_read(TASK, answer.text) for answer in baseline(asked))
    assert wrong == {"title": "Red bag", "category3_code": "Bags", "full_price": Decimal(200)}
    assert unread == _read(TASK, next(MostCommonAnswer(TASK, TRAIN)(asked)).text)
    assert other == {"title": "Ring, Category: gold", "category3_code": "Rings", "full_price": Decimal(9000)}
    assert baseline.given == ("category3_code",)


def _photo(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Path:
    pixels = np.clip(np.random.default_rng(len(path.name)).normal(colour, 6, (*size[::-1], 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_the_nearest_photo_answers_with_the_train_record_that_looks_alike(tmp_path: Path) -> None:
    colours = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
    train = [_record(n, n, "c", str(i), _photo(tmp_path / f"{n}.png", c)) for i, (n, c) in enumerate(colours.items())]
    shifted = [(n, tuple(v + 20 for v in c)) for n, c in colours.items()]
    asked = [_record(f"t-{n}", "?", "?", "0", _photo(tmp_path / f"t-{n}.jpg", c, (64, 80))) for n, c in shifted]  # type: ignore[arg-type]
    titles = [_read(TASK, answer.text)["title"] for answer in NearestPhoto(TASK, train)(asked, batch_size=2)]
    assert titles == list(colours)


def test_the_nearest_photo_finds_a_copy_by_brute_force_distance_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photos = []
    for n in range(12):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f"{n}.png")
        photos.append(tmp_path / f"{n}.png")
    records = [_record(str(n), f"title {n}", "c", "1", photo) for n, photo in enumerate(photos)]
    nearest = NearestPhoto(TASK, records[:8])
    scaled = (photo_vectors(photos) - nearest._centre) * nearest._scale
    expected = [int(((scaled[:8] - one) ** 2).sum(axis=1).argmin()) for one in scaled]
    assert expected[:8] == list(range(8))
    assert [_read(TASK, a.text)["title"] for a in nearest(records)] == [f"title {n}" for n in expected]


def test_alike_photos_make_no_baseline_divide_by_zero(tmp_path: Path) -> None:
    photo = _photo(tmp_path / "a.png", (9, 9, 9))
    records = [_record(n, n, "c", "1", photo) for n in "ab"]
    assert [_read(TASK, a.text)["title"] for a in NearestPhoto(TASK, records)(records)] == ["a", "a"]


def test_a_photo_is_two_parts_of_known_size_and_range(tmp_path: Path) -> None:
    vectors = photo_vectors([_photo(tmp_path / "a.png", (90, 200, 10))])
    assert vectors.shape == (1, 832)
    assert vectors.dtype == np.float32
    assert vectors.min() >= 0
    assert vectors.max() <= 1
    assert np.isclose((vectors[:, 768:] ** 2).sum(), 1)


def test_opening_photos_in_threads_leaves_the_warning_filters_as_they_were(tmp_path: Path) -> None:
    before = list(warnings.filters)
    photo_vectors([_photo(tmp_path / "a.png", (90, 200, 10))] * 40)
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (Task(), {MostCommonAnswer, MedianOfCategory, NearestPhoto}),
        (Task("?", "{t}", (Field("t"),)), {MostCommonAnswer, NearestPhoto}),
        (Task("?", "{t}, {c}", (Field("t"), Field("c", "category"))), {MostCommonAnswer, NearestPhoto}),
        (Task("?", "{p}", (Field("p", "number"),)), {MostCommonAnswer, NearestPhoto}),
    ],
)
def test_a_task_gets_the_baselines_that_suit_it(task: Task, expected: set[type], tmp_path: Path) -> None:
    known: dict[str, Value] = {"t": "x", "c": "y", "p": Decimal(3), "title": "x", "category3_code": "y", "full_price": Decimal(3)}
    train = [Record("a", _photo(tmp_path / "a.png", (1, 2, 3)), {one.name: known[one.name] for one in task.fields}, "a")]
    assert {type(one) for one in baselines(task, train)} == expected


@pytest.mark.parametrize("kind", [MostCommonAnswer, MedianOfCategory, NearestPhoto])
def test_no_train_record_is_told_in_a_line(kind: type[MostCommonAnswer]) -> None:
    with pytest.raises(DataError, match="0 train records"):
        kind(TASK, [])


def test_baselines_need_no_torch() -> None:
    code = "import sys, seeworth.predict.baselines, seeworth.predict.predictor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
