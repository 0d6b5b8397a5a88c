"""log.jsonl ends bit-equal however often the run was killed; a tracker's failure never stops the work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.errors import RunError, SettingsError
from seeworth.track import About, Row, Track, listeners


class Ear:
    """A tracker whose store survives: what it heard, but for the last events that a kill took from it."""

    name = "ear"

    def __init__(self, store: list[tuple[Any, ...]], fails: str = "") -> None:
        self.store, self.fails, self.heard = store, fails, 0
        self.asked: list[str] = []

    def open(self, state: Mapping[str, Any] | None) -> None:
        self._do("open")
        self.heard = sum(event[0] != "speed" for event in self.store)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._do("log", step, dict(figures))

    def speed(self, step: int, figures: Mapping[str, float]) -> None:
        self._do("speed", step, dict(figures))

    def answers(self, step: int, name: str, rows: Sequence[Row]) -> None:
        self._do("answers", step, name, [dict(row) for row in rows])

    def summary(self, figures: Mapping[str, float]) -> None:
        self._do("summary", dict(figures))

    def flush(self) -> None:
        self._do("flush")

    def state(self) -> dict[str, Any]:
        return {"id": "same"}

    def keep(self, about: Mapping[str, Any]) -> None:
        self._do("keep")

    def close(self, failed: bool) -> None:
        self._do("close")

    def _do(self, verb: str, *event: Any) -> None:
        self.asked.append(verb)
        if verb == self.fails:
            raise OSError("no room\nat all")
        if verb in ("log", "speed", "answers", "summary"):
            self.store.append((verb, *event))


def events(step: int) -> list[tuple[Any, ...]]:
    """What a run logs at a step: decided by the step alone."""
    found: list[tuple[Any, ...]] = [("log", step, {"train/loss": 1 / step})]
    if step % 3 == 0:
        found.append(("answers", step, "eval/answers", [{"id": f"r{step}", "photo": "photos/ä.png"}]))
    return found


def go(folder: Path, store: list[tuple[Any, ...]], at: dict[str, Any] | None, kill: tuple[int, int] | None = None) -> dict[str, Any] | None:
    """Train from a checkpoint to step 10 or the kill, before the n-th event of a step; return the last checkpoint."""
    track = Track(folder, [Ear(store)], resume=at and at["track"])
    for step in range((at["step"] if at else 0) + 1, 11):
        for number, (verb, *event) in enumerate(events(step)):
            if kill == (step, number):
                return at
            getattr(track, verb)(*event)
        track.speed(step, {"train/photos_per_second": 1.0})
        if step % 4 == 0:
            at = {"step": step, "track": json.loads(json.dumps(track.state()))}
    track.finish({"eval/best_loss": 0.1}, {})
    return at


@given(kills=st.lists(st.tuples(st.integers(1, 10), st.integers(0, 1), st.integers(0, 5)), max_size=6))
def test_any_kills_end_with_the_same_log_and_every_tracker_holds_each_event_once(
    kills: list[tuple[int, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    store: list[tuple[Any, ...]] = []
    at = None
    for step, number, lost in kills:
        at = go(folder, store, at, (step, number))
        with (folder / "log.jsonl").open("ab") as file:
            file.write(b'{"step": 7, "tra')  # the kill came between two bytes
        del store[len(store) - lost :]  # and took what the tracker had not yet written
    go(folder, store, at)
    straight: list[tuple[Any, ...]] = []
    other = tmp_path_factory.mktemp("straight")
    go(other, straight, None)
    assert (folder / "log.jsonl").read_bytes() == (other / "log.jsonl").read_bytes()
    assert [event for event in store if event[0] != "speed"] == [event for event in straight if event[0] != "speed"]
    assert [json.loads(line)["step"] for line in (folder / "speed.jsonl").read_text().splitlines()][-1] == 10


def test_the_clock_stays_out_of_the_log(tmp_path: Path) -> None:
    track = Track(tmp_path)
    track.log(1, {"train/loss": 2.5, "train/grad_norm": float("inf")})
    track.speed(1, {"train/photos_per_second": 3.5})
    track.finish({"eval/best_loss": 0.5}, {})
    assert (tmp_path / "log.jsonl").read_text() == (
        '{"step": 1, "train/loss": 2.5, "train/grad_norm": "inf"}\n{"summary": {"eval/best_loss": 0.5}}\n'
    )
    said = json.loads((tmp_path / "speed.jsonl").read_text())
    assert (said["step"], said["train/photos_per_second"]) == (1, 3.5)
    assert said["seconds"] >= 0


def test_infinity_comes_back_as_a_number_when_a_tracker_hears_it_from_the_file(tmp_path: Path) -> None:
    track = Track(tmp_path)
    track.log(1, {"train/grad_norm": float("inf")})
    store: list[tuple[Any, ...]] = []
    Track(tmp_path, [Ear(store)], resume=track.state())
    assert store == [("log", 1, {"train/grad_norm": float("inf")})]


@pytest.mark.parametrize("verb", ["open", "log", "answers", "speed", "flush", "summary", "keep", "close"])
def test_a_failing_tracker_is_told_once_and_left_out(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good = Ear([], verb), Ear([])
    track = Track(tmp_path, [bad, good])
    track.log(1, {"train/loss": 2.0})
    track.answers(1, "eval/answers", [{"id": "a"}])
    track.speed(1, {"train/photos_per_second": 1.0})
    assert track.state()["trackers"] == {"ear": {"id": "same"}}
    track.finish({"train/loss": 1.0}, {})
    assert capsys.readouterr().err == "tracker ear failed and is left out from now on: no room at all\n"
    assert bad.asked.count(verb) == 1
    assert bad.asked[-1] == "close"  # what it held is let go
    assert verb in bad.asked[-2:]
    assert [event[0] for event in good.store] == ["log", "answers", "speed", "summary"]
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 3


def test_a_log_that_is_not_the_checkpoints_is_refused(tmp_path: Path) -> None:
    track = Track(tmp_path)
    track.log(1, {"train/loss": 2.0})
    state = track.state()
    track.log(2, {"train/loss": 1.0})
    log = tmp_path / "log.jsonl"
    whole = log.read_bytes()
    Track(tmp_path, resume=state)
    assert log.read_bytes() == whole[: state["bytes"]]
    log.write_bytes(whole[:-40])
    with pytest.raises(RunError, match=rf"holds {len(whole) - 40} bytes, the checkpoint was written when it held {state['bytes']}"):
        Track(tmp_path, resume=state)
    log.write_bytes(whole.replace(b"2.0", b"3.0"))
    with pytest.raises(RunError, match="was changed"):
        Track(tmp_path, resume=state)
    log.unlink()
    with pytest.raises(RunError, match="holds 0 bytes"):
        Track(tmp_path, resume=state)


@pytest.mark.parametrize("made", [{}, {"bytes": -1, "lines": 0}, {"bytes": "1", "lines": 0}, {"bytes": 0, "lines": None}])
def test_a_state_made_by_hand_is_told(tmp_path: Path, made: dict[str, object]) -> None:
    with pytest.raises(RunError, match="does not say how much of it is to be kept"):
        Track(tmp_path, resume=made)
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(RunError, match="not those of the checkpoint"):
        Track(tmp_path, resume={"bytes": 0, "lines": 0})


def test_a_disk_without_room_is_one_line(tmp_path: Path) -> None:
    track = Track(tmp_path)
    track.path = Path("/dev/full")
    with pytest.raises(RunError, match=r"/dev/full cannot be written, the last checkpoint is kept: .*No space left"):
        track.log(1, {"train/loss": 2.0})


def test_other_processes_write_and_open_nothing(tmp_path: Path) -> None:
    ear = Ear([])
    track = Track(tmp_path, [ear], main=False)
    track.log(1, {"train/loss": 2.0})
    track.speed(1, {})
    track.answers(1, "eval/answers", [])
    assert track.state() == {}
    track.finish({}, {})
    assert ear.asked == []
    assert not list(tmp_path.iterdir())
    assert listeners("wandb,tensorboard", about(tmp_path), main=False) == []


def about(folder: Path) -> About:
    return About(folder, folder, "p", "n", "train", {})


def test_trackers_are_named_in_report_to(tmp_path: Path) -> None:
    assert [one.name for one in listeners(" wandb, tensorboard ,trackio,wandb", about(tmp_path))] == ["wandb", "tensorboard", "trackio"]
    assert listeners("none", about(tmp_path)) == listeners("", about(tmp_path)) == []
    with pytest.raises(SettingsError, match="report_to names 'mlflow', expected some of wandb, tensorboard, trackio, or none"):
        listeners("wandb,mlflow", about(tmp_path))
    with pytest.raises(SettingsError, match="none stands alone"):
        listeners("none,wandb", about(tmp_path))
    with pytest.raises(SettingsError, match="mlflow"):
        listeners("mlflow", about(tmp_path), main=False)
