"""The two small checkpoints of the repository, the second implementation that made their goldens, and `../shared/phi3v`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seeworth.phi3v import Phi3VConfig, Phi3VForCausalLM, Phi3VImageProcessor, Phi3VProcessor
from seeworth.phi3v.tiny import make_tiny

GOLDENS = Path(__file__).parent / "goldens"
TEXTS = ["Product: Long Checked Cashmere Scarf in Camel, Category: Scarves, Full Price: 1290", "What is shown in this image?"]


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """make_goldens.py as a module."""
    spec = importlib.util.spec_from_file_location("make_goldens", Path(__file__).parent / "make_goldens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def phi3v(shared: Path) -> Path:
    """`../shared/phi3v`."""
    return shared / "phi3v"


@pytest.fixture(scope="session", params=["phi-3-vision-128k-instruct", "phi-3.5-vision-instruct"])
def published(request: pytest.FixtureRequest, phi3v: Path) -> Path:
    """The published folder of either model (without weights)."""
    return phi3v / "pretrained" / request.param


@pytest.fixture(scope="session")
def published_processor(published: Path) -> Phi3VProcessor:
    return Phi3VProcessor.from_pretrained(published)


@pytest.fixture(scope="session")
def tiny_processor() -> Phi3VProcessor:
    """The tiny model's processor: 112-pixel tiles, at most 4."""
    return make_tiny(TEXTS, num_crops=4)[1]


class Home:
    """One checkpoint of the repository with its cases."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = GOLDENS / name
        self.config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        self.cases: dict[str, Any] = json.loads((self.folder / "cases.json").read_text())
        self.tensors = load_file(self.folder / "cases.safetensors")
        self.weights = load_file(self.folder / "model.safetensors")

    def model(self, *, attn: str = "sdpa", dtype: torch.dtype = torch.float32, **overrides: Any) -> Phi3VForCausalLM:
        """The model, freshly loaded, in evaluation mode; `overrides` are fields of its config."""
        config = Phi3VConfig.from_dict(self.config | overrides)
        return Phi3VForCausalLM.from_pretrained(self.folder, config=config, dtype=dtype, attn_implementation=attn).eval()

    def image_processor(self, num_crops: int = 1) -> Phi3VImageProcessor:
        tile = self.config["img_processor"]["clip_config"]["image_size"]
        return Phi3VImageProcessor(num_crops=num_crops, tile_size=tile, num_img_tokens=self.config["img_processor"]["num_img_tokens"])

    def inputs(self, reference: ModuleType, case: dict[str, Any], placeholder: int | None = None) -> dict[str, torch.Tensor]:
        """A case's recipe -> what the model takes; placeholders are negative unless an id is given."""
        ids, mask, cuts = reference.batch(self.config, case)
        if placeholder is not None:
            ids = ids.masked_fill(ids < 0, placeholder)
        data = {"input_ids": ids, "attention_mask": mask}
        if cuts:
            photos = [reference.photo(*one) for one in case["photos"]]
            data |= self.image_processor(case["num_crops"])(photos).data
            data.pop("num_img_tokens")
        return data


@pytest.fixture(scope="session", params=["published_tiles", "small_tiles"])
def home(request: pytest.FixtureRequest) -> Home:
    return Home(request.param)


@pytest.fixture(scope="session")
def small() -> Home:
    """The checkpoint with 112-pixel tiles: the quick one, for behaviour that no geometry changes."""
    return Home("small_tiles")


@pytest.fixture(scope="session")
def small_model(small: Home) -> Phi3VForCausalLM:
    """Shared by many tests: do not change it."""
    return small.model()
