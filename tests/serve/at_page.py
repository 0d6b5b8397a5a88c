"""A pytest plugin: an API that is played, and somebody before its web page in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from browser import Window
from serve.fake_api import FakeApi, serving
from serve.visitor import User


@pytest.fixture
def api() -> Iterator[FakeApi]:
    made = FakeApi()
    with serving(made.app()) as address:
        made.address = address
        yield made


@pytest.fixture
def user(api: FakeApi, window: Callable[..., Window]) -> Callable[..., User]:
    return lambda **traits: User(window(**traits), api.address)
