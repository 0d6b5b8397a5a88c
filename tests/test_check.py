"""The verb check: it tells apart what it is given, trains nothing, writes nothing, and ends with 0 or with 1 and one line."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from seeworth.cli import main
from seeworth.data.dataset import Row, store_photo, write_dataset
from seeworth.task import Field, Task

COLOURS = {"Red": (220, 30, 30), "Green": (30, 180, 60), "Blue": (40, 60, 220), "White": (240, 240, 240)}
TASK = Task(fields=(Field("title"), Field("category3_code", "category"), Field("full_price", "number", "USD")))
SETTINGS = {"model": "tiny", "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "max_steps": 4, "eval_records": 2}


def make_data(folder: Path, same: bool = False) -> Path:
    folder.mkdir(parents=True)
    rows = []
    for number in range(12):
        colour = list(COLOURS)[number % 4]
        path = folder.parent / "photo.png"
        Image.new("RGB", (40 + number, 60), COLOURS[colour]).save(path)
        name, sha256 = store_photo(folder, path.read_bytes(), "png")
        words = "Sheet" if same else f"{colour} Sheet"
        values = {"title": words, "category3_code": "A" if same else colour, "full_price": Decimal(9)}
        split = "train" if number < 8 else "validation" if number < 10 else "test"
        rows.append(Row(f"r{number:02}", name, f"g{number}", split, 40 + number, 60, sha256, "0" * 16, values))  # type: ignore[arg-type]
    write_dataset(folder, TASK, rows, source={"kind": "test"})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "set")


def write(path: Path, **more: Any) -> Path:
    path.write_text(yaml.safe_dump(SETTINGS | more))
    return path


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr().err.strip()
    assert told.startswith("seeworth check: ")
    assert "\n" not in told
    return told


def test_sound_settings_would_train_and_nothing_is_written(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write(tmp_path / "recipe.yaml", overfit_steps=60, learning_rate=3e-3)
    before = sorted(tmp_path.rglob("*"))
    assert main(["check", str(recipe), "--data", str(data)]) == 0
    said = capsys.readouterr().out
    for name in ("photos", "labels", "answers", "gradients", "photo", "overfit", "work", "memory"):
        assert f"ok  {name}" in said
    assert "language full" in said
    assert said.strip().endswith("recipe.yaml: would train")
    assert sorted(tmp_path.rglob("*")) == before


def test_settings_may_name_the_dataset_themselves(data: Path, tmp_path: Path) -> None:
    assert main(["check", str(write(tmp_path / "s.yaml", data=str(data), output_dir="out"))]) == 0


def test_a_training_that_would_learn_nothing_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = make_data(tmp_path / "same", same=True)
    assert main(["check", str(write(tmp_path / "s.yaml")), "--data", str(same)]) == 1
    assert "would not train well: answers: all 8 answers are 'Product: Sheet, Category: A, Full Price: 9'" in one_line(capsys)


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        ("model: tiny", [], "names no dataset: add --data DATASET"),
        ("modle: tiny", ["--data", "d"], "modle"),
        ("learning_rate: fast", ["--data", "d"], "learning_rate"),
        ("- a list", ["--data", "d"], "expected train settings"),
        ("a: [", ["--data", "d"], "cannot be read as YAML"),
        ("model: tiny", ["--data", "nowhere"], "nowhere: expected a dataset folder, found nothing"),
        ("model: tiny", ["--data", "d", "--output", "page.html"], "--output, --photos and --processes are for dataset folders"),
        ("{model: tiny, method: lora}", ["--data", "d"], "tiny model starts from random weights"),
        ("{model: tiny, per_device_train_batch_size: 0}", ["--data", "d"], "per_device_train_batch_size is 0: expected 1 or more"),
        ("{model: tiny, lr_scheduler_type: cosin}", ["--data", "d"], "lr_scheduler_type is 'cosin'"),
        ("{model: tiny, report_to: mlflow}", ["--data", "d"], "report_to names 'mlflow'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(
    content: str, more: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(content)
    assert main(["check", "s.yaml", *more]) == 1
    assert words in one_line(capsys)


def test_features_that_cannot_be_kept_are_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(write(tmp_path / "s.yaml", vision_cache=True)), "--data", str(data)]) == 1
    assert "vision_cache is true, but the CLIP tower is trained" in one_line(capsys)


def test_what_is_not_there_is_told_as_such(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "nothing.yaml"), "--data", str(data)]) == 1
    assert "nothing.yaml: expected a dataset folder, found nothing: name one, or train settings" in one_line(capsys)


def test_words_alone_would_train_and_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What only photos reach is frozen then, and the doctor must know of it."""
    turns = [({"from": "human", "value": f"Who is {number}?"}, {"from": "gpt", "value": f"It is {number}."}) for number in range(12)]
    talks = [{"id": f"t{number}", "conversations": list(one)} for number, one in enumerate(turns)]
    (tmp_path / "talks.json").write_text(json.dumps(talks))
    assert main(["import", str(tmp_path / "talks.json"), str(tmp_path / "set")]) == 0
    recipe = write(tmp_path / "s.yaml", report_to="none", max_steps=2)
    assert main(["check", str(recipe), "--data", str(tmp_path / "set")]) == 0
    assert "none in projector and vision" in capsys.readouterr().out
    assert main(["train", "--config", str(recipe), "--data", str(tmp_path / "set"), "--output_dir", str(tmp_path / "run")]) == 0
    parts = json.loads((tmp_path / "run" / "run.json").read_text())["parts"]
    assert parts == {"language": "full", "projector": "frozen", "vision": "frozen"}


def test_a_dataset_folder_is_still_checked_as_one(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(data), "--output", str(tmp_path / "page.html"), "--processes", "1"]) == 0
    assert (tmp_path / "page.html").is_file()
    assert main(["check", str(tmp_path / "nothing")]) == 1
    capsys.readouterr()
    assert main(["check", str(data), "--data", str(data)]) == 1
    assert "--data is for train settings and run folders" in one_line(capsys)


def test_a_run_is_asked_about_records_it_was_not_trained_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run = write(tmp_path / "s.yaml", report_to="none"), tmp_path / "run"
    assert main(["train", "--config", str(recipe), "--data", str(data), "--output_dir", str(run)]) == 0
    capsys.readouterr()
    assert main(["check", str(run)]) == 0
    said = capsys.readouterr().out
    assert "asked about test records" in said
    assert "ok  photo " in said
    assert said.strip().endswith("sees what it is shown")
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"data": str(tmp_path / "gone")}))
    assert main(["check", str(run)]) == 1
    assert "gone: expected a dataset folder" in one_line(capsys)
    assert main(["check", str(run), "--data", str(moved)]) == 0
    (run / "run.json").unlink()
    assert main(["check", str(run)]) == 0  # broken off: as the settings it was begun with
    assert "would train" in capsys.readouterr().out
