"""What stands beside the weights, in the form in which Microsoft published it: config.json, generation config, processor, tokenizer.

The published code on its old transformers (4.40 to 4.48), vLLM and converters read this form; so do we. `auto_map` points to the base's
own repository, whose code is not ours to ship. Where the form is left on purpose, it is said at the place. Knows nothing of weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers

from ..files import write_whole
from ..phi3v import Phi3VConfig, Phi3VProcessor
from ..phi3v.configuration import CLIP_VIT_L_14_336, IMAGE_TOKEN_ID
from ..phi3v.tiling import TILE_SIZE

PHI_3, PHI_35 = "microsoft/Phi-3-vision-128k-instruct", "microsoft/Phi-3.5-vision-instruct"
_WINDOWS = {131072: PHI_3, 262144: PHI_35}  # the sliding window that never binds tells the two apart
_PUBLISHED = (
    "architectures", "attention_dropout", "bos_token_id", "embd_layer", "embd_pdrop", "eos_token_id", "hidden_act", "hidden_size",
    "img_processor", "initializer_range", "intermediate_size", "max_position_embeddings", "model_type", "num_attention_heads",
    "num_hidden_layers", "num_key_value_heads", "original_max_position_embeddings", "pad_token_id", "resid_pdrop", "rms_norm_eps",
    "rope_scaling", "rope_theta", "sliding_window", "tie_word_embeddings", "vocab_size",
)  # fmt: skip
_SPECIAL = ["<|system|>", "<|end|>", "<|user|>", "<|end|>"]  # as published, twice <|end|>


def known_base(config: Phi3VConfig) -> str | None:
    """Which of the two published models this is, by its sizes; None for another, such as tiny, which the published code cannot hold."""
    vision: Any = config.vision_config
    if any(getattr(vision, key) != value for key, value in CLIP_VIT_L_14_336.items()):
        return None  # the published code has these sizes written into it
    return _WINDOWS.get(config.published_sliding_window or 0, PHI_35)


def write_published(folder: Path, model: Any, processor: Phi3VProcessor, *, dtype: str, base: str | None) -> None:
    """Every file beside the weights.

    Args:
        dtype: of the weights. base: Hub id of the repository that holds the published code; None leaves `auto_map` out.
    """
    quantised = getattr(model.config, "quantization_config", None)
    _write(folder / "config.json", published_config(model.config, dtype=dtype, base=base, quantised=quantised))
    _write(folder / "generation_config.json", published_generation(model))
    _write(folder / "preprocessor_config.json", published_images(processor, base))
    _write(folder / "processor_config.json", {"auto_map": _auto(base, AutoProcessor="processing"), "processor_class": "Phi3VProcessor"})
    tokenizer = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    _write(folder / "tokenizer.json", published_tokenizer(tokenizer))
    _write(folder / "tokenizer_config.json", tokenizer_config(processor, tokenizer["added_tokens"], base))
    _write(folder / "special_tokens_map.json", special_tokens(processor, tokenizer["added_tokens"]))


def published_config(config: Phi3VConfig, *, dtype: str, base: str | None, quantised: Any = None) -> dict[str, Any]:
    """config.json. `_attn_implementation` stays away: as published it demands flash attention wherever the model is loaded."""
    own = config.to_dict()
    found = {key: own[key] for key in _PUBLISHED if own.get(key) is not None}
    found |= {"torch_dtype": dtype, "transformers_version": transformers.__version__, "use_cache": True}
    found["auto_map"] = _auto(base, AutoConfig="configuration", AutoModelForCausalLM="modeling")
    if own["image_token_id"] != IMAGE_TOKEN_ID:
        found["image_token_id"] = own["image_token_id"]
    if quantised is not None:
        found["quantization_config"] = quantised if isinstance(quantised, dict) else quantised.to_dict()
    return dict(sorted(found.items()))


def published_generation(model: Any) -> dict[str, Any]:
    """generation_config.json. Its ends are those the chat models really end with: the published 2 ends nothing."""
    own = model.generation_config
    found = {key: getattr(own, key, None) for key in ("bos_token_id", "eos_token_id", "pad_token_id", "suppress_tokens")}
    return {key: value for key, value in found.items() if value is not None} | {"transformers_version": transformers.__version__}


def published_images(processor: Phi3VProcessor, base: str | None) -> dict[str, Any]:
    """preprocessor_config.json."""
    own = processor.image_processor
    images = "image_processing" if base == PHI_3 else "processing"  # 3 has a module of its own for it, 3.5 has not
    found = {
        "auto_map": _auto(base, AutoProcessor="processing", AutoImageProcessor=images),
        "do_convert_rgb": own.do_convert_rgb,
        "image_mean": own.image_mean,
        "image_processor_type": "Phi3VImageProcessor",
        "image_std": own.image_std,
        "num_crops": own.num_crops,
        "num_img_tokens": own.num_img_tokens,
        "processor_class": "Phi3VProcessor",
    }
    return found if own.tile_size == TILE_SIZE else found | {"tile_size": own.tile_size}


def published_tokenizer(data: dict[str, Any]) -> dict[str, Any]:
    """tokenizer.json: merges as "a b", which tokenizers before 0.20 read too; today's library writes pairs, which they do not."""
    merges = data["model"]["merges"]
    if any(" " in part for pair in merges for part in ([pair] if isinstance(pair, str) else pair) if not isinstance(pair, str)):
        return data  # pairs alone can tell which space is which
    joined = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
    return data | {"model": data["model"] | {"merges": joined}}


