"""Phi-3's layers in fewer passes: outputs and gradients of transformers' own, by plain torch and by GPU kernels in an interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from seeworth.phi3v.tiny import make_tiny
from seeworth.train import fast_layers
from seeworth.train.fast_layers import FastAttention, FastMLP, speed_up_layers


def model_of(fast: bool, dtype: torch.dtype = torch.float32, **config: Any) -> Any:
    model, _ = make_tiny(["Product"])
    for name, value in config.items():
        setattr(model.config, name, value)
    model = model.to(dtype).train()
    if fast:
        assert speed_up_layers(model) == 2 * model.config.num_hidden_layers
        assert speed_up_layers(model) == 0
    return model


def step(model: Any, autocast: bool = False) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    ids = torch.randint(10, 200, (3, 11))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100), use_cache=False).loss
    loss.backward()
    return {"loss": loss.detach(), **{name: one.grad.float() for name, one in model.named_parameters() if one.grad is not None}}


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of a gradient, as a share of its largest entry."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max() / other[name].abs().max()) for name in one)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_loss_and_gradients_are_those_of_transformers(attention: str) -> None:
    slow = step(model_of(False, _attn_implementation=attention))
    assert apart(step(model_of(True, _attn_implementation=attention)), slow) < 1e-5  # measured: 2e-6


def test_in_bfloat16_gradients_are_no_further_from_float32_than_transformers() -> None:
    exact = step(model_of(False))
    plain, fast = step(model_of(False), autocast=True), step(model_of(True), autocast=True)
    assert apart(fast, exact) < 1.2 * apart(plain, exact)
    weights = step(model_of(True, torch.bfloat16), autocast=True)
    assert float(weights["loss"]) == pytest.approx(float(exact["loss"]), rel=0.01)


def test_keys_shared_by_several_queries_get_the_gradients_of_transformers() -> None:
    from transformers.models.phi3.modeling_phi3 import Phi3Attention

    config = make_tiny(["Product"])[0].config
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 6, 2, 16
    grads = []
    for kind in (Phi3Attention, FastAttention):
        torch.manual_seed(4)
        layer = kind(config, 0)
        x = torch.randn(2, 7, config.hidden_size, requires_grad=True)
        half = torch.randn(1, 7, 8)
        angles = tuple(torch.cat([one, one], -1) for one in (half.cos(), half.sin()))
        layer(x, angles, None)[0].square().sum().backward()
        grads.append((x.grad, layer.qkv_proj.weight.grad))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_an_answer_that_grows_is_left_to_transformers() -> None:
    words = torch.arange(10, 30)[None]
    slow, fast = (model_of(fast).eval() for fast in (False, True))
    for one in (slow, fast):
        one.generation_config.suppress_tokens = None
    assert torch.equal(slow.generate(words, max_new_tokens=4), fast.generate(words, max_new_tokens=4))
    assert torch.equal(slow(input_ids=words, use_cache=True).logits, fast(input_ids=words, use_cache=True).logits)


def test_gpu_kernels_give_the_outputs_and_gradients_of_transformers_layers() -> None:
    pytest.importorskip("triton", reason="triton, a dev dependency, is not installed")
    script = Path(__file__).with_name("interpreted_kernels.py")
    environ = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}  # read when triton is imported: not in this process
    done = subprocess.run([sys.executable, str(script)], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["gated", "turned", "turned", "turned", "model"]


def test_another_activation_than_silu_is_left_to_transformers() -> None:
    model, _ = make_tiny(["Product"])
    model.config.hidden_act = "gelu"
    assert speed_up_layers(model) == model.config.num_hidden_layers  # the attention
    assert not any(isinstance(module, FastMLP) for module in model.modules())


def test_without_triton_kernels_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGPU:
        is_cuda = True

        def numel(self) -> int:
            return 1

    monkeypatch.setattr(fast_layers, "kernels", None)
    assert not fast_layers._fits(OnGPU())  # type: ignore[arg-type]
    monkeypatch.setattr(fast_layers, "kernels", object())
    assert fast_layers._fits(OnGPU())  # type: ignore[arg-type]
    assert not fast_layers._fits(torch.ones(1))
