"""Names: whether an adapter's tensors are those of the published modules, and which of them another engine would leave out.

An engine that finds no module of a tensor's name passes over it without a word, and the tuned model answers as the untuned one.
So every name is held against the model before anything is exported. Knows nothing of values.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import nn

from ..errors import RunError, told_as
from ..files import write_whole
from ..train.parts import ADAPTER, PARTS, not_computed, part_of, published

CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
KEPT = (
    "peft_type", "task_type", "base_model_name_or_path", "inference_mode", "r", "lora_alpha", "lora_dropout", "target_modules", "bias",
    "fan_in_fan_out", "init_lora_weights", "modules_to_save", "use_dora", "use_rslora",
)  # fmt: skip
"""What every PEFT since 0.10 knows: an older one refuses a setting that it has not heard of."""


def tensor_names(file: Path) -> list[str]:
    """Names in a safetensors file. Raises RunError when it is not there or damaged."""
    where = f"{file} cannot be read, take it from the run again"
    with told_as(RunError, OSError, SafetensorError, where=where), safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())


def check_adapter(file: Path, model: Any, parts: Mapping[str, str]) -> list[str]:
    """The names in an adapter file, when they are those that the model has places for, no more and no fewer.

    Args:
        model: PeftModel over the published modules. parts: how each part was trained, as run.json has it.

    Raises RunError that names the first tensor without a place, or the first one that is missing.
    """
    found = tensor_names(file)
    lora = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    whole = {f"{PREFIX}{published(name)}" for name, _ in model.named_parameters() if ".lora_" not in name}
    if strange := sorted(set(found) - lora - whole):
        raise RunError(
            f"{file} holds {strange[0]} ({len(strange)} of {len(found)} tensors), and the model has no place of that name: every engine "
            "would leave it out without a word; the names of such a model are those of the published modules"
        )
    never = not_computed(model)
    trained = {name for name in whole if parts.get(part_of(name)) == "full" and not published(name).startswith(never)}
    if missing := sorted((lora | trained) - set(found)):
        raise RunError(f"{file} lacks {missing[0]} ({len(missing)} tensors), which was trained: it was damaged or changed by hand")
    return found


def untouched_tensors(names: Collection[str]) -> dict[str, int]:
    """By part, the tensors that an engine leaves out which adapts the linear layers of the language model alone."""
    count = Counter(part_of(name) for name in names if part_of(name) != "language" or ".lora_" not in name)
    return {part: count[part] for part in PARTS if count[part]}


def engines_line(names: Collection[str]) -> str:
    """One sentence: what other engines make of the adapter."""
    left = untouched_tensors(names)
    first = "vLLM takes no adapter of this architecture: give it the merged export (--merge)."
    if not left:
        return f"{first} Every tensor is LoRA of the language model's linear layers."
    told = ", ".join(f"{count} of {part}" for part, count in left.items())
    return f"{first} An engine that adapts only the language model would leave out {told}, of {len(names)} tensors, without a word."


def write_adapter_config(source: Path, target: Path, base: str, model: nn.Module) -> None:
    """PEFT's configuration as older versions read it too: the base by its Hub id, target modules as a list where a list says the same."""
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    kept = {key: config[key] for key in KEPT if key in config} | {"base_model_name_or_path": base, "inference_mode": True}
    kept["target_modules"] = short_targets(kept["target_modules"], [name for name, _ in linear_layers(model)])
    write_whole(target / CONFIG, json.dumps(kept, indent=2) + "\n")


def linear_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Linear layers of the model, by their published names, adapted or not."""
    found = {}
    for name, module in model.named_modules():
        inner = hasattr(module, "base_layer") or isinstance(module, nn.Linear)
        if inner and ".lora_" not in name and not name.endswith(".base_layer"):
            found[published(name)] = module
    return list(found.items())


def short_targets(pattern: str | list[str], layers: Collection[str]) -> str | list[str]:
    """["qkv_proj", ...] where that means the same layers as the pattern; else the pattern.

    Several engines read a list and no pattern. But q_proj in a list would also mean the CLIP layer that is never computed.
    """
    if not isinstance(pattern, str):
        return pattern
    wanted = {layer for layer in layers if re.fullmatch(pattern, layer)}
    ends = sorted({layer.rpartition(".")[2] for layer in wanted})
    meant = {layer for layer in layers if layer.rpartition(".")[2] in ends}
    return ends if ends and meant == wanted else pattern


__all__ = ["ADAPTER", "CONFIG", "PREFIX", "check_adapter", "engines_line", "short_targets", "tensor_names", "write_adapter_config"]
