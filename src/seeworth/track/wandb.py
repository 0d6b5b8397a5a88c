"""Weights & Biases as a listener: one run inside `OUT/wandb`, offline unless the user is logged in or WANDB_MODE says otherwise."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlparse

from .listener import STEP, About, Row


class Wandb:
    """A run of Weights & Biases; see `Listener`."""

    name = "wandb"

    def __init__(self, about: About) -> None:
        self.about = about
        self.heard = 0

    def open(self, state: Mapping[str, Any] | None) -> None:
        home = (self.about.folder / "wandb").resolve()
        home.mkdir(parents=True, exist_ok=True)
        for variable, place in (("WANDB_DATA_DIR", "data"), ("WANDB_CACHE_DIR", "cache"), ("WANDB_CONFIG_DIR", "config")):
            os.environ[variable] = str(home / place)
        import wandb

        self.wandb = wandb
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", self.about.project),
            name=self.about.name,
            job_type=self.about.job_type,
            dir=str(self.about.folder.resolve()),
            config=dict(self.about.config),
            id=state["id"] if state else None,
            resume="allow",
            mode=wandb_mode(),
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
            reinit="create_new",
        )
        self.run.define_metric(STEP)
        for family in ("train/*", "eval/*", "final/*"):
            self.run.define_metric(family, step_metric=STEP)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log({**figures, STEP: step})

    def speed(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log({**figures, STEP: step})

    def answers(self, step: int, name: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        table = self.wandb.Table(columns=["photo", "truth", "answer"])
        for row in rows:
            table.add_data(self.wandb.Image(str(self.about.data / row["photo"])), row["truth"], row["answer"])
        self.run.log({name: table, STEP: step})

    def summary(self, figures: Mapping[str, float]) -> None:
        self.run.summary.update(dict(figures))

    def flush(self) -> None:
        """The service writes as it hears."""

    def state(self) -> dict[str, Any]:
        return {"id": self.run.id}

    def keep(self, about: Mapping[str, Any]) -> None:
        """To come."""

    def close(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


def wandb_mode() -> Any:
    """WANDB_MODE when set; else "online" where an API key is at hand, else "offline"."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return "online" if netrc.netrc().authenticators(host) else "offline"
    except (OSError, netrc.NetrcParseError):
        return "offline"
