"""Comparing: the same records only, paired differences that see what unpaired intervals do not, and the sentence they allow."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from seeworth.errors import DataError, RunError
from seeworth.evaluate.compare import Other, compare, difference_words, paired, read_other
from seeworth.evaluate.figures import figures_of, measurable
from seeworth.evaluate.run import run
from seeworth.evaluate.score import scores
from seeworth.predict.predictor import FakePredictor
from seeworth.record import Prediction, Record, write_predictions
from seeworth.settings import EvaluateSettings
from seeworth.task import Field, Task

TASK = Task("What?", "{title}, {kind} for {price}", (Field("title"), Field("kind", "category"), Field("price", "number", "USD")))


def _records(n: int, in_group: int = 1) -> list[Record]:
    kinds = ("bag", "hat", "cap")
    values: list[dict[str, str | Decimal]] = [{"title": f"thing {i}", "kind": kinds[i % 3], "price": Decimal(100 + i)} for i in range(n)]
    return [Record(f"r{i}", None, one, f"g{i // in_group}") for i, one in enumerate(values)]


def _say(records: list[Record], off: Any, kind_right: Any) -> list[Prediction]:
    return [
        Prediction(one.id, f"thing, {one.values['kind'] if hit else 'belt'} for {float(one.values['price']) + error:.2f}", 0.0)
        for one, error, hit in zip(records, off, kind_right, strict=True)
    ]


def _other(predictions: list[Prediction], **changes: Any) -> Other:
    return replace(Other("old", Path("old"), TASK, predictions, {}, ""), **changes)


def _compared(records: list[Record], ours: list[Prediction], theirs: Other) -> dict[str, Any]:
    return compare(TASK, records, ours, theirs, fingerprint="f" * 64, resamples=400, seed=0)


def test_each_difference_is_ours_less_theirs() -> None:
    rng = np.random.default_rng(0)
    records = _records(90)
    ours, theirs = (_say(records, rng.normal(0, size, 90), rng.random(90) < share) for size, share in ((5, 0.9), (20, 0.6)))
    found = _compared(records, ours, _other(theirs))
    marks = [scores(TASK, records, each) for each in (ours, theirs)]
    for one in measurable(TASK, *marks):
        first, second = (one.estimate(each, resamples=0, seed=0).value for each in marks)
        assert found["figures"][one.name]["difference"]["value"] == pytest.approx(first - second, abs=1e-12)
        assert found["figures"][one.name]["difference"]["n"] == 90
    assert found["figures"]["kind_accuracy"]["outcome"] == found["figures"]["price_mae"]["outcome"] == 1
    assert found["figures"]["price_mae"]["difference"]["high"] < 0
    assert found["figures"]["title_exact"]["outcome"] == 0
    assert found["figures"]["price_bias"]["outcome"] is None
    json.dumps(found, allow_nan=False)


def test_the_sentence_says_better_worse_and_no_clear_difference() -> None:
    records = _records(90)
    ours = _say(records, [30.0] * 90, [True] * 90)
    theirs = _say(records, [1.0 + i % 3 for i in range(90)], [i % 4 > 0 for i in range(90)])
    said = _compared(records, ours, _other(theirs))["verdict"][0]
    assert said["tone"] == "bad"
    assert said["text"].startswith("Against old, on the same 90 records: better on kind right (+25.6 points, ")
    assert "; worse on price mean error (+28.0 USD, " in said["text"]
    assert said["text"].endswith("; no clear difference on title exactly right (0 points, 0 to 0).")
    backwards = _compared(records, theirs, _other(ours))["verdict"][0]["text"]
    assert "better on price mean error (-28.0 USD, " in backwards
    assert "worse on kind right (-25.6 points, " in backwards
    assert _compared(records, ours, _other(ours))["verdict"][0]["tone"] == "mixed"


def test_pairing_sees_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(0)
    records = _records(120)
    shared = np.abs(rng.normal(0, 40, 120)) + 3
    found = _compared(records, _say(records, shared, [True] * 120), _other(_say(records, shared + rng.uniform(1, 3, 120), [True] * 120)))
    one = found["figures"]["price_mae"]
    assert one["ours"]["high"] > one["other"]["low"]
    assert one["outcome"] == 1
    assert one["difference"]["high"] < -1.5


def test_of_two_equal_models_one_in_twenty_differs_clearly() -> None:
    clear = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        records = _records(60)
        figure = next(one for one in figures_of(TASK) if one.name == "price_mae")
        ours, theirs = (scores(TASK, records, _say(records, rng.normal(0, 10, 60), [True] * 60)) for _ in range(2))
        gap = paired(figure, ours, theirs, resamples=400, seed=seed)
        clear += gap.low > 0 or gap.high < 0
    assert 3 <= clear <= 21  # measured 13; expected 10, sd 3.1


def test_groups_are_drawn_whole() -> None:
    rng = np.random.default_rng(0)
    records, alone = _records(200, in_group=5), _records(200)
    off = np.repeat(np.abs(rng.normal(0, 10, 40)), 5)
    ours, theirs = _say(records, off, [True] * 200), _say(records, [5.0] * 200, [True] * 200)
    grouped, naive = (_compared(each, ours, _other(theirs))["figures"]["price_mae"]["difference"] for each in (records, alone))
    assert grouped["high"] - grouped["low"] > 1.8 * (naive["high"] - naive["low"])  # sqrt(5)


def test_only_what_both_answered_counts_and_how_many_is_told() -> None:
    records = _records(40)
    ours = _say(records, [1.0] * 40, [True] * 40)
    theirs = [*_say(records, [2.0] * 40, [True] * 40)[10:], Prediction("elsewhere", "?", 0.0)]
    truths = {one.id: {name: str(value) for name, value in one.values.items()} for one in records[:39]}
    truths["r38"]["price"] = "7"
    found = _compared(records, ours, _other(theirs, truths=truths, fingerprint="a" * 64))
    assert found["records"] == {"ours": 40, "theirs": 31, "both": 29, "groups": 29}
    one = found["figures"]["price_mae"]["difference"]
    assert (one["n"], one["value"], one["low"], one["high"]) == (29, *(pytest.approx(-1) for _ in range(3)))
    assert found["warnings"] == [
        "1 of the records has other true values in old: left out.",
        "old was made on other data (fingerprint aaaaaaaaaaaa): its photos may differ.",
    ]
    with pytest.raises(DataError, match="answers none of the 40 records measured with the same true values"):
        _compared(records, ours, _other([Prediction("elsewhere", "?", 0.0)]))


def test_a_number_that_one_of_them_did_not_say_enters_no_difference() -> None:
    records = _records(30)
    ours, theirs = _say(records, [1.0] * 30, [True] * 30), _say(records, [4.0] * 30, [True] * 30)
    silent = [Prediction(one.record_id, "?", 0.0) if n < 10 else one for n, one in enumerate(theirs)]
    found = _compared(records, ours, _other(silent))["figures"]
    assert (found["price_mae"]["difference"]["value"], found["price_mae"]["difference"]["n"]) == (pytest.approx(-3), 20)
    assert found["price_mae"]["ours"]["n"] == 30
    assert found["parse_rate"]["difference"]["value"] == pytest.approx(1 / 3)
    mute = _compared(records, [Prediction(one.id, "?", 0.0) for one in records], _other(silent))
    assert mute["figures"]["price_mae"]["difference"]["n"] == 0
    assert difference_words(mute["figures"]["price_mae"]) == "none"


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60)), min_size=2, max_size=40))
def test_what_changed_is_ordered_and_counted(rows: list[tuple[float, float]]) -> None:
    records = _records(len(rows))
    hits = [True] * len(rows)
    ours, theirs = (_say(records, [row[at] for row in rows], hits) for at in (0, 1))
    found = compare(TASK, records, ours, _other(theirs), fingerprint="", resamples=0, seed=0)
    assert sum(found["changes"].values()) == len(rows)
    for kind, sign in (("better", 1), ("worse", -1)):
        gains = [sign * one["gain"] for one in found["changed"][kind]]
        assert gains == sorted(gains, reverse=True)
        assert all(gain > 0 for gain in gains)
        assert len(gains) == min(12, found["changes"][kind])
    backwards = compare(TASK, records, theirs, _other(ours), fingerprint="", resamples=0, seed=0)
    assert backwards["changes"]["better"] == found["changes"]["worse"]


def test_what_is_compared_with_may_be_a_run_an_evaluation_or_a_file(shop: Any, new_run: Callable[..., Path], tmp_path: Path) -> None:
    trained = new_run(shop)
    looker = FakePredictor(shop.look, name="x")
    out = run(EvaluateSettings(run=trained, bootstrap=20), predictor=looker, console=Console(file=io.StringIO()))
    assert out == trained / "evaluation"
    task, ids = shop.dataset.task, {record.id for record in shop.dataset.records("test")}
    by_run, by_folder, by_file = (read_other(one, task, ids) for one in (trained, out, out / "predictions.jsonl"))
    assert by_run == by_folder
    assert list(by_file.predictions) == list(by_run.predictions)
    assert (by_run.name, by_file.name) == ("x", "predictions.jsonl")
    assert by_run.fingerprint == shop.dataset.fingerprint
    first = shop.dataset.records("test")[0]
    assert by_run.truths[first.id] == {name: str(first.values[name]) for name in ("title", "category3_code", "full_price")}


def test_what_cannot_be_compared_is_told_in_a_line(shop: Any, text_shop: Any, new_run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no evaluation to compare with"):
        read_other(tmp_path, shop.dataset.task, {"r1"})
    file = tmp_path / "predictions.jsonl"
    write_predictions(file, FakePredictor(text_shop.look)(text_shop.dataset.records("test")))
    out = run(EvaluateSettings(run=file, data=text_shop.folder, bootstrap=20), console=Console(file=io.StringIO()))
    with pytest.raises(RunError, match="compare evaluations of the same task"):
        read_other(out, shop.dataset.task, {"r1"})
    with pytest.raises(DataError, match="answers none of the 1 records"):
        read_other(out, text_shop.dataset.task, {"elsewhere"})
