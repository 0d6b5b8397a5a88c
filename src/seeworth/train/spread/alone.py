"""`Alone`: one process, and what the loop may ask of any spread. What several processes do differently is in their own classes.

Knows nothing of records, checkpoints as files, or trackers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...errors import RunError
from ...settings import TrainSettings

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

    def settle(self, settings: TrainSettings) -> None:
        """Take this process's device. Raises SettingsError when the settings cannot be with these processes."""

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as it is trained: called before the optimizer is made of its parameters."""
        return model

    def join(self, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        """The wrapped model when its optimizer is made: the last change before the first step."""
        return model

    def sum(self, *numbers: float) -> tuple[float, ...]:
        """Each number, summed over the processes."""
        return numbers

    def summed(self, number: Tensor) -> Tensor:
        """A number on the device, summed over the processes; alone, nobody waits for it."""
        return number

    def wait(self) -> None:
        """Until all processes are here."""

    def first(self, work: Callable[[], T]) -> T:
        """Done by the main process alone; all get the result, or end with its error."""
        return work()

    def main_only(self, work: Callable[[], T]) -> T | None:
        """Done by the main process alone, which keeps the result; all others get None, or end with its error."""
        return work()

    def share(self, one: T) -> list[T]:
        """What each process gave, in the order of their ranks."""
        return [one]

    @contextmanager
    def one_voice(self) -> Iterator[None]:
        """Around all the work: an error in one process ends all of them, and is told by one."""
        yield

    def close(self) -> None:
        """Leave the group of processes."""

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Around a forward and backward pass: gradients meet at the `last` one of a step only."""
        return nullcontext()

    def backward(self, model: nn.Module, loss: Tensor) -> None:
        """Gradients of a loss, added to those that are there; a pass that reaches nothing that is trained, as words alone with the
        language model frozen, has none."""
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]

    def update(self, model: nn.Module, optimizer: Optimizer, scaler: torch.amp.GradScaler, largest: float) -> Tensor:
        """Scale the gradients down to a norm of `largest`, step, and forget them; return the norm they had, on the device.

        What is trained and got no gradient, as the projector in a step without photos, steps with a gradient of zeros: whether
        there was a photo may then differ from one process to the next, and the step is still the same as on one.
        """
        trained = [one for one in model.parameters() if one.requires_grad]
        for one in trained:
            if one.grad is None:
                one.grad = torch.zeros_like(one)
        scaler.unscale_(optimizer)
        norm = self.clip(trained, largest)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return norm

    def clip(self, trained: list[nn.Parameter], largest: float) -> Tensor:
        """Scale the gradients down to a norm of `largest`; return the norm they had, on the device."""
        return nn.utils.clip_grad_norm_(trained, largest)

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """What is trained, whole, by name without any wrapper's prefix; on the main process, nothing on the others."""
        return {name: one.detach() for name, one in trained_of(model).items()}

    def load_weights(self, model: nn.Module, weights: Mapping[str, Tensor] | None) -> None:
        """The inverse of `weights`, in place: the main process gives them. Raises RunError when names or shapes differ."""
        own = trained_of(model)
        fit(own, weights or {})
        with torch.no_grad():
            for name, one in own.items():
                one.copy_((weights or {})[name])

    def optimizer_state(self, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's state_dict with whole tensors; on the main process."""
        return optimizer.state_dict()

    def load_optimizer(self, model: nn.Module, optimizer: Optimizer, state: dict[str, Any] | None) -> None:
        """The inverse of `optimizer_state`: the main process gives it. Raises RunError when it is of other tensors."""
        fit_optimizer(optimizer, state or {})
        optimizer.load_state_dict(state or {})

    @contextmanager
    def answering(self, model: nn.Module) -> Iterator[Any]:
        """The model with `generate`, whole and with nothing around it; every process enters, each may answer, or write it."""
        yield model


def trained_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, by name without any wrapper's prefix."""
    return {clean(name): one for name, one in model.named_parameters() if one.requires_grad}


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


def fit_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Raises RunError unless a state_dict is of an optimizer over tensors of the same shapes.

    torch looks at the number of tensors alone: its fused kernels would read behind the end of a smaller one.
    """
    other = "the checkpoint's optimizer and this one train other tensors"
    try:
        sizes = [len(group["params"]) for group in state["param_groups"]]
        if sizes != [len(group["params"]) for group in optimizer.param_groups]:
            raise RunError(f"{other}, {sizes} in the checkpoint's groups: the settings differ from the run's")
        own = [one for group in optimizer.param_groups for one in group["params"]]
        if state["state"] and state["state"].keys() != set(range(len(own))):
            raise RunError(f"{other}: it has {len(state['state'])} of {len(own)}: the checkpoint is damaged")
        for number, values in state["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.ndim and value.shape != own[number].shape:
                    raise RunError(f"{other}: {name} of number {number} is {list(value.shape)}, here {list(own[number].shape)}")
    except (KeyError, TypeError, AttributeError) as problem:
        raise RunError(f"the checkpoint's optimizer is none of ours ({problem!r}): it was changed by hand") from problem
