"""`Zero`: several processes through DeepSpeed, ZeRO stage 2 (gradients and optimizer cut up) or 3 (weights too).

DeepSpeed is no dependency of ours: it is asked for, in one line, where it is missing. Checkpoints hold whole float32 tensors, as those of
any other spread. Knows nothing of records or files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...errors import SettingsError
from ...settings import TrainSettings
from .alone import fit, trained_of
from .sharded import fill, without_weights
from .together import Like, Together


class Zero(Together):
    """DeepSpeed's engine in the place of the model; it steps the AdamW that it is given.

    Of accelerate's configuration it takes the stage, and where the optimizer's state and the weights are kept (offload to the CPU).
    All else is left there: batches, schedule, clipping and dtype are ours.
    """

    def settle(self, settings: TrainSettings) -> None:
        super().settle(settings)
        os.environ.setdefault("DS_ACCELERATOR", self.device.type)
        try:
            self.library: Any = import_module("deepspeed")
        except ImportError as problem:
            words = f"DeepSpeed is asked for and cannot be imported ({problem}): pip install deepspeed, or --strategy fsdp"
            raise SettingsError(words) from problem
        if settings.dtype == "float16":
            raise SettingsError("dtype float16 is not made for DeepSpeed: take bfloat16 or float32, or ddp or fsdp")
        self.half = settings.dtype == "bfloat16" or (settings.dtype == "auto" and self.device.type == "cuda")
        self.largest = settings.max_grad_norm
        self.stage = int(self.launch.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))
        if self.stage not in (2, 3):
            raise SettingsError(f"accelerate's configuration says zero_stage {self.stage}, expected 2 or 3 (recipes/launch)")
        self.twin: nn.Module | None = None
        self.numbered: list[nn.Parameter] = []

    def wrap(self, model: nn.Module) -> nn.Module:
        self.twin = without_weights(model) if self.stage == 3 else None
        return model

    def join(self, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        self.numbered = [one for group in optimizer.param_groups for one in group["params"]]
        self.sizes = [len(group["params"]) for group in optimizer.param_groups]
        engine: nn.Module = self.library.initialize(model=model, optimizer=optimizer, config=self.config(), dist_init_required=False)[0]
        return engine

    def config(self) -> dict[str, Any]:
        """DeepSpeed's own configuration: it is not told of batches and schedule, which the loop keeps."""
        zero: dict[str, Any] = {"stage": self.stage}
        for name in ("offload_optimizer", "offload_param"):
            where = self.launch.environ.get(f"ACCELERATE_DEEPSPEED_{name.upper()}_DEVICE", "none")
            if where not in ("none", "cpu"):
                raise SettingsError(f"accelerate's configuration says {name}_device {where}, expected none or cpu")
            if where == "cpu":
                zero[name] = {"device": where}
        return {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": self.largest,
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "bf16": {"enabled": self.half},
        }

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
        engine: Any = model
        engine.set_gradient_accumulation_boundary(last)
        return nullcontext()

    def backward(self, model: nn.Module, loss: Tensor) -> None:
        engine: Any = model
        engine.backward(loss)

    def update(self, model: nn.Module, optimizer: Optimizer, scaler: torch.amp.GradScaler, largest: float) -> Tensor:
        engine: Any = model
        engine.step()
        return torch.tensor(float(engine.get_global_grad_norm()))

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        get = self.library.utils.safe_get_full_fp32_param
        whole = {name: get(one) for name, one in trained_of(model).items()}  # every process takes part
        return {name: one.cpu() for name, one in whole.items()} if self.main else {}

    def load_weights(self, model: nn.Module, weights: Mapping[str, Tensor] | None) -> None:
        own = trained_of(model)
        self.main_only(lambda: fit({name: Like(self.shape(one), one.dtype) for name, one in own.items()}, weights or {}))
        for name, one in own.items():
            given = weights[name] if weights is not None and self.main else None
            whole = self._scatter(given, Like(self.shape(one), torch.float32), one)
            self.library.utils.safe_set_full_fp32_param(one, whole)
            with torch.no_grad(), self.library.zero.GatheredParameters([one], modifier_rank=0, enabled=self.stage == 3):
                one.copy_(whole)

    def optimizer_state(self, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        get = self.library.utils.safe_get_full_optimizer_state
        state: dict[int, dict[str, Any]] = {}
        steps = [values["step"] for values in optimizer.state.values() if "step" in values]
        if steps:
            self.link(model)
        for number, one in enumerate(self.numbered if steps else ()):
            moments = {name: get(one, name) for name in ("exp_avg", "exp_avg_sq")}
            state[number] = {"step": torch.tensor(float(steps[0])), **{name: value.cpu() for name, value in moments.items()}}
        return {"state": state, "param_groups": self.groups(optimizer)} if self.main else {}

    def groups(self, optimizer: Optimizer) -> list[dict[str, Any]]:
        """The groups' settings, with the numbers that the parameters had before DeepSpeed laid them into one tensor."""
        found, start = [], 0
        for group, size in zip(optimizer.param_groups, self.sizes, strict=True):
            found.append({**{name: value for name, value in group.items() if name != "params"}, "params": list(range(start, start + size))})
            start += size
        return found

    def load_optimizer(self, model: nn.Module, optimizer: Optimizer, state: dict[str, Any] | None) -> None:
        given = (state or {}).get("state", {}) if self.main else {}
        steps = self.first(lambda: float(given[0]["step"]) if given else None)
        if steps is None:
            return
        engine: Any = model
        zero = engine.optimizer
        for flat in zero.fp32_partitioned_groups_flat if self.stage == 3 else zero.single_partition_of_fp32_groups:
            step = torch.tensor(steps, device=flat.device)
            optimizer.state[flat] = {"step": step, "exp_avg": torch.zeros_like(flat), "exp_avg_sq": torch.zeros_like(flat)}
        self.link(model)
        for number, one in enumerate(self.numbered):
            for name in ("exp_avg", "exp_avg_sq"):
                whole = self._scatter(given[number][name] if given else None, Like(self.shape(one), torch.float32), one)
                self.library.utils.safe_set_full_optimizer_state(one, whole, name)

    def link(self, model: nn.Module) -> None:
        """Let each parameter know its place in the optimizer's state. Stage 2 does so by itself in its first step, behind the first
        group of parameters, where the others have no state yet."""
        engine: Any = model
        if self.stage == 2:
            engine.optimizer._hp_optimizer_states_linked = False
            engine.optimizer._lazy_init_hp_params_optimizer_state()

    def shape(self, one: Any) -> tuple[int, ...]:
        return tuple(one.ds_shape if self.stage == 3 else one.shape)

    @contextmanager
    def answering(self, model: nn.Module) -> Iterator[Any]:
        """The model itself where its weights are whole, else one of the same structure that holds them while it is used."""
        engine: Any = model
        if self.twin is None:
            yield engine.module
            return
        named = dict(engine.module.named_parameters())
        with self.library.zero.GatheredParameters(list(named.values())):
            fill(self.twin, ((name, one.detach().clone()) for name, one in named.items()))
        try:
            yield self.twin
        finally:
            fill(self.twin, ((name, one.detach().to("meta")) for name, one in self.twin.named_parameters()))
