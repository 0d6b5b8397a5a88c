"""Packed rows: several records behind one another in one row, with positions that begin anew, and attention that skips what lies between.

    flash_attention_2    skips by itself, told the borders
    sdpa                 makes and applies a mask of the row's length squared
    sdpa_packed          ours: sdpa for all else, packed rows by torch's own kernel for records of many lengths (CUDA, 16 bits),
                         else record by record

Knows nothing of labels, batches or training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

SDPA_PACKED = "sdpa_packed"


def skip_between_records(model: Any) -> None:
    """Let packed rows cost no more than their records apart: where attention is sdpa, it becomes sdpa_packed. All else stays."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(SDPA_PACKED)


def borders_of(position_ids: Tensor | None, attention_mask: Tensor | None, cache: Cache | None) -> dict[str, Any] | None:
    """Where the records of packed rows begin, in the words that attention functions know; None when the rows are not packed.

    Packed are rows of position_ids int[batch, length] that do not go up by one all the way, with no mask and no cache.
    cu_seq_lens_q, cu_seq_lens_k: int32[record + 1], first positions in the rows laid end to end, and the end.
    """
    if position_ids is None or position_ids.ndim != 2 or attention_mask is not None or cache is not None:
        return None
    begins = nn.functional.pad(position_ids.diff(dim=-1) != 1, (1, 0), value=True)
    if int(begins.sum()) == len(position_ids):
        return None
    starts = begins.flatten().nonzero().flatten()
    borders = nn.functional.pad(starts, (0, 1), value=position_ids.numel()).to(torch.int32)
    longest = int(borders.diff().max())
    return {"cu_seq_lens_q": borders, "cu_seq_lens_k": borders, "max_length_q": longest, "max_length_k": longest}


def sdpa_packed(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of query [batch, head, length, width]; key and value may have fewer heads. With `cu_seq_lens_q` (see `borders_of`)
    causal within each record, whatever the mask; without, what transformers' sdpa does. Returns [batch, length, head, width].
    """
    if cu_seq_lens_q is None:
        done: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, sliding_window=sliding_window, **kwargs
        )
        return done
    batch, heads, length, width = query.shape
    q, k, v = (one.transpose(1, 2).reshape(-1, one.shape[1], one.shape[3]) for one in (query, key, value))
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and not dropout:
        longest = max_length_q or length
        window = -1 if sliding_window is None else sliding_window - 1
        grouped: dict[str, Any] = {"enable_gqa": True} if len(k[0]) != heads else {}
        found = varlen_attn(q, k, v, cu_seq_lens_q, cu_seq_lens_q, longest, longest, scale=scaling, window_size=(window, 0), **grouped)
        assert isinstance(found, Tensor)
    else:
        sizes: list[int] = cu_seq_lens_q.diff().tolist()
        records = zip(*(torch.split(one, sizes) for one in (q, k, v)), strict=True)
        found = torch.cat([_one_record(*one, dropout=dropout, scale=scaling, window=sliding_window) for one in records])
    return found.view(batch, length, heads, width), None


def _one_record(q: Tensor, k: Tensor, v: Tensor, *, dropout: float, scale: float | None, window: int | None) -> Tensor:
    """Causal attention of one record, [length, head, width] each; a position sees the last `window` ones, itself included."""
    q, k, v = (one.transpose(0, 1)[None] for one in (q, k, v))
    mask = None
    if window is not None and window < q.shape[2]:
        place = torch.arange(q.shape[2], device=q.device)
        back = place[:, None] - place
        mask = (back >= 0) & (back < window)
    found = nn.functional.scaled_dot_product_attention(
        q, k, v, mask, dropout, is_causal=mask is None, scale=scale, enable_gqa=k.shape[1] != q.shape[1]
    )
    return found[0].transpose(0, 1)


AttentionInterface.register(SDPA_PACKED, sdpa_packed)
AttentionMaskInterface.register(SDPA_PACKED, sdpa_mask)
