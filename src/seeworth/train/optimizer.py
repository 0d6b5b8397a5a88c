"""Muon for the matrices inside the layers, AdamW for all else, as one optimizer that the Trainer can step, schedule and save.

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


class MuonWithAdamW(Optimizer):
    """One optimizer of two parts.

    Args:
        model: its trainable parameters are taken.
        lr: of both parts. weight_decay: of both; norms, biases and embeddings have none.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float) -> None:
        matrices, plain = split_parameters(model)
        self.parts: tuple[Optimizer, ...] = (
            Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            AdamW(plain, lr=lr, weight_decay=0.0, fused=True),
        )
        super().__init__([*matrices, *plain], {"lr": lr})
        self.param_groups = [group for part in self.parts for group in part.param_groups]  # shared: a schedule sets both

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of both parts; a closure is not supported, as in the Trainer none is given.

        On a CPU in one thread: the matrices are small, and meeting the other threads after each of some hundred products costs
        more than they help, a hundred times more when another process holds their core.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for part in self.parts:
                part.step()
        finally:
            torch.set_num_threads(threads)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What is trained of a model: the weights of linear layers other than the head, and everything else."""
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear) and "lm_head" not in name}
    return [one for name, one in trained.items() if name in linear], [one for name, one in trained.items() if name not in linear]
