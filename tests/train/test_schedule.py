"""The learning rate as a function of the step, and the steps at which something is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_scheduler

from seeworth.errors import SettingsError
from seeworth.settings import TrainSettings
from seeworth.train.limits import check_limits
from seeworth.train.schedule import Schedule, moments


def settings(**more: Any) -> TrainSettings:
    return TrainSettings(data=Path("d"), output_dir=Path("o"), **more)


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=rates[0])


@pytest.mark.parametrize(
    "name", ["linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt", "cosine_with_restarts"]
)
def test_each_step_has_the_rate_of_transformers_schedule_wherever_it_is_asked_from(name: str) -> None:
    total, wanted = 40, []
    theirs = optimizer(1.0)
    stepped = get_scheduler(name, theirs, num_warmup_steps=4, num_training_steps=total)
    for _ in range(total):
        wanted.append(theirs.param_groups[0]["lr"])
        theirs.step()
        stepped.step()
    ours = optimizer(3e-4, 1e-5)
    schedule = Schedule(ours, settings(lr_scheduler_type=name, warmup_ratio=0.1), total)
    for step in (39, 0, 17, 3, 4, 5):
        schedule.set(step)
        assert [group["lr"] for group in ours.param_groups] == [3e-4 * wanted[step], 1e-5 * wanted[step]]
        assert schedule.rate(step) == 3e-4 * wanted[step]


@pytest.mark.parametrize("name", ["no_such", "reduce_lr_on_plateau", "warmup_stable_decay", "cosine_with_min_lr", ""])
def test_a_schedule_that_is_unknown_or_no_function_of_the_step_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"lr_scheduler_type is '{name}'"):
        Schedule(optimizer(1.0), settings(lr_scheduler_type=name), 10)


@given(st.integers(1, 300), st.integers(0, 20), st.integers(0, 40), st.integers(0, 40))
def test_the_last_step_counts_in_all_and_no_step_lies_outside(total: int, evals: int, save: int, log: int) -> None:
    found = moments(settings(evals_per_run=evals, save_steps=save, logging_steps=log), total)
    for steps in (found.log, found.evaluate, found.save):
        assert total in steps
        assert steps <= {*range(1, total + 1)}
    assert 1 in found.log
    assert found.evaluate <= found.save
    assert len(found.evaluate) <= max(evals, 1)
    if save:
        assert {*range(save, total + 1, save)} == found.save - found.evaluate | {step for step in found.save if step % save == 0}
    if log:
        assert found.log == {1, total, *range(log, total + 1, log)}


def test_without_evaluations_there_is_one_at_the_end() -> None:
    found = moments(settings(evals_per_run=0, save_steps=4), 10)
    assert found.evaluate == {10}
    assert found.save == {4, 8, 10}


def test_eight_evaluations_are_spread_evenly() -> None:
    assert moments(settings(), 80).evaluate == {10, 20, 30, 40, 50, 60, 70, 80}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is 0: expected 1 or more"),
    ({"gradient_accumulation_steps": -1}, "gradient_accumulation_steps is -1: expected 1 or more"),
    ({"per_device_eval_batch_size": 0}, "per_device_eval_batch_size is 0: expected 1 or more"),
    ({"num_train_epochs": 0.0}, "num_train_epochs is 0.0: expected more than 0"),
    ({"num_train_epochs": float("nan")}, "num_train_epochs is nan: expected a finite number"),
    ({"num_train_epochs": float("inf")}, "num_train_epochs is inf: expected a finite number"),
    ({"save_steps": -5}, "save_steps is -5: expected 0 or more"),
    ({"save_total_limit": 0}, "save_total_limit is 0: expected 1 or more"),
    ({"logging_steps": -1}, "logging_steps is -1: expected 0 or more"),
    ({"evals_per_run": -1}, "evals_per_run is -1: expected 0 or more"),
    ({"warmup_ratio": 1.5}, "warmup_ratio is 1.5: expected at most 1"),
    ({"adam_beta2": 1.0}, "adam_beta2 is 1.0: expected less than 1"),
    ({"max_grad_norm": 0.0}, "max_grad_norm is 0.0: expected more than 0"),
    ({"dataloader_num_workers": -1}, "dataloader_num_workers is -1: expected 0 or more"),
    ({"seed": -1}, "seed is -1: expected 0 or more"),
    ({"seed": 2**32}, "seed is 4294967296: expected at most 4294967295"),
    ({"num_crops": 0}, "num_crops is 0: expected 1 or more"),
    ({"lr_scheduler_type": "cosin"}, "lr_scheduler_type is 'cosin': expected linear, cosine"),
    ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_type is 'cosine_with_min_lr': .*min_lr"),
    ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "whose rate depends on more than the step"),
    ({"report_to": "wandb,mlflow"}, "report_to names 'mlflow'"),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG)
def test_figures_that_cannot_be_are_refused(wrong: dict[str, Any], told: str) -> None:
    check_limits(settings())
    with pytest.raises(SettingsError, match=told):
        check_limits(settings(**wrong))
