"""The model and the encoder of a training, from its settings. Knows nothing of the loop."""

from __future__ import annotations

from typing import Any

from transformers import set_seed
from transformers.utils import logging as library_logging

from ..data.dataset import Dataset
from ..encode import Encoder
from ..errors import ModelError, told_as
from ..phi3v.packing import skip_between_records
from ..phi3v.tiny import make_tiny
from ..predict.vlm import load_base
from ..record import Record
from ..settings import TrainSettings
from .compile import compile_layers
from .fast_layers import speed_up_layers
from .fast_lora import speed_up_lora
from .memory import needs_checkpointing
from .parts import Parts, prepare_parts
from .spread import Alone


def build(settings: TrainSettings, dataset: Dataset, train: list[Record], parts: Parts) -> tuple[Any, Encoder]:
    """The model with what is to be trained marked, and its encoder; the same for the same settings and records.

    Raises ModelError when the model cannot be loaded, SettingsError when the parts do not suit it.
    """
    set_seed(settings.seed)
    library_logging.disable_progress_bar()  # of its own for each file; what takes long has ours
    if settings.model == "tiny":
        texts = [dataset.task.write(record.values) for record in train] + [dataset.task.prompt(record.values) for record in train]
        model, processor = make_tiny(texts, seed=settings.seed, num_crops=settings.num_crops or 1)
        if settings.attn_implementation != "auto":
            with told_as(ModelError, ValueError, ImportError, where=f"attn_implementation {settings.attn_implementation}"):
                model.set_attn_implementation(settings.attn_implementation)
    else:
        model, processor = load_base(
            settings.model,
            dtype=settings.dtype,
            attn_implementation=settings.attn_implementation,
            num_crops=settings.num_crops,
            load_in_4bit=settings.load_in_4bit,
        )
    model.config.use_cache = False
    if settings.packing:
        skip_between_records(model)
    return prepare_parts(model, settings, parts), Encoder(processor, dataset.task, augment=settings.augment)


def speed_up(model: Any, settings: TrainSettings, longest: int, spread: Alone) -> None:
    """What trades memory and start-up time for speed; no loss depends on it beyond rounding. `longest`: tokens of a record."""
    speed_up_lora(model)  # before memory is measured: they keep less
    speed_up_layers(model)
    again = settings.gradient_checkpointing
    # the main process decides: one that computes a layer again while the others do not would wait for them in it
    if spread.first(lambda: needs_checkpointing(model, settings, longest)) if again == "auto" else again:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if settings.torch_compile:
        compile_layers(model)
