"""Weights & Biases as a listener: one run inside `OUT/wandb`, offline unless the user is logged in or WANDB_MODE says otherwise; and
offline where the server does not take it, so that `wandb sync` can send it another day.

The run keeps its id through every kill. Offline each start writes a folder of its own with that id, which `wandb sync` puts together; how
much of the log an earlier start brought to the disk is read from these folders (the service writes every 15 seconds), and
what is missing is told again from log.jsonl. Each row of the history says which line of log.jsonl it is. What a
row, a chart or an artifact looks like is left to `wandb_media`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import netrc
import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from ..files import write_whole
from .listener import LINE, STEP, About, Row
from .moved import START, read_log
from .wandb_media import charts, columns_of, dataset_artifact, model_artifact, table_row

INCREMENTAL = "incremental-table-file"
"""How a summary calls a table that grows."""
PATIENCE = 900.0
"""Seconds that the end of a training waits for the server to take the rest; WANDB_FINISH_TIMEOUT goes before it."""


class Wandb:
    """A run of Weights & Biases; see `Listener`."""

    name = "wandb"

    def __init__(self, about: About) -> None:
        self.about = about
        self.heard = 0
        self.home = (about.folder / "wandb").resolve()
        self.tables: dict[str, Any] = {}
        self.ours: list[str] = []
        self.run: Any = None

    def open(self, state: Mapping[str, Any] | None) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._set_folders()
        import wandb

        self.wandb = wandb
        run_id = (state or {}).get("id") or _unfinished_id(self.home, self.about.config)
        earlier = _earlier(self.home, run_id) if run_id else {}
        settings = wandb.setup(wandb.Settings(silent=True)).settings
        self._start(run_id, wandb_mode(settings.base_url, settings.mode))
        if self.run.disabled:
            return
        _keep_id(self.home, self.run.id, self.about.config)
        self._define_metrics()
        summary = dict(self.run.summary) if self.run.resumed else earlier
        self.heard = int(summary.get(LINE, 0)) if not self.run.resumed else _held(summary, self.run.starting_step)
        self._go_on_with_tables(summary)
        self._use_dataset()

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log({**figures, STEP: step, LINE: self.heard + 1})

    def speed(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log({**figures, STEP: step})

    def answers(self, step: int, name: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        columns = columns_of(rows)
        table = self._table(name, columns)
        for row in rows:
            table.add_data(*table_row(self.wandb, self.about.data, step, row, columns))
        self.run.log({name: table, **charts(self.wandb, name.partition("/")[0], rows), STEP: step, LINE: self.heard + 1})

    def summary(self, figures: Mapping[str, float]) -> None:
        self.run.summary.update({**figures, LINE: self.heard + 1})

    def flush(self) -> None:
        """Nothing: the service writes on its own, and what it loses is told again."""

    def state(self) -> dict[str, Any]:
        return {} if self.run.disabled else {"id": self.run.id}

    def keep(self, about: Mapping[str, Any]) -> None:
        self.run.log_artifact(model_artifact(self.wandb, self.about, about))

    def close(self, failed: bool) -> None:
        note = threading.Timer(10, print, ["tracker wandb: waiting for the server to take the rest"], {"file": sys.stderr, "flush": True})
        note.daemon = True
        try:
            if self.run:
                note.start()
                self.run.finish(exit_code=int(failed))
        except TimeoutError as problem:
            later = f"`wandb sync --include-online {Path(self.run.dir).parent}` sends it"
            raise RuntimeError(f"the server did not take the rest of the run in time: {later}") from problem
        finally:
            note.cancel()
            for variable in self.ours:
                os.environ.pop(variable, None)
            self.ours = []

    def _start(self, run_id: str | None, mode: str) -> None:
        """Begin, or go on with, the run; offline where the server cannot be reached or refuses, which is told."""
        wandb = self.wandb
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # W&B's telemetry, which tells of its own troubles at length
        more = {} if "WANDB_FINISH_TIMEOUT" in os.environ else {"finish_timeout": PATIENCE}
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", self.about.project),
                name=None if os.environ.get("WANDB_NAME") else self.about.name,
                job_type=None if os.environ.get("WANDB_JOB_TYPE") else self.about.job_type,
                dir=str(self.home.parent),
                config=dict(self.about.config),
                id=run_id,
                resume="allow",  # stands in the offline folder too: it tells `wandb sync` to go on with the run
                mode=mode,
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, finish_timeout_raises=True, **more),
                reinit="create_new",
            )
        except wandb.Error as problem:
            if mode in ("offline", "dryrun"):
                raise
            words = " ".join(str(problem).split()).rstrip(".")
            later = f"`wandb sync {self.home}/offline-run-*` sends it later"
            print(f"tracker wandb goes on offline: {words}: {later}", file=sys.stderr, flush=True)
            self._start(run_id, "offline")

    def _set_folders(self) -> None:
        """All that wandb would put into the user's home goes into the run folder, unless the user says where he wants it."""
        for variable, place in (("WANDB_DATA_DIR", "data"), ("WANDB_CACHE_DIR", "cache"), ("WANDB_ARTIFACT_DIR", "artifacts")):
            if variable not in os.environ:
                os.environ[variable] = str(self.home / place)
                self.ours.append(variable)

    def _define_metrics(self) -> None:
        self.run.define_metric(STEP, hidden=True)
        self.run.define_metric(LINE, hidden=True)
        for family in ("train/*", "eval/*", "final/*"):
            self.run.define_metric(family, step_metric=STEP)

    def _table(self, name: str, columns: Sequence[str]) -> Any:
        """The table of this name, that grows with each evaluation; on a resumed run it goes on behind what it held."""
        if name not in self.tables:
            table = self.tables[name] = self.wandb.Table(columns=list(columns), log_mode="INCREMENTAL")
            if not self.run.resumed:  # offline nobody tells wandb what the earlier folders hold, and it has no public door for it
                table._load_incremental_table_state_from_resumed_run(self.run, name)
        return self.tables[name]

    def _go_on_with_tables(self, summary: Mapping[str, Any]) -> None:
        """Say at the start of an offline folder what the earlier ones ended with, so that the last folder alone knows it all."""
        known = {name: value for name, value in summary.items() if isinstance(value, dict) and value.get("_type") == INCREMENTAL}
        if not self.run.resumed and self.heard:
            self.run.summary.update({**known, LINE: self.heard})

    def _use_dataset(self) -> None:
        """The dataset as the run's input: what `use_artifact` does, which waits for the server, and refuses to work offline."""
        self.run._log_artifact(dataset_artifact(self.wandb, self.about), is_user_created=True, use_after_commit=True)


