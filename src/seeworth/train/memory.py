"""How much memory a training step needs: weights, gradients and optimizer counted, activations measured on this very model.

For the activations a few words and one tile go forward once, and what autograd keeps for the way back is added up: so LoRA, DoRA, 4-bit
weights, dropout and the attention in use are in the figure without a formula for each. It grows with the tokens from there. Knows
nothing of records.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from ..phi3v.tiling import num_tokens
from ..settings import TrainSettings
from .loop import compute_dtype
from .optimizer import matrix_names
from .parts import trained_parameters
from .untouched import untouched

PROBE = 32  # tokens of the shortest forward pass
KEPT_FREE = 0.1  # of the device: the allocator's gaps, the libraries' workspaces, logits at the labels
GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, for one process that holds the whole model.

    Attributes:
        weights: as they are stored, and the half-precision copies that autocast keeps of those in float32.
        gradients, optimizer: of what is trained.
        activations: what one forward pass keeps for the backward pass. recomputed: the same with gradient checkpointing.
        available: what the device has free for this process.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    recomputed: int
    available: int

    def total(self, checkpointing: bool) -> int:
        """All of it at the end of a forward pass, the highest point."""
        return self.weights + self.gradients + self.optimizer + (self.recomputed if checkpointing else self.activations)

    def fits(self, checkpointing: bool) -> bool:
        """Whether a tenth of the device stays free."""
        return self.total(checkpointing) <= (1 - KEPT_FREE) * self.available


def needs_checkpointing(model: Any, settings: TrainSettings, tokens: int, tiles: int | None = None) -> bool:
    """Whether activations have to be recomputed for a forward pass to fit. `tokens`, `tiles`: of the longest record."""
    return not estimate_memory(model, settings, tokens=tokens, tiles=tiles).fits(checkpointing=False)


def estimate_memory(model: Any, settings: TrainSettings, *, tokens: int, tiles: int | None = None, records: int | None = None) -> Memory:
    """What the largest step needs. The model is left exactly as it is.

    Args:
        model: as `prepare_parts` returned it.
        tokens: of the longest record. tiles: of its photos; as many as the tokens can be when left out.
        records: that there are at all, so that no forward pass holds more of them.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    embedding = base.model.vision_embed_tokens
    grid = embedding.tile_grid
    most = -(-tokens // (grid * grid + grid))
    most_records = math.inf if records is None else records
    records = max(settings.per_device_train_batch_size, 1)
    if settings.max_tokens_per_batch:
        records = max(settings.max_tokens_per_batch // tokens, 1)
    records = int(min(records, most_records))
    with untouched(model), _without_checkpointing(model), _autocast(model, settings):
        model.train()
        per_tile, per_row = _of_a_photo(embedding)
        per_token, per_pair = _of_words(model, base)
    seen = records * (most if tiles is None else tiles)
    language = records * (per_token * tokens + per_pair * tokens * tokens)
    tower = per_tile * seen
    depth, layers = embedding.img_processor.vision_model.num_computed, len(base.model.layers)
    width = _compute_bytes(model, settings)
    vision: Any = base.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2 + 1
    inputs = width * (records * tokens * layers * base.config.hidden_size + (per_tile > 0) * seen * patches * depth * vision.hidden_size)
    rows = per_row * records * tokens
    return Memory(
        weights=_bytes_of_weights(model, settings),
        gradients=sum(one.numel() * one.element_size() for one in _trained(model)),
        optimizer=_bytes_of_optimizer(model, settings),
        activations=int(language + tower + rows),
        recomputed=int(inputs + rows + max(language / layers, tower / max(depth, 1))),
        available=available_memory(next(model.parameters()).device),
    )


def available_memory(device: torch.device) -> int:
    """Bytes that this process can have on a device: free or already its own on a GPU; on a CPU the machine's, or its container's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    words = limit.read_text().strip() if limit.is_file() else "max"
    return min(machine, int(words)) if words.isdigit() else machine


class _Kept:
    """A tensor in autograd's hands: it lives as long as something is kept of it for the backward pass."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def saved_bytes(model: nn.Module, forward: Callable[[], Any]) -> int:
    """Bytes that autograd keeps of one forward pass for its backward pass, weights not counted.

    What a layer lets go of again counts not, and is not held here either: the norms of DoRA go through copies of all weights.
    """
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    seen: list[ref[_Kept]] = []

    def keep(tensor: Tensor) -> _Kept:
        kept = _Kept(tensor)
        seen.append(ref(kept))
        return kept

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept.tensor):
        result = forward()
        storages = (kept.tensor.untyped_storage() for one in seen if (kept := one()) is not None)
        sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
        del result  # held until here: what it was made of was kept with it
    return sum(size for place, size in sizes.items() if place not in weights)


def _of_a_photo(embedding: Any) -> tuple[float, float]:
    """(bytes of a tile in the tower, bytes of a row in the projector), each the difference that one more makes."""
    device, side = embedding.glb_GN.device, embedding.tile_size
    tiles = torch.zeros(2, 3, side, side, device=device)
    one, two = (saved_bytes(embedding, lambda count=count: embedding.see(tiles[:count])) for count in (1, 2))  # type: ignore[misc]
    with torch.no_grad():
        seen = embedding.see(tiles[:1])
    seen.requires_grad_(two > 0)
    size = torch.tensor([[side, side]])

    def projected(photos: int) -> int:
        return saved_bytes(embedding, lambda: embedding(None, size.expand(photos, 2), tile_features=[seen] * photos))

    return float(two - one), (projected(2) - projected(1)) / num_tokens(1, 1, embedding.tile_grid)


def _of_words(model: Any, base: Any) -> tuple[float, float]:
    """(a, b): n tokens keep a * n + b * n * n bytes in the language model, and some that do not grow; from passes of three lengths."""
    trained = trained_parameters(model)
    before = bool(trained["projector"] or trained["vision"])  # then gradients go through a frozen language model too
    first = base.model.embed_tokens.weight
    learnt = torch.zeros(1, dtype=torch.long, device=first.device)  # one place: few are, and only there the last layer keeps its wide half

    def kept(tokens: int) -> int:
        words = torch.zeros(1, tokens, base.config.hidden_size, device=first.device, dtype=first.dtype, requires_grad=before)
        return saved_bytes(model, lambda: base.model(inputs_embeds=words, use_cache=False, kept=learnt))

    one, two, four = kept(PROBE), kept(2 * PROBE), kept(4 * PROBE)
    square = ((four - two) / (2 * PROBE) - (two - one) / PROBE) / (3 * PROBE)
    return (two - one) / PROBE - 3 * PROBE * square, square


def _trained(model: Any) -> Iterator[nn.Parameter]:
    return (weight for weights in trained_parameters(model).values() for weight in weights.values())


def _bytes_of_weights(model: Any, settings: TrainSettings) -> int:
    stored = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    width = _compute_bytes(model, settings)
    copies = sum(width * weight.numel() for weight in _trained(model) if weight.element_size() > width)
    return int(stored + copies)


def _bytes_of_optimizer(model: Any, settings: TrainSettings) -> int:
    """AdamW keeps two figures for each weight, Muon one for each of a matrix."""
    matrices = matrix_names(model) if settings.optim == "muon" else set()
    named = ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
    return int(sum((1 if name in matrices else 2) * weight.numel() * weight.element_size() for name, weight in named))


def _compute_bytes(model: Any, settings: TrainSettings) -> int:
    return 4 if compute_dtype(settings, next(model.parameters()).device) is torch.float32 else 2


def _autocast(model: Any, settings: TrainSettings) -> Any:
    device = next(model.parameters()).device
    dtype = compute_dtype(settings, device)
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype)


@contextmanager
def _without_checkpointing(model: nn.Module) -> Iterator[None]:
    """Gradient checkpointing off for a while, where it is on: it would keep what is kept from being seen."""
    on = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False) is True]
    for module in on:
        module.gradient_checkpointing = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in on:
            module.gradient_checkpointing = True  # type: ignore[assignment]
