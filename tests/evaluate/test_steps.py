"""The verb's intervals and comparison: asked, written, kept with the run, and left out with a reason where they cannot be."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from seeworth.errors import DataError, RunError, SettingsError
from seeworth.evaluate.folder import file_hash, read_manifest
from seeworth.evaluate.run import run
from seeworth.intervals import price_interval, read_intervals
from seeworth.predict.predictor import FakePredictor
from seeworth.record import Prediction, Record, read_predictions, write_predictions
from seeworth.settings import EvaluateSettings


def _quiet() -> Console:
    return Console(file=io.StringIO(), width=80)


class Unsure:
    """Looks, is off by some noise of the record's own, and knows how much; its category is wrong as often as it says."""

    name = "unsure"

    def __init__(self, shop: Any, *, sure: bool = True) -> None:
        self.shop, self.sure = shop, sure

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        for record in records:
            rng = np.random.default_rng(int(record.id[1:]))
            sigma = float(rng.uniform(0.05, 0.4))
            price = float(record.values["full_price"]) * float(np.exp(rng.normal(0, sigma)))
            confidence = float(rng.uniform(0.5, 1))
            true = record.values["category3_code"]
            category = true if rng.random() < confidence else next(name for name in self.shop.names if name != true)
            text = self.shop.task.write({**record.values, "full_price": round(price, 2), "category3_code": category})
            if not self.sure:
                yield Prediction(record.id, text, 0.0)
                continue
            factor = float(np.exp(1.645 * sigma))
            own = {"median": price, "low": price / factor, "high": price * factor}
            yield Prediction(record.id, text, 0.0, confidence={"category3_code": confidence}, distribution={"full_price": own})


@pytest.fixture(scope="module")
def big_shop(tmp_path_factory: pytest.TempPathFactory, make_a_shop: Callable[..., Any]) -> Any:
    """64 groups of two records in the validation split, 32 of either category."""
    return make_a_shop(tmp_path_factory.mktemp("big") / "data", rows=1300, categories=2)


def test_intervals_are_calibrated_on_the_validation_split_and_kept_with_the_run(
    big_shop: Any, new_run: Callable[..., Path], tmp_path: Path
) -> None:
    console = _quiet()
    trained = new_run(big_shop)
    out = run(EvaluateSettings(run=trained, output=tmp_path / "out", bootstrap=200), predictor=Unsure(big_shop), console=console)
    content = read_manifest(out)["intervals"]
    one = content["fields"]["full_price"]
    assert (one["groups"], one["records"], one["scale"], one["unit"]) == (64, 128, "ratio", "USD")
    assert list(one["ways"]) == ["one width for all", "by category", "by the model's own spread", "by category and own spread"]
    assert one["used"] == "by category and own spread"
    for way in one["ways"].values():
        assert way["coverage"]["low"] < 0.9 < way["coverage"]["high"] + 0.05
    assert one["ways"]["by the model's own spread"]["width"]["value"] < one["ways"]["one width for all"]["width"]["value"]
    assert content["reliability"]["category3_code"]["n"] == 512
    assert set(content["abstain"]) == {"category3_code", "full_price"}
    own = read_intervals(trained)
    assert own == read_intervals(out)
    assert own.made_from["predictions-validation.jsonl"] == file_hash(out / "predictions-validation.jsonl")
    assert own.made_from["run.json"] == file_hash(trained / "run.json")
    assert own.made_from["data fingerprint"] == big_shop.dataset.fingerprint
    asked = {record.id for record in big_shop.dataset.records("validation")}
    assert {one.record_id for one in read_predictions(out / "predictions-validation.jsonl")} == asked
    answers = list(Unsure(big_shop)(big_shop.dataset.records("test")))
    truth = {record.id: float(record.values["full_price"]) for record in big_shop.dataset.records("test")}
    ends = [price_interval(own, each) for each in answers]
    held = [pair is not None and pair[0] <= truth[each.record_id] <= pair[1] for pair, each in zip(ends, answers, strict=True)]
    assert np.mean(held) == pytest.approx(one["ways"][one["used"]]["coverage"]["value"])
    printed = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    for sentence in content["sentences"]:
        assert sentence["text"] in printed


def test_a_model_that_does_not_say_how_sure_it_is_gets_plain_intervals_and_one_sentence(
    big_shop: Any, new_run: Callable[..., Path], tmp_path: Path
) -> None:
    settings = EvaluateSettings(run=new_run(big_shop), output=tmp_path / "out", bootstrap=50)
    content = read_manifest(run(settings, predictor=Unsure(big_shop, sure=False), console=_quiet()))["intervals"]
    assert content["fields"]["full_price"]["used"] == "by category"
    assert content["reliability"] == {"category3_code": None}
    assert content["abstain"] == {}
    said = [one["text"] for one in content["sentences"] if "how sure" in one["text"]]
    assert said == ["category3_code: the predictions do not say how sure the model is, so its confidence is not measured."]


