"""Which modules LoRA adapts. Names are the published ones, so that the adapter fits other tools' copies of the model."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, get_peft_model

from ..settings import TrainSettings

_LANGUAGE = r"model\.layers\.\d+\.(self_attn\.(qkv_proj|o_proj)|mlp\.(gate_up_proj|down_proj))"
_PROJECTOR = r"model\.vision_embed_tokens\.img_projection\.(0|2)"
_TOWER = r"model\.vision_embed_tokens\.img_processor\.vision_model\.encoder\.layers"
_VISION = _TOWER + r"\.({layers})\.(self_attn\.(q_proj|k_proj|v_proj|out_proj)|mlp\.(fc1|fc2))"


def attach_lora(model: Any, settings: TrainSettings) -> Any:
    """Wrap the model; only the LoRA matrices are trained.

    Unless `vision` says otherwise the CLIP layers that are computed get them too; the last one is not, and would never see a gradient.
    """
    targets = [_LANGUAGE, _PROJECTOR]
    if settings.vision in ("auto", "lora"):
        computed = model.model.vision_embed_tokens.img_processor.vision_model.num_computed
        targets.append(_VISION.format(layers="|".join(map(str, range(computed)))))
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="|".join(f"({target})" for target in targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def freeze_unused(model: Any) -> None:
    """Full fine-tuning: what the forward pass never reaches (the last CLIP layers) is not trained."""
    tower = model.model.vision_embed_tokens.img_processor.vision_model
    for module in (*tower.encoder.layers[tower.num_computed :], tower.post_layernorm):
        module.requires_grad_(False)
