"""The optimizer: AdamW, or Muon for the matrices inside the layers with AdamW for all else, with a learning rate for each part.

Muon (K. Jordan et al., 2024, https://kellerjordan.github.io/posts/muon) makes each matrix's update orthogonal, so that all of
its directions learn at the same pace. From random weights it needs about half of the photos that AdamW needs; for LoRA on a
pretrained model AdamW stays the default. The step is scaled to the size of AdamW's (J. Liu et al., "Muon is Scalable for LLM
Training", 2025), so that one learning rate serves both. Embeddings, the head, norms and biases are no such matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from ..settings import TrainSettings
from .parts import PARTS, part_of

_FUSED = {"cpu", "cuda", "mps", "xpu"}  # where torch has AdamW as one kernel


def make_optimizer(model: nn.Module, settings: TrainSettings) -> Optimizer:
    """An optimizer over what is trained of the model.

    One group for each part and kind, named "language/matrices", "language/other", "projector/matrices" ...: its `lr` is the part's
    learning rate, and `weight_decay` is that of the settings for matrices, 0 for the rest. `state_dict` has torch's usual form.
    """
    groups = make_groups(model, settings)
    betas = (settings.adam_beta1, settings.adam_beta2)
    if settings.optim == "muon":
        return MuonWithAdamW(groups, betas=betas)
    kinds = {weight.device.type for group in groups for weight in group["params"]}
    return AdamW(groups, betas=betas, fused=kinds <= _FUSED)


def make_groups(model: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """What is trained as torch's parameter groups, language first; groups without a parameter are left out."""
    matrices = matrix_names(model)
    found: dict[tuple[str, str], list[nn.Parameter]] = {(part, kind): [] for part in PARTS for kind in ("matrices", "other")}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            found[part_of(name), "matrices" if name in matrices else "other"].append(weight)
    groups = []
    for (part, kind), weights in found.items():
        if weights:
            own = getattr(settings, f"{part}_learning_rate")
            rate = settings.learning_rate if own is None else own
            decay = settings.weight_decay if kind == "matrices" else 0.0
            groups.append({"params": weights, "name": f"{part}/{kind}", "lr": rate, "weight_decay": decay})
    return groups


def matrix_names(model: nn.Module) -> set[str]:
    """Names of the weights of linear layers other than the head, LoRA's among them."""
    linear = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return {f"{name}.weight" for name in linear if "lm_head" not in name.split(".")}


class MuonWithAdamW(Optimizer):
    """Muon for the groups named ".../matrices", AdamW for the others, as one optimizer that can be stepped, scheduled and saved.

    Args:
        groups: as `make_groups` makes them.
        betas: of AdamW.
    """

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float] = (0.9, 0.999)) -> None:
        makers: list[Optimizer] = []
        for group in groups:
            if group["name"].endswith("/matrices"):
                makers.append(Muon([group], adjust_lr_fn="match_rms_adamw"))
            else:
                fused = {weight.device.type for weight in group["params"]} <= _FUSED
                makers.append(AdamW([group], betas=betas, fused=fused))
        super().__init__([group for maker in makers for group in maker.param_groups], {})
        self.makers = makers
        self._share()

    def _share(self) -> None:
        """One state and one set of groups: each maker steps a group of this optimizer, and keeps nothing of its own."""
        for maker, group in zip(self.makers, self.param_groups, strict=True):
            maker.state = self.state
            maker.param_groups = [group]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every group; a closure is not supported.

        On a CPU in one thread: the matrices are small, and meeting the other threads after each of some hundred products costs
        more than they help, a hundred times more when another process holds their core.
        """
        if closure is not None:
            raise ValueError("MuonWithAdamW takes no closure: call backward yourself, then step()")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for maker in self.makers:
                maker.step()
        finally:
            torch.set_num_threads(threads)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()
