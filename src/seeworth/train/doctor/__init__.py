"""What is proved of a training before its hours are spent: on a few records, with this model, and nothing of it changed.

    photos      places for photos in the text are as many as the rows that the model makes of them          words
    labels      what the assistant says is trained, all of it and nothing else; it is shown
    answers     the answers of the records differ
    gradients   every part that should train gets a gradient, and nothing that is frozen                    learning
    photo       another record's photo changes the loss
    overfit     (asked for) one batch can be learnt by heart
    work        tokens, steps and hours                                                                     cost
    memory      against what the device has

Each is a Finding. Knows nothing of run folders and of the command line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ...encode import Encoder
from ...record import Record
from ...settings import TrainSettings
from ..parts import Parts
from ..untouched import untouched
from .case import Case, Finding, demand, make_case, show
from .cost import look_at_memory, look_at_work
from .learning import look_at_gradients, look_at_overfitting, look_at_the_photo
from .words import look_at_answers, look_at_labels, look_at_photos

__all__ = ["Case", "Finding", "demand", "examine", "question", "show"]


def examine(
    model: Any,
    encoder: Encoder,
    records: Sequence[Record],
    settings: TrainSettings,
    *,
    parts: Parts | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> list[Finding]:
    """Look at everything; what needs a sound batch is left out when the batch is not.

    Weights, gradients, modes and random generators are afterwards what they were, bit by bit.

    Args:
        model: as `prepare_parts` returned it, not wrapped further. records: of the train split.
        parts: how they are trained, where that is not what the settings say: with words alone, only the language model is.
        optimizer: the one that will train, to see that it holds what is trained; None when there is none yet.

    Raises PhotoError when a photo of these records cannot be opened, DataError or TaskError when a record cannot be encoded.
    """
    case = make_case(model, encoder, records, settings, parts)
    with untouched(model):
        found = [look_at_photos(case), look_at_labels(case), look_at_answers(case)]
        if not all(one.ok for one in found[:2]):
            return found
        gradients, seconds = look_at_gradients(case, optimizer)
        found.append(gradients)
        if math.isfinite(seconds):
            found.append(look_at_the_photo(case))
            if settings.overfit_steps > 0:
                found.append(look_at_overfitting(case))
            found.append(look_at_work(case, seconds))
            found.append(look_at_memory(case))
    return found


def question(model: Any, encoder: Encoder, records: Sequence[Record], settings: TrainSettings) -> list[Finding]:
    """Of a model that was trained: places, labels and answers, and what another photo does to the loss. As `examine` otherwise."""
    case = make_case(model, encoder, records, settings)
    with untouched(model):
        found = [look_at_photos(case), look_at_labels(case), look_at_answers(case)]
        return [*found, look_at_the_photo(case)] if all(one.ok for one in found[:2]) else found
