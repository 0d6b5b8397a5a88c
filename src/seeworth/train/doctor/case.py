"""What is examined, and what a finding is. Knows nothing of what is looked for."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...encode import Encoder, Example, collate
from ...errors import RunError
from ...record import Record
from ...settings import TrainSettings
from ..loop import compute_dtype
from ..parts import Parts, resolve_parts
from ..step import to_device

BATCH = 8  # records looked at together at most
SHOWN = 160  # characters of an answer


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `words` says what was found; when it is not ok, also what was expected and what to do."""

    name: str
    ok: bool
    words: str


@dataclass(frozen=True)
class Case:
    """What is examined: a model, some of the train records as one batch, and how they are trained."""

    model: Any
    encoder: Encoder
    train: Sequence[Record]
    settings: TrainSettings
    parts: Parts
    records: Sequence[Record]
    examples: Sequence[Example]
    batch: dict[str, Any]

    @property
    def base(self) -> Any:
        """The model without PEFT around it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The loss as it is trained on, in the type it is computed in."""
        moved = {key: value if key == "image_sizes" else to_device(value, self.device) for key, value in batch.items()}
        with self.autocast():
            loss: Tensor = self.model(**moved, logits_at_labels=True).loss
        return loss

    def autocast(self) -> AbstractContextManager[Any]:
        dtype = compute_dtype(self.settings, self.device)
        return nullcontext() if dtype is torch.float32 else torch.autocast(self.device.type, dtype)


def demand(findings: Sequence[Finding]) -> None:
    """Raises RunError that tells the first finding that is not ok, and how many more there are."""
    bad = [one for one in findings if not one.ok]
    if bad:
        more = f" (and {len(bad) - 1} more: {', '.join(one.name for one in bad[1:])})" if len(bad) > 1 else ""
        raise RunError(f"would not train well: {bad[0].name}: {bad[0].words}{more}")


def show(findings: Sequence[Finding], width: int | None = None) -> str:
    """The findings as lines of at most `width` characters; as wide as the terminal when left out."""
    width = max(min(width or shutil.get_terminal_size().columns, 140), 30)
    lines = []
    for one in findings:
        head = f"{'ok ' if one.ok else 'BAD'} {one.name:9} "
        lines += textwrap.wrap(head + one.words, width, subsequent_indent=" " * min(len(head), width // 4), break_on_hyphens=False)
    return "\n".join(lines)


def make_case(model: Any, encoder: Encoder, train: Sequence[Record], settings: TrainSettings, parts: Parts | None = None) -> Case:
    """The batch to look at: some records with photos where there are such, evenly spread."""
    with_photos = [record for record in train if record.all_photos]
    size = min(max(settings.per_device_train_batch_size, 1), BATCH)
    chosen = spread_over(with_photos or train, size)
    examples = [encoder.example(record) for record in chosen]
    batch = collate(examples, pad_id=int(encoder.processor.tokenizer.pad_token_id))
    return Case(model, encoder, train, settings, parts or resolve_parts(settings), chosen, examples, batch)


def spread_over(records: Sequence[Record], count: int) -> list[Record]:
    """At most so many of the records, evenly spread, the first among them."""
    step = max(len(records) / count, 1)
    return [records[int(number * step)] for number in range(min(count, len(records)))]


def short(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}...")
