"""TensorBoard and Trackio: in the run folder, each event once however often the run was killed, told in one line when they are away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seeworth.track import About, Track, listeners

EXTRA = os.environ.get("SEEWORTH_TRACK_PACKAGES", "/tmp/trackpkgs")

READ_TENSORBOARD = """
import json, logging, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1] + "/tensorboard")
events.Reload()
names = events.Tags()
scalars = {name: [(one.step, one.value) for one in events.Scalars(name)] for name in names["scalars"]}
texts = {name: [(one.step, one.tensor_proto.string_val[0].decode()) for one in events.Tensors(name)] for name in names["tensors"]}
images = {name: [one.step for one in events.Images(name)] for name in names["images"]}
print(json.dumps({"scalars": scalars, "texts": texts, "images": images}))
"""
READ_TRACKIO = """
import json, os, sys
os.environ["TRACKIO_DIR"] = sys.argv[1] + "/trackio"
from trackio.sqlite_storage import SQLiteStorage
runs = SQLiteStorage.get_run_records("p")
logs = SQLiteStorage.get_logs("p", "n", run_id=runs[0]["id"])
print(json.dumps({"runs": len(runs), "logs": [{key: value for key, value in one.items() if key != "timestamp"} for one in logs]}))
"""


def run(code: str, *argv: str) -> Any:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, EXTRA])}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *argv], env=env, capture_output=True, text=True, timeout=120, check=False
    )


def need(package: str) -> None:
    if run(f"import {package}").returncode:
        pytest.skip(f"{package} is neither installed nor in {EXTRA}: pip install 'seeworth[track]'")


def read(code: str, out: Path) -> dict[str, Any]:
    done = run(code, str(out))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("kills", [(), (2, 4, -5, 7)], ids=["straight", "killed"])
def test_tensorboard_shows_each_step_once(kills: tuple[int, ...], work: Callable[..., Path]) -> None:
    need("tensorboard")
    said = read(READ_TENSORBOARD, work("tensorboard", "tensorboard", *kills))
    assert said["scalars"]["train/loss"] == [[step, pytest.approx(1 / step)] for step in range(1, 9)]
    assert [step for step, _ in said["scalars"]["eval/loss"]] == [3, 6]
    assert [step for step, _ in said["scalars"]["train/photos_per_second"]][-2:] == [7, 8]
    assert said["images"]["eval/answers/0"] == [3, 6]
    assert "| r1 | Coat \\| 12 | Cat \\| 9 |" in dict(said["texts"]["eval/answers/text_summary"])[6]
    assert "eval/best_loss" in dict(said["texts"]["summary/text_summary"])[8]


@pytest.mark.parametrize("kills", [(), (2, 4, -5, 7)], ids=["straight", "killed"])
def test_trackio_holds_each_event_once_in_one_run(kills: tuple[int, ...], work: Callable[..., Path]) -> None:
    need("trackio")
    said = read(READ_TRACKIO, work("trackio", "trackio", *kills))
    assert said["runs"] == 1
    logs = said["logs"]
    assert [one["log_line"] for one in logs if "log_line" in one] == list(range(1, 13))
    assert [one["step"] for one in logs] == sorted(one["step"] for one in logs)
    (first, second) = [one["eval/answers"] for one in logs if "eval/answers" in one]
    rows = second["_value"]
    assert [(row["id"], row["price read"], row["problems"]) for row in rows] == [("r0", None, "no price"), ("r1", "9", ""), ("r2", "9", "")]
    assert rows[0]["photo"]["_type"] == "trackio.image"
    assert first["_type"] == "trackio.table"


def test_trainings_of_one_name_in_a_place_of_the_users_stay_two_runs(work: Callable[..., Path], tmp_path: Path) -> None:
    need("trackio")
    place = tmp_path / "trackio"  # beside it READ_TRACKIO looks
    for name, kills in (("first", ()), ("second", (4,))):
        out = work(name, "trackio", *kills, TRACKIO_DIR=str(place))
        assert not (out / "trackio").exists()
    code = READ_TRACKIO[: READ_TRACKIO.index("logs =")] + (
        "logs = [SQLiteStorage.get_logs('p', 'n', run_id=one['id']) for one in runs]\n"
        "print(json.dumps([[one['log_line'] for one in log if 'log_line' in one] for log in logs]))"
    )
    done = run(code, str(tmp_path))
    assert json.loads(done.stdout) == [list(range(1, 13))] * 2, done.stderr


@pytest.mark.parametrize(
    ("name", "module", "called"), [("tensorboard", "torch.utils.tensorboard", "TensorBoard"), ("trackio", "trackio", "Trackio")]
)
def test_a_tracker_that_is_not_installed_is_told_in_one_line_with_what_to_do(
    name: str, module: str, called: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    track = Track(tmp_path, listeners(name, About(tmp_path, tmp_path, "p", "n", "train", {})))
    track.log(1, {"train/loss": 1.0})
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{called} is not installed" in told
    assert "pip install 'seeworth[track]'" in told
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 1
