"""Weights: an adapter added into the weights it was trained on, layer by layer, and the files they are written to.

PEFT does the adding; each layer is computed once more from the adapter's own file, by the formula, and both must agree. One layer at a
time stands in float32, and is rounded once, to the dtype of the export. Knows nothing of what the model answers.

    W + s B A                             s = alpha / r, with rsLoRA alpha / sqrt(r)  (E. Hu et al., 2021; D. Kalajdzievski, 2023)
    m (W + s B A) / ||W + s B A|| by row  DoRA, m the learnt magnitudes              (S.-Y. Liu et al., 2024)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from torch import Tensor

from ..errors import ModelError, RunError, told_as
from ..predict.vlm import load_base
from ..train.parts import ADAPTER, published
from .names import PREFIX, tensor_names

SAME = 1e-5
"""Largest difference of a merged weight to the formula, over the layer's largest weight; measured 1e-7, both in float32."""
INDEX = "model.safetensors.index.json"


def rounded_base(about: dict[str, Any], run: Path, dtype: str) -> Any:
    """A QLoRA run on its own 4-bit weights, put back into full precision: the adapter was fitted to these, not to the original ones.

    Raises ModelError when the base cannot be loaded.
    """
    base, _ = load_base(about["model"], dtype=dtype, attn_implementation=about["attn_implementation"], load_in_4bit=True)
    with told_as(ModelError, OSError, ValueError, RuntimeError, where=f"adapter {run}"):
        base = base.dequantize()
        base.config.quantization_config = None
        return PeftModel.from_pretrained(base, str(run)).eval()


@torch.no_grad()
def merged(model: Any, run: Path, dtype: torch.dtype) -> tuple[Any, float]:
    """The plain model with the adapter of a run folder added in, in `dtype`; and the largest difference to the formula, see SAME.

    Works in place. Raises RunError for a layer that is not what the file's tensors make of it.
    """
    worst = 0.0
    config: LoraConfig = model.peft_config["default"]
    with safe_open(run / ADAPTER, framework="pt") as file:
        names = set(file.keys())
        for name, layer in adapted(model):
            base = layer.get_base_layer()
            base.weight.data = base.weight.data.float()
            expected = _formula(base.weight.data, file, name, config)
            with told_as(RunError, ValueError, where=f"{run}, layer {name}"):
                layer.merge(safe_merge=True)
            worst = max(worst, _agree(base.weight.data, expected, name))
            base.weight.data = base.weight.data.to(dtype)
        model = model.unload().to(dtype)
        own = dict(model.named_parameters())
        for name in sorted(one for one in names if ".lora_" not in one):
            if not torch.equal(own[name.removeprefix(PREFIX)].cpu(), file.get_tensor(name).to(dtype)):
                raise RunError(f"{run / ADAPTER}: {name} did not arrive in the merged model")
    return model, worst


def adapted(model: Any) -> Iterator[tuple[str, LoraLayer]]:
    """Layers with LoRA, by their published names."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            yield published(name), module


def _formula(weight: Tensor, file: Any, name: str, config: LoraConfig) -> Tensor:
    """The module's formula in float32, from the tensors in the file."""
    down, up = (file.get_tensor(f"{PREFIX}{name}.lora_{which}.weight").to(weight.device).float() for which in "AB")
    scale = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    made: Tensor = weight + scale * (up @ down)
    if not config.use_dora:
        return made
    magnitude: Tensor = file.get_tensor(f"{PREFIX}{name}.lora_magnitude_vector").to(weight.device).float()
    return made * (magnitude / torch.linalg.vector_norm(made, dim=1))[:, None]


def _agree(found: Tensor, expected: Tensor, name: str) -> float:
    """The largest difference over the largest weight. Raises RunError above SAME."""
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference <= SAME:
        raise RunError(
            f"layer {name} was merged wrongly: it differs by {difference:.2g} of its largest weight from what its adapter's tensors make "
            f"of it, at most {SAME:g} is allowed: nothing was exported"
        )
    return difference


def write_weights(model: Any, folder: Path, max_shard_size: str) -> list[str]:
    """model*.safetensors under the published names, with an index where there are several; the files' names. Raises RunError."""
    with told_as(RunError, OSError, ValueError, where=f"weights cannot be written to {folder}"):
        model.save_pretrained(str(folder), max_shard_size=max_shard_size)
    return sorted(path.name for path in folder.glob("model*.safetensors*"))


def weights_of(folder: Path) -> dict[str, Path]:
    """Tensor name -> the file that holds it, by the index, else of the one file. Raises RunError when index and files disagree."""
    index = folder / INDEX
    if not index.is_file():
        return dict.fromkeys(tensor_names(folder / "model.safetensors"), folder / "model.safetensors")
    told = {name: folder / file for name, file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()}
    for file in sorted(set(told.values())):
        if missing := sorted({name for name, where in told.items() if where == file} - set(tensor_names(file))):
            raise RunError(f"{index} says that {file.name} holds {missing[0]}, and it does not")
    return told


def check_files(folder: Path, model: Any) -> int:
    """How many tensors were written, when they are the model's, bit by bit, by exactly its names. Raises RunError for one that is not."""
    files, state = weights_of(folder), model.state_dict()
    if odd := sorted(files.keys() ^ state.keys()):
        raise RunError(f"{folder}: the written files and the model disagree about {odd[0]} ({len(odd)} names): nothing was exported")
    for file in sorted(set(files.values())):
        with safe_open(file, framework="pt") as tensors:
            for name in (name for name, where in files.items() if where == file):
                if not torch.equal(tensors.get_tensor(name), state[name].detach().cpu()):
                    raise RunError(
                        f"{file.name}: {name} is not the merged model's, bit by bit: it was written wrongly, nothing was exported"
                    )
    return len(files)
