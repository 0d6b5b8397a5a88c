"""A key-value cache whose rows grow apart: each forward pass says which rows it is about and in which slots its tokens go.

    slot     0 ... shift-1   shift ... used-1      used ...
    row      padding         what the row has      free, or what it tried and dropped

A token's position is its slot less the row's shift. One forward pass may add a different number of tokens to each row, or to some rows
only, and the attention mask says what each token sees. Layers do not know the cache that holds them: in such a ring the keys and values of
each batch would stay, on a GPU too, until Python's collector comes by. Knows nothing of what the tokens are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

STEP = 64  # slots by which the room grows


@dataclass
class _Aim:
    """Of the next pass: rows int64[row], None for all; slots int64[row, token], where its keys go; longest: slots that it sees."""

    rows: Tensor | None = None
    slots: Tensor | None = None
    longest: int = 0


class Slots(Cache):
    """The cache of one batch, for as many layers as the model has. The first pass fills it, rows padded on the left."""

    def __init__(self, layers: int) -> None:
        self._aim = _Aim()
        super().__init__(layers=[_Layer(self._aim) for _ in range(layers)])

    def aim(self, rows: Tensor | None, slots: Tensor, longest: int) -> None:
        """Say where the next forward pass writes, and how many slots it sees. There is always a slot more than it sees, for padding."""
        self._aim.rows, self._aim.slots, self._aim.longest = rows, slots, longest
        layers: list[Any] = self.layers
        for layer in layers:
            layer.make_room(longest + 1)

    @property
    def size(self) -> int:
        """Rows, of the whole batch."""
        first: Any = self.layers[0]
        return len(first.keys)


class _Layer(CacheLayerMixin):
    """keys, values: float[row, head, slot, width]."""

    def __init__(self, aim: _Aim) -> None:
        super().__init__()
        self.where = aim

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = key_states, value_states
        self.is_initialized = True

    def make_room(self, needed: int) -> None:
        """Room for so many slots; what is new holds zeros, since what is masked must still be a number."""
        assert self.keys is not None
        assert self.values is not None
        if (lack := needed - self.keys.shape[2]) > 0:
            more = (0, 0, 0, -(-lack // STEP) * STEP)
            self.keys, self.values = torch.nn.functional.pad(self.keys, more), torch.nn.functional.pad(self.values, more)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write this pass's keys and values, float[row, head, token, width]; return all that its rows see, and slots that are masked."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            return key_states, value_states
        assert self.keys is not None
        assert self.values is not None
        where = self.where
        assert where.slots is not None
        rows = torch.arange(len(self.keys), device=self.keys.device) if where.rows is None else where.rows
        self.keys[rows[:, None], :, where.slots] = key_states.transpose(1, 2)
        self.values[rows[:, None], :, where.slots] = value_states.transpose(1, 2)
        keys, values = self.keys[:, :, : where.longest], self.values[:, :, : where.longest]
        return (keys, values) if where.rows is None else (keys[rows], values[rows])

    def get_seq_length(self) -> int:
        return self.keys.shape[2] if self.is_initialized and self.keys is not None else 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1
