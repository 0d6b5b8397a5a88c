"""Run with TRITON_INTERPRET=1: kernels against plain torch, then a training step of a tiny model; prints a word for each that agrees."""

from __future__ import annotations

import torch
from transformers.models.phi3.modeling_phi3 import apply_rotary_pos_emb

from seeworth.phi3v.tiny import make_tiny
from seeworth.train import fast_layers
from seeworth.train.kernels import gated, turned


def same(name: str, found: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)  # measured: 5e-7
    print(name)


def gate(rows: int, wide: int) -> None:
    x = torch.randn(rows, 2 * wide, requires_grad=True)
    grad = torch.randn(rows, wide)
    first, second = x.chunk(2, -1)
    slow, fast = second * torch.nn.functional.silu(first), gated(x)
    same("gated", [fast, *torch.autograd.grad(fast, x, grad)], [slow, *torch.autograd.grad(slow, x, grad)])


def turn(batch: int, places: int, queries: int, keys: int, width: int, angles: int) -> None:
    qkv = torch.randn(batch, places, (queries + 2 * keys) * width, requires_grad=True)
    half = torch.randn(angles, places, width // 2)
    cos, sin = (torch.cat([one, one], -1) for one in (half.cos(), half.sin()))
    heads = qkv.unflatten(-1, (-1, width))
    q, k, v = (one.transpose(1, 2) for one in (heads[:, :, :queries], heads[:, :, queries:-keys], heads[:, :, -keys:]))
    q, k = apply_rotary_pos_emb(q, k, cos, sin)
    slow = [one.transpose(1, 2) for one in (q, k, v)]
    grads = [torch.randn_like(one.transpose(1, 2)).transpose(1, 2) for one in slow]  # as attention gives them: another order in memory
    fast = list(turned(qkv, cos, sin, keys))
    same("turned", [*fast, *torch.autograd.grad(fast, qkv, grads)], [*slow, *torch.autograd.grad(slow, qkv, grads)])


def step(fast: bool) -> list[torch.Tensor]:
    model, _ = make_tiny(["Product"])
    model.train()
    if fast:
        assert fast_layers.speed_up_layers(model) == 2 * model.config.num_hidden_layers
    torch.manual_seed(2)
    ids = torch.randint(10, 200, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100), use_cache=False).loss
    loss.backward()
    return [loss.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)]


if __name__ == "__main__":
    torch.manual_seed(0)
    gate(5, 1500)  # a row ends within a block
    turn(2, 7, 5, 5, 32, 1)
    turn(3, 4, 4, 2, 96, 3)  # keys shared by two queries, angles of their own for each row
    turn(1, 3, 40, 40, 96, 1)  # more heads than one program takes
    slow = step(False)
    fast_layers._fits = lambda x: True
    same("model", step(True), slow)
