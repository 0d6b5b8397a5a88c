"""The proof: what two models say to the same records, word by word and logit by logit. Knows nothing of files or of how either was made.

Words are made by real generation, as `predict` makes them. Logits are taken where the answer is, each given the words before it of the
same answer (the reference's own), so that both models are asked the same thing. Differences are told in standard deviations of the
reference's logits, which makes them comparable between models and sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..encode import IGNORED, Example, collate
from ..errors import RunError
from ..predict.vlm import VLM
from ..record import Record

TOLERANCE = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}
"""Largest difference of a logit, in standard deviations, by the coarser dtype of the two. See docs/export.md for what was measured."""
MEAN_TOLERANCE = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1}
"""Root mean square of the differences, in the same unit."""
_COARSE = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Said:
    """One model's words, and its logits float32[label, vocabulary] of each record; () where only words can be had.

    `answers`: those whose logits were taken.
    """

    who: str
    dtype: str
    words: list[str]
    answers: list[str] = field(default_factory=list)
    logits: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """How far one is from the reference: `largest` and `mean` (root mean square) in standard deviations, None without logits.

    `coarser`: dtype of the two that decides the tolerances. `exact`: words must be the same. `held`: it is demanded, not only told.
    """

    who: str
    coarser: str
    records: int
    same_words: int
    largest: float | None
    mean: float | None
    exact: bool
    held: bool = True

    @property
    def tolerances(self) -> tuple[float, float]:
        """Of `largest` and of `mean`."""
        return TOLERANCE[self.coarser], MEAN_TOLERANCE[self.coarser]


def listen(model: VLM, records: Sequence[Record], who: str, dtype: str, told: Sequence[str] | None = None) -> Said:
    """Ask a model. `told`: the answers whose logits are taken; its own when left out."""
    words = [one.text for one in model(records)]
    answers = list(words if told is None else told)
    return Said(who, dtype, words, answers, tuple(_logits(model, record, text) for record, text in zip(records, answers, strict=True)))


@torch.inference_mode()
def _logits(model: VLM, record: Record, answer: str) -> Tensor:
    encoder = model.encoder
    prompt = encoder.example(record, answer=False)
    ids = encoder.processor.ids
    target = [*encoder.processor.plain_ids(answer), ids["<|end|>"], ids["<|endoftext|>"]]
    labels = [IGNORED] * len(prompt.input_ids) + target
    whole = Example([*prompt.input_ids, *target], labels, prompt.image_sizes, prompt.tiles)
    batch = collate([whole], pad_id=int(encoder.processor.tokenizer.pad_token_id))
    batch = {key: value.to(model.model.device) if isinstance(value, Tensor) else value for key, value in batch.items()}
    found: Any = model.model.eval()(**batch, logits_at_labels=True, use_cache=False).logits
    return torch.as_tensor(found).float().cpu()


def agreement(reference: Said, other: Said, *, exact: bool | None = None, held: bool = True) -> Agreement:
    """Hold one against the reference. Words must be the same where both are float32, unless `exact` says otherwise."""
    coarse = max(reference.dtype, other.dtype, key=_COARSE.index)
    same = sum(one == two for one, two in zip(reference.words, other.words, strict=True))
    largest, mean = _distance(reference.logits, other.logits) if other.logits else (None, None)
    exact = coarse == "float32" if exact is None else exact
    return Agreement(other.who, coarse, len(reference.words), same, largest, mean, exact, held)


def _distance(reference: Sequence[Tensor], other: Sequence[Tensor]) -> tuple[float, float]:
    """(largest, root mean square) of the differences over all records, in standard deviations of the reference; infinite for a NaN."""
    count = sum(one.numel() for one in reference)
    mean = sum(float(one.double().sum()) for one in reference) / count
    spread = math.sqrt(sum(float((one.double() - mean).square().sum()) for one in reference) / count)
    largest = squares = 0.0
    for one, two in zip(reference, other, strict=True):
        apart = (one - two).double()
        if not bool(torch.isfinite(apart).all()):
            return math.inf, math.inf
        largest = max(largest, float(apart.abs().max()))
        squares += float(apart.square().sum())
    return largest / spread, math.sqrt(squares / count) / spread


def demand(one: Agreement) -> Agreement:
    """The agreement, when it holds. Raises RunError, in a line, when it does not."""
    if not one.held:
        return one
    most, mean = one.tolerances
    if one.largest is not None and one.mean is not None and not (one.largest <= most and one.mean <= mean):
        told = "is not finite (an overflow: take bfloat16 or float32)" if math.isinf(one.largest) else f"differs by {one.largest:.3g}"
        raise RunError(
            f"the export does not agree with the run: a logit of {one.who} {told}, root mean square {one.mean:.3g}, and in {one.coarser} "
            f"at most {most:g} and {mean:g} standard deviations are allowed: nothing was exported"
        )
    if one.exact and one.same_words < one.records:
        raise RunError(
            f"the export does not agree with the run: {one.who} answers {one.records - one.same_words} of {one.records} probe records in "
            "other words: nothing was exported"
        )
    return one