def tokenizer_config(processor: Phi3VProcessor, added: list[dict[str, Any]], base: str | None) -> dict[str, Any]:
    """tokenizer_config.json. The class is the one that reads tokenizer.json as it is, in every version: for the published LlamaTokenizer
    some releases of transformers 5 make another tokenizer, which reads `<|user|>` and the line's end after it differently."""
    own = processor.tokenizer
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {str(one["id"]): {key: value for key, value in one.items() if key != "id"} for one in added},
        "additional_special_tokens": _SPECIAL,
        "auto_map": _auto(base, AutoProcessor="processing"),
        "bos_token": own.bos_token,
        "chat_template": processor.chat_template,
        "clean_up_tokenization_spaces": False,
        "eos_token": own.eos_token,
        "legacy": False,
        "model_max_length": own.model_max_length,
        "pad_token": own.pad_token,
        "padding_side": "right",
        "processor_class": "Phi3VProcessor",
        "sp_model_kwargs": {},
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": own.unk_token,
        "use_default_system_prompt": False,
    }


def special_tokens(processor: Phi3VProcessor, added: list[dict[str, Any]]) -> dict[str, Any]:
    """special_tokens_map.json."""
    told = {one["content"]: {key: value for key, value in one.items() if key not in ("id", "special")} for one in added}
    named = {name: getattr(processor.tokenizer, name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    return {"additional_special_tokens": _SPECIAL} | {name: told[token] for name, token in named.items()}


def _auto(base: str | None, **modules: str) -> dict[str, str]:
    """`{"AutoConfig": "owner/name--configuration_phi3_v.Phi3VConfig"}`; {} without a base."""
    classes = {"AutoConfig": "Phi3VConfig", "AutoModelForCausalLM": "Phi3VForCausalLM", "AutoProcessor": "Phi3VProcessor"}
    classes |= {"AutoImageProcessor": "Phi3VImageProcessor"}
    return {} if base is None else {auto: f"{base}--{module}_phi3_v.{classes[auto]}" for auto, module in modules.items()}


def _write(path: Path, content: dict[str, Any]) -> None:
    """JSON, without an empty auto_map."""
    content = {key: value for key, value in content.items() if not (key == "auto_map" and not value)}
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
