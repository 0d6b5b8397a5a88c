"""Which parts of the model are trained, and how: language model, projector and CLIP tower, each frozen, by LoRA, or in full.

What is trained is marked on the model itself (`requires_grad`), under the published module names: LoRA through PEFT, a part in full
in its place. A run folder with LoRA holds everything trained in one adapter_model.safetensors, which PEFT reads as it is. Knows
nothing of optimizers, of batches, or of the loop.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import ModelError, SettingsError
from ..settings import TrainSettings

How = Literal["frozen", "lora", "full"]
Part = Literal["language", "projector", "vision"]
PARTS: tuple[Part, ...] = ("language", "projector", "vision")
ADAPTER = "adapter_model.safetensors"
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # of DDP, torch.compile, FSDP


@dataclass(frozen=True)
class Parts:
    """How each part is trained."""

    language: How
    projector: How
    vision: How

    def __getitem__(self, part: Part) -> How:
        how: How = getattr(self, part)
        return how

    def those(self, how: How) -> list[Part]:
        """The parts that are trained so."""
        return [part for part in PARTS if self[part] == how]

    @property
    def method(self) -> Literal["lora", "full"]:
        """What the run folder holds: an adapter where a part has LoRA, else a whole checkpoint."""
        return "lora" if self.those("lora") else "full"

    def __str__(self) -> str:
        return ", ".join(f"{part} {self[part]}" for part in PARTS)


def resolve_parts(settings: TrainSettings) -> Parts:
    """What the settings say of each part; `auto` parts follow `method`, and `auto` there means full for tiny, LoRA for all else.

    Raises SettingsError when nothing would be trained, for LoRA on a tiny model, for a 4-bit language model that is not trained by
    LoRA, for LoRA settings without LoRA, and for figures out of their range.
    """
    tiny = settings.model == "tiny"
    method = settings.method if settings.method != "auto" else "full" if tiny else "lora"
    asked = {part: getattr(settings, part) for part in PARTS}
    parts = Parts(**{part: method if how == "auto" else how for part, how in asked.items()})
    if len(parts.those("frozen")) == len(PARTS):
        raise SettingsError("language, projector and vision are all frozen: nothing would be trained: give one of them lora or full")
    if tiny and (adapted := parts.those("lora")):
        raise SettingsError(
            f"{adapted[0]} is lora and model is tiny: a tiny model starts from random weights, so train all of them (method full)"
        )
    _check_quantised(settings, parts)
    _check_lora(settings, parts)
    _check_rates(settings)
    return parts


def _check_quantised(settings: TrainSettings, parts: Parts) -> None:
    if not settings.load_in_4bit:
        return
    if settings.model == "tiny":
        raise SettingsError("load_in_4bit is set and model is tiny: a tiny model is trained in full, which 4-bit weights cannot be")
    if parts.language != "lora":
        raise SettingsError(
            f"load_in_4bit keeps the language model in 4 bits, and language is {parts.language}: make it lora, or leave load_in_4bit"
        )


def _check_lora(settings: TrainSettings, parts: Parts) -> None:
    if parts.method != "lora":
        asked = {"lora_targets": settings.lora_targets, "use_dora": settings.use_dora, "use_rslora": settings.use_rslora}
        for name, value in asked.items():
            if value:
                raise SettingsError(f"{name} is set, but no part is lora ({parts}): leave it out, or give a part lora")
        return
    if settings.lora_rank < 1 or settings.lora_alpha < 1:
        raise SettingsError(f"lora_rank and lora_alpha are 1 or more, found {settings.lora_rank} and {settings.lora_alpha}")
    if not 0 <= settings.lora_dropout < 1:
        raise SettingsError(f"lora_dropout is 0 or more and below 1, found {settings.lora_dropout}")
    if settings.lora_targets is not None and not settings.lora_targets:
        raise SettingsError("lora_targets is an empty list: leave it out for all linear layers, or name some")


def _check_rates(settings: TrainSettings) -> None:
    for name in ("learning_rate", *(f"{part}_learning_rate" for part in PARTS)):
        rate = getattr(settings, name)
        if rate is not None and not 0 < rate < float("inf"):
            raise SettingsError(f"{name} is above 0, found {rate}: to leave a part alone, freeze it")


def part_of(name: str) -> Part:
    """The part that a parameter or module belongs to, by its name, whatever PEFT, DDP, FSDP or torch.compile put around it."""
    words = published(name).split(".")
    if "img_processor" in words:
        return "vision"
    return "projector" if "vision_embed_tokens" in words else "language"


def published(name: str) -> str:
    """A parameter's name without what wrappers put in front of it and PEFT between: `model.layers.0.self_attn.qkv_proj.weight`."""
    words = [word for word in name.split(".") if word not in _WRAPPERS]
    if words[:2] == ["base_model", "model"]:
        words = words[2:]
    return ".".join(word for word in words if word != "base_layer")


