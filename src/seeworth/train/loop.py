"""The training loop: batches in order, loss at the labels, one step after another, and everything needed to go on exactly.

Each random number is drawn from (seed, step, process) and the learning rate is a function of the step, so a step depends on
nothing but weights, optimizer and its own number: that is what makes a resumed training equal to an undisturbed one, bit by bit.
Knows nothing of run folders but where checkpoints go; `run.py` makes the rest.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..encode import Encoder
from ..errors import RunError
from ..record import Record
from ..settings import TrainSettings
from ..track import Track
from .answering import Answering
from .checkpoint import Checkpoint, folder_of, forget_checkpoints, read_checkpoint, read_state, to_cpu, write_checkpoint
from .compile import as_it_is
from .examples import Examples, Features, first_photo, loader, places_of
from .order import Order
from .schedule import Schedule, moments
from .spread import Alone
from .step import Stepped, Stepper, count
from .telling import Telling, telling


class Trainer:
    """One training, ready to start or to go on.

    Args:
        model: as `spread.wrap` gave it, what is to be trained marked. optimizer: of its parameters.
        train, validation: records, with an encoder for each: validation is never augmented.
        order: of the train records. out: the run folder. track: what hears the figures. spread: the processes.
        answering: answers validation photos at each evaluation.
        features: gives the vision tower's output of a record; None opens its photos.
        frozen: fingerprint of the weights that are not trained, see `frozen`.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Sequence[Record],
        validation: Sequence[Record],
        encoder: Encoder,
        order: Order,
        settings: TrainSettings,
        out: Path,
        track: Track,
        spread: Alone,
        answering: Answering,
        features: Features | None = None,
        frozen: str = "",
    ) -> None:
        self.frozen = frozen
        self.model, self.optimizer, self.order, self.settings = model, optimizer, order, settings
        self.out, self.track, self.spread, self.answering = out, track, spread, answering
        self.total = settings.max_steps if settings.max_steps > 0 else order.total(settings.num_train_epochs)
        self.account = order.account()
        self.schedule = Schedule(optimizer, settings, self.total)
        megabytes = 0 if settings.dataloader_num_workers else settings.photo_memory
        self.examples = Examples(train, encoder, seed=settings.seed, megabytes=megabytes, features=features)
        quiet = Encoder(encoder.processor, encoder.task)
        self.held_out = Examples(validation, quiet, seed=settings.seed, megabytes=megabytes / 10, features=features)
        self.validation = validation
        self.moments = moments(settings, self.total)
        self.stepper = Stepper(model, optimizer, spread, compute_dtype(settings, spread.device), settings.max_grad_norm)
        self.step = 0
        self.best: dict[str, Any] = {"loss": None, "step": None}
        self.window = {"loss": 0.0, "steps": 0}  # since the last line of the log
        self.norm = 0.0  # of the last step's gradient, before it was clipped
        self.pace = Pace()
        self.told = Telling(0, self.total, silent=True)  # until it runs

    def run(self) -> None:
        """From the step it is at to the last. Raises RunError when the loss is not finite or a checkpoint cannot be written."""
        with telling(self.step, self.total, silent=not self.spread.main) as self.told:
            self._run()

    def _run(self) -> None:
        self.model.train()
        batches = self._batches()
        waiting: list[Stepped] = []
        due = self.moments.log | self.moments.evaluate | self.moments.save
        for epoch, step in self.order.steps(self.step, self.total):
            waiting.append(self._step([next(batches) for _ in range(len(step) // self.spread.processes)]))
            self.step += 1
            self._look(waiting, 0 if self.step in due else 1)
            if self.step in self.moments.log:
                self._log(epoch)
            if self.step in self.moments.evaluate:
                self._evaluate()
            if self.step in self.moments.save:
                self.save()
            self.told.step(self.step)

    def _step(self, batches: list[dict[str, Any]]) -> Stepped:
        self.schedule.set(self.step)
        torch.manual_seed(_number(self.settings.seed, self.step, self.spread.rank))
        done = self.stepper.step(batches)
        self.pace.add(photos=done.photos, tokens=done.tokens, padding=done.padding)
        return done

    def _look(self, waiting: list[Stepped], leave: int) -> None:
        """Add up what the steps found, all but the last `leave`: asking a GPU for a figure at once would keep it waiting for the next step.

        Raises RunError when a loss is not finite.
        """
        while len(waiting) > leave:
            step, done = self.step - len(waiting) + 1, waiting.pop(0)
            self.norm = float(done.norm)
            self._finite("train/loss", float(done.loss), step)
            if not self.stepper.scaler.is_enabled():  # with one, a gradient that overflows is its business: the step is left out
                self._finite("train/grad_norm", self.norm, step)
            self.window["loss"] += float(done.loss)
            self.window["steps"] += 1

    def _batches(self) -> Iterator[dict[str, Any]]:
        """This process's forward passes from the present step on; what came before is skipped here, not decoded."""
        rank, processes = self.spread.rank, self.spread.processes
        filler = first_photo(self.examples.records)
        places = (  # no list: a million records have a million places an epoch
            places_of(micro, self.examples.records, filler, epoch, processes)
            for epoch, step in self.order.steps(self.step, self.total)
            for micro in step[rank::processes]
        )
        settings = self.settings
        return loader(
            self.examples, places, pad_id=self._pad, packed=settings.packing, workers=settings.dataloader_num_workers, pin=self._pin
        )

    @property
    def _pad(self) -> int:
        return int(self.examples.encoder.processor.tokenizer.pad_token_id)

    @property
    def _pin(self) -> bool:
        return self.spread.device.type == "cuda"

    def _log(self, epoch: int) -> None:
        figures = {
            "train/loss": self.window["loss"] / self.window["steps"],
            "train/learning_rate": self.schedule.rate(self.step - 1),
            "train/grad_norm": self.norm,
            "train/epoch": epoch,
        }
        self.window = {"loss": 0.0, "steps": 0}
        pace = self.pace.figures()
        self.track.log(self.step, figures)
        self.track.speed(self.step, pace)
        self.told.hear(self.step, {**figures, **pace})

    def _evaluate(self) -> None:
        with as_it_is(self.settings):
            self._validate()
        self.model.train()
        self.pace = Pace()  # evaluation is no part of it

    def _validate(self) -> None:
        if not self.validation:
            return
        loss = self.validation_loss()
        self._finite("eval/loss", loss, self.step)
        self.track.log(self.step, {"eval/loss": loss})
        self.told.hear(self.step, {"eval/loss": loss})
        if self.best["loss"] is None or loss < self.best["loss"]:
            self.best = {"loss": loss, "step": self.step}
        with self.spread.answering(self.model) as model:
            self.answering(self.step, "eval", model)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean loss over all labelled tokens of the validation split."""
        self.model.eval()
        size, rank, processes = self.settings.per_device_eval_batch_size, self.spread.rank, self.spread.processes
        micros = [range(start, min(start + size, len(self.validation))) for start in range(0, len(self.validation), size)]
        micros += [range(0)] * (-len(micros) % processes)
        places = [places_of(micro, self.validation, first_photo(self.validation), 0, processes) for micro in micros[rank::processes]]
        total, labels = 0.0, 0.0
        for batch in loader(self.held_out, places, pad_id=self._pad, packed=self.settings.packing, pin=self._pin):
            total += float(self.stepper.loss(batch, 1.0))
            labels += count([batch])[0]
        total, labels = self.spread.sum(total, labels)
        return total / max(labels, 1)

    def _finite(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise RunError(
                f"{name} is {value} at step {step}: lower learning_rate or use another dtype, in another output_dir or with --overwrite; "
                f"the checkpoints in {self.out} are from before"
            )

    def save(self) -> None:
        """Write a checkpoint; of the earlier ones `forget_checkpoints` keeps the best and as many as save_total_limit says.

        Raises RunError, and writes none, when a weight is not finite: the checkpoints before are better.
        """
        weights = self.spread.weights(self.model)
        for name, weight in weights.items():
            self._finite(f"weight {name}", float(weight.sum(dtype=torch.float32)), self.step)
        optimizer = self.spread.optimizer_state(self.model, self.optimizer)
        self.spread.main_only(lambda: self._write(weights, optimizer))

    def _write(self, weights: Mapping[str, torch.Tensor], optimizer: Mapping[str, Any]) -> None:
        state = {
            "best": self.best,
            "window": self.window,
            "scaler": self.stepper.scaler.state_dict(),
            "track": self.track.state(),
            "order": self.account,
            "frozen": self.frozen,
        }
        write_checkpoint(self.out, Checkpoint(self.step, to_cpu(weights), optimizer, state))
        forget_checkpoints(self.out, self.settings.save_total_limit)

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint that `claim` found whole; the main process reads it.

        Raises RunError when it is of another order or another base model, trains other tensors, or was made by hand.
        """
        state = self.spread.first(lambda: dict(read_state(folder)))
        if lost := [name for name in ("best", "window", "scaler", "track", "order") if not isinstance(state.get(name), dict)]:
            raise RunError(f"{folder} is no checkpoint of a training, it lacks {', '.join(lost)}: name an earlier one, or train anew")
        if state.get("frozen", self.frozen) != self.frozen:
            raise RunError(
                f"{folder} was trained over other frozen weights than {self.settings.model} has now: give the model that the training "
                "began with, or train anew with --overwrite"
            )
        then = state["order"]
        if changed := [f"{name} {then.get(name)} -> {now}" for name, now in self.account.items() if then.get(name) != now]:
            raise RunError(
                f"{folder} was written by a training with another order of records ({', '.join(changed)}): go on with the same model, "
                "settings and data, or train anew with --overwrite"
            )
        found = self.spread.main_only(lambda: read_checkpoint(folder, checked=True))
        self.spread.load_weights(self.model, found.weights if found else None)
        self.spread.load_optimizer(self.model, self.optimizer, dict(found.optimizer) if found else None)
        if state["step"] > self.total:
            raise RunError(f"{folder} is of {state['step']} steps, the training has {self.total}: it is of another one")
        self.step, self.best, self.window = int(state["step"]), dict(state["best"]), dict(state["window"])
        if state["scaler"]:
            self.stepper.scaler.load_state_dict(state["scaler"])
        if self.spread.main:
            forget_checkpoints(self.out, self.settings.save_total_limit)  # what a kill kept the process that wrote it from deleting

    def load_best(self) -> None:
        """Put the weights with the lowest validation loss in place; the present ones when nothing was validated.

        Raises RunError when their checkpoint is damaged.
        """
        if self.best["step"] not in (None, self.step):
            found = self.spread.main_only(lambda: read_checkpoint(folder_of(self.out, self.best["step"])))
            self.spread.load_weights(self.model, found.weights if found else None)


class Pace:
    """Photos and tokens a second since it was made or last asked."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.sums: dict[str, float] = {}

    def add(self, **numbers: float) -> None:
        for name, value in numbers.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def figures(self) -> Mapping[str, float]:
        seconds = time.perf_counter() - self.start
        photos, tokens, padding = (self.sums.get(name, 0.0) for name in ("photos", "tokens", "padding"))
        self.start, self.sums = time.perf_counter(), {}
        return {
            "train/photos_per_second": round(photos / seconds, 3),
            "train/tokens_per_second": round(tokens / seconds, 1),
            "train/padding_share": round(padding / max(tokens + padding, 1), 4),
        }


def compute_dtype(settings: TrainSettings, device: torch.device) -> torch.dtype:
    """The type that matrices are multiplied in: the setting, or with auto bfloat16 on a GPU that has it, else float32."""
    if settings.dtype != "auto":
        return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[settings.dtype]
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _number(*parts: int) -> int:
    """A seed of 63 bits from whole numbers, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1
