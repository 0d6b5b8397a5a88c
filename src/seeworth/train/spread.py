"""One training on one process or on many: who computes what, and how their gradients become one.

`Alone` is the case of one process; the loop asks nothing else of the others. Knows nothing of records, checkpoints as files, or
trackers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import RunError
from ..settings import TrainSettings

T = TypeVar("T")


class Alone:
    """One process.

    Attributes:
        rank: number of this process; 0 writes the files. processes: how many there are. device: where this one computes.
    """

    rank = 0
    processes = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def main(self) -> bool:
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as it is trained: called before the optimizer is made of its parameters."""
        return model

    def sum(self, *numbers: float) -> tuple[float, ...]:
        """Each number, summed over the processes."""
        return numbers

    def wait(self) -> None:
        """Until all processes are here."""

    def first(self, work: Callable[[], T]) -> T:
        """Done by the main process alone; all get the result, or its error."""
        return work()

    def close(self) -> None:
        """Leave the group of processes."""

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Around a forward and backward pass: gradients meet at the `last` one of a step only."""
        return nullcontext()

    def clip(self, model: nn.Module, largest: float) -> float:
        """Scale the gradients down to a norm of `largest`; return the norm they had."""
        return float(nn.utils.clip_grad_norm_([one for one in model.parameters() if one.requires_grad], largest))

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """What is trained, whole, by name without any wrapper's prefix; on the main process."""
        return {clean(name): one.detach() for name, one in model.named_parameters() if one.requires_grad}

    def load_weights(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """The inverse of `weights`, in place. Raises RunError when names or shapes differ."""
        own = {clean(name): one for name, one in model.named_parameters() if one.requires_grad}
        fit(own, weights)
        with torch.no_grad():
            for name, one in own.items():
                one.copy_(weights[name])

    def optimizer_state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The optimizer's state_dict with whole tensors; on the main process."""
        return optimizer.state_dict()

    def load_optimizer(self, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """The inverse of `optimizer_state`."""
        optimizer.load_state_dict(state)

    @contextmanager
    def answering(self, model: nn.Module) -> Iterator[Any]:
        """The model with `generate`; every process enters, each may answer."""
        yield model


def make_spread(settings: TrainSettings) -> Alone:
    """What the launcher asks for: one process when there is none."""
    return Alone(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def clean(name: str) -> str:
    """A parameter's name without what DDP and torch.compile put before it."""
    return name.removeprefix("module.").replace("_orig_mod.", "")


def fit(own: Mapping[str, Any], given: Mapping[str, Tensor]) -> None:
    """Raises RunError unless both have the same names and shapes."""
    if strange := sorted(set(own) ^ set(given)):
        raise RunError(f"the checkpoint and this model train other tensors, the first is {strange[0]}: the settings differ from the run's")
    for name, one in own.items():
        if tuple(one.shape) != tuple(given[name].shape):
            found, here = list(given[name].shape), list(one.shape)
            raise RunError(f"{name} is {found} in the checkpoint, {here} here: the settings differ from the run's")
