"""The code on docs/model.md runs as it stands, on a tiny model in place of the published one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from seeworth.phi3v.tiny import make_tiny

PAGE = Path(__file__).resolve().parents[2] / "docs" / "model.md"
HUB = "microsoft/Phi-3.5-vision-instruct"


def test_the_code_on_the_model_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert code.count(HUB) == 1
    model, processor = make_tiny(["What is shown in this image? A scarf, first, then."])
    model.save_pretrained(tmp_path / "tiny")
    processor.save_pretrained(tmp_path / "tiny")
    Image.new("RGB", (90, 60), "red").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace(HUB, "tiny"), str(PAGE), "exec"), {})
    printed = capsys.readouterr().out
    for said in re.findall(r"print\(.*\)  # (.*)", text):
        assert f"\n{said}\n" in printed
    assert len(text.splitlines()) < 120
