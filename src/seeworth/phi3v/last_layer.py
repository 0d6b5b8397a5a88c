"""Phi-3's last decoder layer, for training: what follows its attention is computed only where an answer is learnt.

No later layer looks at the other places: two thirds of the layer's products, a fiftieth of the full-size model's, would go into
states that nobody reads. Knows nothing of labels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.models.phi3.modeling_phi3 import Phi3DecoderLayer


class Phi3VLastLayer(Phi3DecoderLayer):
    """Phi-3's decoder layer; names and sums are its own."""

    def forward(self, hidden_states: Tensor, kept: Tensor | None = None, **kwargs: Any) -> Tensor:
        """float[batch, length, hidden] -> the same; with kept, int[n] places of the rows laid end to end, float[n, hidden]."""
        if kept is None:
            whole: Tensor = super().forward(hidden_states, **kwargs)
            return whole
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        states: Tensor = (hidden_states + self.resid_attn_dropout(attended)).flatten(0, 1)[kept]
        gained: Tensor = self.resid_mlp_dropout(self.mlp(self.post_attention_layernorm(states)))
        return states + gained
