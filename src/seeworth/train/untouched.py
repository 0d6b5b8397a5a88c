"""Looking at a model without leaving a trace. Knows nothing of what is looked for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Within, gradients are empty; afterwards modes, gradients and every random generator are what they were, bit by bit.

    Weights are not copied: who changes them wraps that in `same_weights`.
    """
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(weight, weight.grad) for weight in model.parameters()]
    python, numbers = random.getstate(), np.random.get_state()
    devices = sorted({weight.device.index or 0 for weight in model.parameters() if weight.device.type == "cuda"})
    for weight, _ in gradients:
        weight.grad = None
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
        for weight, gradient in gradients:
            weight.grad = gradient
        for module, training in modes:
            module.training = training


@contextmanager
def same_weights(model: nn.Module) -> Iterator[None]:
    """Afterwards everything trained has the weights it had; they wait in the host's memory."""
    kept = [(weight, weight.detach().to("cpu", copy=True)) for weight in model.parameters() if weight.requires_grad]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in kept:
                weight.copy_(before)
