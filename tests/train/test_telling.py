"""What a person sees while it trains: a bar on a terminal, a line for each line of the log elsewhere."""

from __future__ import annotations

import pytest
from rich.console import Console

from seeworth.train import telling as module
from seeworth.train.telling import Telling, duration, telling


def test_off_a_terminal_each_moment_of_the_log_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with telling(0, 40, silent=False) as told:
        told.hear(20, {"train/loss": 1.3125, "train/grad_norm": 0.5, "train/photos_per_second": 80.04})
        told.step(20)
        told.hear(20, {"eval/loss": 1.5})
        told.hear(40, {"train/loss": 1.0, "train/photos_per_second": 0.0})
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert not said.err  # an error stands there alone
    assert [line.rpartition(",")[0] or line for line in lines] == [
        "step 20 of 40: loss 1.312, 80 photos/s",
        "step 20 of 40: validation loss 1.5",
        "step 40 of 40: loss 1",
    ]
    assert all(line.endswith(" left") for line in lines[:2])


def test_processes_other_than_the_main_one_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with telling(0, 4, silent=True) as told:
        told.hear(1, {"train/loss": 1.0})
        told.step(1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("width", [50, 100])
def test_a_terminal_gets_a_bar_that_goes_on_where_the_training_does(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=width))
    with telling(10, 40, silent=False) as told:
        told.hear(40, {"train/loss": 1.25, "train/photos_per_second": 80.0})
        told.hear(40, {"eval/loss": 1.5})
        told.step(40)
    said = capsys.readouterr()
    shown = said.err
    assert "10/40" in shown
    assert "40/40" in shown
    assert "loss 1.25" in shown
    assert ("validation loss 1.5, 80 photos/s" in shown) == (width == 100)  # a narrow one has room for one figure
    assert not said.out


def test_the_time_left_is_that_of_the_steps_since_the_start(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    told = Telling(100, 200)
    monkeypatch.setattr(module.time, "monotonic", lambda: told.began + 60)
    told.hear(150, {"train/loss": 1.0})
    assert capsys.readouterr().out.endswith(", 60 seconds left\n")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "less than a second"), (1.2, "1 second"), (59, "59 seconds"), (720, "12 minutes"), (12240, "3.4 hours")],
)
def test_a_time_is_told_in_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words
