"""Train settings that cannot be, whatever model and data: refused before anything is loaded or deleted. Knows nothing of what they do."""

from __future__ import annotations

import math

from ..errors import SettingsError
from ..settings import TrainSettings
from ..track.listener import tracker_names
from .schedule import share_of

LEAST = {  # name: the least that it may be
    "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1, "max_tokens_per_batch": 0,
    "evals_per_run": 0, "eval_records": 0, "save_steps": 0, "save_total_limit": 1, "logging_steps": 0, "dataloader_num_workers": 0,
    "photo_memory": 0, "num_threads": 0, "overfit_steps": 0, "weight_decay": 0.0, "augment": 0.0, "warmup_ratio": 0.0, "adam_beta1": 0.0,
    "adam_beta2": 0.0, "seed": 0, "num_crops": 1,
}  # fmt: skip
MOST = {"augment": 1.0, "warmup_ratio": 1.0, "seed": 2**32 - 1}  # numpy's generator takes no larger seed
BELOW_ONE = ("adam_beta1", "adam_beta2")
ABOVE_ZERO = ("num_train_epochs", "max_grad_norm")


def check_limits(settings: TrainSettings) -> None:
    """Raises SettingsError for the first figure that is out of its range, for a schedule and for a tracker that is not known."""
    for name in (*LEAST, *ABOVE_ZERO):
        value = getattr(settings, name)
        if value is None:
            continue
        if not math.isfinite(value):
            raise SettingsError(f"{name} is {value}: expected a finite number")
        if name in LEAST and value < LEAST[name]:
            raise SettingsError(f"{name} is {value}: expected {LEAST[name]:g} or more")
        if name in ABOVE_ZERO and value <= 0:
            raise SettingsError(f"{name} is {value}: expected more than 0")
        if name in MOST and value > MOST[name]:
            raise SettingsError(f"{name} is {value}: expected at most {MOST[name]:.12g}")
        if name in BELOW_ONE and value >= 1:
            raise SettingsError(f"{name} is {value}: expected less than 1")
    share_of(settings, 1)
    tracker_names(settings.report_to)
