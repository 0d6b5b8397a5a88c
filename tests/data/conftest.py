"""Photos and tables for the tests of `seeworth.data`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photo_bytes() -> Callable[..., bytes]:
    """photo_bytes(seed, form="JPEG", size=(40, 30)): a photo of its own for each seed."""

    def draw(seed: int, form: str = "JPEG", size: tuple[int, int] = (40, 30)) -> bytes:
        levels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).save(buffer, form)
        return buffer.getvalue()

    return draw


@pytest.fixture
def table(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> Callable[..., Path]:
    """table(*lines): a CSV file of these lines in tmp_path/source, with photos 0.jpg to 9.jpg beside it."""

    def write(*lines: str, name: str = "products.csv", encoding: str = "utf-8") -> Path:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        for seed in range(10):
            (folder / f"{seed}.jpg").write_bytes(photo_bytes(seed))
        path = folder / name
        path.write_text("\n".join(lines) + "\n", encoding=encoding, newline="")
        return path

    return write


def _photo_server() -> ModuleType:
    spec = spec_from_file_location("photo_server", Path(__file__).with_name("photo_server.py"))
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def photo_server() -> ModuleType:
    """The module photo_server.py."""
    return _photo_server()


@pytest.fixture
def server(photo_server: ModuleType) -> Iterator[Any]:
    """A PhotoServer that runs."""
    with photo_server.PhotoServer() as running:
        yield running
