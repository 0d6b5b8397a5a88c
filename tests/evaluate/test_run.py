"""The verb: what the evaluation folder holds, what is refused, and that nothing of it needs torch."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from seeworth.cli import main
from seeworth.data.dataset import write_dataset
from seeworth.data.photo.decode import open_photo
from seeworth.errors import DataError, RunError, SettingsError
from seeworth.evaluate.asked import Rivals
from seeworth.evaluate.folder import read_manifest
from seeworth.evaluate.run import demand, run
from seeworth.predict.baselines import BEFORE
from seeworth.predict.predictor import FakePredictor
from seeworth.record import Record, read_predictions, write_predictions
from seeworth.settings import EvaluateSettings


def _quiet() -> Console:
    return Console(file=io.StringIO(), width=80)


@pytest.fixture
def settings(shop: Any, new_run: Callable[..., Path], tmp_path: Path) -> EvaluateSettings:
    return EvaluateSettings(run=new_run(shop), output=tmp_path / "out", bootstrap=200, calibrate=False)


def test_a_run_is_measured_beside_baselines_and_without_photos(shop: Any, settings: EvaluateSettings) -> None:
    console = _quiet()
    out = run(settings, predictor=FakePredictor(shop.look, name="looker"), console=console)
    content = read_manifest(out)
    records = shop.dataset.records("test")
    assert content["figures"]["category3_code_accuracy"]["model"]["value"] == 1
    assert content["figures"]["full_price_mae"]["model"] == {"value": 0, "low": 0, "high": 0, "n": len(records)}
    assert set(content["figures"]["title_exact"]["baselines"]) == {
        "most common answer",
        "median of the true category",
        "median of the predicted category",
        "nearest training photo",
    }
    grounding = content["grounding"]
    assert grounding["tone"] == "good"
    assert list(grounding["modes"]) == ["blank", "swapped", "same_category", "blur_2", "blur_6", "blur_18", "text"]
    assert grounding["modes"]["swapped"]["value"]["value"] == 0
    alike = grounding["modes"]["same_category"]["fields"]
    assert alike["category3_code_accuracy"]["drop"]["value"] == 0
    assert alike["full_price_within_25"]["drop"]["low"] > 0
    assert 0.9 < grounding["share_of_skill"]["value"] <= 1
    assert content["faults"] == content["left_out"] == []
    assert content["data"]["fingerprint"] == shop.dataset.fingerprint
    assert content["warnings"] == []
    assert len(content["hashes"]["run.json"]) == 64
    assert len(content["scores"]) == len(records)
    assert content["model"]["name"] == "looker"


def test_the_folder_holds_every_word_verbatim_and_small_photos_of_the_gallery(shop: Any, settings: EvaluateSettings) -> None:
    out = run(settings, predictor=FakePredictor(shop.look), console=_quiet())
    records = shop.dataset.records("test")
    assert [p.text for p in read_predictions(out / "predictions.jsonl")] == [shop.look(r) for r in records]
    names = {path.name for path in out.glob("predictions-*.jsonl")}
    assert names == {
        f"predictions-{name}.jsonl"
        for name in (
            "blank", "swapped", "same_category", "blur_2", "blur_6", "blur_18", "text", "most-common-answer", "median-of-the-true-category",
            "median-of-the-predicted-category", "nearest-training-photo",
        )
    }  # fmt: skip
    assert {len(list(read_predictions(out / name))) for name in names} == {len(records)}
    thumbnails = list((out / "thumbnails").iterdir())
    assert len(thumbnails) == 24
    for path in thumbnails:
        with Image.open(path, formats=["JPEG"]) as image:
            assert max(image.size) <= 160
    assert (out / "log.jsonl").read_bytes() == (settings.run / "log.jsonl").read_bytes()
    assert not list(out.parent.glob(".out*"))


def test_a_model_that_does_not_look_is_found_out(shop: Any, settings: EvaluateSettings) -> None:
    truth = {record.id: shop.task.write(record.values) for record in shop.dataset.records("test")}
    content = read_manifest(run(settings, predictor=FakePredictor(truth), console=_quiet()))
    assert content["grounding"]["tone"] == "bad"
    assert content["verdict"][0]["text"].startswith("The model does not look at the photo")


def test_same_seed_same_figures(shop: Any, settings: EvaluateSettings) -> None:
    contents = []
    for name in ("a", "b"):
        again = replace(settings, output=settings.run.parent / name)
        contents.append(read_manifest(run(again, predictor=FakePredictor(shop.look), console=_quiet())))
    for content in contents:
        content.pop("seconds")
        content.pop("settings")
        for score in content["scores"]:
            score.pop("seconds")
    assert contents[0] == contents[1]


def test_the_table_fits_80_columns_and_names_every_figure(shop: Any, settings: EvaluateSettings) -> None:
    console = _quiet()
    run(settings, predictor=FakePredictor(shop.look), console=console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, printed.splitlines())) <= 80
    for words in ("answers that", "full_price", "nearest", "given", "The answers come from the photo"):
        assert words in printed
    assert "answering test photos: 48 of 48" in printed


def test_grounding_asks_as_many_records_as_wanted(shop: Any, settings: EvaluateSettings) -> None:
    out = run(replace(settings, grounding_records=20), predictor=FakePredictor(shop.look), console=_quiet())
    assert read_manifest(out)["grounding"]["own"]["value"]["n"] == 20
    assert len(list(read_predictions(out / "predictions-blank.jsonl"))) == 20
    none = run(replace(settings, grounding_records=0, overwrite=True), predictor=FakePredictor(shop.look), console=_quiet())
    assert read_manifest(none)["grounding"] is None
    assert any("grounding_records is 0" in one["text"] for one in read_manifest(none)["verdict"])
    assert not (none / "predictions-blank.jsonl").exists()


def test_a_predictions_file_is_measured_without_its_run(shop: Any, tmp_path: Path) -> None:
    file = tmp_path / "predictions.jsonl"
    write_predictions(file, FakePredictor(shop.look)(shop.dataset.records("test")))
    out = run(EvaluateSettings(run=file, data=shop.folder, bootstrap=50), console=_quiet())
    content = read_manifest(out)
    assert out == tmp_path / "evaluation"
    assert content["figures"]["title_exact"]["model"]["value"] == 1
    assert "nearest training photo" in content["figures"]["title_exact"]["baselines"]
    assert content["grounding"] is None
    assert any("a predictions file cannot be asked again" in one["text"] for one in content["verdict"])


def test_what_could_not_be_answered_is_in_no_figure_and_is_warned_of(shop: Any, tmp_path: Path) -> None:
    file = tmp_path / "predictions.jsonl"
    records = shop.dataset.records("test")
    write_predictions(file, FakePredictor(shop.look)(records[2:]))
    lost = [{"record_id": one.id, "photo": None, "error": {"code": "damaged", "message": "cut short"}} for one in records[:2]]
    file.write_text("".join(json.dumps(one) + "\n" for one in lost) + file.read_text())
    out = run(EvaluateSettings(run=file, data=shop.folder, bootstrap=50), console=_quiet())
    content = read_manifest(out)
    assert content["data"]["records"] == len(records) - 2
    assert content["figures"]["title_exact"]["model"]["value"] == 1
    assert f"2 of {len(records)} test records could not be answered (2 damaged): they are in no figure." in content["warnings"]
    file.write_text("".join(json.dumps(lost[0] | {"record_id": one.id}) + "\n" for one in records))
    with pytest.raises(DataError, match=f"answers none of the {len(records)} test records"):
        run(EvaluateSettings(run=file, data=shop.folder, overwrite=True), console=_quiet())


def test_data_that_the_run_was_not_trained_on_is_warned_of(shop: Any, new_run: Callable[..., Path], tmp_path: Path) -> None:
    console = _quiet()
    settings = EvaluateSettings(run=new_run(shop, data_fingerprint="f" * 64), output=tmp_path / "out", bootstrap=20)
    out = run(settings, predictor=FakePredictor(shop.look), console=console)
    assert "is not the data the run was trained on" in read_manifest(out)["warnings"][0]
    assert "Warning" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_task_without_number_and_category_is_measured(text_shop: Any, new_run: Callable[..., Path], tmp_path: Path) -> None:
    settings = EvaluateSettings(run=new_run(text_shop), output=tmp_path / "out", bootstrap=50)
    content = read_manifest(run(settings, predictor=FakePredictor(text_shop.look), console=_quiet()))
    assert list(content["figures"]) == ["parse_rate", "title_exact", "title_similarity", "title_token_f1", "title_chrf"]
    assert content["confusion"] == {}
    assert content["slices"] == []
    assert content["left_out"] == ["Another photo of the same category was left out of the grounding check: the task has no category."]
    assert content["grounding"]["figure"] == "title_exact"
    assert list(content["figures"]["title_exact"]["baselines"]) == ["most common answer", "nearest training photo"]


def test_only_an_evaluation_folder_is_ever_replaced_and_only_when_asked(shop: Any, settings: EvaluateSettings) -> None:
    out = settings.output
    assert out
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="is no evaluation folder"):
            run(replace(settings, overwrite=overwrite), predictor=FakePredictor(shop.look), console=_quiet())
    (out / "thesis.txt").unlink()
    run(settings, predictor=FakePredictor(shop.look), console=_quiet())
    (out / "old.txt").write_text("of the old evaluation")
    with pytest.raises(RunError, match="--overwrite"):
        run(settings, predictor=FakePredictor(shop.look), console=_quiet())
    run(replace(settings, overwrite=True), predictor=FakePredictor(shop.look), console=_quiet())
    assert not (out / "old.txt").exists()


def test_a_model_that_fails_midway_leaves_the_old_evaluation_and_no_rest(shop: Any, settings: EvaluateSettings) -> None:
    out = run(settings, predictor=FakePredictor(shop.look), console=_quiet())
    before = (out / "evaluation.json").read_bytes()
    with pytest.raises(KeyError):
        run(replace(settings, overwrite=True), predictor=FakePredictor({}), console=_quiet())
    assert (out / "evaluation.json").read_bytes() == before
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


def test_what_cannot_be_evaluated_is_told_in_a_line(shop: Any, text_shop: Any, new_run: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "predictions.jsonl"
    file.write_text("")
    (tmp_path / "empty").mkdir()
    trained = new_run(shop)
    cases: list[tuple[EvaluateSettings, type[Exception], str]] = [
        (EvaluateSettings(run=tmp_path / "gone"), RunError, "is not there"),
        (EvaluateSettings(run=tmp_path / "empty"), RunError, "no finished run"),
        (EvaluateSettings(run=file), SettingsError, "add --data"),
        (EvaluateSettings(run=file, data=shop.folder), DataError, "answers to 0 of 48 records"),
        (EvaluateSettings(run=file, data=tmp_path / "empty"), DataError, "dataset"),
        (EvaluateSettings(run=trained, data=text_shop.folder), RunError, "data of the same task"),
    ]
    for settings, error, words in cases:
        with pytest.raises(error, match=words):
            run(replace(settings, output=tmp_path / "out"), predictor=None, console=_quiet())
    assert not (tmp_path / "out").exists()


def test_only_the_modes_that_are_named_are_asked(shop: Any, settings: EvaluateSettings) -> None:
    out = run(replace(settings, grounding_modes="text, blank"), predictor=FakePredictor(shop.look), console=_quiet())
    assert list(read_manifest(out)["grounding"]["modes"]) == ["text", "blank"]
    assert not (out / "predictions-swapped.jsonl").exists()
    for words, told in (("blank,fog", "'fog' is none"), ("blur", "at least one of blank, swapped, text")):
        with pytest.raises(SettingsError, match=told):
            run(replace(settings, grounding_modes=words, overwrite=True), predictor=FakePredictor(shop.look), console=_quiet())


def test_slices_are_those_asked_for_and_an_unknown_column_is_told_before_anything_is_asked(shop: Any, settings: EvaluateSettings) -> None:
    out = run(replace(settings, slices="category3_code"), predictor=FakePredictor(shop.look), console=_quiet())
    price, category = read_manifest(out)["slices"]
    assert (price["column"], category["column"]) == ("full_price", "category3_code")
    assert {one["name"] for one in category["slices"]} == set(shop.names)
    assert all(one["weak"] for one in category["slices"])
    with pytest.raises(SettingsError, match="no record has a column 'colour'"):
        run(replace(settings, slices="colour", overwrite=True), predictor=FakePredictor({}), console=_quiet())


def test_baselines_that_ask_the_model_are_handed_in(shop: Any, settings: EvaluateSettings) -> None:
    def see(records: Sequence[Record]) -> Any:
        return np.stack([np.asarray(open_photo(record.photo), dtype=np.float32)[0, 0] for record in records if record.photo])

    rivals = Rivals(see, FakePredictor(lambda record: "I see a thing.", name=BEFORE), ("Something else was left out.",))
    out = run(settings, predictor=FakePredictor(shop.look), rivals=rivals, console=_quiet())
    content = read_manifest(out)
    beside = content["figures"]["category3_code_accuracy"]["baselines"]
    assert beside["linear heads on its own vision features"]["value"] == 1
    assert beside["nearest photo by its own vision features"]["value"] == 1
    assert (out / "predictions-linear-heads-on-its-own-vision-features.jsonl").is_file()
    assert content["figures"]["parse_rate"]["baselines"][BEFORE]["value"] == 0
    assert BEFORE not in content["skill"]["category3_code_accuracy"]["against"]
    assert content["left_out"] == ["Something else was left out."]


def test_a_fault_ends_with_a_line_and_the_evaluation_stays(shop: Any, settings: EvaluateSettings) -> None:
    truth = {record.id: shop.task.write(record.values) for record in shop.dataset.records("test")}
    out = run(settings, predictor=FakePredictor(truth), console=_quiet())
    content = read_manifest(out)
    assert [one["code"] for one in content["faults"]] == ["photo_ignored"]
    with pytest.raises(RunError, match=r"does not look at the photo: .* The evaluation is in .*--allow_ungrounded"):
        demand(content, out, allow_ungrounded=False)
    demand(content, out, allow_ungrounded=True)
    leak = {"code": "leak", "text": "It leaks.", "ungrounded": False}
    with pytest.raises(RunError, match="It leaks"):
        demand({"faults": [*content["faults"], leak]}, out, allow_ungrounded=True)


def test_the_command_line_ends_with_status_1_after_the_page_is_drawn(shop: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "predictions.jsonl", tmp_path / "out"
    text = shop.task.write(shop.values(0, 20))
    write_predictions(file, FakePredictor(lambda record: text)(shop.dataset.records("test")))
    argv = ["evaluate", str(file), "--data", str(shop.folder), "--output", str(out), "--bootstrap", "20"]
    assert main(argv) == 1
    told = capsys.readouterr().err
    assert told.startswith("seeworth evaluate: All 48 answers are the same words")
    assert told.count("\n") == 1
    assert "All 48 answers are the same words" in (out / "report.html").read_text().split('id="figures"')[0]
    assert main([*argv, "--overwrite", "--allow_ungrounded"]) == 0


def test_records_of_another_dataset_that_the_run_was_trained_on_are_a_leak(shop: Any, new_run: Callable[..., Path], tmp_path: Path) -> None:
    """The run's own data is another folder, in which what is measured here stands in the train split."""
    other = type(shop)(shutil.copytree(shop.folder, tmp_path / "other"), shop.task, len(shop.names), shop.side)
    rows = [replace(row, split="train", group=f"other-{row.group}") for row in other.dataset.rows()]
    write_dataset(other.folder, other.task, rows, source={"kind": "test"})
    settings = EvaluateSettings(run=new_run(other), data=shop.folder, output=tmp_path / "out", bootstrap=20)
    content = read_manifest(run(settings, predictor=FakePredictor(shop.look), console=_quiet()))
    assert [one["code"] for one in content["faults"]] == ["leak"]
    assert "48 of 48 records have the photo of a train record" in content["verdict"][0]["text"]


