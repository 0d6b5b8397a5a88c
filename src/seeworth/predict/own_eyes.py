"""What a loaded run can be asked besides its answers: what its vision tower sees, and what the model said before fine-tuning.

Both feed baselines of an evaluation. Knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from ..errors import ModelError
from ..features import FeatureStore, features_folder
from ..record import Prediction, Record
from ..run_folder import read_run
from .baselines import BEFORE
from .vlm import VLM, load_base

BATCH = 32  # records whose features are held at one time


def sees(model: VLM, run: Path) -> tuple[Any, str]:
    """What makes float32[record, 4 * tower width] of records, the mean over the whole photo's view; or None and why there is none.

    Features that were kept by the training are read; others are computed, and kept where the model keeps them.
    """
    about = read_run(run)
    named = about.get("settings", {}).get("vision_cache_dir")
    root = Path(named) if named else features_folder(Path(about["data"]))
    try:
        store = FeatureStore.open(root, model.model, model.encoder, keep=False) if model.features is None else model.features
    except ModelError as problem:
        return None, f"its vision features make no baseline: {problem}"

    def see(records: Sequence[Record]) -> NDArray[np.float32]:
        found = []
        for at in range(0, len(records), BATCH):
            for own in store.features(records[at : at + BATCH], model.model):
                found.append(own[0][0].float().mean(dim=(0, 1)).numpy() if own else np.zeros(store.shape[-1], dtype=np.float32))
        return np.stack(found)

    return see, ""


class Before:
    """The same model before fine-tuning, as a Predictor: its adapter switched off where that is all that was trained, else the weights
    that the training began with, loaded when it is asked.
    """

    def __init__(self, model: VLM, run: Path) -> None:
        self.name = BEFORE
        self._model, self._about = model, read_run(run)
        lora = self._about["method"] == "lora"
        self._adapter_alone = lora and all(".lora_" in name for name in _names(run / "adapter_model.safetensors"))

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        with self._untuned() as model:
            yield from model(records)

    @contextmanager
    def _untuned(self) -> Iterator[VLM]:
        untuned = copy(self._model)  # asked in the same way, but not how likely other answers were
        untuned.distribution, untuned.samples = False, 0
        if self._adapter_alone:
            with untuned.model.disable_adapter():
                yield untuned
            return
        about = self._about
        four = about["method"] == "lora" and bool(about.get("settings", {}).get("load_in_4bit", False))
        base, _ = load_base(about["model"], dtype=about["dtype"], attn_implementation=about["attn_implementation"], load_in_4bit=four)
        untuned.model, untuned.features = base.eval(), None
        yield untuned
        del base, untuned
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def before(model: VLM, run: Path) -> tuple[Before | None, str]:
    """The model before fine-tuning; or None and why there is none."""
    if read_run(run)["model"] == "tiny":
        return None, "There is no model before fine-tuning to hold it against: it was trained from random weights."
    return Before(model, run), ""


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())
