"""Muon with AdamW: which parameter goes where, one schedule for both, and a state that goes on where it stopped."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from seeworth.phi3v.tiny import make_tiny
from seeworth.train.optimizer import MuonWithAdamW, split_parameters


def test_the_matrices_inside_the_layers_are_muons_and_all_else_is_adamws() -> None:
    model, _ = make_tiny(["Product: Bag"])
    model.model.layers[0].mlp.down_proj.weight.requires_grad_(False)
    names = {id(one): name for name, one in model.named_parameters()}
    matrices, plain = ({names[id(one)] for one in part} for part in split_parameters(model))
    assert {"model.layers.1.self_attn.qkv_proj.weight", "model.vision_embed_tokens.img_projection.0.weight"} <= matrices
    assert any("vision_model.encoder.layers.0.mlp.fc1.weight" in name for name in matrices)
    assert {"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight", "model.vision_embed_tokens.glb_GN"} <= plain
    assert not any("bias" in name or "norm" in name or "embed_tokens.weight" in name for name in matrices)
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert matrices | plain == trained
    assert "model.layers.0.mlp.down_proj.weight" not in trained


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> float:
    torch.manual_seed(seed)
    batch = torch.randn(64, 8)
    loss = (model(batch) - batch.flip(1)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 8))


def test_it_learns() -> None:
    model = _model()
    optimizer = MuonWithAdamW(model, lr=1e-2, weight_decay=0.0)
    losses = [_step(model, optimizer, seed) for seed in range(200)]
    assert losses[-1] < 0.2 * losses[0]


def test_a_schedule_sets_both_parts_before_and_after_a_state_is_loaded() -> None:
    model = _model()
    optimizer = MuonWithAdamW(model, lr=1e-2, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for again in (False, True):
        if again:
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        _step(model, optimizer, 0)
        schedule.step()
        rates = [group["lr"] for part in optimizer.parts for group in part.param_groups]
        assert rates == pytest.approx([1e-2 / (3 if again else 2)] * 2)


def test_a_loaded_state_goes_on_bit_by_bit() -> None:
    straight, broken = _model(), _model()
    one, other = (MuonWithAdamW(model, lr=1e-2, weight_decay=0.1) for model in (straight, broken))
    for seed in range(3):
        _step(straight, one, seed)
        _step(broken, other, seed)
    fresh = MuonWithAdamW(broken, lr=9.0, weight_decay=0.0)
    fresh.load_state_dict(copy.deepcopy(other.state_dict()))
    for seed in range(3, 6):
        _step(straight, one, seed)
        _step(broken, fresh, seed)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), broken.parameters(), strict=True))
