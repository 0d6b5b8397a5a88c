"""`Together`: several processes, each with the whole model, whose gradients are averaged (DDP); and how processes speak to each other.

Objects that go from process to process are pickled by torch.distributed; they never leave the group, and no file holds them.
Knows nothing of records or files.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ...errors import RunError, told_as
from ...settings import TrainSettings
from .alone import Alone, fit, trained_of
from .launch import Launch, check, not_taken
from .meeting import meet

T = TypeVar("T")
PATIENCE = timedelta(hours=4)  # the others wait so long for one that checks, answers or writes alone; a dead one is noticed at once
LAST_WORDS = timedelta(seconds=30)  # a process that lets another one tell the error waits so long for it to have spoken


class Together(Alone):
    """Several processes, each with the whole model.

    Raises RunError when the others cannot be reached.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch.device)
        self.launch = launch
        self.rank, self.processes = launch.rank, launch.processes
        self.speaker: bool | None = None
        self.ended = False
        where = f"process {self.rank} of {self.processes} cannot reach the others"
        with told_as(RunError, dist.DistError, RuntimeError, ValueError, where=where):
            found, _, _ = next(rendezvous("env://", timeout=PATIENCE))
            self.store = meet(found, self.rank, self.processes, PATIENCE)
            backend = "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, store=self.store, rank=self.rank, world_size=self.processes, timeout=PATIENCE)

    def settle(self, settings: TrainSettings) -> None:
        check(self.launch, settings)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.main and (words := not_taken(self.launch)):
            print(f"not taken from accelerate's configuration: {', '.join(words)}", flush=True)

    def wrap(self, model: nn.Module) -> nn.Module:
        """DDP. Every process runs a photo through the model in every pass (the loop sees to that), so no parameter is without use."""
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)

    def sum(self, *numbers: float) -> tuple[float, ...]:
        summed = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(summed)
        return tuple(summed.tolist())

    def summed(self, number: Tensor) -> Tensor:
        return torch.tensor(self.sum(float(number))[0])

    def wait(self) -> None:
        self.sum(0.0)

    def first(self, work: Callable[[], T]) -> T:
        done: T = self._tell(self.main_only(work))
        return done

    def main_only(self, work: Callable[[], T]) -> T | None:
        done = None
        if self.main:
            try:
                done = work()
            except Exception:
                self._take_the_word()
                self._tell(False)
                raise
        if not self._tell(True):
            raise RunError("the main process could not go on: see what it says")
        return done

    def share(self, one: T) -> list[T]:
        shared: list[Any] = [None] * self.processes
        dist.all_gather_object(shared, one)
        return shared

    def _tell(self, one: Any) -> Any:
        """The main process's object, on all."""
        told = [one]
        dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
        return told[0]

    @contextmanager
    def one_voice(self) -> Iterator[None]:
        """The first process that fails tells why. The others wait until it has spoken, lest the launcher end it in mid-sentence, and end
        with status 1."""
        try:
            yield
        except SystemExit:
            raise
        except BaseException as problem:
            self.ended = True
            if not self._take_the_word():
                self._let_speak()
                raise SystemExit(1) from problem
            if (words := _lost(problem)) is not None:
                raise RunError(
                    f"another of the {self.processes} processes was ended, or its machine cannot be reached ({words}): start again, "
                    "and the training goes on from its last checkpoint"
                ) from problem
            raise

    def _take_the_word(self) -> bool:
        """Whether this process is the first that fails. Where the store is gone the main process has ended and told why."""
        if self.speaker is None:
            try:
                self.speaker = self.store.add("failed", 1) == 1
            except (RuntimeError, dist.DistError):
                self.speaker = False
            if self.speaker:
                atexit.register(self._spoken)
        return self.speaker

    def _spoken(self) -> None:
        try:
            self.store.set("spoken", "")
        except (RuntimeError, dist.DistError):
            return  # nobody is left to hear it

    def _let_speak(self) -> None:
        try:
            self.store.wait(["spoken"], LAST_WORDS)
        except (RuntimeError, dist.DistError):
            return  # it was killed while it spoke, or its machine is gone

    def close(self) -> None:
        """Leave the group; after an error without a handshake that the others would not answer."""
        if dist.is_initialized() and not self.ended:
            dist.destroy_process_group()

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else model.no_sync()  # type: ignore[operator]

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        whole = {name: self._gather(one) for name, one in trained_of(model).items()}
        return {name: one for name, one in whole.items() if one is not None}

    def load_weights(self, model: nn.Module, weights: Mapping[str, Tensor] | None) -> None:
        own = trained_of(model)
        self.main_only(lambda: fit(own, weights or {}))
        with torch.no_grad():
            for name, one in own.items():
                one.copy_(self._scatter(weights[name] if weights is not None and self.main else None, Like.of(one), one))

    def optimizer_state(self, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        state = optimizer.state_dict()
        whole: dict[int, dict[str, Any]] = {}
        for number, values in state["state"].items():
            gathered = {name: self._gather(value) if isinstance(value, Tensor) else value for name, value in values.items()}
            whole[number] = gathered
        return {"state": whole, "param_groups": state["param_groups"]} if self.main else {}

    def load_optimizer(self, model: nn.Module, optimizer: Optimizer, state: dict[str, Any] | None) -> None:
        given = (state or {}).get("state", {}) if self.main else {}
        plan = self._tell({"param_groups": state["param_groups"], "state": _outline(given)} if state is not None and self.main else None)
        numbered = [one for group in optimizer.param_groups for one in group["params"]]
        loaded: dict[int, dict[str, Any]] = {}
        for number, values in plan["state"].items():
            loaded[number] = {
                name: self._scatter(given.get(number, {}).get(name), value, numbered[number]) if isinstance(value, Like) else value
                for name, value in values.items()
            }
        optimizer.load_state_dict({"state": loaded, "param_groups": plan["param_groups"]})

    def _gather(self, one: Tensor) -> Tensor | None:
        """A whole tensor on the main process, None on the others."""
        return one.detach() if self.main else None

    def _scatter(self, given: Tensor | None, like: Like, parameter: Tensor) -> Tensor:
        """The main process's tensor as this process holds it; `parameter`: that it is, or is the optimizer's state of."""
        device = self.device if like.shape else torch.device("cpu")  # counts of steps stay where optimizers keep them
        whole = torch.empty(like.shape, dtype=like.dtype, device=device) if given is None else given.to(device, like.dtype).contiguous()
        dist.broadcast(whole, src=0)
        return whole

    @contextmanager
    def answering(self, model: nn.Module) -> Iterator[Any]:
        yield model.module


@dataclass(frozen=True)
class Like:
    """Shape and type of a tensor that another process holds."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, one: Tensor) -> Like:
        return cls(tuple(one.shape), one.dtype)


def _outline(state: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """An optimizer's state with shapes in the place of tensors."""
    return {
        number: {name: Like.of(value) if isinstance(value, Tensor) else value for name, value in values.items()}
        for number, values in state.items()
    }


def _lost(problem: BaseException) -> str | None:
    """The first line of an error by which gloo or NCCL says that another process is gone; None for any other error."""
    words = " ".join(str(problem).split())
    named = isinstance(problem, RuntimeError) and any(one in words for one in ("gloo", "NCCL", "Connection reset", "Connection closed"))
    return words[:120] if isinstance(problem, dist.DistError) or named else None
