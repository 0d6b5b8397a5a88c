"""LoRA layers in fewer passes over memory: the same sums as PEFT's, in the type of the frozen weight, with the gradients written out.

PEFT casts each input to the adapter's float32 and back, adds the adapter's output in passes of its own, and leaves autograd to keep
what it multiplied: on a GPU that is more traffic than all else between the matrix products. Here the adapter's part is written first
and the large product added to it: that one is busy computing while it reads, the adapter's would only wait for memory. Its float32
weights, 2 % of the model, are cast instead of the inputs. Parameters, names and files stay PEFT's.

    y = s (d(x) A') B' + b + x W'        dx = d'((s dy B) A) + dy W        dA = (s dy B)' d(x)        dB = dy' (s d(x) A')

with d dropout, s the scaling and ' transposed. Knows nothing of which layers have adapters.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn


def _adapted(
    x: Tensor, dropped: Tensor | None, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """(y, s u A') for a frozen W; u is x, or x after dropout. x [token, in], A [rank, in], B [out, rank], W [out, in].

    Raises nothing of its own; all tensors have one dtype.
    """
    low = _scaled(x if dropped is None else dropped, a.t(), scale)
    out = low @ b.t() if bias is None else torch.addmm(bias, low, b.t())
    return out.addmm_(x, weight.t()), low


def _narrow(like: Tensor, rows: int, columns: int) -> Tensor:
    """An empty [rows, columns] of few columns; on a CPU one column after another, since products of such rows take four times as long."""
    return like.new_empty(columns, rows).t() if like.device.type == "cpu" else like.new_empty(rows, columns)


def _scaled(one: Tensor, other: Tensor, scale: float) -> Tensor:
    """scale * one @ other, of few columns, in one pass."""
    return _narrow(one, len(one), other.shape[1]).addmm_(one, other, beta=0, alpha=scale)


adapted = torch.library.custom_op("seeworth::adapted", _adapted, mutates_args=())
"""`_adapted` as an operation of its own, which torch.compile leaves as it is: it would add the adapter to a copy of the product."""


@adapted.register_fake
def _(x: Tensor, dropped: Tensor | None, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return x.new_empty(len(x), len(weight)), _narrow(x, len(x), len(a))


def _adapted_gradients(
    grad: Tensor, used: Tensor, low: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float, of_x: bool, of_dropped: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(dx, du, dA, dB), the first two empty where they are not wanted; without dropout dx is of both ways through the layer."""
    low_grad = _scaled(grad, b, scale)
    x_grad, dropped_grad = grad.new_empty(0), grad.new_empty(0)
    if of_x:
        x_grad = grad @ weight if of_dropped else (low_grad @ a).addmm_(grad, weight)
    if of_dropped:
        dropped_grad = low_grad @ a
    return x_grad, dropped_grad, low_grad.t() @ used, _scaled(grad.t(), low, 1.0).contiguous()


adapted_gradients = torch.library.custom_op("seeworth::adapted_gradients", _adapted_gradients, mutates_args=())


@adapted_gradients.register_fake
def _(
    grad: Tensor, used: Tensor, low: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float, of_x: bool, of_dropped: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        grad.new_empty(used.shape if of_x else (0,)),
        grad.new_empty(used.shape if of_dropped else (0,)),
        a.new_empty(a.shape),
        b.new_empty(b.shape),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, dropped, weight, _, a, b, ctx.scale = inputs
    ctx.dropout = dropped is not None
    ctx.save_for_backward(x if dropped is None else dropped, output[1], weight, a, b)


def _gradients(ctx: Any, grad: Tensor, work: Any) -> tuple[Tensor | None, ...]:
    used, low, weight, a, b = ctx.saved_tensors
    of_x, of_dropped = ctx.needs_input_grad[0], ctx.dropout and ctx.needs_input_grad[1]
    x, dropped, da, db = work(grad.contiguous(), used, low, weight, a, b, ctx.scale, of_x, of_dropped)
    return (x if of_x else None), (dropped if of_dropped else None), None, None, da, db, None


adapted.register_autograd(lambda ctx, grad, _: _gradients(ctx, grad, adapted_gradients), setup_context=_keep)


class _Adapted(torch.autograd.Function):
    """The same where nothing is compiled: an operation of its own costs Python more time than a GPU needs for the product."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        output = _adapted(*inputs)
        _keep(ctx, inputs, output)
        return output[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _gradients(ctx, grads[0], _adapted_gradients)


class FastLora(LoraLinear):
    """PEFT's LoRA layer with another forward pass, where that is the plain case."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """float[..., in] -> float[..., out], in autocast's type, or without it in that of the frozen weight."""
        if self._disable_adapters or self.merged_adapters or args or kwargs or not torch.is_grad_enabled():
            plain: Tensor = super().forward(x, *args, **kwargs)
            return plain
        (name,) = self.lora_A
        base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else base.weight.dtype
        bias = None if base.bias is None else base.bias.to(dtype)
        flat = x.reshape(-1, x.shape[-1]).to(dtype)
        drop = self.lora_dropout[name]
        dropped = drop(flat) if isinstance(drop, nn.Dropout) and drop.p and self.training else None
        with torch.autocast(kind, enabled=False):
            inputs = (flat, dropped, base.weight.to(dtype), bias, a.to(dtype), b.to(dtype), self.scaling[name])
            out: Tensor = adapted(*inputs)[0] if torch.compiler.is_compiling() else _Adapted.apply(*inputs)  # type: ignore[no-untyped-call]
        return out.view(*x.shape[:-1], out.shape[-1])


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
