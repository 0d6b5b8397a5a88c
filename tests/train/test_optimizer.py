"""AdamW, and Muon with AdamW: which weight stands in which group, a rate for each part, and a state that goes on where it stopped."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from seeworth.phi3v.tiny import make_tiny
from seeworth.settings import TrainSettings
from seeworth.train.optimizer import MuonWithAdamW, make_groups, make_optimizer
from seeworth.train.parts import prepare_parts, resolve_parts

BOTH = pytest.mark.parametrize("optim", ["adamw", "muon"])


def settings(**more: Any) -> TrainSettings:
    return TrainSettings(data=Path("x"), output_dir=Path("y"), **({"model": "tiny"} | more))


def names_in_groups(model: nn.Module, one: TrainSettings) -> dict[str, set[str]]:
    names = {id(weight): name for name, weight in model.named_parameters()}
    return {group["name"]: {names[id(weight)] for weight in group["params"]} for group in make_groups(model, one)}


def test_every_trained_weight_stands_in_the_group_of_its_part_and_kind_once() -> None:
    model, _ = make_tiny(["Product: Bag"])
    one = settings(vision="frozen")
    model = prepare_parts(model, one, resolve_parts(one))
    groups = names_in_groups(model, one)
    assert list(groups) == ["language/matrices", "language/other", "projector/matrices", "projector/other"]
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert set().union(*groups.values()) == trained
    assert sum(map(len, groups.values())) == len(trained)
    assert {"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"} <= groups["language/other"]
    assert "model.layers.1.self_attn.qkv_proj.weight" in groups["language/matrices"]
    assert {"model.vision_embed_tokens.glb_GN", "model.vision_embed_tokens.sub_GN"} <= groups["projector/other"]
    matrices = groups["language/matrices"] | groups["projector/matrices"]
    assert not any("bias" in name or "norm" in name for name in matrices)


def test_a_part_has_its_own_rate_and_only_matrices_decay() -> None:
    model, _ = make_tiny(["Product: Bag"])
    one = settings(learning_rate=1e-3, vision_learning_rate=2e-5, weight_decay=0.1, adam_beta2=0.95)
    optimizer = make_optimizer(prepare_parts(model, one, resolve_parts(one)), one)
    found = {group["name"]: (group["lr"], group["weight_decay"], group["betas"]) for group in optimizer.param_groups}
    assert found["vision/matrices"] == (2e-5, 0.1, (0.9, 0.95))
    assert found["vision/other"] == (2e-5, 0.0, (0.9, 0.95))
    assert found["language/matrices"] == found["projector/matrices"] == (1e-3, 0.1, (0.9, 0.95))


def test_loras_matrices_decay_and_doras_magnitudes_do_not() -> None:
    model, _ = make_tiny(["Product: Bag"])
    one = settings(model="some/folder", lora_rank=2, use_dora=True)
    groups = names_in_groups(prepare_parts(model, one, resolve_parts(one)), one)
    assert all("lora_A" in name or "lora_B" in name for name in groups["language/matrices"])
    assert groups["language/other"]
    assert all("lora_magnitude_vector" in name for name in groups["language/other"])


class _Two(nn.Module):
    """A head on the language side and a layer in a tower, by their names."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.img_processor = nn.Linear(8, 32)
        self.layers = nn.Linear(32, 8)

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.layers(self.img_processor(batch).tanh())
        return out


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> float:
    torch.manual_seed(seed)
    batch = torch.randn(64, 8)
    loss = (model(batch) - batch.flip(1)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


@BOTH
def test_it_learns(optim: Literal["adamw", "muon"]) -> None:
    model = _Two()
    optimizer = make_optimizer(model, settings(learning_rate=1e-2, optim=optim))
    losses = [_step(model, optimizer, seed) for seed in range(200)]
    assert losses[-1] < 0.2 * losses[0]


@BOTH
def test_a_schedule_scales_every_group_before_and_after_a_state_is_loaded(optim: Literal["adamw", "muon"]) -> None:
    model = _Two()
    optimizer = make_optimizer(model, settings(learning_rate=1e-2, vision_learning_rate=1e-3, optim=optim))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for again in (False, True):
        if again:
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        before = [weight.detach().clone() for weight in model.parameters()]
        _step(model, optimizer, 0)
        assert not any(torch.equal(old, weight) for old, weight in zip(before, model.parameters(), strict=True))
        schedule.step()
        share = 1 / (3 if again else 2)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-2 * share] * 2 + [1e-3 * share] * 2)
        if isinstance(optimizer, MuonWithAdamW):
            assert [maker.param_groups[0] for maker in optimizer.makers] == optimizer.param_groups


def test_a_rate_of_zero_stops_its_part_alone_under_muon() -> None:
    model = _Two()
    optimizer = make_optimizer(model, settings(optim="muon"))
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if group["name"].startswith("vision") else group["lr"]
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    _step(model, optimizer, 0)
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {"layers.weight", "layers.bias"}


@BOTH
def test_a_state_that_went_through_json_goes_on_bit_by_bit(optim: Literal["adamw", "muon"]) -> None:
    one = settings(learning_rate=1e-2, weight_decay=0.1, optim=optim)
    straight, broken = _Two(), _Two()
    first, second = make_optimizer(straight, one), make_optimizer(broken, one)
    for seed in range(3):
        _step(straight, first, seed)
        _step(broken, second, seed)
    state = second.state_dict()
    assert set(state) == {"state", "param_groups"}
    assert sorted(state["state"]) == [0, 1, 2, 3]
    stored = {
        "state": {number: {key: value.clone() for key, value in slots.items()} for number, slots in state["state"].items()},
        "param_groups": json.loads(json.dumps(state["param_groups"])),
    }
    fresh = make_optimizer(broken, settings(learning_rate=9.0, optim=optim))
    fresh.load_state_dict(stored)
    for seed in range(3, 6):
        _step(straight, first, seed)
        _step(broken, fresh, seed)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), broken.parameters(), strict=True))


def test_muon_refuses_a_closure() -> None:
    with pytest.raises(ValueError, match="takes no closure"):
        make_optimizer(_Two(), settings(optim="muon")).step(lambda: 0.0)
