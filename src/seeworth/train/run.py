"""The verb `train`: a dataset folder -> a run folder, `run.json` written last.

    OUT/adapter_model.safetensors + adapter_config.json (LoRA), or OUT/model*.safetensors + config.json (full)
    OUT/ processor and tokenizer files, settings.yaml, task.yaml, log.jsonl, speed.jsonl, README.md (model card), started.json, run.json
    OUT/checkpoint-N/, OUT/wandb/
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from ..data.dataset import Dataset
from ..encode import Encoder
from ..errors import DataError, RunError, SettingsError
from ..memory import keep_freed_memory
from ..predict.vlm import VLM
from ..record import Record
from ..run_folder import write_run
from ..settings import TrainSettings
from ..track import About, Track, listeners, names_of
from .answering import Answering
from .build import build, speed_up
from .checkpoint import find_checkpoint, read_state
from .compile import as_it_is
from .doctor import demand, examine, show
from .features import open_features, reader
from .folder import Claim, claim, how_to_go_on
from .frozen import frozen_fingerprint
from .limits import check_limits
from .loop import Trainer
from .optimizer import make_optimizer
from .order import Order
from .parts import Parts, resolve_parts, say_parts
from .result import about_run, resolved, write_result
from .spread import Alone, make_spread

FINAL_RECORDS = 200  # validation records that the finished model answers


def run(settings: TrainSettings) -> None:
    """Train and write the run folder, or go on where it was broken off.

    Raises SettingsError when the folder holds something else or a training with other settings, DataError when the dataset has no train
    split, ModelError when the model cannot be loaded, RunError when the loss is not finite or the disk is full, PhotoError when a
    photo has vanished.
    """
    keep_freed_memory()
    if settings.num_threads > 0:
        torch.set_num_threads(settings.num_threads)
    with ExitStack() as held:
        spread = make_spread(settings)
        held.callback(spread.close)
        held.enter_context(spread.one_voice())
        check_limits(settings)
        names_of(settings.report_to)
        spread.settle(settings)
        parts = resolve_parts(settings)
        dataset = Dataset.open(settings.data)
        if not dataset.counts.get("train"):
            raise DataError(f"{settings.data} has no record in its train split: import it again with a split column, or without one")
        taken = spread.first(lambda: claim(settings, dataset.fingerprint, held, spread.processes, task=dataset.task.to_dict()))
        if taken.finished:
            _say(spread, f"{settings.output_dir} is finished already: nothing to do (--overwrite trains anew)")
            return
        settings = _as_found(settings, taken, spread.processes)
        while True:
            try:
                return _train(settings, dataset, parts, spread, taken)
            except KeyboardInterrupt:
                if spread.main:
                    print(how_to_go_on(taken.out), file=sys.stderr, flush=True)
                raise
            except torch.OutOfMemoryError as problem:
                settings = _smaller(settings, problem)
            _say(spread, f"out of memory: now {settings.per_device_train_batch_size} records in a forward pass")


def _train(settings: TrainSettings, dataset: Dataset, parts: Parts, spread: Alone, taken: Claim) -> None:
    train, validation = dataset.records("train"), dataset.records("validation")
    parts = _reached(parts, train)
    model, encoder = build(settings, dataset, train, parts)
    order = make_order(settings, encoder, train, spread.processes)
    speed_up(model, settings, max(order.lengths), spread)
    _say_plan(settings, parts, model, order, len(validation), spread)
    if settings.doctor and taken.checkpoint is None:
        _examine(settings, model, encoder, train, spread)
    store = open_features(settings, dataset, model, encoder, [*train, *validation], spread, _passes(settings, order))
    frozen = frozen_fingerprint(model)
    wrapped = spread.wrap(model)
    optimizer = make_optimizer(wrapped, settings)
    wrapped = spread.join(wrapped, optimizer)
    checkpoint = taken.checkpoint
    resumed = None if checkpoint is None else spread.first(lambda: read_state(checkpoint)["track"])
    config = resolved(settings, parts, model, encoder, store is not None, spread) | {"data_fingerprint": dataset.fingerprint}
    about = About(taken.out, dataset.folder, settings.project, settings.run_name or taken.out.name, "train", config)
    with Track(taken.out, listeners(settings.report_to, about, main=spread.main), resume=resumed, main=spread.main) as track:
        quiet = Encoder(encoder.processor, encoder.task)
        vlm = VLM(model, quiet, batch_size=settings.per_device_eval_batch_size, features=store)
        trainer = Trainer(
            model=wrapped,
            optimizer=optimizer,
            train=train,
            validation=validation,
            encoder=encoder,
            order=order,
            settings=settings,
            out=taken.out,
            track=track,
            spread=spread,
            answering=Answering(track, vlm, validation[: settings.eval_records], dataset.folder, spread),
            features=None if store is None else reader(store, spread),
            frozen=frozen,
        )
        if taken.checkpoint is not None:
            trainer.load(taken.checkpoint)
            _say(spread, f"going on at step {trainer.step} of {trainer.total}")
        start = time.time()
        trainer.run()
        if store is not None:
            _say(spread, store.words(_passes(settings, order)))
        _finish(settings, parts, dataset, trainer, validation, (time.time() - start) / 60)


def _passes(settings: TrainSettings, order: Order) -> float:
    """How often the train records will have gone through."""
    return settings.num_train_epochs if settings.max_steps <= 0 else round(settings.max_steps / len(order.epoch(0)), 2)


def _reached(parts: Parts, train: list[Record]) -> Parts:
    """The parts, without those that only photos reach where no record has one: no gradient would come to them."""
    if any(record.photo for record in train):
        return parts
    if parts.language == "frozen":
        raise SettingsError("no train record has a photo, and the language model is frozen: nothing would be trained")
    return replace(parts, projector="frozen", vision="frozen")


def _finish(
    settings: TrainSettings, parts: Parts, dataset: Dataset, trainer: Trainer, validation: list[Record], minutes: float
) -> None:
    """The best weights answer once more, and are written."""
    trainer.load_best()
    figures: dict[str, float] = {} if trainer.best["loss"] is None else {"eval/best_loss": trainer.best["loss"]}
    with as_it_is(settings), trainer.spread.answering(trainer.model) as model:
        # Another family than eval/: more records, and the best checkpoint, so no point on the same curve.
        figures |= trainer.answering(trainer.step, "final", model, validation[: max(settings.eval_records, FINAL_RECORDS)])
        trainer.spread.main_only(lambda: _leave(about_run(settings, parts, dataset, trainer, model, minutes, figures), trainer, model))
    _say(trainer.spread, f"trained {trainer.step} steps in {minutes:.1f} minutes: {trainer.out}")


def _leave(about: dict[str, Any], trainer: Trainer, model: Any) -> None:
    """All that stays of the training in its folder, run.json last."""
    write_result(trainer.out, model, trainer.examples.encoder, about)
    trainer.track.finish(about["validation"], about)
    write_run(trainer.out, about)


def make_order(settings: TrainSettings, encoder: Encoder, train: list[Record], processes: int = 1) -> Order:
    """The order of the train records, by their lengths, which need no photo opened."""
    return Order(
        [encoder.length(record) for record in train],
        settings.per_device_train_batch_size,
        settings.gradient_accumulation_steps,
        processes,
        max_tokens=settings.max_tokens_per_batch,
        by_length=settings.group_by_length,
        packed=settings.packing,
        seed=settings.seed,
    )


def _examine(settings: TrainSettings, model: Any, encoder: Encoder, train: list[Record], spread: Alone) -> None:
    """The doctor's findings, printed by the main process. Raises RunError for the first that is bad."""
    findings = spread.main_only(lambda: examine(model, encoder, train, settings)) or []
    _say(spread, show(findings))
    spread.main_only(lambda: demand(findings))


