"""How large forward passes are: as a checkpoint has it, and smaller where memory runs out. Knows nothing of models."""

from __future__ import annotations

from dataclasses import replace

from ..errors import RunError
from ..say import many
from ..settings import TrainSettings
from .checkpoint import find_checkpoint, read_state
from .folder import Claim


def as_found(settings: TrainSettings, taken: Claim, processes: int) -> TrainSettings:
    """With the size of forward passes that `auto_find_batch_size` had found when the checkpoint was written."""
    if not settings.auto_find_batch_size or taken.checkpoint is None:
        return settings
    order = read_state(taken.checkpoint)["order"]
    return replace(
        settings,
        per_device_train_batch_size=order["batch_size"],
        gradient_accumulation_steps=order["passes"] // processes,
        max_tokens_per_batch=order["max_tokens"],
    )


def smaller_passes(settings: TrainSettings, taken: Claim, problem: Exception, longest: int) -> TrainSettings:
    """The same number of records in a step, in smaller forward passes; under a token budget about as many. `longest`: tokens of a record.

    Raises RunError when there is no smaller pass, when none is to be looked for, or when a checkpoint was written already: it goes on
    in no other order.
    """
    size, passes, budget = settings.per_device_train_batch_size, settings.gradient_accumulation_steps, settings.max_tokens_per_batch
    words = pass_words(settings)
    if taken.instead is None and (last := find_checkpoint(taken.out)) is not None:
        raise RunError(
            f"out of memory with {words} in a forward pass, after {last} was written: go on with gradient_checkpointing true or on "
            f"a larger device, or train anew with smaller forward passes ({str(problem).split('.')[0]})"
        ) from problem
    if not settings.auto_find_batch_size or (budget <= longest if budget else size < 2):
        raise RunError(
            f"out of memory with {words} in a forward pass: lower per_device_train_batch_size or num_crops, set "
            f"gradient_checkpointing true, or auto_find_batch_size ({str(problem).split('.')[0]})"
        ) from problem
    if budget:  # below the longest record passes do not get smaller, only fewer of its neighbours stand together
        smaller = max(budget // 2, longest)
        return replace(settings, max_tokens_per_batch=smaller, gradient_accumulation_steps=round(passes * budget / smaller))
    share = next(number for number in range(2, size + 1) if size % number == 0)
    return replace(settings, per_device_train_batch_size=size // share, gradient_accumulation_steps=passes * share)


def pass_words(settings: TrainSettings) -> str:
    """How large a forward pass is."""
    if settings.max_tokens_per_batch:
        return many(settings.max_tokens_per_batch, "token")
    return many(settings.per_device_train_batch_size, "record")
