"""Starting weights of the tiny vision tower: a transformer that begins by looking at what a convolution looks at.

From the library's random start it takes far more photos than a shop has until a tower of this size tells shapes apart.
Only the start is ours; the classes and the training are those of the large model. Two steps:

* the patch embedding starts as the lowest frequencies of a discrete cosine transform, in brightness and two colour
  differences, each scaled up as natural photos fade with frequency (about 1/f), so that edges are as loud as the mean colour;
* a few channels carry the patch's place as cosines and sines, and four heads of each layer start by attending to the
  neighbour on the left, right, above and below, after the idea of Trockman and Kolter, "Mimetic initialization" (2023), and
  d'Ascoli et al., "ConViT" (2021). The other heads start as they are and see the whole tile.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

NEIGHBOURS = ((0, -1), (0, 1), (-1, 0), (1, 0))  # (rows, columns) from a patch
SHARPNESS = 6.0  # attention logit of the neighbour itself, above 0 for a patch in another row and column
NEXT_TO_NOTHING = 1e-4  # and not 0: DoRA divides by the length of a row
_COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))  # brightness, red - blue, magenta - green


@torch.no_grad()
def start_tower(tower: Any) -> None:
    """Overwrite part of a fresh Phi3VVisionTower's weights. Needs hidden_size / heads divisible by 4 and more than 4 heads."""
    config = tower.config
    width = config.hidden_size // config.num_attention_heads  # channels of a head, and channels that carry the place
    side = config.image_size // config.patch_size
    frequencies = math.pi * (torch.arange(width // 4) + 0.5) / side
    embeddings = tower.embeddings
    embeddings.patch_embedding.weight.copy_(_cosines(config.hidden_size, config.patch_size))
    embeddings.patch_embedding.weight[-width:] = 0
    embeddings.position_embedding.weight.zero_()
    embeddings.position_embedding.weight[1:, -width:] = _places(side, frequencies)
    scale = math.sqrt(SHARPNESS * math.sqrt(width) / (width / 2))
    for layer in tower.encoder.layers:
        attention = layer.self_attn
        for head, offset in enumerate(NEIGHBOURS):
            rows = slice(head * width, (head + 1) * width)
            attention.q_proj.weight[rows, -width:] = scale * _shift(offset, frequencies)
            attention.k_proj.weight[rows, -width:] = scale * torch.eye(width)
        attention.out_proj.weight[-width:] *= NEXT_TO_NOTHING  # the place is read, not written over
        layer.mlp.fc2.weight[-width:] *= NEXT_TO_NOTHING


def _cosines(channels: int, patch: int) -> Tensor:
    """float[channels, 3, patch, patch]: the lowest two-dimensional frequencies, colour differences counted as 2.5 higher."""
    steps = torch.arange(patch, dtype=torch.float64)
    basis = torch.cos(math.pi * (2 * steps[None] + 1) * steps[:, None] / (2 * patch)) * math.sqrt(2 / patch)
    basis[0] /= math.sqrt(2)
    colours = torch.tensor(_COLOURS, dtype=torch.float64)
    colours /= colours.norm(dim=1, keepdim=True)
    found = []
    for colour in range(3):
        for u in range(patch):
            for v in range(patch):
                frequency = math.hypot(u, v)
                found.append((frequency + (2.5 if colour else 0.0), colour, u, v, (1 + frequency) ** 1.6 / 18 * (3 if colour else 1)))
    filters = []
    for _, colour, u, v, scale in sorted(found)[:channels]:
        filters.append(scale * colours[colour][:, None, None] * torch.outer(basis[u], basis[v]))
    return torch.stack(filters).float()


def _places(side: int, frequencies: Tensor) -> Tensor:
    """float[side * side, 4 * frequency]: cosines and sines of the row, then of the column, patches row by row."""
    grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1).reshape(-1, 2)
    waves = [grid[:, axis, None] * frequencies for axis in (0, 1)]
    return torch.cat([wave for one in waves for wave in (one.cos(), one.sin())], dim=1)


def _shift(offset: tuple[int, int], frequencies: Tensor) -> Tensor:
    """float[4 * frequency, 4 * frequency]: turns the waves of a place into those of the place `offset` away."""
    count = len(frequencies)
    matrix = torch.zeros(4 * count, 4 * count)
    for axis in (0, 1):
        cosine, sine = torch.diag((frequencies * offset[axis]).cos()), torch.diag((frequencies * offset[axis]).sin())
        first, second = slice(2 * axis * count, (2 * axis + 1) * count), slice((2 * axis + 1) * count, (2 * axis + 2) * count)
        matrix[first, first], matrix[first, second] = cosine, -sine
        matrix[second, first], matrix[second, second] = sine, cosine
    return matrix
