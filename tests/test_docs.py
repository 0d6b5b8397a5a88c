"""What the documents say is run: README commands, recipes, examples, the CLI page."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from PIL import Image

from seeworth.cli import VERBS, build_parser, main
from seeworth.demo import TINY
from seeworth.settings import TrainSettings
from seeworth.task import Task

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TRAINING_RECIPES = [path for path in RECIPES if not path.stem.endswith("-task") and not path.stem.startswith("sweep")]


def test_the_readmes_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command as it stands; training shortened to 4 steps and the bootstrap to 50 resamples, by settings after it."""
    assert main(["sample", str(tmp_path / "shop"), "--rows", "60", "--processes", "1"]) == 0
    for name in ("products.csv", "photos"):
        (tmp_path / name).symlink_to(tmp_path / "shop" / name)
    Image.new("RGB", (90, 60), (180, 30, 30)).save(tmp_path / "photo.jpg")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    commands = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.strip().splitlines()]
    assert [shlex.split(line)[1] for line in commands] == ["import", "train", "evaluate", "predict"]
    short = {"train": ["--max_steps", "4", "--report_to", "none"], "evaluate": ["--bootstrap", "50", "--max_new_tokens", "8"]}
    for line in commands:
        words = shlex.split(line)[1:]
        assert main([*words, *short.get(words[0], [])]) == 0, line
    assert (tmp_path / "my-run" / "evaluation" / "report.html").is_file()
    assert (tmp_path / "answer.jsonl").read_text().count("\n") == 1


def test_make_demo_and_make_test_are_the_two_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "make demo" in README
    assert re.search(r"^demo: .*\n\t\$\(BIN\)/seeworth demo$", makefile, re.MULTILINE)
    assert re.search(r"^test: .*\n\t\$\(BIN\)/python -m pytest", makefile, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_between_documents_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"


@pytest.mark.parametrize("recipe", TRAINING_RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads(recipe: Path) -> None:
    arguments = build_parser().parse_args(["train", "--config", str(recipe), "--data", "d", "--output_dir", "o"])
    known = {one.name for one in fields(TrainSettings)}
    said = yaml.safe_load(recipe.read_text())
    assert set(said) <= known
    assert all(arguments.train[key] == value for key, value in said.items())


@pytest.mark.parametrize("recipe", TRAINING_RECIPES, ids=lambda path: path.stem)
def test_every_recipe_trains_parts_that_can_be_and_says_how_it_is_started_and_what_is_not_measured(recipe: Path) -> None:
    from seeworth.train.parts import resolve_parts

    said = yaml.safe_load(recipe.read_text())
    assert resolve_parts(TrainSettings(data=Path("d"), output_dir=Path("o"), **said)).method == said.get("method", "full")
    words = " ".join(line.removeprefix("#") for line in recipe.read_text().splitlines() if line.startswith("#"))
    assert f"train --config recipes/{recipe.name} --data" in words
    assert said["model"] == "tiny" or "Not measured on" in words


def test_the_recipes_of_the_large_model_take_16_records_in_a_step() -> None:
    for recipe in TRAINING_RECIPES:
        said = yaml.safe_load(recipe.read_text())
        processes = 8 if recipe.stem == "eight-gpus" else 1
        if said["model"] != "tiny":
            assert said["per_device_train_batch_size"] * said["gradient_accumulation_steps"] * processes == 16, recipe


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*-task.yaml")), ids=lambda path: path.stem)
def test_every_task_file_loads(recipe: Path) -> None:
    assert Task.load(recipe).answer_fields


def test_the_tiny_recipe_is_what_the_demo_trains() -> None:
    assert yaml.safe_load((ROOT / "recipes" / "tiny.yaml").read_text()) == TINY


def test_the_cli_page_is_the_generated_one() -> None:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == maker.page(), "run make docs"
    assert all(f"## seeworth {verb}\n" in maker.page() for verb in VERBS)


@pytest.mark.parametrize("example", ["one_photo", "your_own_csv"])
def test_the_examples_run(example: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / f"{example}.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = {"one_photo": "answer ", "your_own_csv": "->"}[example]
    assert expected in done.stdout