def test_predictions_files_alone_are_calibrated_and_compared_without_torch(big_shop: Any, tmp_path: Path) -> None:
    for split, name in (("test", "test.jsonl"), ("validation", "validation.jsonl")):
        write_predictions(tmp_path / name, Unsure(big_shop, sure=False)(big_shop.dataset.records(split)))
    write_predictions(tmp_path / "old.jsonl", FakePredictor(big_shop.look)(big_shop.dataset.records("test")))
    code = (
        "import sys; from pathlib import Path; from seeworth.evaluate.run import run; from seeworth.settings import EvaluateSettings;"
        f"at = Path({str(tmp_path)!r}); run(EvaluateSettings(run=at / 'test.jsonl', data=Path({str(big_shop.folder)!r}), bootstrap=50,"
        "calibration=at / 'validation.jsonl', against=at / 'old.jsonl'));"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = read_manifest(tmp_path / "evaluation")
    assert content["intervals"]["fields"]["full_price"]["records"] == 128
    assert content["comparison"]["records"] == {"ours": 512, "theirs": 512, "both": 512, "groups": 256}
    assert content["comparison"]["figures"]["full_price_mae"]["outcome"] == -1
    assert read_intervals(tmp_path / "evaluation").made_from["validation.jsonl"] == file_hash(tmp_path / "validation.jsonl")
    assert not (tmp_path / "intervals.json").exists()


def test_where_intervals_cannot_be_the_reason_is_given(shop: Any, text_shop: Any, new_run: Callable[..., Path], tmp_path: Path) -> None:
    trained = new_run(shop)
    file = tmp_path / "predictions.jsonl"
    write_predictions(file, FakePredictor(shop.look)(shop.dataset.records("test")))
    looker = FakePredictor(shop.look)
    cases: list[tuple[dict[str, Any], Any, str]] = [
        ({"run": trained, "calibrate": False}, looker, "calibrate is false"),
        ({"run": trained, "split": "validation"}, looker, "is the one measured here"),
        ({"run": file, "data": shop.folder}, None, "with --calibration FILE"),
    ]
    for number, (what, predictor, words) in enumerate(cases):
        settings = EvaluateSettings(**what, output=tmp_path / f"out{number}", bootstrap=20, grounding_records=0)
        out = run(settings, predictor=predictor, console=_quiet())
        content = read_manifest(out)
        assert words in content["intervals"]["why_not"]
        assert content["comparison"] is None
        assert not (out / "intervals.json").exists()
    assert not (trained / "intervals.json").exists()
    few = read_manifest(run(EvaluateSettings(run=trained, output=tmp_path / "few", bootstrap=20), predictor=looker, console=_quiet()))
    assert "6 groups of validation records are too few for 90 % intervals" in few["intervals"]["sentences"][0]["text"]
    assert read_intervals(trained).fields["full_price"].plain.everything.groups == 6


def test_a_run_is_compared_with_an_earlier_one_and_the_photos_of_what_changed_are_kept(
    shop: Any, new_run: Callable[..., Path], tmp_path: Path
) -> None:
    base = EvaluateSettings(run=new_run(shop), output=tmp_path / "old", bootstrap=100, grounding_records=0, calibrate=False)

    def worse(record: Record) -> str:
        return shop.look(record).replace("size", "length") if int(record.id[1:]) % 3 == 0 else str(shop.look(record))

    old = run(base, predictor=FakePredictor(worse, name="old run"), console=_quiet())
    console = _quiet()
    new = run(replace(base, output=tmp_path / "new", against=old), predictor=FakePredictor(shop.look), console=console)
    content = read_manifest(new)
    changed = content["comparison"]["changed"]["better"]
    assert content["comparison"]["changes"] == {"better": 16, "same": 32, "worse": 0}
    assert content["comparison"]["other"]["name"] == "old run"
    place = {one["record_id"]: index for index, one in enumerate(content["scores"])}
    assert len(changed) == 12
    assert all((new / "thumbnails" / f"{place[one['record_id']]}.jpg").is_file() for one in changed)
    assert all("length" in one["other"] and "size" in one["ours"] for one in changed)
    assert "better on title exactly right" in " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert json.loads((new / "evaluation.json").read_text())["settings"]["against"] == str(old)


def test_what_cannot_be_is_told_before_anybody_is_asked(shop: Any, new_run: Callable[..., Path], tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    write_predictions(other, [Prediction("elsewhere", "?", 0.0)])
    base = EvaluateSettings(run=new_run(shop), output=tmp_path / "out", bootstrap=20, grounding_records=0)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"coverage": 90.0}, SettingsError, "coverage is 90.0"),
        ({"coverage": 1.0}, SettingsError, "less than 1"),
        ({"abstain_error": -0.1}, SettingsError, "abstain_error is -0.1"),
        ({"calibration": tmp_path / "gone"}, SettingsError, "gone is not there"),
        ({"against": tmp_path / "gone"}, RunError, "holds no evaluation to compare with"),
        ({"against": other}, DataError, "answers none of the 48 records"),
    ]
    for changes, error, words in cases:
        with pytest.raises(error, match=words):
            run(replace(base, **changes), predictor=FakePredictor({}), console=_quiet())
    assert not (tmp_path / "out").exists()
