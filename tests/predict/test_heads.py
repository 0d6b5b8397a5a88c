"""Baselines on vision features: the closed forms are right, and the heads find what the features hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seeworth.predict.heads import Eyes, LinearHeads, NearestVision, ridge, softmax_regression, vision_baselines
from seeworth.record import Record
from seeworth.task import Field, Task

TASK = Task()
KINDS = ["Bags", "Boots", "Caps"]


def _records(n: int, seed: int, prefix: str = "r") -> list[Record]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        kind, size = int(rng.integers(3)), int(rng.integers(1, 40))
        price = Decimal(f"{100 * 1.1**size:.2f}")
        values: dict[str, str | Decimal] = {"title": f"a {KINDS[kind]}", "category3_code": KINDS[kind], "full_price": price}
        found.append(Record(f"{prefix}{number}", Path(f"{kind}-{size}"), values, f"{prefix}{number // 2}"))
    return found


def _see(records: Sequence[Record]) -> NDArray[np.float32]:
    """Kind and size, mixed into 12 numbers with noise."""
    rows = []
    mix = np.random.default_rng(5).normal(size=(4, 12))
    for record in records:
        kind, size = map(int, record.photo.name.split("-")) if record.photo else (0, 0)
        rows.append(np.array([kind == 0, kind == 1, kind == 2, size / 10]) @ mix + np.random.default_rng(size).normal(0, 0.02, 12) + 3)
    return np.array(rows, dtype=np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(5, 40), st.integers(1, 8), st.floats(0.01, 100))
def test_ridge_is_scikit_learns(seed: int, n: int, d: int, penalty: float) -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="a development dependency: pip install scikit-learn")
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)) + 2, rng.normal(size=n)
    theirs = linear.Ridge(alpha=penalty).fit(x, y)
    np.testing.assert_allclose(ridge(x, y, penalty), np.append(theirs.coef_, theirs.intercept_), atol=1e-8)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 999), st.floats(0.1, 10))
def test_softmax_regression_is_scikit_learns(seed: int, penalty: float) -> None:
    """Probabilities differ by at most 3e-5 here; after 30 steps in place of 300 by 1e-2."""
    linear = pytest.importorskip("sklearn.linear_model", reason="a development dependency: pip install scikit-learn")
    rng = np.random.default_rng(seed)
    x, kinds = rng.normal(size=(80, 5)), np.concatenate([np.arange(4), rng.integers(0, 4, 76)])
    theirs = linear.LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=5000).fit(x, kinds).predict_proba(x)
    raised = np.exp(np.hstack([x, np.ones((80, 1))]) @ softmax_regression(x, kinds, 4, penalty))
    np.testing.assert_allclose(raised / raised.sum(axis=1, keepdims=True), theirs, atol=1e-3)


def test_eyes_turn_to_uncorrelated_directions_of_variance_one() -> None:
    train = _records(200, 0)
    eyes = Eyes(_see, train)
    np.testing.assert_allclose(eyes.vectors.T @ eyes.vectors / 200, np.eye(12), atol=1e-6)
    np.testing.assert_allclose(eyes(train), eyes.vectors, atol=1e-6)


def test_fewer_photos_than_numbers_give_the_same_directions() -> None:
    train = _records(8, 0)
    wide = Eyes(_see, train)
    assert wide.vectors.shape[1] <= 7
    np.testing.assert_allclose(wide.vectors.T @ wide.vectors / 8, np.eye(wide.vectors.shape[1]), atol=1e-5)


def test_heads_find_category_and_number_that_the_features_hold() -> None:
    train, test = _records(300, 0), _records(60, 1, "t")
    heads = LinearHeads(TASK, train, [], Eyes(_see, train))
    for record, answer in zip(test, heads(test), strict=True):
        reading = TASK.read(answer.text)
        assert not reading.problems
        assert reading.values["category3_code"] == record.values["category3_code"]
        assert reading.values["title"] == record.values["title"]
        assert float(reading.values["full_price"]) == pytest.approx(float(record.values["full_price"]), rel=0.3)


def test_the_nearest_by_features_answers_with_the_true_values_of_a_train_record() -> None:
    train, test = _records(300, 0), _records(60, 1, "t")
    truths = {TASK.write(record.values) for record in train}
    answers = list(NearestVision(TASK, train, Eyes(_see, train))(test, batch_size=7))
    assert {one.text for one in answers} <= truths
    for answer, record in zip(answers, test, strict=True):
        assert TASK.read(answer.text).values["category3_code"] == record.values["category3_code"]


def test_answers_stay_within_the_numbers_of_the_train_split_and_have_no_more_digits() -> None:
    train = _records(50, 0)
    far = [Record("far", Path("0-4000"), train[0].values, "far")]
    text = next(LinearHeads(TASK, train, [], Eyes(_see, train))(far)).text
    assert TASK.read(text).values["full_price"] == max(record.values["full_price"] for record in train)  # type: ignore[type-var]


def test_a_validation_category_that_the_train_split_has_not_is_no_stumbling_block() -> None:
    train = _records(60, 0)
    strange = [Record("v", Path("0-3"), {**train[0].values, "category3_code": "Hats"}, "v"), *_records(9, 3, "v")]
    assert len(list(LinearHeads(TASK, train, strange, Eyes(_see, train))(train))) == 60


def test_a_text_alone_has_no_linear_head_and_no_photo_has_no_baseline() -> None:
    train = _records(20, 0)
    words = Task("?", "A {title}.", (Field("title"),))
    assert [one.name for one in vision_baselines(words, train, [], _see)] == ["nearest photo by its own vision features"]
    assert len(vision_baselines(TASK, train, [], _see)) == 2
    assert vision_baselines(TASK, [Record("a", None, train[0].values, "a")] * 4, [], _see) == []
    assert vision_baselines(TASK, train, [], lambda records: np.ones((len(records), 3), dtype=np.float32)) == []


def test_heads_never_load_torch() -> None:
    code = "import sys; import seeworth.predict.heads; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
