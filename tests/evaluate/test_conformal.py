"""Conformal intervals: the right quantile, the promised coverage over many draws, and what is said where it cannot be."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.errors import RunError
from seeworth.evaluate.conformal import calibrate, least_groups, measure, quantile, scale_of, sentence
from seeworth.evaluate.estimate import Estimate
from seeworth.evaluate.score import scores
from seeworth.intervals import (
    Cells,
    FieldIntervals,
    Intervals,
    Quantile,
    around,
    price_interval,
    read_intervals,
    residual,
    spread_of,
    write_intervals,
)
from seeworth.record import Prediction, Record
from seeworth.task import Field, Task

TASK = Task("What?", "{kind} for {price}", (Field("kind", "category"), Field("price", "number", "USD")))
RESIDUALS = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)
COVERAGES = st.sampled_from([0.5, 0.8, 0.9, 0.95])


def _own(n: int) -> list[str]:
    return [str(number) for number in range(n)]


def _record(number: int, kind: str, price: float, group: str | None = None) -> Record:
    return Record(f"r{number}", None, {"kind": kind, "price": Decimal(repr(round(float(price), 2)))}, group or f"g{number}")


def _say(record: Record, price: float, kind: str | None = None, spread: float | None = None) -> Prediction:
    """`spread`: half of the own interval, as a factor e^spread each way."""
    own = {} if spread is None else {"price": {"median": price, "low": price / math.exp(spread), "high": price * math.exp(spread)}}
    text = f"{kind or record.values['kind']} for {round(float(price), 2):.2f}"
    return Prediction(record.id, text, 0.0, distribution=own)


def _shop(rng: np.random.Generator, n: int, *, noise: Mapping[str, float], spread: bool = False) -> tuple[list[Record], list[Prediction]]:
    """Records of equal shares of kinds, and a model that is off by e^N(0, noise of the kind); it knows its noise with `spread`."""
    records, predictions = [], []
    for number in range(n):
        kind = list(noise)[number % len(noise)]
        price = math.exp(rng.uniform(2, 8))
        sigma = noise[kind] * (math.exp(rng.normal(0, 0.7)) if spread else 1)
        records.append(_record(number, kind, price))
        predictions.append(_say(records[-1], price * math.exp(rng.normal(0, sigma)), spread=1.645 * sigma if spread else None))
    return records, predictions


def _held(intervals: Intervals, records: list[Record], predictions: list[Prediction]) -> list[bool]:
    ends = [price_interval(intervals, one) for one in predictions]
    return [one is not None and one[0] <= float(record.values["price"]) <= one[1] for one, record in zip(ends, records, strict=True)]


@given(RESIDUALS, COVERAGES)
def test_of_n_residuals_it_is_the_ceil_of_n_plus_1_times_coverage(residuals: list[float], coverage: float) -> None:
    found = quantile(residuals, _own(len(residuals)), coverage)
    rank = math.ceil(round((len(residuals) + 1) * coverage, 9))
    assert found.value == (sorted(residuals)[rank - 1] if rank <= len(residuals) else math.inf)
    assert (found.groups, found.records) == (len(residuals), len(residuals))


@pytest.mark.parametrize(("coverage", "least"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_too_few_groups_give_no_end(coverage: float, least: int) -> None:
    assert least_groups(coverage) == least
    assert quantile([1.0] * least, _own(least), coverage).value == 1
    assert quantile([1.0] * (least - 1), _own(least - 1), coverage).value == math.inf
    assert quantile([], [], coverage) == Quantile(math.inf, 0, 0)


def test_a_coverage_or_groups_that_cannot_be_are_refused() -> None:
    for coverage in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="more than 0 and less than 1"):
            quantile([1.0], ["a"], coverage)
    with pytest.raises(ValueError, match="2 residuals for 1 groups"):
        quantile([1.0, 2.0], ["a"], 0.9)


@given(RESIDUALS, COVERAGES, st.integers(2, 4))
def test_records_of_a_group_share_its_weight(residuals: list[float], coverage: float, times: int) -> None:
    alone = quantile(residuals, _own(len(residuals)), coverage)
    repeated = quantile(residuals * times, _own(len(residuals)) * times, coverage)
    assert (repeated.value, repeated.groups) == (alone.value, alone.groups)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 12)), min_size=1, max_size=60), COVERAGES)
def test_it_is_the_least_residual_that_weighs_enough(rows: list[tuple[float, int]], coverage: float) -> None:
    residuals, groups = [value for value, _ in rows], [str(group) for _, group in rows]
    sizes = {group: groups.count(group) for group in groups}

    def weight(limit: float) -> float:
        return sum(1 / sizes[group] for value, group in zip(residuals, groups, strict=True) if value <= limit) / (len(sizes) + 1)

    enough = [value for value in sorted(residuals) if weight(value) >= coverage - 1e-9]
    assert quantile(residuals, groups, coverage).value == (enough[0] if enough else math.inf)


@given(st.floats(0.01, 1e9), st.floats(0.01, 1e9), st.booleans())
def test_a_truth_as_far_off_as_the_quantile_lies_inside(truth: float, answer: float, ratio: bool) -> None:
    scale: Any = "ratio" if ratio else "absolute"
    far = residual(truth, answer, scale)
    low, high = around(answer, far, scale)
    assert low <= truth <= high
    if far > 1e-6:
        low, high = around(answer, far * (1 - 1e-6), scale)
        assert not low <= truth <= high


def test_ratios_of_what_is_not_above_0_are_without_end() -> None:
    assert residual(-1, 5, "ratio") == residual(5, 0, "ratio") == math.inf
    assert around(0, 0.2, "ratio") == around(-3, 0.2, "ratio") == around(5, math.inf, "ratio") == around(5, 1e9, "ratio") == (0, math.inf)
    assert around(5, math.inf, "absolute") == (-math.inf, math.inf)
    assert [scale_of(values) for values in ([1.0, 2.0], [0.0, 2.0], [])] == ["ratio", "absolute", "absolute"]


@pytest.mark.parametrize("case", ["plain", "kinds", "spread", "idle spread", "groups"])
def test_coverage_is_as_promised_over_many_draws(case: str) -> None:
    """The mean over seeds lies within 4 standard errors of the exact mean, which is 0.9 to 0.9 + 1 / (groups + 1)."""
    seeds, n, covered = 100, 99, []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        noise = {"bag": 0.1, "hat": 0.5, "cap": 0.3} if case == "kinds" else {"bag": 0.3}
        train, _ = _shop(rng, 5, noise=noise)
        if case == "groups":  # a group's photos share half of their error
            validation, test = (_grouped(rng, n) for _ in range(2))
        else:
            validation, test = (_shop(rng, n, noise=noise, spread=case == "spread") for _ in range(2))
        if case == "idle spread":  # the two ways are about as wide, so that the choice costs most
            validation, test = (
                (records, [_say_so(one, math.exp(rng.normal(0, 0.1))) for one in answers]) for records, answers in (validation, test)
            )
        covered.append(np.mean(_held(calibrate(TASK, train, *validation), *test)))
    off = 4 * np.std(covered) / math.sqrt(seeds)
    least = 9 / 10 - (0.015 if case == "idle spread" else 0)
    # measured over 150 seeds: plain 0.898, kinds 0.911 (33 groups each), groups 0.904; over 100 spread 0.898,
    # idle spread 0.894; off 0.010 to 0.017
    assert least - off <= np.mean(covered) <= least + (1 / 34 if case == "kinds" else 0.01) + off
    assert off < 0.02


def _say_so(one: Prediction, spread: float) -> Prediction:
    price = float(one.text.rsplit(" ", 1)[1])
    return replace(one, distribution={"price": {"low": price / math.exp(spread), "high": price * math.exp(spread)}})


def _grouped(rng: np.random.Generator, n: int) -> tuple[list[Record], list[Prediction]]:
    records, predictions = [], []
    for group in range(n):
        shared, price = rng.normal(0, 0.3), math.exp(rng.uniform(2, 8))
        for _ in range(int(rng.integers(1, 6))):
            records.append(_record(len(records), "bag", price, f"g{group}"))
            predictions.append(_say(records[-1], price * math.exp(shared + rng.normal(0, 0.3))))
    return records, predictions


def test_one_calibration_covers_as_the_beta_distribution_says() -> None:
    """Given n = 99 residuals the coverage is Beta(90, 10): 95 % of calibrations lie in 0.834 to 0.951 (V. Vovk, 2012)."""
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = quantile(np.abs(rng.normal(size=99)).tolist(), _own(99), 0.9).value
        inside += 0.834 <= math.erf(found / math.sqrt(2)) <= 0.951
    assert 180 <= inside <= 198  # measured 187; sd of a binomial with 0.95 is 3


def test_by_category_each_is_covered_and_the_sure_one_is_narrow() -> None:
    rng = np.random.default_rng(3)
    noise = {"bag": 0.05, "hat": 0.6}
    records, predictions = _shop(rng, 400, noise=noise)
    later, answers = _shop(rng, 4000, noise=noise)
    own = calibrate(TASK, records, records, predictions)
    assert set(own.fields["price"].plain.by_category) == {"bag", "hat"}
    for way, bag, hat in ((own, (0.86, 0.95), (0.85, 0.95)), (replace(own, category=None), (0.999, 1.0), (0.70, 0.85))):
        held = np.array(_held(way, later, answers))
        assert bag[0] <= held[::2].mean() <= bag[1]
        assert hat[0] <= held[1::2].mean() <= hat[1]


def test_a_category_with_too_few_groups_takes_the_quantile_of_all() -> None:
    rng = np.random.default_rng(0)
    records, predictions = _shop(rng, 60, noise={"bag": 0.2, "hat": 0.2})
    rare = [_record(100 + number, "cap", 100) for number in range(29)]
    own = calibrate(TASK, records, [*records, *rare], [*predictions, *(_say(one, 90) for one in rare)])
    cells = own.fields["price"].plain
    assert set(cells.by_category) == {"bag", "hat"}
    assert cells.of("cap") == cells.of("never seen") == cells.of(None) == cells.everything
    enough = [*rare, _record(200, "cap", 100)]
    own = calibrate(TASK, records, [*records, *enough], [*predictions, *(_say(one, 90) for one in enough)])
    assert own.fields["price"].plain.by_category["cap"] == Quantile(pytest.approx(math.log(100 / 90)), 30, 30)
    one_article = [replace(one, group="same") for one in enough]
    own = calibrate(TASK, records, [*records, *one_article], [*predictions, *(_say(one, 90) for one in enough)])
    assert "cap" not in own.fields["price"].plain.by_category


def test_the_answered_category_decides_not_the_true_one() -> None:
    rng = np.random.default_rng(0)
    records, predictions = _shop(rng, 80, noise={"bag": 0.01, "hat": 0.5})
    own = calibrate(TASK, records, records, predictions)
    low, high = price_interval(own, Prediction("x", "bag for 100", 0.0)) or (0, 0)
    wide_low, wide_high = price_interval(own, Prediction("x", "hat for 100", 0.0)) or (0, 0)
    assert wide_low < low < 100 < high < wide_high
    assert price_interval(own, Prediction("x", "I cannot tell", 0.0)) is None


def test_a_model_that_knows_its_noise_gets_narrower_intervals_of_the_same_coverage() -> None:
    rng = np.random.default_rng(1)
    noise = {"bag": 0.3}
    records, predictions = _shop(rng, 300, noise=noise, spread=True)
    later, answers = _shop(rng, 3000, noise=noise, spread=True)
    own = calibrate(TASK, records, records, predictions)
    assert own.fields["price"].normalised is not None
    content = measure(own, scores(TASK, later, answers), {one.record_id: one for one in answers}, resamples=100, seed=0)["price"]
    assert content["used"] == "by category and own spread"
    plain, used = content["ways"]["one width for all"], content["ways"][content["used"]]
    assert used["width"]["value"] < 0.9 * plain["width"]["value"]  # measured 0.85
    assert 0.86 < used["coverage"]["value"] < 0.94  # measured 0.92
    held = np.mean(_held(own, later, answers))
    assert used["coverage"]["value"] == pytest.approx(held)


def test_a_spread_that_says_nothing_is_not_used() -> None:
    rng = np.random.default_rng(1)
    records, predictions = _shop(rng, 200, noise={"bag": 0.3})
    told = [_say_so(one, float(rng.uniform(0.01, 2))) for one in predictions]
    own = calibrate(TASK, records, records, told)
    assert own.fields["price"].normalised is not None
    assert not own.fields["price"].by_spread
    assert price_interval(own, told[0]) == price_interval(own, predictions[0])
    content = measure(own, scores(TASK, records, told), {one.record_id: one for one in told}, resamples=20, seed=0)["price"]
    assert content["used"] == "by category"
    assert content["ways"]["by category and own spread"]["width"]["value"] > content["ways"]["by category"]["width"]["value"]


def test_a_spread_that_some_answers_do_not_tell_is_not_used() -> None:
    rng = np.random.default_rng(1)
    records, predictions = _shop(rng, 40, noise={"bag": 0.3}, spread=True)
    silent = [Prediction(predictions[0].record_id, predictions[0].text, 0.0), *predictions[1:]]
    assert calibrate(TASK, records, records, silent).fields["price"].normalised is None
    own = calibrate(TASK, records, records, predictions)
    plain, normalised = own.fields["price"].plain, own.fields["price"].normalised
    assert normalised
    at = price_interval(own, Prediction("x", "bag for 100", 0.0))
    assert at == around(100, plain.of("bag").value, "ratio")
    assert price_interval(own, _say(records[0], 100, spread=0.0)) == around(100, normalised.of("bag").value * 0.05, "ratio")


def test_a_spread_is_half_the_models_own_interval_on_the_scale() -> None:
    told = Prediction("x", "bag for 20", 0.0, distribution={"price": {"median": 20, "low": 10, "high": 40}})
    assert spread_of(told, "price", "ratio") == pytest.approx(math.log(2))
    assert spread_of(told, "price", "absolute") == 15
    for odd in ({}, {"low": 5}, {"low": 9, "high": 8}, {"low": "1", "high": 2}, {"low": math.nan, "high": 1}, {"choices": {"a": 1}}):
        assert spread_of(Prediction("x", "", 0.0, distribution={"price": odd}), "price", "absolute") is None
    assert spread_of(Prediction("x", "", 0.0, distribution={"price": {"low": 0, "high": 1}}), "price", "ratio") is None
    assert spread_of(Prediction("x", "", 0.0), "price", "ratio") is None


def test_numbers_below_0_take_absolute_widths() -> None:
    rng = np.random.default_rng(0)
    records = [_record(number, "bag", value) for number, value in enumerate(rng.normal(0, 50, 100))]
    prices = [float(one.values["price"]) for one in records] + rng.normal(0, 3, 100)
    answers = [Prediction(one.id, f"bag for {price:.2f}", 0.0) for one, price in zip(records, prices, strict=True)]
    own = calibrate(TASK, records, records, answers)
    assert own.fields["price"].scale == "absolute"
    low, high = price_interval(own, Prediction("x", "bag for -20", 0.0)) or (0, 0)
    assert low + high == pytest.approx(-40)
    assert 8 < high - low < 13


def test_what_is_said_is_what_was_measured() -> None:
    rng = np.random.default_rng(5)
    records, predictions = _shop(rng, 200, noise={"bag": 0.2})
    own = calibrate(TASK, records, records, predictions)

    def said(noise: float) -> dict[str, str]:
        later, answers = _shop(rng, 400, noise={"bag": noise})
        data = measure(own, scores(TASK, later, answers), {one.record_id: one for one in answers}, resamples=200, seed=0)["price"]
        return sentence("price", data, own.coverage, "USD") | {"share": f"{100 * data['ways'][data['used']]['coverage']['value']:.1f} %"}

    fit, shifted, easy = said(0.2), said(0.5), said(0.05)
    assert [one["tone"] for one in (fit, shifted, easy)] == ["good", "bad", "mixed"]
    assert "price: 90 % intervals hold the true value in" in fit["text"]
    assert fit["share"] in fit["text"]
    assert "a factor of 1." in fit["text"]
    assert "too narrow" in shifted["text"]
    assert "wider than promised" in easy["text"]
    few = calibrate(TASK, records, records[:8], predictions[:8])
    data = measure(few, scores(TASK, records, predictions), {one.record_id: one for one in predictions}, resamples=200, seed=0)["price"]
    assert data["ways"][data["used"]]["endless"] == 200
    assert data["ways"][data["used"]]["coverage"]["value"] == 1
    assert sentence("price", data, 0.9, "USD")["text"] == (
        "price: 8 groups of validation records are too few for 90 % intervals, 9 are needed: no ends are known."
    )
    json.dumps(data, allow_nan=False)


def test_coverage_on_the_records_measured_has_an_interval_that_resamples_groups() -> None:
    rng = np.random.default_rng(2)
    records, predictions = _grouped(rng, 100)
    own = calibrate(TASK, records, records, predictions)
    later, answers = _grouped(rng, 60)
    by_id = {one.record_id: one for one in answers}
    found = measure(own, scores(TASK, later, answers), by_id, resamples=2000, seed=0)["price"]["ways"]["by category"]["coverage"]
    alone = [replace(one, group=one.id) for one in later]
    naive = measure(own, scores(TASK, alone, answers), by_id, resamples=2000, seed=0)["price"]["ways"]["by category"]["coverage"]
    grouped_width, naive_width = (one["high"] - one["low"] for one in (found, naive))
    assert found["value"] == naive["value"]
    assert grouped_width > 1.1 * naive_width


def test_the_same_as_crepes() -> None:
    crepes = pytest.importorskip("crepes", reason="crepes (dev) is not installed: the check against another implementation is left out")
    for seed in range(8):
        rng = np.random.default_rng(seed)
        # 107 and 106 of a kind: of 109 crepes takes a rank too high, since (1 - 0.9) * 110 is 10.999... in floats
        records, predictions = _shop(rng, 213, noise={"bag": 0.1, "hat": 0.5}, spread=True)
        marks = scores(TASK, records, predictions)
        answers = np.array([math.log(float(one.fields["price"].answer)) for one in marks])
        off = np.array([math.log(float(one.fields["price"].truth)) for one in marks]) - answers
        sigma = np.array([spread_of(one, "price", "ratio") for one in predictions]) + 0.05
        kinds = np.array([str(one.values["kind"]) for one in records])
        own_price = (made := calibrate(TASK, records, records, predictions)).fields["price"]
        plain, full = (replace(made, fields={"price": replace(own_price, by_spread=by_spread)}) for by_spread in (False, True))
        for own, sigmas, bins in ((replace(plain, category=None), None, None), (plain, None, kinds), (full, sigma, kinds)):
            theirs = crepes.ConformalRegressor().fit(off, sigmas=sigmas, bins=bins)
            expected = theirs.predict_int(answers, sigmas=sigmas, bins=bins, confidence=0.9)
            ours = np.array([price_interval(own, one) for one in predictions])
            assert np.log(ours) == pytest.approx(np.asarray(expected), rel=1e-9)


QUANTILES = st.builds(Quantile, st.one_of(st.just(math.inf), st.floats(0, 1e6)), st.integers(0, 1000), st.integers(0, 1000))
CELLS = st.builds(Cells, QUANTILES, st.dictionaries(st.text(max_size=8), QUANTILES, max_size=3))
SCALES = st.sampled_from(["ratio", "absolute"])
FIELDS = st.one_of(
    st.builds(FieldIntervals, SCALES, CELLS, st.none(), st.floats(0, 10)),
    st.builds(FieldIntervals, SCALES, CELLS, CELLS, st.floats(0, 10), st.booleans()),
)


@given(FIELDS, st.floats(0.01, 0.99), st.one_of(st.none(), st.just("kind")))
def test_what_is_written_is_read(tmp_path_factory: Any, one: FieldIntervals, coverage: float, category: str | None) -> None:
    folder = tmp_path_factory.mktemp("run")
    own = Intervals(TASK, coverage, 30, category, {"price": one}, {}, {"data fingerprint": "f" * 64})
    write_intervals(folder, own)
    assert read_intervals(folder) == own


def test_a_damaged_or_foreign_file_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not there: seeworth evaluate makes it"):
        read_intervals(tmp_path)
    one = FieldIntervals("ratio", Cells(Quantile(0.2, 40, 40), {}), None, 0.05)
    write_intervals(tmp_path, Intervals(TASK, 0.9, 30, None, {"price": one}, {}, {}))
    path = tmp_path / "intervals.json"
    whole = json.loads(path.read_text())
    changes: list[tuple[Any, str]] = [
        ([], "found format None"),
        (whole | {"format": "seeworth-intervals/9"}, "found format 'seeworth-intervals/9'"),
        (whole | {"coverage": 2}, "damaged"),
        (whole | {"fields": {"weight": whole["fields"]["price"]}}, "damaged"),
        (whole | {"fields": {"price": whole["fields"]["price"] | {"scale": "pickle"}}}, "damaged"),
        (whole | {"fields": {"price": whole["fields"]["price"] | {"floor": -1}}}, "damaged"),
        (whole | {"fields": {"price": whole["fields"]["price"] | {"by_spread": True}}}, "damaged"),
        ({key: value for key, value in whole.items() if key != "made_from"}, "damaged"),
    ]
    for data, words in changes:
        path.write_text(json.dumps(data))
        with pytest.raises(RunError, match=words):
            read_intervals(tmp_path)
    path.write_text("{")
    with pytest.raises(RunError, match="cannot be read as JSON"):
        read_intervals(tmp_path)


def test_intervals_of_another_training_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    one = FieldIntervals("ratio", Cells(Quantile(0.2, 40, 40), {}), None, 0.05)
    known = {"run.json": hashlib.sha256(b"{}").hexdigest()}
    write_intervals(tmp_path, Intervals(TASK, 0.9, 30, None, {"price": one}, {}, known))
    assert read_intervals(tmp_path).made_from == known
    (tmp_path / "run.json").write_text('{"another": 1}')
    with pytest.raises(RunError, match="was made for another training"):
        read_intervals(tmp_path)


def test_an_estimate_of_no_interval_is_strict_json() -> None:
    records = [_record(0, "bag", 10)]
    silent = [Prediction("r0", "?", 0.0)]
    own = calibrate(TASK, records, records, silent)
    data = measure(own, scores(TASK, records, silent), {"r0": silent[0]}, resamples=10, seed=0)["price"]
    assert Estimate.from_dict(data["ways"]["one width for all"]["coverage"]).n == 0
    json.dumps(data, allow_nan=False)


def test_intervals_are_read_without_torch() -> None:
    code = "import sys, seeworth.intervals, seeworth.evaluate.conformal; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
