"""Phi-3's decoder layers in fewer passes over memory: the same sums as transformers', with gradients that are written out.

Between its matrix products a layer turns queries and keys by their places and gates its wide half. Autograd keeps every step of that and
puts the gradients together again from slices padded with zeros: on a GPU two to three times the traffic that is needed, compiled or not.
There `kernels` does it, where there is Triton; else plain torch. Parameters, names and files stay what they are. In 16 bits on a CPU
attention is computed in float32: torch's kernel for its gradient is three times slower in bfloat16. An answer that grows (with a
cache) is left to transformers. Knows nothing of adapters.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.phi3.modeling_phi3 import Phi3Attention, Phi3MLP, eager_attention_forward

kernels: Any = None
with suppress(ImportError):  # torch for a CPU, or for a GPU under Windows, brings no Triton
    from . import kernels


class _Turned(torch.autograd.Function):
    """Rotary places: qkv [batch, place, (queries + 2 keys) * width] -> queries, keys, values, each [batch, place, head, width], in `dtype`.

    cos, sin [batch or 1, place, 1, width]. A head x becomes x cos + rotate_half(x) sin (https://arxiv.org/abs/2104.09864, in halves as
    transformers has it), its gradient is turned back; values stay.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, keys: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        ctx.dtype = qkv.dtype
        heads = qkv.view(*qkv.shape[:2], -1, cos.shape[-1]).to(dtype)
        both, values = heads[:, :, :-keys], heads[:, :, -keys:]
        both = _turn(both, cos, sin, 1, torch.empty_like(both, dtype=torch.promote_types(dtype, cos.dtype))).to(dtype)
        return both[:, :, :-keys], both[:, :, -keys:], values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        heads = [grad.shape[2] for grad in grads]
        dtype = torch.promote_types(grads[0].dtype, cos.dtype)
        out = grads[0].new_empty((*grads[0].shape[:2], sum(heads), cos.shape[-1]), dtype=dtype)
        queries, keys, values = torch.split(out, heads, 2)
        _turn(grads[0], cos, sin, -1, queries)
        _turn(grads[1], cos, sin, -1, keys)
        values.copy_(grads[2])
        return out.flatten(2).to(ctx.dtype), None, None, None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, sign: int, out: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    torch.mul(x, cos, out=out)
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-sign)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:], value=sign)
    return out


def _fits(x: Tensor) -> bool:
    """Whether the kernels can take it."""
    return kernels is not None and x.is_cuda and x.numel() > 0


class FastAttention(Phi3Attention):
    """Phi-3's attention with another way to its queries and keys."""

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """As Phi3Attention's."""
        cos, sin = position_embeddings
        on_gpu = _fits(hidden_states)
        if past_key_values is not None or cos.shape[-1] != self.head_dim or (torch.compiler.is_compiling() and not on_gpu):
            slow: tuple[Tensor, Tensor | None] = super().forward(
                hidden_states, position_embeddings, attention_mask, past_key_values=past_key_values, **kwargs
            )
            return slow
        qkv = self.qkv_proj(hidden_states)
        exact = qkv.device.type == "cpu"
        parts: tuple[Tensor, ...]
        if on_gpu:
            parts = kernels.turned(qkv, cos, sin, self.num_key_value_heads)
        else:
            dtype = torch.float32 if exact else qkv.dtype
            parts = _Turned.apply(qkv, cos.unsqueeze(2), sin.unsqueeze(2), self.num_key_value_heads, dtype)  # type: ignore[no-untyped-call]
        attend: Any = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        with torch.autocast("cpu", enabled=False) if exact else nullcontext():
            out, weights = attend(
                self,
                *(part.transpose(1, 2) for part in parts),
                attention_mask,
                dropout=self.attention_dropout if self.training else 0.0,
                scaling=self.scaling,
                sliding_window=getattr(self.config, "sliding_window", None),
                **kwargs,
            )
        return self.o_proj(out.flatten(2).to(qkv.dtype)), weights


class FastMLP(Phi3MLP):
    """Phi-3's gated layer, in one pass each way on a GPU."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """float[..., hidden] -> float[..., hidden]."""
        if not _fits(hidden_states):
            slow: Tensor = super().forward(hidden_states)
            return slow
        wide = self.gate_up_proj(hidden_states)
        out: Tensor = self.down_proj(kernels.gated(wide.flatten(0, -2)).view(*wide.shape[:-1], -1))
        return out


def speed_up_layers(model: nn.Module) -> int:
    """Let Phi-3's attention and gated layers compute so; return how many. Layers that are not gated by SiLU are left.

    The layers' class is changed, not their `forward`: torch.compile makes one graph for all layers of a class.
    """
    changed = 0
    module: Any
    for module in model.modules():
        if type(module) is Phi3Attention:
            module.__class__ = FastAttention
        elif type(module) is Phi3MLP and module.config.hidden_act == "silu":
            module.__class__ = FastMLP
        else:
            continue
        changed += 1
    return changed
