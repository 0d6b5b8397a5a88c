"""An offline W&B run lies in the run folder with all that it shows, and is one run however often it was killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seeworth.track.wandb import _earlier, wandb_mode

Inspect = Callable[[Path, str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def part(straight: Path) -> Path:
    (found,) = straight.glob("wandb/offline-run-*")
    return found


COLUMNS = ["step", "id", "photo", "truth", "answer", "price read", "price absolute error", "price error in %", "category read",
           "category right", "title read", "title exact", "title similarity", "problems"]  # fmt: skip


def items(part: Path, inspect: Inspect) -> list[dict[str, Any]]:
    return [row["item"] for row in inspect(part, "history")]


def artifacts(part: Path, inspect: Inspect) -> dict[str, dict[str, Any]]:
    return {one["type"]: one for one in inspect(part, "artifact")}


def summary(part: Path) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--summary", "--json", str(part)]
    return dict(json.loads(subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout)["summary"])


def test_the_run_is_called_as_the_user_says(part: Path, inspect: Inspect) -> None:
    (run,) = inspect(part, "run")
    expected = {"project": "theirs", "entity": "shop", "display_name": "called", "tags": ["a", "b"], "notes": "why",
                "run_group": "g", "job_type": "search", "run_id": "their-id"}  # fmt: skip
    assert {key: run[key] for key in expected} == expected
    assert run["config"]["update"]["learning_rate"] == 1e-3
    assert run["resume"] is True  # without it `wandb sync` would not go on with the run


def test_figures_have_the_global_step_as_their_axis(part: Path, inspect: Inspect) -> None:
    axes = {one.get("glob_name"): one.get("step_metric") for one in inspect(part, "metric")}
    assert axes["train/*"] == axes["eval/*"] == axes["final/*"] == "train/global_step"
    rows = items(part, inspect)
    assert {row["train/global_step"]: row["train/loss"] for row in rows if "train/loss" in row} == {n: 1 / n for n in range(1, 9)}
    assert [row["train/global_step"] for row in rows if "train/photos_per_second" in row] == list(range(1, 9))
    assert [row["train/global_step"] for row in rows if "eval/loss" in row] == [3, 6]


def test_the_summary_has_the_best_figures(part: Path) -> None:
    assert summary(part)["eval/best_loss"] == pytest.approx(1 / 6)


def test_the_table_of_answers_grows_and_holds_photos_fields_and_errors(straight: Path, part: Path, inspect: Inspect) -> None:
    shown = summary(part)["eval/answers"]
    assert (shown["_type"], shown["increment_num"], len(shown["previous_increments_paths"]), shown["nrows"]) == (
        "incremental-table-file", 1, 1, 6
    )  # fmt: skip
    tables = [one for one in inspect(part, "artifact") if one["type"] == "wandb-run-incremental-table"]
    for step, increment in zip((3, 6), tables, strict=True):
        held = {one["path"]: Path(one["local_path"]) for one in increment["manifest"]["contents"]}
        assert all(path.is_relative_to(straight) for path in held.values())
        table = json.loads(next(path for name, path in held.items() if name.endswith(".table.json")).read_text())
        assert table["columns"] == COLUMNS
        first, second, third = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
        assert {first["photo"]["path"], second["photo"]["path"]} == {path for path in held if path.endswith(".jpg")}
        assert all(held[path].read_bytes()[:3] == b"\xff\xd8\xff" for path in held if path.endswith(".jpg"))
        sizes = [one["photo"] and (one["photo"]["width"], one["photo"]["height"]) for one in (first, second, third)]
        assert sizes == [(512, 341), (1024, 341), None]  # one photo, two side by side, none
        shown = [first[name] for name in ("step", "id", "price read", "price absolute error", "problems")]
        assert shown == [step, "r0", None, None, "no price"]
        assert [second[name] for name in table["columns"][3:]] == ["Coat | 12", "Cat | 9", "9", 3, 25, "SCARVES", 0, "Cat", 0, 0.75, ""]


def test_scatter_and_confusion_are_charts_with_their_tables(part: Path, inspect: Inspect) -> None:
    shown = summary(part)
    for name, columns, rows in (
        ("price_scatter", ["truth", "answer"], [[12, 9], [12, 9]]),
        ("category_confusion", ["Actual", "Predicted", "nPredictions"], [["COATS", "(not read)", 1], ["COATS", "SCARVES", 2]]),
    ):
        table = json.loads((part / "files" / shown[f"eval/{name}_table"]["path"]).read_text())
        assert table["columns"] == columns
        assert [row for row in table["data"] if row[-1]] == rows
    said = json.dumps(inspect(part, "config"))
    for key, chart in (("eval/price_scatter", "wandb/scatter/v0"), ("eval/category_confusion", "wandb/confusion_matrix/v1")):
        assert key in said
        assert chart in said


def test_dataset_and_run_are_artifacts_with_lineage(straight: Path, data: Path, part: Path, inspect: Inspect) -> None:
    found = artifacts(part, inspect)
    dataset, model = found["dataset"], found["model"]
    assert dataset["name"] == "dataset-shop"
    assert dataset["use_after_commit"] is True  # an input of the run
    assert not model.get("use_after_commit")
    assert json.loads(dataset["metadata"])["fingerprint"] == "f" * 64
    held = {one["path"]: Path(one["local_path"]) for one in dataset["manifest"]["contents"]}
    assert held["metadata.parquet"].read_bytes() == (data / "metadata.parquet").read_bytes()
    assert all(path.is_relative_to(straight) for path in held.values())
    kept = {one["path"]: Path(one["local_path"]) for one in model["manifest"]["contents"]}
    assert {"model.safetensors", "settings.yaml", "README.md", "run.json"} <= set(kept)
    assert kept["model.safetensors"] == straight / "model.safetensors"  # not copied
    assert json.loads(kept["run.json"].read_text())["steps"] == 8


def test_stopped_and_killed_again_and_again_it_stays_one_run(work: Callable[..., Path], straight: Path, inspect: Inspect) -> None:
    """A killed start has brought to the disk what the service had written by then, perhaps nothing; one that was stopped has brought all.

    Here that is step 5, behind the checkpoint of step 3. No part says again what an earlier one holds.
    """
    again = work("again", "wandb", 2, 4, -5, 7)
    assert (again / "log.jsonl").read_bytes() == (straight / "log.jsonl").read_bytes()
    parts = sorted(again.glob("wandb/offline-run-*"))  # those without a record are gone: `wandb sync` would stumble over them
    assert len({inspect(one, "run")[0]["run_id"] for one in parts}) == 1
    assert all(inspect(one, "run")[0]["resume"] for one in parts)
    rows = [items(one, inspect) for one in parts]
    assert sum(map(bool, rows)) >= 2
    assert [row["log_line"] for part in rows for row in part if "log_line" in row] == list(range(1, 13))
    steps = [row["train/global_step"] for part in rows for row in part]
    assert steps == sorted(steps)
    shown = {one["increment_num"]: one for part in parts if (one := summary(part).get("eval/answers"))}
    assert shown[1]["previous_increments_paths"] == [shown[0]["artifact_path"]]
    assert summary(parts[-1])["log_line"] == 13


def test_only_empty_folders_of_the_same_run_are_deleted(straight: Path, tmp_path: Path) -> None:
    log = next(straight.glob("wandb/offline-run-*/*.wandb")).read_bytes()
    for name, data in (
        ("offline-run-20260101_000000-b", log),
        ("offline-run-20260101_000001-b", log[:7]),
        ("offline-run-20260101_000002-a-b", log[:7]),
        ("run-20260101_000003-b", log[:7]),
        ("offline-run-20260101_000004-b", log[:-40]),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"run-{name[name.index('_') + 8 :]}.wandb").write_bytes(data)
    held = _earlier(tmp_path, "b")
    assert {path.name for path in tmp_path.iterdir()} == {
        "offline-run-20260101_000000-b", "offline-run-20260101_000002-a-b", "run-20260101_000003-b", "offline-run-20260101_000004-b"
    }  # fmt: skip
    shown = summary(next(straight.glob("wandb/offline-run-*")))
    assert held["log_line"] == shown["log_line"] == 13
    assert held["eval/answers"] == shown["eval/answers"]


def test_wandb_is_offline_unless_there_is_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert wandb_mode() == "offline"
    (tmp_path / "netrc").write_text("machine wandb.my-company.com login user password key\n")
    assert wandb_mode() == "offline"
    assert wandb_mode("https://wandb.my-company.com") == "online"
    assert wandb_mode("https://wandb.my-company.com", "offline") == "offline"  # `wandb offline` was said
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert wandb_mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"
