"""torch.compile by the layer. Knows nothing of what the layers compute."""

from __future__ import annotations

from typing import Any

from torch import nn


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
