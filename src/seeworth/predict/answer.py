"""Greedy answers of one batch, over a cache whose rows grow apart: what a constraint forces costs no pass of its own, and a row that is
done costs none at all.

Without a constraint the words are those of the library's `generate`. Beyond the border of the short rope factors the cached keys no
longer fit: the batch is read anew with the long ones, as `Phi3VForCausalLM.prepare_inputs_for_generation` does. Knows nothing of
records, of fields or of probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..encode import IGNORED, Example, collate
from .constrain import Walk
from .slots import Slots


@dataclass(eq=False)
class Row:
    """One answer under way.

    Attributes:
        example: the prompt. walk: its constraint; None leaves the words free. limit: tokens after which a free answer is cut.
        said: tokens of the answer, the end not among them. pending: those of them that the cache does not hold yet, in order.
        place: its row in the cache. shift: slots before the prompt. used: slots up to the last token that the cache holds.
        finished: nothing more is said. Whoever no longer wants the answer may set it between two passes.
    """

    example: Example
    walk: Walk | None
    limit: int
    said: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    place: int = 0
    shift: int = 0
    used: int = 0
    finished: bool = False


class Batch:
    """Prompts that are answered together.

    Args:
        model: Phi3VForCausalLM, or one wrapped by PEFT, in eval mode.
        walks: the constraint of each prompt; None for one that is free.
        max_new_tokens: a free answer is cut there, all at the same length or each at its own. A constrained one ends by itself.
        pad_id: fills up what is short.
        pick: (rows, their logits) -> the next token of each; the likeliest when left out.
    """

    def __init__(
        self,
        model: Any,
        examples: Sequence[Example],
        walks: Sequence[Walk | None],
        *,
        max_new_tokens: int | Sequence[int],
        pad_id: int,
        pick: Callable[[Sequence[Row], Tensor], list[int]] | None = None,
    ) -> None:
        self.model = model
        self.pick = pick or _likeliest
        self.pad_id = pad_id
        self.device: torch.device = model.device
        limits = [max_new_tokens] * len(examples) if isinstance(max_new_tokens, int) else max_new_tokens
        self.rows = [Row(*each) for each in zip(examples, walks, limits, strict=True)]
        config = plain(model).config
        self.ends = ends_of(model)
        self.never = torch.tensor(model.generation_config.suppress_tokens or [], dtype=torch.long, device=self.device)
        self.layers: int = config.num_hidden_layers
        self.window: int | None = config.sliding_window
        self.border = rope_border(model)
        # On a CPU a pass costs what its tokens cost, so long runs wait for each other; on a GPU it costs what a pass costs.
        self.runs_wait = self.device.type == "cpu"
        self.cache = Slots(self.layers)
        self.passes = 0

    def answer(self) -> list[list[int]]:
        """The tokens of every answer."""
        for _ in self.steps():
            pass
        return [row.said for row in self.rows]

    @torch.inference_mode()
    def steps(self) -> Iterator[None]:
        """Answer pass by pass: after each, `rows` tell what is said so far."""
        for row in self.rows:
            row.said = row.walk.forced() if row.walk else []
            row.finished = row.walk is not None and row.walk.done
        ready, logits = self.rows, self.fill(self.rows)
        while True:
            self._say(ready, logits)
            yield
            active = [row for row in self.rows if not row.finished]
            if not active:
                return
            if self._crosses(active):
                ready, logits = active, self.fill(active)
            else:
                short = [row for row in active if len(row.pending) == 1]
                ready = short if short and self.runs_wait else active
                logits = self.feed(ready)

    def fill(self, rows: Sequence[Row]) -> Tensor:
        """Read the prompts and what is said so far, into a fresh cache; float32[row, vocabulary] of what comes next."""
        self.cache = Slots(self.layers)
        whole = [_longer(row.example, row.said) for row in rows]
        batch = collate(whole, pad_id=self.pad_id, side="left")
        del batch["labels"]
        batch = {key: one.to(self.device) if isinstance(one, Tensor) else one for key, one in batch.items()}
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        width = batch["input_ids"].shape[1]
        for place, (row, example) in enumerate(zip(rows, whole, strict=True)):
            row.place, row.shift, row.used, row.pending = place, width - len(example.input_ids), width, []
        self.passes += 1
        found = self.model(**batch, position_ids=positions, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        logits: Tensor = found.logits[:, -1].float()
        return logits

    def feed(self, rows: Sequence[Row]) -> Tensor:
        """Read what is pending in these rows, in one pass, the short padded on the left; float32[row, vocabulary] of what comes next."""
        most = max(len(row.pending) for row in rows)
        longest = max(row.used + len(row.pending) for row in rows)
        ids = np.full((len(rows), most), self.pad_id)
        slots = np.full((len(rows), most), longest)  # padding goes to the slot that none sees
        seen = np.empty((len(rows), most), dtype=np.int64)
        for at, row in enumerate(rows):
            count = len(row.pending)
            own = np.arange(row.used, row.used + count)
            ids[at, most - count :], slots[at, most - count :] = row.pending, own
            seen[at, : most - count], seen[at, most - count :] = row.used - 1, own
            row.used, row.pending = row.used + count, []
        shift = np.array([row.shift for row in rows])[:, None]
        place = np.arange(longest)
        mask = (place >= shift[:, :, None]) & (place <= seen[:, :, None])
        logits = self.step(rows, ids, slots, seen - shift, mask, longest, keep=1)
        return logits[:, -1].float()

    def step(
        self, rows: Sequence[Row], ids: np.ndarray, slots: np.ndarray, positions: np.ndarray, mask: np.ndarray, longest: int, *, keep: int
    ) -> Tensor:
        """One forward pass over the cache: ids, slots, positions int[row, token]; mask bool[row, token, longest], slots that each sees.
        Returns the logits of the last `keep` tokens, of all when 0."""
        if self.window is not None:
            mask = mask & (np.arange(longest) > slots[:, :, None] - self.window)
        places = [row.place for row in rows]
        there = None if places == list(range(self.cache.size)) else self._there(np.array(places))
        self.cache.aim(there, self._there(slots), longest)
        self.passes += 1
        with sdpa(self.model):
            found = self.model(
                input_ids=self._there(ids),
                attention_mask=self._there(mask[:, None]),
                position_ids=self._there(positions),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=keep,
            )
        logits: Tensor = found.logits
        return logits

    def _there(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _say(self, rows: Sequence[Row], logits: Tensor) -> None:
        """The likeliest next token of each row, and what it forces after it."""
        logits[:, self.never] = -torch.inf
        bound = [at for at, row in enumerate(rows) if row.walk is not None and not row.finished]
        if bound:
            allowed = np.stack([row.walk.allowed() for at in bound if (row := rows[at]).walk is not None])
            logits[bound] = logits[bound].masked_fill(~self._there(allowed), -torch.inf)
        for row, token in zip(rows, self.pick(rows, logits), strict=True):
            if row.finished:
                continue
            if token in self.ends:
                row.finished = True
                continue
            row.pending = [token]
            if row.walk is None:
                row.finished = len(row.said) + 1 >= row.limit
            else:
                row.walk.take(token)
                row.pending += row.walk.forced()
                row.finished = row.walk.done
            row.said += row.pending

    def _crosses(self, rows: Sequence[Row]) -> bool:
        """Whether the next pass is the first that reaches beyond the short rope factors."""
        if self.border is None:
            return False
        before = max(row.used - row.shift for row in rows)
        return before <= self.border < max(row.used - row.shift + len(row.pending) for row in rows)


def _likeliest(rows: Sequence[Row], logits: Tensor) -> list[int]:
    found: list[int] = logits.argmax(-1).tolist()
    return found


def plain(model: Any) -> Any:
    """The model itself, without PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def ends_of(model: Any) -> frozenset[int]:
    """Tokens that end an answer."""
    ends = model.generation_config.eos_token_id
    return frozenset([ends] if isinstance(ends, int) else ends)


def rope_border(model: Any) -> int | None:
    """The longest sequence, in tokens, that has the short rope factors; None where there is one kind only."""
    config = plain(model).config
    longrope = (config.rope_parameters or {}).get("rope_type") == "longrope"
    return int(config.original_max_position_embeddings) if longrope else None


@contextmanager
def sdpa(model: Any) -> Iterator[None]:
    """The language model's attention as sdpa, which takes a mask of any form. Photos are in the cache by then: their tower is not asked."""
    config = plain(model).config
    own = config._attn_implementation_internal
    config._attn_implementation_internal = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation_internal = own


def _longer(example: Example, said: Sequence[int]) -> Example:
    return replace(example, input_ids=[*example.input_ids, *said], labels=[*example.labels, *[IGNORED] * len(said)])
