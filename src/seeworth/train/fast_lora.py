"""LoRA layers in fewer passes over memory: the same sums as PEFT's, in the type of the frozen weight, with the gradients written out.

PEFT casts each input to the adapter's float32 and back, adds the adapter's output in passes of its own, and leaves autograd to keep
what it multiplied: on a GPU that is more traffic than all else between the matrix products. Here the adapter is added by the product
itself (`addmm`), and its float32 weights, 2 % of the model, are cast instead of the inputs. Parameters, names and files stay PEFT's.

    y = x W' + b + s (d(x) A') B'        dx = dy W + d'((s dy B) A)        dA = (s dy B)' d(x)        dB = s dy' (d(x) A')

with d dropout, s the scaling and ' transposed. Knows nothing of which layers have adapters.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn


class _Adapted(torch.autograd.Function):
    """y = x W' + b + s (u A') B' for a frozen W; u is x, or x after dropout. x [token, in], A [rank, in], B [out, rank], W [out, in]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dropped: Tensor | None, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        used = x if dropped is None else dropped
        low = used @ a.t()
        out = nn.functional.linear(x, weight, bias)
        out = torch.addmm(out, low, b.t(), alpha=scale)
        ctx.save_for_backward(used, low, weight, a, b)
        ctx.scale, ctx.same = scale, dropped is None
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        used, low, weight, a, b = ctx.saved_tensors
        grad_low = grad @ (b * ctx.scale)
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        grad_used = None
        if ctx.same and grad_x is not None:
            grad_x = torch.addmm(grad_x, grad_low, a)
        elif ctx.needs_input_grad[1]:
            grad_used = grad_low @ a
        return grad_x, grad_used, None, None, grad_low.t() @ used, (grad.t() @ low) * ctx.scale, None


class FastLora(LoraLinear):  # type: ignore[misc]
    """PEFT's LoRA layer with another forward pass, where that is the plain case."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """float[..., in] -> float[..., out], in autocast's type, or without it in that of the frozen weight."""
        if self._disable_adapters or self.merged_adapters or args or kwargs or not torch.is_grad_enabled():
            out: Tensor = super().forward(x, *args, **kwargs)
            return out
        (name,) = self.lora_A
        base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else base.weight.dtype
        bias = None if base.bias is None else base.bias.to(dtype)
        flat = x.reshape(-1, x.shape[-1]).to(dtype)
        drop = self.lora_dropout[name]
        dropped = drop(flat) if isinstance(drop, nn.Dropout) and drop.p and self.training else None
        with torch.autocast(kind, enabled=False):
            out = _Adapted.apply(flat, dropped, base.weight.to(dtype), bias, a.to(dtype), b.to(dtype), self.scaling[name])
        return out.view(*x.shape[:-1], -1)


def speed_up_lora(model: nn.Module) -> int:
    """Let the plain LoRA layers of a PEFT model compute so; return how many.

    Left to PEFT: DoRA, quantised or trained base weights, adapters with a bias, and any moment at which an adapter is disabled or
    merged. The layers' class is changed, not their `forward`: torch.compile makes one graph for all layers of a class.
    """
    layers = [module for module in model.modules() if type(module) is LoraLinear and _is_plain(module)]
    for layer in layers:
        layer.__class__ = FastLora
    return len(layers)


def _is_plain(layer: Any) -> bool:
    base = layer.base_layer
    plain = type(base) is nn.Linear and base.weight.is_floating_point() and not base.weight.requires_grad
    return plain and len(layer.lora_A) == 1 and not layer.lora_variant and not any(layer.lora_bias.values())