def wandb_mode(base_url: str = "https://api.wandb.ai", configured: str = "online") -> Any:
    """WANDB_DISABLED, WANDB_MODE or what `wandb offline` wrote, when set; else "online" with a key for the server, else "offline"."""
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on"):
        return "disabled"  # the old way to say it, which the Trainer of transformers still knows
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    if configured != "online":
        return configured
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return "online"
    try:
        return "online" if netrc.netrc(os.environ.get("NETRC")).authenticators(urlparse(base_url).hostname or "") else "offline"
    except (OSError, netrc.NetrcParseError):
        return "offline"


def _held(summary: Mapping[str, Any], rows: int) -> int:
    """How many lines of log.jsonl a server surely holds that has so many rows of history: its summary runs ahead of them, and what a kill
    kept from it is told again, a line too often rather than never."""
    lost = int(summary.get("_step", rows - 1)) + 1 - rows
    return max(int(summary.get(LINE, 0)) - max(lost, 0), 0) if rows else 0


def _earlier(home: Path, run_id: str) -> dict[str, Any]:
    """What the starts of a run brought to the disk: the last line of log.jsonl, and how its growing tables ended.

    An offline folder without a record is what a kill in the first seconds leaves; it is deleted, for `wandb sync` stumbles over it.
    """
    found: dict[str, Any] = {}
    name = re.compile(rf"(offline-)?run-\d{{8}}_\d{{6}}-{re.escape(run_id)}")
    for folder in sorted(path for path in home.iterdir() if name.fullmatch(path.name)):
        log = folder / f"run-{run_id}.wandb"
        data = log.read_bytes() if log.is_file() else b""
        if len(data) > START:
            _hear(data, found)
        elif folder.name.startswith("offline"):
            shutil.rmtree(folder)
    return found


def _hear(data: bytes, found: dict[str, Any]) -> None:
    """Add to `found` what the records of a .wandb file say of lines and tables; a table's parts may come one by one."""
    from wandb.proto.wandb_internal_pb2 import Record

    for record in map(Record.FromString, read_log(data)):
        for item in (*record.history.item, *record.summary.update):
            name, *part = item.nested_key or [item.key]
            value = json.loads(item.value_json)
            if name == LINE:
                found[LINE] = max(found.get(LINE, 0), int(value))
            elif part:
                found.setdefault(name, {})[part[0]] = value
            elif isinstance(value, dict):
                found[name] = value


def _keep_id(home: Path, run_id: str, config: Mapping[str, Any]) -> None:
    write_whole(home / "seeworth.json", json.dumps({"id": run_id, "settings": _digest(config)}) + "\n")


def _unfinished_id(home: Path, config: Mapping[str, Any]) -> str | None:
    """The id of a start of the same run that was killed before its first checkpoint; None: wandb makes one, or takes WANDB_RUN_ID."""
    try:
        kept = json.loads((home / "seeworth.json").read_text(encoding="utf-8"))
        same = kept["settings"] == _digest(config) and kept["id"] == os.environ.get("WANDB_RUN_ID", kept["id"])
        return str(kept["id"]) if same else None
    except (OSError, ValueError, KeyError):
        return None


def _digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()
