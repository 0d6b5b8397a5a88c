"""How much a training will cost: steps, hours and memory. Estimates, told as such."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...encode import Measure
from ...say import many
from ..memory import GIB, estimate_memory
from ..order import Order
from ..telling import duration
from .case import Case, Finding, spread_over

MEASURED = 500  # records whose tokens are counted at most


def look_at_work(case: Case, seconds: float) -> Finding:
    """How much there is to do. Tokens by `Encoder.measure`, hours by the one pass that was timed."""
    measured = [case.encoder.measure(record) for record in spread_over(case.train, MEASURED)]
    tokens, photo = (sum(one[place] for one in measured) / len(measured) for place in (0, 1))
    steps, records = _steps(case, measured)
    pace = seconds / sum(len(example.input_ids) for example in case.examples)
    hours = records * tokens * pace / 3600 / _processes()
    return Finding(
        "work",
        True,
        f"{many(steps, 'step')}, {many(round(records), 'record')} of {tokens:,.0f} tokens, {photo:,.0f} of them the photo's: about "
        f"{duration(3600 * hours)} by the time of one pass here (an estimate; validation comes on top)",
    )


def _steps(case: Case, measured: Sequence[Measure]) -> tuple[int, float]:
    """Optimizer steps, and records they take in all; lengths of unmeasured records are those of measured ones, in turn."""
    settings = case.settings
    lengths = [measured[place % len(measured)].tokens for place in range(len(case.train))]
    order = Order(
        lengths,
        settings.per_device_train_batch_size,
        settings.gradient_accumulation_steps,
        _processes(),
        max_tokens=settings.max_tokens_per_batch,
        by_length=settings.group_by_length,
        packed=settings.packing,
        seed=settings.seed,
    )
    if settings.max_steps > 0:
        return settings.max_steps, settings.max_steps * len(lengths) / max(len(order.epoch(0)), 1)
    return order.total(settings.num_train_epochs), settings.num_train_epochs * len(lengths)


def look_at_memory(case: Case) -> Finding:
    """The largest record's step against the device. More than there is fails, where the training has no way to become smaller."""
    longest = max((case.encoder.measure(record) for record in spread_over(case.train, MEASURED)), key=lambda one: one.tokens)
    need = estimate_memory(case.model, case.settings, tokens=longest.tokens, tiles=longest.tiles, records=len(case.train))
    asked = case.settings.gradient_checkpointing
    again = not need.fits(checkpointing=False) if asked == "auto" else asked
    total = need.total(again)
    kept = f"activations {_gib(need.recomputed if again else need.activations)}"
    words = (
        f"about {_gib(total)} of {_gib(need.available)} GiB (an estimate): weights {_gib(need.weights)}, gradients {_gib(need.gradients)}, "
        f"optimizer {_gib(need.optimizer)}, {kept} {'with' if again else 'without'} gradient checkpointing"
    )
    if total > need.available and not case.settings.auto_find_batch_size and _processes() == 1:
        return Finding("memory", False, f"{words}: lower per_device_train_batch_size or num_crops, or train less of the model")
    return Finding("memory", True, words)


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _gib(size: int) -> str:
    return f"{size / GIB:.2f}" if size < 10 * GIB else f"{size / GIB:.1f}"
