"""The command line: quick help, statuses 0, 1 and 2, one line for a user's mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from seeworth.cli import VERBS, _bare_flags, build_parser, main
from seeworth.usage import expected


def test_help_loads_neither_torch_nor_anything_heavy() -> None:
    heavy = "{'torch', 'transformers', 'pyarrow', 'PIL', 'wandb'}"
    code = f"import sys; from seeworth.cli import build_parser; build_parser().format_help(); print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_setting_has_a_sentence(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args([verb, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for line in text.split("options:")[1].split("  --")[2:]:
        words = line.split("(type:")[0].split()
        assert len(words) > 3, line


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["predict", "nowhere", "photo.jpg"], "nowhere is no finished run"),
        (["evaluate", "nowhere"], "nowhere is not there"),
        (["report", "nowhere"], "nowhere"),
        (["train", "--data", "nowhere", "--output_dir", "out"], "nowhere: expected a dataset folder, found nothing"),
        (["import", "nowhere.csv", "out"], "nowhere.csv"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_1(
    argv: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"seeworth {argv[0]}: ")
    assert words in told
    assert "\n" not in told


TRAIN = ["train", "--data", "d", "--output_dir", "o"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "seeworth: no verb is given, expected sample, import, check"),
        (["no-such-verb"], "seeworth: 'no-such-verb' is no verb, expected sample, import, check"),
        (["predict"], "seeworth predict: MODEL and INPUT are missing"),
        (["train", "--data", "d"], "seeworth train: --output_dir is missing"),
        (["import", "a.csv", "out", "more"], "seeworth import: 'more' is a word too many"),
        (["sample", "out", "--rows", "many"], "seeworth sample: rows is 'many', expected a whole number"),
        (["sample", "out", "--row", "3"], "seeworth sample: there is no setting --row, did you mean --rows?"),
        ([*TRAIN, "--learning_rte=1"], "seeworth train: there is no setting --learning_rte, did you mean --learning_rate?"),
        ([*TRAIN, "--dtype", "banana"], "seeworth train: dtype is 'banana', expected auto, bfloat16, float16 or float32"),
        ([*TRAIN, "--vision_cache", "perhaps"], "seeworth train: vision_cache is 'perhaps', expected true, false or auto"),
        ([*TRAIN, "--lora_targets", "qkv"], "seeworth train: lora_targets is 'qkv', expected a list such as [a, b]"),
        ([*TRAIN, "--num_train_epochs"], "seeworth train: --num_train_epochs has no value, expected a number"),
        (["import", "a", "b", "--columns", "{photo: [1]}"], "expected pairs such as {photo: imageurl}"),
        ([*TRAIN, "--config", "nowhere.yaml"], "seeworth train: --config: file does not exist"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert "--help" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dtype: banana\n", "dtype is 'banana', expected auto, bfloat16, float16 or float32"),
        ("dtipe: auto\n", "there is no setting dtipe, did you mean dtype?"),
        ("learning_rate: [1]\n", "learning_rate is '[1]', expected a number"),
        ("- 3\n", "expected settings as `name: value`, found '- 3'"),
        ("a: b: c\n", "mapping values are not allowed in this context: line 1, column 5"),
    ],
)
@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_a_fault_in_a_recipe_names_the_recipe(text: str, words: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    assert main([*TRAIN, *form.format(path).split()]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"seeworth train: {path}: {words} (")
    assert told.count("\n") == 1


def test_a_fault_on_the_command_line_does_not_blame_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("learning_rate: 0.1\n")
    assert main([*TRAIN, "--config", str(path), "--learning_rate", "fast"]) == 2
    assert capsys.readouterr().err.startswith("seeworth train: learning_rate is 'fast'")


@pytest.mark.parametrize("verb", VERBS)
def test_what_every_setting_may_be_can_be_said(verb: str) -> None:
    settings_class = VERBS[verb][0]
    for one in fields(settings_class):
        words = expected(settings_class, one.name)
        assert words
        assert "typing" not in words
        assert "<class" not in words


@pytest.mark.parametrize("words", ["--vision_cache auto", "--gradient_checkpointing auto", "--vision_cache --seed 1", "--overwrite"])
def test_a_switch_that_knows_a_third_word_takes_it(words: str) -> None:
    read = build_parser().parse_args(_bare_flags([*TRAIN, *words.split()])).train
    name = words.split()[0][2:]
    assert read[name] == ("auto" if words.endswith("auto") else True)


def test_a_switch_needs_no_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["sample", str(tmp_path / "out"), "--rows", "2", "--processes", "1"]
    assert main(argv) == 0
    assert main(argv) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*argv, "--overwrite"]) == 0
    assert main([*argv, "--overwrite", "false"]) == 1
    assert main([*argv[:3], "2", "--overwrite", "--processes=1"]) == 0


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--packing"], ["--packing=true"]),
        (["--packing", "--doctor", "False"], ["--packing=true", "--doctor", "false"]),
        (["--gradient_checkpointing", "auto"], ["--gradient_checkpointing", "auto"]),
        (["--vision_cache", "--run_name", "True"], ["--vision_cache=true", "--run_name", "True"]),
        (["--packing", "auto"], ["--packing", "auto"]),  # left to the parser, which refuses it
        (["--num_crops=None"], ["--num_crops=null"]),
    ],
)
def test_what_a_switch_takes(words: list[str], meant: list[str]) -> None:
    assert _bare_flags(["train", *words]) == ["train", *meant]


def test_settings_that_are_no_text_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_bytes(b"\xff\xfe\x00")
    assert main(["train", "--config", str(tmp_path / "s.yaml"), "--data", "d", "--output_dir", "o"]) == 1
    assert re.fullmatch(r"seeworth train: --config is no text file in UTF-8: .*\n", capsys.readouterr().err)
