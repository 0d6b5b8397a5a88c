"""The tiny shop of tests/predict behind HTTP: in process, and on loopback."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from seeworth.intervals import Abstention, Cells, FieldIntervals, Intervals, Quantile
from seeworth.predict.vlm import VLM
from seeworth.serve.app import build
from seeworth.serve.guard import Guard, Rules
from seeworth.serve.house import House
from seeworth.settings import ServeSettings
from serve.sending import serving

_spec = importlib.util.spec_from_file_location("shop_of_predict", Path(__file__).parents[1] / "predict" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_shop = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _shop  # dataclasses look their module up
_spec.loader.exec_module(_shop)
shop = _shop.shop

SETTINGS = ServeSettings(run=Path("shop"), batch_size=8, max_new_tokens=24, max_chat_tokens=24, similar=False, timeout=60, photo_threads=2)
KEY = "0123456789abcdef-a-key"


@pytest.fixture(scope="session")
def vlm(shop: Any) -> VLM:
    """Held to the task, and telling how likely everything was."""
    return VLM(shop.model, shop.encoder, batch_size=8, max_new_tokens=24, name="shop", constrained=shop.task, distribution=True)


@pytest.fixture(scope="session")
def intervals(shop: Any, vlm: VLM) -> Intervals:
    """Prices within a half, one category's without an end; categories doubted below what the surer half of the answers has."""
    sure = sorted(one.confidence["category3_code"] for one in vlm(shop.records))
    cells = Cells(Quantile(math.log(1.5), 90, 90), {"Shirts": Quantile(math.inf, 3, 3)})
    price = FieldIntervals("ratio", cells, None, 0.0)
    rule = Abstention("confidence", sure[len(sure) // 2], 0.1)
    return Intervals(shop.task, 0.9, 20, "category3_code", {"full_price": price}, {"category3_code": rule}, {})


@pytest.fixture
def behind(vlm: VLM, intervals: Intervals) -> Callable[..., Any]:
    """`with behind(rules=Rules(...), max_photos=2) as client`: a client of a server in this process. `client.house` is its inside."""

    @contextmanager
    def made(model: VLM = vlm, rules: Rules | None = None, train: Any = (), raises: bool = True, **settings: Any) -> Iterator[TestClient]:
        house = House.of(model, intervals, replace(SETTINGS, **settings), train)
        guard = Guard(build(house), rules or Rules(max_bytes=house.settings.max_bytes), house.metrics)
        with TestClient(guard, base_url="http://localhost", raise_server_exceptions=raises) as client:
            client.house = house
            client.guard = guard
            yield client

    return made


@pytest.fixture(scope="session")
def live(vlm: VLM, intervals: Intervals) -> Iterator[int]:
    """The port of a server on loopback with tight limits: bodies of 300,000 bytes, half a second of patience."""
    house = House.of(vlm, intervals, replace(SETTINGS, max_bytes=300_000))
    guard = Guard(build(house), Rules(max_bytes=300_000, seconds=0.5), house.metrics)
    with serving(guard, seconds=0.5) as port:
        yield port


@pytest.fixture(scope="session")
def photos(shop: Any) -> list[bytes]:
    """The bytes of the shop's photos."""
    return [record.photo.read_bytes() for record in shop.records]


@pytest.fixture
def form() -> Callable[..., list[Any]]:
    """Photos as the parts of a form."""
    return lambda *photos: [("photo", (f"{place}.png", data, "image/png")) for place, data in enumerate(photos)]
