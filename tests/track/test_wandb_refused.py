"""What W&B's server does not take is kept on the disk, and told in one line; what the user has switched off stays off."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seeworth.track import About
from seeworth.track.wandb import Wandb, wandb_mode


class Refused(Exception):
    pass


def test_a_run_that_the_server_refuses_goes_on_offline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    modes: list[str] = []

    def init(mode: str, **_: Any) -> str:
        modes.append(mode)
        if mode == "online":
            raise Refused("401: invalid API key\nlong text")
        return "run"

    listener = Wandb(About(tmp_path, tmp_path, "project", "name", "train", {}))
    listener.wandb = SimpleNamespace(init=init, Error=Refused, Settings=lambda **_: None)
    listener._start(None, "online")
    assert (modes, listener.run) == (["online", "offline"], "run")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("tracker wandb goes on offline: 401: invalid API key long text: `wandb sync ")


def test_offline_there_is_nothing_to_fall_back_on(tmp_path: Path) -> None:
    def init(**_: Any) -> str:
        raise Refused("no room")

    listener = Wandb(About(tmp_path, tmp_path, "project", "name", "train", {}))
    listener.wandb = SimpleNamespace(init=init, Error=Refused, Settings=lambda **_: None)
    with pytest.raises(Refused):
        listener._start(None, "offline")


@pytest.mark.parametrize(("value", "mode"), [("true", "disabled"), ("1", "disabled"), ("false", "offline"), ("", "offline")])
def test_the_old_way_to_switch_it_off_still_does(monkeypatch: pytest.MonkeyPatch, value: str, mode: str) -> None:
    monkeypatch.setenv("WANDB_DISABLED", value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_mode() == mode