def prepare_parts(model: Any, settings: TrainSettings, parts: Parts) -> Any:
    """Mark on a Phi3VForCausalLM what is trained, and return it, wrapped by PEFT where a part has LoRA.

    What is trained is float32, whatever the model's dtype: in bfloat16 a step smaller than 1/256 of a weight would be lost. Run it under
    autocast then. The CLIP layers that are not computed are never trained, since no gradient would reach them.

    Raises SettingsError when `lora_targets` names a layer that is not there.
    """
    model.requires_grad_(False)
    model.saved_dtype = model.dtype
    if parts.method == "lora":
        model = get_peft_model(model, lora_config(model, settings, parts))
    never = not_computed(model)
    for name, weight in model.named_parameters():
        if parts[part_of(name)] == "full" and not published(name).startswith(never):
            if weight.dtype in (torch.bfloat16, torch.float16):
                weight.data = weight.data.float()
            weight.requires_grad_(True)
    return model


def lora_config(model: Any, settings: TrainSettings, parts: Parts) -> LoraConfig:
    """PEFT's configuration, its targets the published names of linear layers, as one pattern.

    Raises SettingsError when a name in `lora_targets` is not among the layers of the parts that say lora.
    """
    layers = list(adaptable(model, parts))
    wanted = layers
    if settings.lora_targets is not None:
        for target in settings.lora_targets:
            if not any(_is_in(target, layer) for layer in layers):
                kinds = ", ".join(dict.fromkeys(re.sub(r"\.\d+$", "", layer).rpartition(".")[2] for layer in layers))
                raise SettingsError(f"lora_targets names {target!r}, which is no linear layer there ({parts}); there are: {kinds}")
        wanted = [layer for layer in layers if any(_is_in(target, layer) for target in settings.lora_targets)]
        for part in parts.those("lora"):
            if not any(part_of(layer) == part for layer in wanted):
                raise SettingsError(
                    f"{part} is lora, but lora_targets ({', '.join(settings.lora_targets)}) names no layer of it: freeze it, or name some"
                )
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=_pattern(wanted),
        use_dora=settings.use_dora,
        use_rslora=settings.use_rslora,
        task_type="CAUSAL_LM",
    )


