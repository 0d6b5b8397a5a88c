"""The verb as it is used: what is asked, what is refused, what goes on, what is told."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seeworth.cli import main
from seeworth.data import progress
from seeworth.errors import DataError, RunError, SeeworthError, SettingsError
from seeworth.predict.local import Plain
from seeworth.predict.predictor import FakePredictor
from seeworth.predict.run import run
from seeworth.predict.vlm import AHEAD, VLM
from seeworth.record import Record, read_predictions, read_unanswered
from seeworth.settings import PredictSettings
from seeworth.task import Field, Task

TASK = Task("What?", "{name}", (Field("name"),))


@pytest.fixture
def settings(tmp_path: Path) -> PredictSettings:
    """Nine good photos and one that is none; weights that nobody loads."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    TASK.save(tmp_path / "model" / "task.yaml")
    (tmp_path / "photos").mkdir()
    for number in range(9):
        Image.new("RGB", (20, 20), "red").save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "bad.png").write_bytes(b"no photo")
    return PredictSettings(str(tmp_path / "model"), tmp_path / "photos", tmp_path / "out.jsonl", batch_size=2)


def fake() -> Plain:
    return Plain(FakePredictor(lambda record: f"name {record.id}"), TASK, 2)


class Killed(Exception):
    """Stands in for SIGKILL, which leaves as little time; the real one is in test_kill_predict."""


def killed_at(number: int) -> Plain:
    answered = 0

    def answer(record: Record) -> str:
        nonlocal answered
        answered += 1
        if answered > number:
            raise Killed
        return f"name {record.id}"

    return Plain(FakePredictor(answer), TASK, 2)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_input_is_a_line_in_its_place_and_the_bad_one_is_told(settings: PredictSettings, capsys: pytest.CaptureFixture[str]) -> None:
    run(settings, model=fake())
    found = lines(settings.output)
    assert [line["record_id"] for line in found] == [*(f"{number}.png" for number in range(9)), "bad.png"]
    assert found[0]["values"] == {"name": "name 0.png"}
    assert list(found[9]) == ["record_id", "photo", "error"]
    assert len(list(read_predictions(settings.output))) == 9
    assert [one.code for one in read_unanswered(settings.output)] == ["not_a_photo"]
    printed = capsys.readouterr()
    assert "not answered: bad.png: expected JPEG" in printed.err
    assert "photos: 10 of 10 done" in printed.err
    assert f"answered 9 photos: {settings.output}" in printed.out
    assert "1 of 10 could not be answered: 1 not_a_photo; its line says why" in printed.out


def test_of_one_photo_it_speaks_as_of_one(settings: PredictSettings, capsys: pytest.CaptureFixture[str]) -> None:
    run(replace(settings, input=settings.input / "3.png"), model=fake())
    assert f"answered 1 photo: {settings.output}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_table_has_its_lines_beside_it(settings: PredictSettings, tmp_path: Path, name: str) -> None:
    run(replace(settings, output=tmp_path / name), model=fake())
    assert len(lines(tmp_path / "out.jsonl")) == 10
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == sorted([name, "out.jsonl"])
    if name == "out.csv":
        with (tmp_path / name).open() as file:
            assert [row["name"] for row in csv.DictReader(file)][:2] == ["name 0.png", "name 1.png"]


def test_what_is_there_is_kept_unless_told_otherwise(settings: PredictSettings, tmp_path: Path) -> None:
    run(settings, model=fake())
    before = settings.output.read_bytes()
    with pytest.raises(SettingsError, match=r"out\.jsonl is there already: name another file, or add --overwrite"):
        run(settings, model=fake())
    with pytest.raises(SettingsError, match=r"out\.jsonl is there already, and .*out\.csv has its lines beside it"):
        run(replace(settings, output=tmp_path / "out.csv"), model=fake())
    assert settings.output.read_bytes() == before
    run(replace(settings, overwrite=True), model=Plain(FakePredictor(lambda _: "new"), TASK))
    assert lines(settings.output)[0]["text"] == "new"


def test_the_same_command_goes_on_and_other_settings_are_refused(settings: PredictSettings, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Killed):
        run(settings, model=killed_at(5))
    assert not settings.output.exists()
    with pytest.raises(SettingsError, match="max_new_tokens 160 -> 9"):
        run(replace(settings, max_new_tokens=9), model=fake())
    with pytest.raises(SettingsError, match=r'input folder .* -> null, input photo null -> "'):
        run(replace(settings, input=settings.input / "0.png"), model=fake())
    replace(TASK, question="Who?").save(Path(settings.model) / "task.yaml")
    with pytest.raises(SettingsError, match="model task "):
        run(settings, model=fake())
    TASK.save(Path(settings.model) / "task.yaml")
    run(settings, model=killed_at(5))  # the five that lack
    assert "going on: 5 of 10 have their lines in" in capsys.readouterr().err
    assert [line["record_id"] for line in lines(settings.output)] == [*(f"{number}.png" for number in range(9)), "bad.png"]