def test_train_records_are_measured_with_a_warning(shop: Any, settings: EvaluateSettings) -> None:
    content = read_manifest(run(replace(settings, split="train"), predictor=FakePredictor(shop.look), console=_quiet()))
    assert content["faults"] == []
    assert "These are train records" in content["warnings"][0]


def test_evaluating_a_predictions_file_never_loads_torch(shop: Any, tmp_path: Path) -> None:
    file = tmp_path / "predictions.jsonl"
    write_predictions(file, FakePredictor(shop.look)(shop.dataset.records("test")))
    code = (
        "import sys; from pathlib import Path; from seeworth.evaluate.run import run; from seeworth.settings import EvaluateSettings;"
        f"run(EvaluateSettings(run=Path({str(file)!r}), data=Path({str(shop.folder)!r}), bootstrap=20));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_evaluation_json_is_strict_json(shop: Any, settings: EvaluateSettings) -> None:
    silent = run(settings, predictor=FakePredictor(lambda record: "?"), console=_quiet())
    text = (silent / "evaluation.json").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(text, parse_constant=refuse)
    assert content["figures"]["full_price_mae"]["model"] == {"value": None, "low": None, "high": None, "n": 0}
    assert np.isclose(content["figures"]["parse_rate"]["model"]["value"], 0)
