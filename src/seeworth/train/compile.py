"""torch.compile by the layer. Knows nothing of what the layers compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ..settings import TrainSettings


def compile_layers(model: nn.Module) -> int:
    """Compile each decoder and CLIP layer in place, return how many.

    One graph serves all layers of a kind, so it costs one compilation for each kind and shape, not one for each layer.
    """
    named: Any = model
    kinds = set(named._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in kinds]
    for layer in layers:
        layer.compile()
    return len(layers)


def as_it_is(settings: TrainSettings) -> AbstractContextManager[Any]:
    """Around validation and answers: layers run as they are, since a growing answer has another shape at every word."""
    return torch.compiler.set_stance("force_eager") if settings.torch_compile else nullcontext()