def test_a_photo_that_comes_or_goes_meanwhile_does_not_spoil_the_rest(settings: PredictSettings) -> None:
    def answer(record: Record) -> str:
        (settings.input / "late.png").write_bytes((settings.input / "0.png").read_bytes())
        (settings.input / "8.png").unlink(missing_ok=True)
        return "name"

    for number in range(100, 100 + 2 * AHEAD * 4):  # more than are looked at ahead
        Image.new("RGB", (20, 20), "red").save(settings.input / f"a{number}.png")
    run(settings, model=Plain(FakePredictor(answer), TASK, 2))
    found = {line["record_id"]: line.get("text") for line in lines(settings.output)}
    assert found["8.png"] is None or found["8.png"] == "name"
    assert found["a100.png"] == "name"
    assert set(found) >= {"0.png", "bad.png"}


def test_overwrite_forgets_what_was_begun_and_an_old_file_stays_until_there_is_a_new_one(settings: PredictSettings) -> None:
    run(settings, model=Plain(FakePredictor(lambda _: "old"), TASK))
    with pytest.raises(Killed):
        run(replace(settings, overwrite=True), model=killed_at(5))
    assert lines(settings.output)[0]["text"] == "old"
    run(settings, model=fake())  # the unfinished one goes on
    assert lines(settings.output)[0]["text"] == "name 0.png"


def test_a_kill_before_the_last_step_has_nothing_to_answer_again(
    settings: PredictSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise Killed

    csv_settings = replace(settings, output=tmp_path / "out.csv")
    with monkeypatch.context() as patched:
        patched.setattr("seeworth.predict.run.write_table", stop)
        with pytest.raises(Killed):
            run(csv_settings, model=fake())
    run(csv_settings, model=killed_at(0))
    assert (tmp_path / "out.csv").read_text().count("\n") == 11


def test_when_nothing_could_be_answered_the_file_says_why_and_the_status_too(settings: PredictSettings) -> None:
    with pytest.raises(DataError, match=r"none of 1 could be answered \(1 not_a_photo\)"):
        run(replace(settings, input=settings.input / "bad.png"), model=fake())
    assert lines(settings.output)[0]["error"]["code"] == "not_a_photo"


def test_many_bad_ones_are_told_once_each_in_the_file_and_a_few_on_the_screen(
    settings: PredictSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(100, 140):
        (settings.input / f"{number}.png").write_bytes(b"")
    run(settings, model=fake())
    told = capsys.readouterr()
    assert told.err.count("not answered: ") == 11
    assert "41 of 50 could not be answered: 40 empty, 1 not_a_photo" in told.out


def test_the_rate_and_the_time_left_are_of_what_is_left(
    settings: PredictSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with pytest.raises(Killed):
        run(settings, model=killed_at(5))
    capsys.readouterr()
    run(settings, model=fake())
    first = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("photos: "))
    assert first.startswith("photos: 1 of 5, ")
    assert first.endswith(" left")


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"output": Path("out.json")}, SettingsError, r"expected a name that ends in .jsonl, .csv or .parquet"),
        ({"model": "nowhere"}, RunError, "nowhere is no finished run"),
        ({"batch_size": 0}, SettingsError, "batch_size is 0"),
        ({"decode_threads": -1}, SettingsError, "decode_threads is -1"),
        ({"task": Path("gone.yaml")}, SettingsError, "say what is asked of it: --task"),
        ({"input": Path("gone")}, DataError, "gone is not there"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    settings: PredictSettings, changed: dict[str, Any], error: type[SeeworthError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(replace(settings, **changed), model=fake())
    assert not settings.output.exists()
    assert not settings.output.with_name("out.jsonl.part").exists()


@pytest.fixture(scope="module")
def weights(shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's model as plain weights, as an export leaves them."""
    folder = tmp_path_factory.mktemp("weights")
    shop.model.save_pretrained(folder)
    shop.encoder.processor.save_pretrained(folder)
    return folder


def test_plain_weights_answer_with_a_task(shop: Any, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos.csv"
    rows = [f"{record.id},{record.photo.name}" for record in shop.records]
    photos.write_text("\n".join(["id,photo", *rows]))
    words = ["predict", str(weights), str(photos), "--photos", str(shop.records[0].photo.parent), "--output", str(tmp_path / "out.jsonl")]
    assert main(words) == 1
    assert "is no run, so say what is asked of it" in capsys.readouterr().err
    shop.task.save(tmp_path / "task.yaml")
    assert main([*words, "--task", str(tmp_path / "task.yaml"), "--batch_size", "4"]) == 0
    own = VLM(shop.model, shop.encoder, batch_size=4, constrained=shop.task)(shop.records)
    assert [line["text"] for line in lines(tmp_path / "out.jsonl")] == [one.text for one in own]


def test_a_table_is_answered_in_its_order_however_ids_and_photos_stand_twice(settings: PredictSettings) -> None:
    cells = ["7,0.png", "7,0.png", "3,bad.png", "7,1.png", "x,https://shop.example/a.jpg"]
    table = settings.input / "t.csv"
    table.write_text("\n".join(["id,photo", *cells]))
    run(replace(settings, input=table), model=fake())
    assert [(line["record_id"], line["photo"]) for line in lines(settings.output)] == [tuple(cell.split(",")) for cell in cells]
    assert [line.get("error", {}).get("code") for line in lines(settings.output)] == [None, None, "not_a_photo", None, "remote"]


def test_the_keyboard_leaves_it_unfinished_and_says_so(settings: PredictSettings, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(_: Record) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, model=Plain(FakePredictor(stop), TASK, 2))
    assert "1 of 10 answered; the same command goes on" in capsys.readouterr().err
