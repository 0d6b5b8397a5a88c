"""log.jsonl always; W&B hears the same; a tracker's failure never stops the work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seeworth.errors import SettingsError
from seeworth.track import Track, listeners, wandb_mode


class Failing:
    def log(self, step: int, figures: Mapping[str, float]) -> None:
        raise OSError("disk full")

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        raise AssertionError("a failed listener is not asked again")

    finish = log  # type: ignore[assignment]


def test_a_failing_tracker_is_told_once_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    track = Track(tmp_path, [Failing()])
    track.log(1, {"train/loss": 2.0})
    track.answers(1, "eval/answers", [{"id": "a", "photo": "p", "answer": "x"}])
    track.finish({"train/loss": 1.0})
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event.get("train/loss") for event in events[:1]] == [2.0]
    assert events[1]["eval/answers"] == [{"id": "a", "photo": "p", "answer": "x"}]
    assert events[2]["summary"] == {"train/loss": 1.0}
    assert capsys.readouterr().err.count("disk full") == 1


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="report_to names 'mlflow'"):
        listeners("mlflow", tmp_path)
    assert listeners("none", tmp_path) == []


def test_wandb_is_offline_unless_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert wandb_mode() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert wandb_mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"


WORK = """
import sys
from pathlib import Path
from seeworth.track import Track, listeners
out = Path(sys.argv[1])
track = Track(out, listeners("wandb", out, project="p", name="n", job_type="train", config={"learning_rate": 1e-3}))
track.log(1, {"train/loss": 2.5})
track.answers(1, "eval/answers", [{"id": "a", "photo": out / "photo.png", "truth": "Coat", "answer": "Scarf"}])
track.finish({"eval/best_loss": 0.5})
"""


def test_an_offline_wandb_run_lies_inside_the_run_folder_with_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    out, home = tmp_path / "out", tmp_path / "home"
    out.mkdir()
    home.mkdir()
    Image.new("RGB", (20, 20), (250, 10, 10)).save(out / "photo.png")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    subprocess.run([sys.executable, "-c", WORK, str(out)], check=True, timeout=120)
    assert list(out.glob("wandb/offline-run-*/*.wandb"))
    photo = (out / "photo.png").read_bytes()
    assert any(path.read_bytes() == photo for path in out.glob("wandb/data/artifacts/staging/*"))
    table = json.loads(next(out.glob("wandb/offline-run-*/files/media/table/eval/*.json")).read_text())
    assert table["columns"] == ["id", "photo", "truth", "answer"]
    assert table["data"][0][2:] == ["Coat", "Scarf"]
    inspected = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(next(out.glob("wandb/offline-run-*")))],
        check=True, timeout=60, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert '"train/loss":2.5' in inspected
    assert "eval/answers.table.json" in inspected
    assert not [path for path in home.rglob("*") if path.is_file()]
