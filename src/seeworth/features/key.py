"""What features hang on: the photo's bytes, how it is tiled, the tower's weights and how it computes. Nothing else may change them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from ..data.intake.stored import stored_hash
from ..data.photo.decode import read_photo
from ..phi3v import Phi3VForCausalLM, Phi3VImageProcessor

FORMAT = 1  # another number when decoding, tiling or the order of the features' numbers changes

_TILING = ("num_crops", "tile_size", "num_img_tokens", "image_mean", "image_std", "do_convert_rgb")
_TOWER = ("hidden_act", "hidden_size", "image_size", "layer_norm_eps", "num_attention_heads", "patch_size")


def recipe(model: Any, image_processor: Phi3VImageProcessor) -> dict[str, Any]:
    """All that decides what features a photo has, as JSON can hold it. Hashing 300 million weights takes 0.7 s in bfloat16.

    Raises ValueError when the tower has adapters: their effect is not in its weights.
    """
    embedding = embedding_of(model)
    tower = embedding.img_processor.vision_model
    if fitted := [name for name, _ in tower.named_parameters() if "lora_" in name or "base_layer" in name or "modules_to_save" in name]:
        raise ValueError(f"the vision tower has adapters ({fitted[0]}): merge them, or do without kept features")
    first = tower.embeddings.class_embedding
    return {
        "format": FORMAT,
        "tower": {"weights": tower_hash(tower), "layers": tower.num_computed, **{name: getattr(tower.config, name) for name in _TOWER}},
        "tiling": {name: getattr(image_processor, name) for name in _TILING},
        "dtype": str(first.dtype).removeprefix("torch."),
        "device": first.device.type,
        "tile": [embedding.tile_grid, embedding.tile_grid, embedding.glb_GN.shape[-1]],
    }


def fingerprint(made_by: dict[str, Any]) -> str:
    """32 hex digits that stand for a recipe."""
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:32]


def tower_hash(tower: Any) -> str:
    """blake2b over the tensors that are computed, by name, dtype and shape; the layers after them do not count."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tower.state_dict().items()):
        words = name.split(".")
        if words[0] == "post_layernorm" or (words[:2] == ["encoder", "layers"] and int(words[2]) >= tower.num_computed):
            continue
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def photo_key(path: Path) -> bytes:
    """sha256 of the photo's bytes. In a dataset folder that is its name, photos/ab/<sha256>.ext. Raises PhotoError."""
    name = stored_hash(path)
    return bytes.fromhex(name) if name else hashlib.sha256(read_photo(path)).digest()


def embedding_of(model: Any) -> Any:
    """The photo embedding of the model, whatever PEFT, DDP or torch.compile put around it."""
    return next(one for one in model.modules() if isinstance(one, Phi3VForCausalLM)).model.vision_embed_tokens


def is_frozen(model: Any) -> bool:
    """Whether no weight of the vision tower is marked to be trained: only then do its features stay what they are."""
    return not any(weight.requires_grad for weight in embedding_of(model).img_processor.parameters())
