"""When the learning rate is what, and when a training logs, evaluates and saves: functions of the step alone.

Knows nothing of what is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from ..errors import SettingsError
from ..settings import TrainSettings


class Schedule:
    """The learning rate of each step, as a share of each parameter group's own highest.

    Raises SettingsError for a schedule that is not known, or is no function of the step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: TrainSettings, total: int) -> None:
        self.optimizer = optimizer
        self.highest: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.share = share_of(settings, total)

    def set(self, step: int) -> None:
        """Give every group its rate for the step after `step` steps."""
        for group, highest in zip(self.optimizer.param_groups, self.highest, strict=True):
            group["lr"] = highest * float(self.share(step))

    def rate(self, step: int) -> float:
        """The highest group's rate."""
        return max(self.highest) * float(self.share(step))


def share_of(settings: TrainSettings, total: int) -> Callable[[int], float]:
    """What share of its highest the rate has after so many of `total` steps. Raises SettingsError as `Schedule` does."""
    one = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = settings.lr_scheduler_type
    try:
        made = get_scheduler(name, one, num_warmup_steps=round(total * settings.warmup_ratio), num_training_steps=total)
    except (ValueError, TypeError) as problem:
        known = "linear, cosine, constant_with_warmup, ..."
        raise SettingsError(f"lr_scheduler_type is {name!r}: expected {known} ({problem})") from problem
    if not isinstance(made, LambdaLR):
        raise SettingsError(f"lr_scheduler_type is {name!r}, whose rate depends on more than the step: take cosine, linear, constant")
    share: Callable[[int], float] = made.lr_lambdas[0]
    return share


@dataclass(frozen=True)
class Moments:
    """The steps, counted from 1, at which something is done."""

    log: frozenset[int]
    evaluate: frozenset[int]
    save: frozenset[int]


def moments(settings: TrainSettings, total: int) -> Moments:
    """The last step counts in all; a checkpoint is written at each evaluation."""
    every = max(-(-total // max(settings.evals_per_run, 1)), 1)
    often = settings.logging_steps or max(every // 5, 1)
    evaluate = {*range(every, total + 1, every), total}
    save = {*range(settings.save_steps, total + 1, settings.save_steps)} if settings.save_steps else set()
    return Moments(frozenset({1, *range(often, total + 1, often), total}), frozenset(evaluate), frozenset(evaluate | save))
