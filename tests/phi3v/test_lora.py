"""PEFT adapters on both towers: they train, save and load equal, and merge into the published names."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor

from seeworth.phi3v import Phi3VForCausalLM

LANGUAGE = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
VISION = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "img_projection.0", "img_projection.2"]
EQUAL = 2e-5  # measured 3e-6: merged weights are summed in another order


@pytest.fixture
def batch(small: Any, reference: ModuleType) -> dict[str, Tensor]:
    inputs = small.inputs(reference, small.cases["mixed_right"], placeholder=319)
    labels = inputs["input_ids"].masked_fill((inputs["attention_mask"] == 0) | (inputs["input_ids"] == 319), -100)
    return inputs | {"labels": labels}


def adapted(small: Any, **more: Any) -> PeftModel:
    """An adapter on every linear layer of both towers; the second CLIP layer is the last that this checkpoint computes."""
    torch.manual_seed(0)
    unused = [f"encoder.layers.{number}." for number in (2, 3)]
    config = LoraConfig(r=4, lora_alpha=8, target_modules=LANGUAGE + VISION, exclude_modules=rf".*({'|'.join(unused)}).*", **more)
    return get_peft_model(small.model(), config)


def trained(model: PeftModel, batch: dict[str, Tensor], steps: int = 3) -> list[float]:
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-2)
    model.train()
    losses = []
    for _ in range(steps):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


@pytest.mark.parametrize("checkpointing", [None, False, True])
def test_both_towers_get_gradients_and_nothing_else_does(small: Any, batch: dict[str, Tensor], checkpointing: bool | None) -> None:
    model = adapted(small)
    if checkpointing is not None:  # with and without torch's re-entrant way, which loses the gradient of frozen inputs
        model.activation_checkpointing_enable({"use_reentrant": checkpointing})
        model.enable_input_require_grads()
        model.train()
    model(**batch).loss.backward()
    for name, one in model.named_parameters():
        if "lora_B" in name:  # lora_A starts with no gradient, for B starts at zero
            assert one.grad is not None, name
            assert one.grad.abs().max() > 0, name
        elif "lora_" not in name:
            assert one.grad is None, name
    assert any("vision_model.encoder.layers.1.mlp.fc2.lora_B" in name for name, _ in model.named_parameters())
    assert any("layers.1.self_attn.qkv_proj.lora_B" in name for name, _ in model.named_parameters())


def test_an_adapter_trains_saves_and_loads_equal(small: Any, batch: dict[str, Tensor], tmp_path: Path) -> None:
    model = adapted(small)
    before = model(**batch).logits.detach()
    losses = trained(model, batch, steps=6)
    assert losses[-1] < losses[0] - 0.1
    after = model(**batch).logits.detach()
    assert (after - before).abs().max() > 0.1
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    names = load_file(tmp_path / "adapter_model.safetensors").keys()
    assert "base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight" in names
    clip = "base_model.model.model.vision_embed_tokens.img_processor.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"
    assert clip in names
    again = PeftModel.from_pretrained(small.model(), tmp_path).eval()
    assert torch.equal(again(**batch).logits, after)


def test_a_merged_adapter_keeps_the_published_names_and_the_logits(small: Any, batch: dict[str, Tensor], tmp_path: Path) -> None:
    model = adapted(small)
    trained(model, batch)
    expected = model(**batch).logits.detach()
    merged = model.merge_and_unload()
    assert (merged(**batch).logits - expected).abs().max() < EQUAL
    merged.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == small.weights.keys()
    loaded = Phi3VForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(**batch).logits, merged(**batch).logits)


def test_an_adapted_model_generates_with_photos_as_its_merged_twin(small: Any, reference: ModuleType, batch: dict[str, Tensor]) -> None:
    model = adapted(small)
    trained(model, batch)
    prompt = small.inputs(reference, small.cases["mixed_left"], placeholder=319)
    words = model.generate(**prompt, max_new_tokens=6, do_sample=False)
    assert torch.equal(model.merge_and_unload().generate(**prompt, max_new_tokens=6, do_sample=False), words)


def test_separators_and_head_can_be_trained_beside_an_adapter(small: Any, batch: dict[str, Tensor], tmp_path: Path) -> None:
    model = adapted(small, modules_to_save=["lm_head"])
    for name, one in model.named_parameters():
        if name.endswith(("glb_GN", "sub_GN")):
            one.requires_grad_(True)
    model(**batch).loss.backward()
    embedding = model.base_model.model.model.vision_embed_tokens
    assert embedding.glb_GN.grad.abs().max() > 0
    assert embedding.sub_GN.grad.abs().max() > 0
    trained(model, batch)
    model.save_pretrained(tmp_path)
    assert "base_model.model.lm_head.weight" in load_file(tmp_path / "adapter_model.safetensors")
