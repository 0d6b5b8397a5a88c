"""The command line: quick help, statuses 0, 1 and 2, one line for a user's mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from seeworth.cli import VERBS, _bare_flags, build_parser, main


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


@pytest.mark.parametrize("argv", [[], ["predict"], ["no-such-verb"], ["sample", "out", "--rows", "many"], ["train", "--no_such", "1"]])
def test_wrong_usage_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


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
        (["--packing", "auto"], ["--packing=true", "auto"]),  # left to the parser, which refuses it
        (["--num_crops=None"], ["--num_crops=null"]),
    ],
)
def test_what_a_switch_takes(words: list[str], meant: list[str]) -> None:
    assert _bare_flags(["train", *words]) == ["train", *meant]


def test_settings_that_are_no_text_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_bytes(b"\xff\xfe\x00")
    assert main(["train", "--config", str(tmp_path / "s.yaml"), "--data", "d", "--output_dir", "o"]) == 1
    assert re.fullmatch(r"seeworth train: --config is no text file in UTF-8: .*\n", capsys.readouterr().err)
