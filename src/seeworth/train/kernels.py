"""GPU kernels (Triton) for what stands between a Phi-3 layer's matrix products: each tensor is read once and written once.

Needs Triton, which torch for a CPU does not bring. Sums are in float32, whatever the tensors are in. As operations of their own
(`torch.library.triton_op`) they run as they are and inside torch.compile. Knows nothing of layers.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

BLOCK = 1024  # elements of a row that one program takes


@triton.jit
def _gate(gate_up, out, wide, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < wide
    gate = tl.load(gate_up + row * 2 * wide + at, mask=inside).to(tl.float32)
    up = tl.load(gate_up + row * 2 * wide + wide + at, mask=inside).to(tl.float32)
    tl.store(out + row * wide + at, up * gate * tl.sigmoid(gate), mask=inside)


@triton.jit
def _gate_gradient(gate_up, grad, out, wide, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < wide
    gate = tl.load(gate_up + row * 2 * wide + at, mask=inside).to(tl.float32)
    up = tl.load(gate_up + row * 2 * wide + wide + at, mask=inside).to(tl.float32)
    of = tl.load(grad + row * wide + at, mask=inside).to(tl.float32)
    share = tl.sigmoid(gate)
    tl.store(out + row * 2 * wide + at, of * up * share * (1 + gate * (1 - share)), mask=inside)
    tl.store(out + row * 2 * wide + wide + at, of * gate * share, mask=inside)


@triton.jit
def _turn(
    source, target, cos, sin, heads, half, places,
    s_start, s_batch, s_place, s_head, t_start, t_batch, t_place, t_head, c_batch, c_place,
    SIGN: tl.constexpr, HEADS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """The heads of one place, turned by the angle of the place (SIGN 1), back (-1), or copied (0)."""
    row = tl.program_id(0).to(tl.int64)
    batch, place = row // places, row % places
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    lane = tl.arange(0, LANES)[None, :]
    inside = (lane < half) & (head < heads)
    at = source + s_start + batch * s_batch + place * s_place + head * s_head + lane
    first = tl.load(at, mask=inside)
    second = tl.load(at + half, mask=inside)
    to = target + t_start + batch * t_batch + place * t_place + head * t_head + lane
    if SIGN == 0:
        tl.store(to, first, mask=inside)
        tl.store(to + half, second, mask=inside)
    else:
        angle = batch * c_batch + place * c_place + lane
        c = tl.load(cos + angle, mask=lane < half).to(tl.float32)
        s = tl.load(sin + angle, mask=lane < half).to(tl.float32) * SIGN
        first, second = first.to(tl.float32), second.to(tl.float32)
        tl.store(to, first * c - second * s, mask=inside)
        tl.store(to + half, second * c + first * s, mask=inside)


@triton_op("seeworth::gated", mutates_args={})
def gated(gate_up: Tensor) -> Tensor:
    """gate and up side by side, contiguous [row, 2 * wide] -> silu(gate) * up, [row, wide]."""
    rows, wide = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty((rows, wide))
    wrap_triton(_gate)[(rows, triton.cdiv(wide, BLOCK))](gate_up, out, wide, BLOCK)
    return out


@triton_op("seeworth::gated_gradient", mutates_args={})
def gated_gradient(gate_up: Tensor, grad: Tensor) -> Tensor:
    """The gradient by gate_up, for that by the output: both contiguous."""
    rows, wide = grad.shape
    out = torch.empty_like(gate_up)
    wrap_triton(_gate_gradient)[(rows, triton.cdiv(wide, BLOCK))](gate_up, grad, out, wide, BLOCK)
    return out


def _keep_gate(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


gated.register_autograd(lambda ctx, grad: gated_gradient(*ctx.saved_tensors, grad.contiguous()), setup_context=_keep_gate)


@triton_op("seeworth::turned", mutates_args={})
def turned(qkv: Tensor, cos: Tensor, sin: Tensor, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rotary places: contiguous [batch, place, (queries + 2 keys) * width] -> queries, keys, values, each [batch, place, head, width].

    cos and sin [batch or 1, place, width], both halves of a width alike. A head x becomes x cos + rotate_half(x) sin
    (https://arxiv.org/abs/2104.09864, in halves as transformers has it); values stay.
    """
    batch, places, row = qkv.shape
    width = cos.shape[-1]
    queries = row // width - 2 * keys
    made = q, k, v = tuple(qkv.new_empty((batch, places, heads, width)) for heads in (queries, keys, keys))
    starts = (0, queries * width, (queries + keys) * width)
    for part, start, sign in zip(made, starts, (1, 1, 0), strict=True):
        of_qkv = (start, places * row, row, width)
        _launch(qkv, part, cos, sin, part.shape, of_qkv, (0, *part.stride()[:3]), sign)
    return q, k, v


@triton_op("seeworth::turned_gradient", mutates_args={})
def turned_gradient(queries: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The gradient by qkv, for those by queries, keys and values [batch, place, head, width], widths contiguous."""
    batch, places, heads, width = queries.shape
    row = (heads + 2 * keys.shape[2]) * width
    out = queries.new_empty((batch, places, row))
    starts = (0, heads * width, (heads + keys.shape[2]) * width)
    for part, start, sign in zip((queries, keys, values), starts, (-1, -1, 0), strict=True):
        _launch(part, out, cos, sin, part.shape, (0, *part.stride()[:3]), (start, places * row, row, width), sign)
    return out


def _launch(source: Tensor, target: Tensor, cos: Tensor, sin: Tensor, shape: Any, of_source: Any, of_target: Any, sign: int) -> None:
    """of_source, of_target: where the first head starts, and the strides of batch, place and head; in elements."""
    batch, places, heads, width = shape
    at_once = min(triton.next_power_of_2(heads), 32)
    per_batch = cos.stride(0) if cos.shape[0] > 1 else 0
    wrap_triton(_turn)[(batch * places, triton.cdiv(heads, at_once))](
        source, target, cos, sin, heads, width // 2, places, *of_source, *of_target, per_batch, cos.stride(1),
        SIGN=sign, HEADS=at_once, LANES=triton.next_power_of_2(width // 2),
    )  # fmt: skip


def _keep_angles(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(inputs[1], inputs[2])


def _turn_back(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    with_rows = (grad if grad.stride(-1) == 1 else grad.contiguous() for grad in grads)
    return turned_gradient(*with_rows, *ctx.saved_tensors), None, None, None


turned.register_autograd(_turn_back, setup_context=_keep_angles)
