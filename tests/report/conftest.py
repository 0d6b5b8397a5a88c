"""The shop of the evaluation's tests, evaluated once."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from seeworth.evaluate.run import run
from seeworth.predict.predictor import FakePredictor
from seeworth.settings import EvaluateSettings

_SHOP = Path(__file__).parents[1] / "evaluate" / "conftest.py"


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.stem}_for_reports", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shops() -> Any:
    """The module with make_shop and make_run."""
    return _load(_SHOP)


@pytest.fixture(scope="session")
def hostile() -> Any:
    """The module hostile.py."""
    return _load(Path(__file__).with_name("hostile.py"))


@pytest.fixture(scope="session")
def evaluation(shops: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A default task, a model that looks and is wrong now and then."""
    home = tmp_path_factory.mktemp("evaluated")
    shop = shops.make_shop(home / "data")

    def answer(record: Any) -> str:
        number = int(record.id[1:])
        if number % 11 == 0:
            return "I cannot tell."
        text = shop.look(record)
        return text.replace("Category: Bags", "Category: Belts") if number % 7 == 0 else text

    settings = EvaluateSettings(run=shops.make_run(home / "run", shop), output=home / "evaluation", bootstrap=200)
    return run(settings, predictor=FakePredictor(answer, name="tiny run"), console=Console(file=io.StringIO()))
