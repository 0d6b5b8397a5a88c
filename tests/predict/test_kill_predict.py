"""The short form of tests/soak/kill_predict.py: real SIGKILLs, a real tiny model, a twentieth of the photos broken."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

SOAK = Path(__file__).resolve().parents[1] / "soak"


def test_killed_again_and_again_it_answers_each_once_and_as_undisturbed(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SOAK)  # the processes that are killed find it there too
    module = import_module("kill_predict")
    model = tmp_path / "model"
    shop.model.save_pretrained(model)
    shop.encoder.processor.save_pretrained(model)
    shop.task.save(model / "task.yaml")
    (tmp_path / "work").mkdir()
    found = module.soak(3, 60, 0, tmp_path / "work", form=module.Fork, model=model)
    assert found["kills"] >= 3
    assert found["bad"] == 3
