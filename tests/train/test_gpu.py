"""What only a GPU shows: LoRA in fewer passes, compiled layers and the step, in bfloat16, against the same in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seeworth.phi3v.tiny import make_tiny
from seeworth.settings import TrainSettings
from seeworth.train.compile import compile_layers
from seeworth.train.fast_layers import speed_up_layers
from seeworth.train.fast_lora import speed_up_lora
from seeworth.train.optimizer import make_optimizer
from seeworth.train.parts import prepare_parts, resolve_parts
from seeworth.train.spread import Alone
from seeworth.train.step import Stepper

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
SETTINGS = TrainSettings(Path("x"), Path("y"), model="somewhere", lora_rank=8, lora_alpha=16, lora_dropout=0.0, learning_rate=1e-3)


def model_on_gpu(*, fast: bool, compiled: bool = False) -> Any:
    model, _ = make_tiny(["Product"])
    model.config.use_cache = False
    model = prepare_parts(model.to(torch.bfloat16), SETTINGS, resolve_parts(SETTINGS)).train().cuda()
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    if fast:
        assert speed_up_lora(model)
        assert speed_up_layers(model)
    if compiled:
        assert compile_layers(model)
    return model


def batch(model: Any) -> dict[str, Any]:
    torch.manual_seed(2)
    photo = 4 * (4 + 1) * 2 + 1
    ids = torch.randint(10, 200, (4, photo + 12))
    ids[:, 3 : 3 + photo] = model.config.image_token_id
    labels = ids.clone()
    labels[:, : photo + 6] = -100
    return {
        "input_ids": ids,
        "labels": labels,
        "pixel_values": torch.randn(4, 2, 3, 112, 112),
        "image_sizes": torch.tensor([[112, 112]] * 4),
    }


def losses(model: Any, steps: int = 8) -> list[float]:
    stepper = Stepper(model, make_optimizer(model, SETTINGS), Alone(torch.device("cuda")), torch.bfloat16)
    made = batch(model)
    return [float(stepper.step([made]).loss) for _ in range(steps)]


@pytest.mark.parametrize("compiled", [False, True])
def test_on_a_gpu_lora_in_fewer_passes_learns_as_pefts(compiled: bool) -> None:
    plain, fast = losses(model_on_gpu(fast=False)), losses(model_on_gpu(fast=True, compiled=compiled))
    print(compiled, plain, fast)
    assert plain[-1] < 0.9 * plain[0]
    assert fast == pytest.approx(plain, rel=0.02)  # bfloat16 has 3 digits


def test_on_a_gpu_a_step_gives_the_same_bits_twice() -> None:
    assert losses(model_on_gpu(fast=True)) == losses(model_on_gpu(fast=True))
