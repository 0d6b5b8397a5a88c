"""A dataset folder of one photo, and a small training that logs, writes checkpoints and can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

EXTRA = Path(os.environ.get("SEEWORTH_TRACK_PACKAGES", "/tmp/trackpkgs"))
"""Where tensorboard and trackio may lie when they are not installed: pip install --target /tmp/trackpkgs tensorboard trackio."""

WORK = """
import json, os, signal, sys
from pathlib import Path
from seeworth.track import About, Track, listeners

out, data, report_to, kill = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
out.mkdir(exist_ok=True)
checkpoint = out / "checkpoint.json"
at = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"step": 0, "track": None}
about = About(out, data, "p", "n", "train", {"learning_rate": 1e-3, "model": "tiny"})

def field(kind, truth, read, **measures):
    return {"kind": kind, "truth": truth, "read": read, **measures}

def row(number):
    price = field("number", "12", "9", absolute_error=3.0, percentage_error=25.0) if number else field("number", "12", None)
    kind = field("category", "COATS", "SCARVES" if number else None, correct=0.0)
    fields = {"price": price, "category": kind, "title": field("text", "Coat", "Cat", exact=0.0, similarity=0.75)}
    photos = [{"photo": "photos/p.png"}, {"photo": "photos/p.png", "photos": ["photos/p.png"]}, {"photo": None}][number]
    return photos | {"id": f"r{number}", "truth": "Coat | 12", "answer": "Cat | 9", "fields": fields,
            "problems": [] if number else ["no price"]}

with Track(out, listeners(report_to, about), resume=at["track"]) as track:
    for step in range(at["step"] + 1, 9):
        track.speed(step, {"train/photos_per_second": 1.5 * step + os.getpid()})
        track.log(step, {"train/loss": 1 / step, "train/grad_norm": float("inf") if step == 2 else 1.0})
        if step % 3 == 0:
            track.answers(step, "eval/answers", [row(number) for number in range(3)])
            track.log(step, {"eval/loss": 1 / step})
            draft = out / "draft.json"
            draft.write_text(json.dumps({"step": step, "track": track.state()}))
            draft.replace(checkpoint)
        if step == -kill:
            raise OSError("the photo vanished")
        if step == kill:
            os.kill(os.getpid(), signal.SIGKILL)
    (out / "model.safetensors").write_bytes(b"weights")
    (out / "settings.yaml").write_text("model: tiny")
    (out / "README.md").write_text("card")
    track.finish({"eval/best_loss": 1 / 6}, {"steps": 8, "method": "full"})
"""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the trackers read of a dataset folder."""
    folder = tmp_path_factory.mktemp("track") / "shop"
    (folder / "photos").mkdir(parents=True)
    Image.new("RGB", (900, 600), (250, 10, 10)).save(folder / "photos" / "p.png")
    (folder / "dataset.json").write_text(json.dumps({"fingerprint": "f" * 64, "records": 3, "counts": {"validation": 3}}))
    (folder / "metadata.parquet").write_bytes(b"the table")
    return folder


@pytest.fixture(scope="session")
def work(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """work(name, report_to, *kills) trains into a folder, killed at the given steps one after the other, and then to the end.

    A step below 0 ends the training there by an exception, so that it can close its trackers. What was said last lies in `said` beside
    the folder; with `left_out` it is that the tracker failed.
    """

    def run(name: str, report_to: str, *kills: int, left_out: bool = False, **environment: str) -> Path:
        home = tmp_path_factory.mktemp(name)
        (home / "home").mkdir()
        cleared = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "TRACKIO_"))}
        paths = os.pathsep.join([*sys.path, str(EXTRA)])
        env = cleared | {"HOME": str(home / "home"), "WANDB_MODE": "offline", "PYTHONPATH": paths} | environment
        for kill in (*kills, 0):
            command = [sys.executable, "-c", WORK, str(home / "out"), str(data), report_to, str(kill)]
            done = subprocess.run(command, cwd=home / "home", env=env, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == (-9 if kill > 0 else 1 if kill else 0), done.stderr
            assert ("left out" in done.stderr) is left_out, done.stderr
            (home / "said").write_text(done.stderr)
        assert not [path for path in (home / "home").rglob("*") if path.is_file()], "something was written outside the run folder"
        return home / "out"

    return run


@pytest.fixture(scope="session")
def straight(work: Callable[..., Path]) -> Path:
    """A run that was never killed, with the W&B names that its user set."""
    names = {"WANDB_PROJECT": "theirs", "WANDB_ENTITY": "shop", "WANDB_NAME": "called", "WANDB_TAGS": "a,b", "WANDB_NOTES": "why",
             "WANDB_RUN_GROUP": "g", "WANDB_JOB_TYPE": "search", "WANDB_RUN_ID": "their-id"}  # fmt: skip
    return work("straight", "wandb", **names)


@pytest.fixture(scope="session")
def inspect() -> Callable[..., list[dict[str, Any]]]:
    """The records of one type in an offline W&B folder, as `wandb leet inspect --json` reads them."""

    def read(folder: Path, kind: str) -> list[dict[str, Any]]:
        command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(folder)]
        lines = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout.splitlines()
        return [record[kind] for record in map(json.loads, lines) if record["type"] == kind]

    return read
