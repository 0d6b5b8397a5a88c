"""Somebody else's implementation of Phi-3-Vision, made ready for the naive loop of `train.py`: its classes with our weights.

A folder holds modeling_*.py with a class ...ForCausalLM and configuration_*.py with its config class, as published copies do. Its code is
run. What published copies take for granted is given to them: tiles as large and a tower as wide as they write into their code (deep it
need not be: fewer layers cost all ways less), eager attention, a rope_scaling that is not None (under transformers 5 they cannot do
without), -1 for photo tokens. Knows nothing of batches or clocks.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import CLIPVisionConfig

PACKAGE = "theirs"
DEPTH = 3  # most layers of a tower that stands in their code
OURS_ALONE = ("architectures", "auto_map", "dtype", "model_type", "torch_dtype", "transformers_version")  # of a config.json


def need_folder(folder: Path) -> None:
    """Raises SystemExit where there is no such folder."""
    if not folder.is_dir():
        raise SystemExit(f"--theirs {folder} is no folder: give one with modeling_*.py and configuration_*.py")


def their_classes(folder: Path) -> tuple[Any, Any]:
    """The config class and the model class of a folder of Python files that import each other, by `from .x` or `from x`.

    Raises SystemExit, in one line, where there is none.
    """
    spec = importlib.util.spec_from_loader(PACKAGE, loader=None, is_package=True)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    module.__path__ = [str(folder)]
    sys.modules[PACKAGE] = module
    sys.path.append(str(folder))
    (model,) = _classes(folder, "modeling", "ForCausalLM")[-1:]
    config = getattr(model, "config_class", None) or _classes(folder, "configuration", "Config")[-1]
    own = {path.stem for path in folder.glob("*.py")}
    for name, loaded in list(sys.modules.items()):
        if name.removeprefix(f"{PACKAGE}.") in own:
            for constant in vars(loaded).values():
                if isinstance(constant, CLIPVisionConfig):
                    constant.num_hidden_layers = min(constant.num_hidden_layers, DEPTH)
    return config, model


def _classes(folder: Path, kind: str, ending: str) -> list[Any]:
    path = next(iter(sorted(folder.glob(f"{kind}*.py"))), None)
    if path is None:
        raise SystemExit(f"--theirs {folder} holds no {kind}_*.py")
    own = {PACKAGE, *(other.stem for other in folder.glob("*.py"))}
    names = vars(importlib.import_module(f"{PACKAGE}.{path.stem}"))
    found = [one for name, one in names.items() if name.endswith(ending) and getattr(one, "__module__", "").split(".")[0] in own]
    if not found:
        raise SystemExit(f"{path} defines no class ...{ending}")
    return found


def make(folder: Path, plain: Mapping[str, Any]) -> Any:
    """Their model, whole, with random weights, from the fields of a config.json. Raises what their code raises."""
    config_class, model_class = their_classes(folder)
    fields = {name: value for name, value in plain.items() if name not in OURS_ALONE}
    half = plain["hidden_size"] // plain["num_attention_heads"] // 2
    ones = {"type": "su", "short_factor": [1.0] * half, "long_factor": [1.0] * half}  # the same as none
    try:
        return _make(config_class, model_class, fields)
    except (KeyError, TypeError):
        if fields.get("rope_scaling"):
            raise
        return _make(config_class, model_class, fields | {"rope_scaling": ones})


def _make(config_class: Any, model_class: Any, fields: dict[str, Any]) -> Any:
    config = config_class(**fields)
    config._attn_implementation = "eager"
    return model_class(config).float().train()


def tower_of(model: nn.Module) -> dict[str, Any] | None:
    """The sizes of their CLIP tower, in the words of CLIPVisionConfig; None where no module looks like one."""
    shapes = {name: list(value.shape) for name, value in model.state_dict().items() if "img_processor" in name}

    def shape(ending: str) -> list[int] | None:
        return next((size for name, size in shapes.items() if name.endswith(ending)), None)

    patches, places, wide = (shape(f"{one}.weight") for one in ("patch_embedding", "position_embedding", "layers.0.mlp.fc1"))
    if patches is None or places is None or wide is None:
        return None
    configs = (getattr(module, "config", None) for module in model.modules())
    config: Any = next((one for one in configs if hasattr(one, "patch_size") and hasattr(one, "num_attention_heads")), None)
    depth = 1 + max(int(found[1]) for found in (re.search(r"encoder\.layers\.(\d+)\.", name) for name in shapes) if found)
    return {
        "hidden_size": patches[0],
        "intermediate_size": wide[0],
        "num_hidden_layers": depth,
        "num_attention_heads": config.num_attention_heads if config is not None else max(patches[0] // 64, 1),
        "image_size": math.isqrt(places[0] - 1) * patches[-1],
        "patch_size": patches[-1],
        "projection_dim": patches[0],
    }


def give_weights(model: nn.Module, ours: Mapping[str, Tensor]) -> None:
    """Put our weights into theirs, by the published names or by those that transformers 5 has for CLIP's.

    Raises SystemExit, in one line, for a weight of theirs that we have not, or in another shape.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            other = name.replace("img_processor.", "img_processor.vision_model.").replace("vision_embed_tokens.wte.", "embed_tokens.")
            own = next((ours[one] for one in (name, other) if one in ours), None)
            if own is None or own.shape != weight.shape:
                found = "is not among ours" if own is None else f"is {list(weight.shape)}, ours {list(own.shape)}"
                raise SystemExit(f"their weight {name} {found}: only the published architecture can be timed beside ours")
            weight.copy_(own)


def adapt(model: Any, ours: Any) -> Any:
    """The same LoRA as on our prepared model, in the same layers, with the same start."""
    known = ours.peft_config["default"]
    config = LoraConfig(r=known.r, lora_alpha=known.lora_alpha, lora_dropout=known.lora_dropout, target_modules=known.target_modules)
    adapted = get_peft_model(model, config)
    start = dict(ours.named_parameters())
    trained = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    if strange := sorted(trained ^ {name for name, weight in start.items() if weight.requires_grad}):
        raise SystemExit(f"their layers have other names than the published ones: {strange[0]} is not in both")
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if name in trained:
                weight.copy_(start[name])
    return adapted


def asker(model: Any, base: Any, image_token: int) -> Callable[[dict[str, Any]], Tensor]:
    """batch -> the loss, however their forward wants to be asked: photo tokens as -1, or where that fails as their own id.

    Args:
        model: with adapters. base: the same without, whose forward has the names. image_token: our id, the published one's as well.
    """
    names = inspect.signature(base.forward).parameters
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in names.values())
    places: list[int] = []

    def ask(batch: dict[str, Any], place: int) -> Tensor:
        ids = batch["input_ids"]
        asked = {**batch, "input_ids": ids.masked_fill(ids == image_token, place), "use_cache": False}
        output = model(**{name: value for name, value in asked.items() if takes_all or name in names})
        loss: Tensor = output[0] if isinstance(output, tuple) else output.loss
        return loss

    def loss_of(batch: dict[str, Any]) -> Tensor:
        if places:
            return ask(batch, places[0])
        try:
            loss = ask(batch, -1)
            places.append(-1)
        except Exception as problem:
            try:
                loss = ask(batch, image_token)
            except Exception:
                raise problem from None  # what published code says of its own way
            places.append(image_token)
        return loss

    return loss_of


def in_one_line(problem: BaseException) -> str:
    """What went wrong, for a person."""
    words = str(problem).strip()
    first = words.splitlines()[0] if words else "no words"
    return first if isinstance(problem, SystemExit) else f"{type(problem).__name__}: {first}"
