"""One optimizer step: forward and backward passes over its batches, on this process's share of them.

The benchmarks time this very step. Knows nothing of where batches come from, of schedules, logs or checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..encode import IGNORED
from .spread import Alone

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class Stepped:
    """What a step did: the mean loss over its labelled tokens and the gradient's norm before clipping, on the device still, and what
    went through."""

    loss: torch.Tensor
    norm: torch.Tensor
    photos: float
    tokens: float
    padding: float


class Stepper:
    """Takes steps.

    Args:
        model, optimizer: as they are trained. spread: the processes that share a step.
        compute: the type of matrix products; float32 computes in the weights' own. max_grad_norm: gradients are scaled down to it.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, spread: Alone, compute: torch.dtype, max_grad_norm: float = 1.0
    ) -> None:
        self.model, self.optimizer, self.spread, self.compute, self.max_grad_norm = model, optimizer, spread, compute, max_grad_norm
        self.scaler = torch.amp.GradScaler(spread.device.type, enabled=compute is torch.float16)

    def step(self, batches: Sequence[Batch]) -> Stepped:
        """One step over this process's batches; the loss is the mean over the labelled tokens of all processes' batches."""
        labels, photos, tokens, padding = self.spread.sum(*count(batches))
        total = torch.zeros((), device=self.spread.device)
        for number, batch in enumerate(batches, 1):
            with self.spread.accumulating(self.model, number == len(batches)):
                # gradients are averaged over the processes: times their number they are summed
                loss = self.loss(batch, max(labels, 1.0)) * self.spread.processes
                self.spread.backward(self.model, self.scaler.scale(loss))
            total += loss.detach()
        norm = self.spread.update(self.model, self.optimizer, self.scaler, self.max_grad_norm)
        return Stepped(self.spread.summed(total / self.spread.processes), norm, photos, tokens, padding)

    def loss(self, batch: Batch, labels: float) -> torch.Tensor:
        """The summed loss of a batch's labelled tokens, divided by `labels`."""
        moved = {key: value if key == "image_sizes" else to_device(value, self.spread.device) for key, value in batch.items()}
        with self._autocast():
            loss: torch.Tensor = self.model(**moved, logits_at_labels=True, num_items_in_batch=labels).loss
        return loss

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.spread.device.type, self.compute) if self.compute is not torch.float32 else nullcontext()


def count(batches: Sequence[Batch]) -> tuple[float, float, float, float]:
    """(labelled tokens, photos, tokens, padding) of some batches; the first label of a row is nobody's next word."""
    labels = sum(int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in batches)
    photos = sum(len(batch["image_sizes"]) for batch in batches if batch.get("image_sizes") is not None)
    places = sum(batch["input_ids"].numel() for batch in batches)
    tokens = sum(int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel() for batch in batches)
    return float(labels), float(photos), float(tokens), float(places - tokens)


def to_device(value: Any, device: torch.device) -> Any:
    """A tensor, or a list of them, on the device."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    return [to_device(one, device) for one in value] if isinstance(value, list | tuple) else value