def _as_found(settings: TrainSettings, taken: Claim, processes: int) -> TrainSettings:
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


def _smaller(settings: TrainSettings, problem: Exception) -> TrainSettings:
    """The same step in smaller forward passes.

    Raises RunError when there is no smaller one, when none is to be looked for, or when a checkpoint was written already: it goes on
    in no other order.
    """
    size, budget = settings.per_device_train_batch_size, settings.max_tokens_per_batch
    if (last := find_checkpoint(settings.output_dir)) is not None:
        raise RunError(
            f"out of memory with {size} records in a forward pass, after {last} was written: go on with gradient_checkpointing true or on "
            f"a larger device, or train anew with smaller forward passes ({str(problem).split('.')[0]})"
        ) from problem
    if not settings.auto_find_batch_size or (size < 2 and not budget):
        raise RunError(
            f"out of memory with {size} records in a forward pass: lower per_device_train_batch_size or num_crops, set "
            f"gradient_checkpointing true, or auto_find_batch_size ({str(problem).split('.')[0]})"
        ) from problem
    return replace(
        settings,
        per_device_train_batch_size=max(size // 2, 1),
        gradient_accumulation_steps=settings.gradient_accumulation_steps * 2,
        max_tokens_per_batch=budget // 2,
    )


def _say_plan(settings: TrainSettings, parts: Parts, model: Any, order: Order, validation: int, spread: Alone) -> None:
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    whole = sum(one.numel() for one in model.parameters())
    steps = settings.max_steps if settings.max_steps > 0 else order.total(settings.num_train_epochs)
    processes = f" x {spread.processes}" if spread.processes > 1 else ""
    _say(
        spread,
        f"training {trained / 1e6:.1f} of {whole / 1e6:.1f} million parameters ({say_parts(model, parts)}) "
        f"on {len(order.lengths)} records, {validation} to validate, {steps} steps, {spread.device.type}{processes}",
    )


def _say(spread: Alone, words: str) -> None:
    if spread.main:
        print(words, flush=True)
