"""`Sharded`: several processes, each with a slice of every tensor (FSDP2: torch's `fully_shard`, on GPUs with NCCL and on CPUs with gloo).

A layer's tensors are put together for its forward and backward pass alone. Knows nothing of records or files.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.optim import Optimizer

from ...errors import SettingsError
from ..optimizer import MuonWithAdamW
from .alone import clean
from .launch import Launch, is_true
from .together import Like, Together


class Sharded(Together):
    """Several processes, each with a slice of every tensor of the model.

    Of accelerate's configuration it takes FSDP_RESHARD_AFTER_FORWARD, FSDP_OFFLOAD_PARAMS and FSDP_TRANSFORMER_CLS_TO_WRAP.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        environ = launch.environ
        self.reshard = is_true(environ, "FSDP_RESHARD_AFTER_FORWARD", True) or environ.get("FSDP_RESHARD_AFTER_FORWARD") == "full_shard"
        self.offload = is_true(environ, "FSDP_OFFLOAD_PARAMS") and self.device.type == "cuda"
        self.units = {one.strip() for one in environ.get("FSDP_TRANSFORMER_CLS_TO_WRAP", "").split(",") if one.strip()}
        self.twin: nn.Module | None = None

    def wrap(self, model: nn.Module) -> nn.Module:
        """Cut up each layer, then what is left. Raises SettingsError when FSDP_TRANSFORMER_CLS_TO_WRAP names no layer of the model."""
        known: Any = model
        units = self.units or set(known._no_split_modules or ())
        layers = [module for module in model.modules() if type(module).__name__ in units]
        if not layers:
            raise SettingsError(f"FSDP_TRANSFORMER_CLS_TO_WRAP names {', '.join(sorted(units))}: the model has no such layer; leave it out")
        self.twin = without_weights(model)
        for one in model.parameters():
            if one.requires_grad:  # as DDP does: the main process's random start is everyone's
                dist.broadcast(one.data, src=0)
        mesh = init_device_mesh(self.device.type, (self.processes,))
        more: dict[str, Any] = {"offload_policy": CPUOffloadPolicy()} if self.offload else {}
        for layer in layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=self.reshard, **more)
        fully_shard(model, mesh=mesh, reshard_after_forward=False, **more)
        return model

    def join(self, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        if isinstance(optimizer, MuonWithAdamW):
            optimizer.register_step_pre_hook(lambda made, *_: whole_matrices(made))
        return model

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
        assert isinstance(model, FSDPModule)
        model.set_requires_gradient_sync(last)
        return nullcontext()

    def clip(self, trained: list[nn.Parameter], largest: float) -> Tensor:
        whole = whole_of(nn.utils.get_total_norm([one.grad for one in trained if one.grad is not None]), self.device)
        nn.utils.clip_grads_with_norm_(trained, largest, whole)
        return whole

    def _gather(self, one: Tensor) -> Tensor | None:
        whole = whole_of(one.detach(), self.device)
        return whole.cpu() if self.main else None

    def _scatter(self, given: Tensor | None, like: Like, parameter: Tensor) -> Tensor:
        if not isinstance(parameter, DTensor) or like.shape != tuple(parameter.shape):
            return super()._scatter(given, like, parameter)
        whole = torch.empty(like.shape, dtype=like.dtype, device=self.device) if given is None else given.to(self.device, like.dtype)
        return distribute_tensor(whole, parameter.device_mesh, parameter.placements).to(parameter.device)

    @contextmanager
    def answering(self, model: nn.Module) -> Iterator[Any]:
        """A second model of the same structure, which holds the whole weights of the first while it is used."""
        assert self.twin is not None
        fill(self.twin, ((name, whole_of(one.detach(), self.device)) for name, one in model.named_parameters()))
        try:
            yield self.twin
        finally:
            fill(self.twin, ((name, one.detach().to("meta")) for name, one in self.twin.named_parameters()))


def whole_matrices(optimizer: Optimizer) -> None:
    """Gradients and momenta of Muon's matrices, put together on every process: a slice cannot be made orthogonal by itself."""
    for group in optimizer.param_groups:
        for one in group["params"] if group["name"].endswith("/matrices") else ():
            one.grad = one.grad.redistribute(placements=[Replicate()])
            if state := optimizer.state.get(one):
                state["momentum_buffer"] = state["momentum_buffer"].redistribute(placements=[Replicate()])


def without_weights(model: nn.Module) -> nn.Module:
    """A copy that holds the buffers, and of the parameters shape, type and name alone."""
    memo: dict[int, Any] = {id(one): nn.Parameter(one.detach().to("meta"), one.requires_grad) for one in model.parameters()}
    return copy.deepcopy(model, memo)


def fill(model: nn.Module, weights: Iterator[tuple[str, Tensor]]) -> None:
    """Put tensors in the place of parameters, one after another."""
    for name, tensor in list(weights):
        place, _, last = clean(name).rpartition(".")
        module = model.get_submodule(place)
        setattr(module, last, nn.Parameter(tensor, getattr(module, last).requires_grad))


def whole_of(one: Tensor, device: torch.device) -> Tensor:
    """A tensor put together from the slices of all processes; a whole one as it is."""
    sliced: Any = one
    whole: Tensor = sliced.to(device).full_tensor() if isinstance(one, DTensor) else one
    return whole
