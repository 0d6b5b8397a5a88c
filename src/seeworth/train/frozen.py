"""What a training leaves as it found it: a fingerprint of the frozen weights, which no checkpoint holds.

A training that went on over another base model would end without an error, and wrong. Knows nothing of checkpoints.
"""

from __future__ import annotations

import hashlib

import torch
from torch import nn

SPOTS = 64  # elements that are looked at, of each tensor: another model differs in all of its tensors, so few are enough


def frozen_fingerprint(model: nn.Module) -> str:
    """A hash over names, shapes and evenly spaced elements of all parameters that are not trained; "" when there are none.

    In bfloat16, so that a model is itself on another device, where it may be held in another type.
    """
    found = hashlib.blake2b(digest_size=16)
    frozen = [(name, weight) for name, weight in model.named_parameters() if not weight.requires_grad and not weight.is_meta]
    for name, weight in frozen:
        flat = weight.detach().flatten()
        spots = torch.linspace(0, max(len(flat) - 1, 0), min(SPOTS, len(flat)), dtype=torch.float64).long()
        found.update(f"{name} {list(weight.shape)}".encode())
        found.update(flat[spots.to(flat.device)].to("cpu", torch.bfloat16).view(torch.uint8).numpy().tobytes())
    return found.hexdigest() if frozen else ""
