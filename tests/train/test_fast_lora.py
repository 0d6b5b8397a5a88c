"""LoRA in fewer passes: the same outputs and gradients as PEFT's own, and PEFT's own wherever it is no plain LoRA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seeworth.phi3v.tiny import make_tiny
from seeworth.settings import TrainSettings
from seeworth.train.fast_lora import speed_up_lora
from seeworth.train.parts import prepare_parts, resolve_parts

SETTINGS = TrainSettings(Path("x"), Path("y"), model="somewhere", lora_rank=4, lora_alpha=8, lora_dropout=0.0)


def adapted(settings: TrainSettings, fast: bool) -> Any:
    model, _ = make_tiny(["Product"])
    model = prepare_parts(model, settings, resolve_parts(settings)).train()
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)  # at their start of zeros half of the gradients would be zero too
    if fast:
        assert speed_up_lora(model) == sum(name.endswith("lora_A.default.weight") for name, _ in model.named_parameters())
    return model


def step(model: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    image_token = model.config.image_token_id
    photo = (8 // 2) * (8 // 2 + 1) * 2 + 1
    ids = torch.randint(10, 200, (2, photo + 12))
    ids[:, 3 : 3 + photo] = image_token
    labels = ids.clone()
    labels[:, : photo + 6] = -100
    pixels = torch.randn(2, 2, 3, 112, 112)
    sizes = torch.tensor([[112, 112]] * 2)
    torch.manual_seed(3)
    output = model(input_ids=ids, labels=labels, pixel_values=pixels, image_sizes=sizes, logits_at_labels=True)
    output.loss.backward()
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    return {"loss": output.loss.detach(), **grads}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_loss_and_gradients_are_those_of_peft(dropout: float) -> None:
    settings = replace(SETTINGS, lora_dropout=dropout)
    if dropout:  # the masks are drawn for another shape, [token, in] and not [row, place, in], yet in the same order
        torch.use_deterministic_algorithms(True)
    try:
        slow, fast = step(adapted(settings, False)), step(adapted(settings, True))
    finally:
        torch.use_deterministic_algorithms(False)
    assert slow.keys() == fast.keys()
    for name in slow:
        size = slow[name].abs().max()
        assert (slow[name] - fast[name]).abs().max() <= 1e-5 * size + 1e-8, name  # found: 6e-7; a missing scale is 1


def test_with_autocast_outputs_agree_to_bfloat16() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        slow, fast = step(adapted(SETTINGS, False)), step(adapted(SETTINGS, True))
    assert abs(float(slow["loss"] - fast["loss"])) < 0.01 * float(slow["loss"])
    for name in slow:
        assert fast[name].dtype == torch.float32
        error = (slow[name] - fast[name]).norm() / slow[name].norm().clamp_min(1e-12)
        assert error < 0.1, name  # bfloat16 has 3 digits; found at most 0.03


def test_what_is_no_plain_lora_is_left_to_peft() -> None:
    settings = replace(SETTINGS, use_dora=True)
    model = prepare_parts(make_tiny(["Product"])[0], settings, resolve_parts(settings))
    assert speed_up_lora(model) == 0


def test_a_pass_that_teaches_nothing_has_a_loss_and_gradients_of_zero() -> None:
    """No label: nothing is left of the last layer's places. So does a record that fills a process's turn look."""
    model = adapted(SETTINGS, True)
    ids = torch.randint(10, 200, (2, 9))
    loss = model(input_ids=ids, labels=torch.full_like(ids, -100), logits_at_labels=True, num_items_in_batch=7.0).loss
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(not weight.grad.any() for weight in model.parameters() if weight.grad is not None)


def test_a_disabled_adapter_gives_the_base_models_answer() -> None:
    model = adapted(SETTINGS, True)
    ids = torch.randint(10, 200, (1, 9))
    with model.disable_adapter():
        off = model(input_ids=ids).logits
    base, _ = make_tiny(["Product"])
    assert torch.allclose(off, base(input_ids=ids).logits, atol=1e-6)
    assert not torch.allclose(off, model(input_ids=ids).logits, atol=1e-3)