def adaptable(model: Any, parts: Parts) -> Iterator[str]:
    """Names of the linear layers that LoRA can go into: of the parts that say lora, computed, and not the head.

    The head is left out because the loss reads its weight at labelled positions alone, past any adapter on it.
    """
    never = not_computed(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head" and parts[part_of(name)] == "lora" and not name.startswith(never):
            yield name


def not_computed(model: Any) -> tuple[str, ...]:
    """Beginnings of the names of what is in the files and never computed: the CLIP tower behind the layer that the projector reads."""
    for name, module in model.named_modules():
        if (published(name) + ".").endswith("img_processor.vision_model."):
            tower = published(name)
            behind = range(module.num_computed, len(module.encoder.layers))
            return (*(f"{tower}.encoder.layers.{number}." for number in behind), f"{tower}.post_layernorm.")
    raise ModelError("the model has no img_processor.vision_model: expected a Phi3VForCausalLM")


def _is_in(target: str, layer: str) -> bool:
    """Whether `target` ("q_proj", "self_attn", "img_projection.0") is a word, or words in a row, of a layer's name."""
    return f".{target}." in f".{layer}."


def _pattern(names: Sequence[str]) -> str:
    """One regular expression that matches these names and no other: layers of one kind share a line."""
    numbers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        before, number, after = re.fullmatch(r"(.*?\.)(\d+)((?:\..*)?)", name).groups()  # type: ignore[union-attr]
        numbers[before, after].append(number)
    kinds: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (before, after), found in numbers.items():
        kinds[before, tuple(found)].append(after)
    lines = []
    for (before, shared), after in kinds.items():
        lines.append(f"{re.escape(before)}({'|'.join(shared)})({'|'.join(re.escape(one) for one in after)})")
    return "|".join(f"({line})" for line in lines)


def trained_parameters(model: nn.Module) -> dict[Part, dict[str, nn.Parameter]]:
    """What is trained of each part, by the names that the model itself has."""
    found: dict[Part, dict[str, nn.Parameter]] = {part: {} for part in PARTS}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            found[part_of(name)][name] = weight
    return found


def trained_state(model: Any, state_dict: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Everything trained, by the name it has in files: LoRA as PEFT names it, a part in full as `base_model.model.` and the published
    name (`model.vision_embed_tokens.glb_GN`); for a model without LoRA the published names.

    Args:
        model: what `prepare_parts` returned, not wrapped further.
        state_dict: the model's, where it has to be gathered first (FSDP); else its own.
    """
    state = model.state_dict() if state_dict is None else state_dict
    full = {name: state[name] for name, weight in model.named_parameters() if weight.requires_grad and not _of_lora(name)}
    if not isinstance(model, PeftModel):
        return full
    # save_embedding_layers: "auto" would ask the Hub for the base model's vocabulary
    return {**get_peft_model_state_dict(model, state_dict=dict(state), save_embedding_layers=False), **full}


def save_trained(model: Any, folder: Path, state_dict: Mapping[str, Tensor] | None = None) -> None:
    """Write what was trained into a run folder, safetensors: with LoRA adapter_model.safetensors and adapter_config.json, else a whole
    checkpoint with config.json, in the dtype the model had before `prepare_parts`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, PeftModel):
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in trained_state(model, state_dict).items()}
        save_file(state, folder / ADAPTER, metadata={"format": "pt"})
        config = model.peft_config["default"]
        kept, config.inference_mode = config.inference_mode, True
        config.save_pretrained(str(folder))
        config.inference_mode = kept
        return
    dtype = dtype_of(model)
    state = {name: tensor.to(dtype) for name, tensor in (model.state_dict() if state_dict is None else state_dict).items()}
    model.save_pretrained(str(folder), state_dict=state)
    model.config.dtype = dtype  # the library has put that of the first weight in its place
    model.config.save_pretrained(str(folder))


def dtype_of(model: Any) -> torch.dtype:
    """The dtype that the model was loaded in and the run folder is written in; what is trained may be float32 meanwhile."""
    dtype: torch.dtype = model.saved_dtype  # not config.dtype: the library writes that anew whenever it saves
    return dtype


def say_parts(model: nn.Module, parts: Parts) -> str:
    """One line: how each part is trained, and how many million parameters of it."""
    words = []
    for part, weights in trained_parameters(model).items():
        million = sum(weight.numel() for weight in weights.values()) / 1e6
        words.append(f"{part} {parts[part]}" + (f" {million:.3g}M" if weights else ""))
    return ", ".join(words)


def _of_lora(name: str) -> bool:
    return ".lora_" in name
