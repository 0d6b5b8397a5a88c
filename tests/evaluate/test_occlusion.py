"""Occlusion maps in the evaluation folder: whose photos, in what form, and why there are none."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from seeworth.errors import SettingsError
from seeworth.evaluate.asked import Rivals
from seeworth.evaluate.folder import read_manifest
from seeworth.evaluate.run import run
from seeworth.predict.predictor import FakePredictor
from seeworth.record import Record
from seeworth.settings import EvaluateSettings


def _map(record: Record) -> dict[str, Any]:
    return {"rows": 1, "columns": 2, "words": f"of {record.id}", "base": {"full_price": 9.0}, "changes": {"full_price": [[0.1, None]]}}


@pytest.fixture
def evaluated(shop: Any, new_run: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    settings = EvaluateSettings(run=new_run(shop), output=tmp_path / "out", bootstrap=50, calibrate=False, grounding_records=0)

    def make(rivals: Rivals, **changes: Any) -> Path:
        quiet = Console(file=io.StringIO(), width=80)
        return run(replace(settings, **changes), predictor=FakePredictor(shop.look), rivals=rivals, console=quiet)

    return make


def test_maps_of_gallery_records_from_best_to_worst_lie_beside_the_figures(evaluated: Callable[..., Path]) -> None:
    out = evaluated(Rivals(cover=_map), occlusion=5)
    content, maps = read_manifest(out), json.loads((out / "occlusion.json").read_text())
    best, worst = content["gallery"]["best"], content["gallery"]["worst"]
    ordered = [*best, *reversed(worst)]
    assert list(maps["records"]) == [ordered[place] for place in (0, 6, 12, 17, 23)]
    assert content["occlusion"] == {"why_not": "", "file": "occlusion.json", "records": list(maps["records"])}
    assert maps["format"] == "seeworth-occlusion/1"
    assert maps["fields"] == {"category3_code": {"kind": "category", "unit": None}, "full_price": {"kind": "number", "unit": "USD"}}
    assert maps["records"][best[0]]["words"] == f"of {best[0]}"
    assert len(list((out / "thumbnails").iterdir())) == 24  # the photos of all of them are there


def test_without_them_the_reason_is_given_and_no_file_is_there(evaluated: Callable[..., Path]) -> None:
    out = evaluated(Rivals(cover=_map))
    assert "--occlusion N" in read_manifest(out)["occlusion"]["why_not"]
    out = evaluated(Rivals(), occlusion=3, overwrite=True)
    assert "nobody can be asked" in read_manifest(out)["occlusion"]["why_not"]
    assert not (out / "occlusion.json").exists()


@pytest.mark.parametrize("many", [-1, 25])
def test_more_records_than_the_gallery_has_are_refused_before_anybody_is_asked(evaluated: Callable[..., Path], many: int) -> None:
    def never(record: Record) -> dict[str, Any]:
        raise AssertionError

    with pytest.raises(SettingsError, match=f"occlusion is {many}, expected 0 to 24"):
        evaluated(Rivals(cover=never), occlusion=many)
