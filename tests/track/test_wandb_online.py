"""A run that is sent while it trains: whole, in one piece however often it was killed, and never waited for without end.

The server is a stand-in on this machine, which takes what wandb sends; what W&B's own makes of it is not tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seeworth.track.wandb import _held, _keep_id, _unfinished_id
from wandb_server import StandIn, stand_in

Work = Callable[..., Path]


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as made:
        yield made


def online(server: StandIn) -> dict[str, str]:
    return {"WANDB_MODE": "online", "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "a" * 40}


def test_figures_photos_dataset_and_model_arrive(server: StandIn, work: Work) -> None:
    out = work("online", "wandb", **online(server))
    assert [row["log_line"] for row in server.history if "log_line" in row] == list(range(1, 13))
    assert [row["train/global_step"] for row in server.history if "eval/loss" in row] == [3, 6]
    assert server.summary["eval/best_loss"] == pytest.approx(1 / 6)
    assert {("dataset", "dataset-shop"), ("model", "model-n")} <= set(server.artifacts)
    assert server.used == 1  # the dataset, as the run's input
    assert {"/model.safetensors", "/metadata.parquet", "/run.json"} <= server.uploaded
    assert sum(path.endswith(".jpg") for path in server.uploaded) >= 2
    assert (out.parent / "said").read_text() == ""


def test_killed_and_gone_on_it_is_one_run_that_lacks_no_line(server: StandIn, work: Work) -> None:
    """Of a killed start the server may have heard a summary, and no row: that is no line that it holds."""
    server.ahead = {"log_line": 2}
    work("killed", "wandb", 4, **online(server))
    assert len(server.runs) == 1
    assert {row["log_line"] for row in server.history if "log_line" in row} == set(range(1, 13))


def test_a_server_that_takes_nothing_more_is_not_waited_for_without_end(server: StandIn, work: Work) -> None:
    server.stuck = True
    out = work("stuck", "wandb", left_out=True, WANDB_FINISH_TIMEOUT="2", **online(server))
    said = (out.parent / "said").read_text()
    assert said.count("\n") == 1
    (folder,) = out.glob("wandb/run-*")
    assert f"`wandb sync --include-online {folder}` sends it" in said
    assert (out / "log.jsonl").read_text().count("\n") == 13


@pytest.mark.parametrize(
    ("line", "step", "rows", "held"),
    [(7, 9, 10, 7), (7, 9, 9, 6), (7, 9, 7, 4), (1, None, 0, 0), (7, None, 5, 7), (1, 9, 2, 0)],
    ids=["all", "a row is lost", "three rows", "no row yet", "no step told", "more rows than lines"],
)
def test_a_server_holds_no_line_whose_row_it_may_lack(line: int, step: int | None, rows: int, held: int) -> None:
    assert _held({"log_line": line} | ({} if step is None else {"_step": step}), rows) == held


def test_a_run_killed_before_its_first_checkpoint_goes_on_under_the_id_that_the_user_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep's agent says WANDB_RUN_ID at each start: what the first one brought to the disk is not told twice."""
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    _keep_id(tmp_path, "sweep-1", {"seed": 1})
    assert _unfinished_id(tmp_path, {"seed": 1}) == "sweep-1"
    assert _unfinished_id(tmp_path, {"seed": 2}) is None
    monkeypatch.setenv("WANDB_RUN_ID", "sweep-1")
    assert _unfinished_id(tmp_path, {"seed": 1}) == "sweep-1"
    monkeypatch.setenv("WANDB_RUN_ID", "another")
    assert _unfinished_id(tmp_path, {"seed": 1}) is None
