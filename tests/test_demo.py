"""The demo from end to end, small: every stage runs, a second demo keeps them, a half-made stage is made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from seeworth.cli import main


def test_a_second_demo_does_not_start_over(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    argv = ["demo", "--output_dir", str(tmp_path / "demo"), "--rows", "80"]
    assert main(argv) == 0
    first = capsys.readouterr().out
    page = tmp_path / "demo" / "evaluation" / "report.html"
    assert "kept" not in first
    assert page.is_file()
    assert "report.html" in first.replace("\n", "")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*") if path.is_file()}

    assert main(argv) == 0
    second = capsys.readouterr().out
    assert second.count("kept") == 3
    assert "report.html" in second.replace("\n", "")
    assert {path: path.stat().st_mtime_ns for path in made} == made

    (tmp_path / "demo" / "run" / "run.json").unlink()
    page.unlink()
    assert main(argv) == 0
    assert capsys.readouterr().out.count("kept") == 1
    assert page.is_file()
