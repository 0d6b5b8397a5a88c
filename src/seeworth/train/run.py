"""The verb `train`: a dataset folder -> a run folder, `run.json` written last.

    OUT/adapter_model.safetensors + adapter_config.json (LoRA), or OUT/model*.safetensors + config.json (full)
    OUT/ processor and tokenizer files, settings.yaml, task.yaml, log.jsonl, speed.jsonl, README.md (model card), started.json, run.json
    OUT/checkpoint-N/, OUT/wandb/
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ..data.dataset import Dataset
from ..encode import Encoder
from ..errors import DataError, PhotoError, SettingsError
from ..features import FeatureStore
from ..memory import keep_freed_memory
from ..predict.vlm import VLM
from ..record import Record
from ..run_folder import write_run
from ..say import many, say
from ..settings import TrainSettings
from ..track import About, Track, listeners
from .answering import Answering
from .build import build, speed_up
from .checkpoint import read_state
from .compile import as_it_is
from .doctor import demand, examine, show
from .features import open_features, reader, refuse_features
from .fitting import as_found, pass_words, smaller_passes
from .folder import Claim, claim, how_to_go_on
from .frozen import frozen_fingerprint
from .limits import check_limits
from .loop import Trainer
from .optimizer import make_optimizer
from .order import Order
from .parts import Parts, resolve_parts, say_parts
from .result import about_run, resolved, write_result
from .spread import Alone, make_spread
from .telling import duration

FINAL_RECORDS = 200  # validation records that the finished model answers


def run(settings: TrainSettings) -> None:
    """Train and write the run folder, or go on where it was broken off.

    Raises SettingsError when the folder holds something else or a training with other settings, DataError when the dataset has no train
    split, ModelError when the model cannot be loaded, RunError when the loss is not finite or the disk is full, PhotoError when a
    photo has vanished.
    """
    keep_freed_memory()
    take_threads(settings)
    with ExitStack() as held:
        spread = make_spread(settings)
        held.callback(spread.close)
        held.enter_context(spread.one_voice())
        check_limits(settings)
        spread.settle(settings)
        parts = resolve_parts(settings)
        dataset = Dataset.open(settings.data)
        if not dataset.counts.get("train"):
            raise DataError(f"{settings.data} has no record in its train split: import it again with a split column, or without one")
        taken = spread.first(lambda: claim(settings, dataset.fingerprint, held, spread.processes, task=dataset.task.to_dict()))
        if taken.finished:
            _say(spread, f"{settings.output_dir} is finished already: nothing to do (--overwrite trains anew)")
            return
        if settings.overwrite:
            _say(spread, "with --overwrite every start is anew: leave it out to go on with a training that was broken off")
        _until_it_fits(as_found(settings, taken, spread.processes), dataset, parts, spread, taken)


def _until_it_fits(settings: TrainSettings, dataset: Dataset, parts: Parts, spread: Alone, taken: Claim) -> None:
    """Train; where memory runs out again with smaller forward passes, if the settings let it."""
    orders: list[Order] = []
    while True:
        try:
            return _train(settings, dataset, parts, spread, taken, orders)
        except KeyboardInterrupt:
            if spread.main:
                say(how_to_go_on(taken, settings.overwrite), error=True)
            raise
        except PhotoError as problem:
            back = f"put the photo back as it was ({how_to_go_on(taken, settings.overwrite)}), or import again and train anew"
            raise PhotoError(problem.code, f"{problem}: {back}") from problem
        except torch.OutOfMemoryError as problem:
            settings = smaller_passes(settings, taken, problem, max(orders[-1].lengths) if orders else 1)
        _say(spread, f"out of memory: now {pass_words(settings)} in a forward pass")


def take_threads(settings: TrainSettings) -> None:
    """As many threads as the settings say, where they say so."""
    if settings.num_threads > 0:
        torch.set_num_threads(settings.num_threads)


@dataclass(frozen=True)
class Ready:
    """All that a training is made of before any process holds a part of it. `store`: the tower's features, where they are kept."""

    settings: TrainSettings
    dataset: Dataset
    parts: Parts
    train: list[Record]
    validation: list[Record]
    model: Any
    encoder: Encoder
    order: Order
    store: FeatureStore | None


def _train(settings: TrainSettings, dataset: Dataset, parts: Parts, spread: Alone, taken: Claim, orders: list[Order]) -> None:
    """`orders` gets the one that is trained in: what is left where memory runs out."""
    ready = _prepare(settings, dataset, parts, spread, taken, orders)
    frozen = frozen_fingerprint(ready.model)
    wrapped = spread.wrap(ready.model)
    optimizer = make_optimizer(wrapped, settings)
    wrapped = spread.join(wrapped, optimizer)
    with _open_track(ready, spread, taken) as track:
        trainer = _make_trainer(ready, wrapped, optimizer, frozen, track, spread, taken)
        if taken.checkpoint is not None:
            trainer.load(taken.checkpoint)
            _say(spread, f"going on at step {trainer.step} of {trainer.total}")
        start = time.time()
        trainer.run()
        if ready.store is not None:
            _say(spread, ready.store.words(passes_of(settings, ready.order)))
        _finish(ready, trainer, (time.time() - start) / 60)


def _prepare(settings: TrainSettings, dataset: Dataset, parts: Parts, spread: Alone, taken: Claim, orders: list[Order]) -> Ready:
    """The model and its records, looked at by the doctor; from then on the folder is written."""
    train, validation = dataset.records("train"), dataset.records("validation")
    photos = [*train, *validation]
    parts = reached_parts(parts, train)
    model, encoder = build(settings, dataset, train, parts)
    order = make_order(settings, encoder, train, spread.processes)
    orders.append(order)
    speed_up(model, settings, max(order.lengths), spread)
    _say_plan(settings, parts, model, order, len(validation), spread)
    if settings.doctor and taken.checkpoint is None:
        _examine(settings, model, encoder, train, parts, spread)
    refuse_features(settings, model, photos, passes_of(settings, order))
    spread.main_only(taken.begin)
    taken.instead = None  # in the other processes too
    store = open_features(settings, dataset, model, encoder, photos, spread, passes_of(settings, order))
    return Ready(settings, dataset, parts, train, validation, model, encoder, order, store)


def _open_track(ready: Ready, spread: Alone, taken: Claim) -> Track:
    """log.jsonl and the trackers, as they were when the checkpoint was written."""
    settings, checkpoint = ready.settings, taken.checkpoint
    resumed = None if checkpoint is None else spread.first(lambda: read_state(checkpoint).get("track", {}))
    config = resolved(settings, ready.parts, ready.model, ready.encoder, ready.store is not None, spread)
    config |= {"data_fingerprint": ready.dataset.fingerprint}
    about = About(taken.out, ready.dataset.folder, settings.project, settings.run_name or taken.out.name, "train", config)
    return Track(taken.out, listeners(settings.report_to, about, main=spread.main), resume=resumed, main=spread.main)


def _make_trainer(
    ready: Ready, model: nn.Module, optimizer: torch.optim.Optimizer, frozen: str, track: Track, spread: Alone, taken: Claim
) -> Trainer:
    """`model`: as it is spread over the processes."""
    settings, store = ready.settings, ready.store
    quiet = Encoder(ready.encoder.processor, ready.encoder.task)
    vlm = VLM(ready.model, quiet, batch_size=settings.per_device_eval_batch_size, features=store)
    return Trainer(
        model=model,
        optimizer=optimizer,
        train=ready.train,
        validation=ready.validation,
        encoder=ready.encoder,
        order=ready.order,
        settings=settings,
        out=taken.out,
        track=track,
        spread=spread,
        answering=Answering(track, vlm, ready.validation[: settings.eval_records], ready.dataset.folder, spread),
        features=None if store is None else reader(store, spread),
        frozen=frozen,
    )


def passes_of(settings: TrainSettings, order: Order) -> float:
    """How often the train records will have gone through."""
    return settings.num_train_epochs if settings.max_steps <= 0 else round(settings.max_steps / len(order.epoch(0)), 2)


def reached_parts(parts: Parts, train: list[Record]) -> Parts:
    """The parts, without those that only photos reach where no record has one: no gradient would come to them."""
    if any(record.photo for record in train):
        return parts
    if parts.language == "frozen":
        raise SettingsError("no train record has a photo, and the language model is frozen: nothing would be trained")
    return replace(parts, projector="frozen", vision="frozen")


def _finish(ready: Ready, trainer: Trainer, minutes: float) -> None:
    """The best weights answer once more, and are written."""
    trainer.load_best()
    figures: dict[str, float] = {} if trainer.best["loss"] is None else {"eval/best_loss": trainer.best["loss"]}
    with as_it_is(ready.settings), trainer.spread.answering(trainer.model) as model:
        # Another family than eval/: more records, and the best checkpoint, so no point on the same curve.
        figures |= trainer.answering(trainer.step, "final", model, ready.validation[: max(ready.settings.eval_records, FINAL_RECORDS)])
        trainer.spread.main_only(lambda: _leave(ready, trainer, model, minutes, figures))
    _say(trainer.spread, f"trained {many(trainer.step, 'step')} in {duration(60 * minutes)}: {trainer.out}")


def _leave(ready: Ready, trainer: Trainer, model: Any, minutes: float, figures: dict[str, float]) -> None:
    """All that stays of the training in its folder, run.json last."""
    about = about_run(ready.settings, ready.parts, ready.dataset, trainer, model, minutes, figures)
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


def _examine(settings: TrainSettings, model: Any, encoder: Encoder, train: list[Record], parts: Parts, spread: Alone) -> None:
    """The doctor's findings, printed by the main process. Raises RunError for the first that is bad."""
    findings = spread.main_only(lambda: examine(model, encoder, train, settings, parts=parts)) or []
    _say(spread, show(findings))
    spread.main_only(lambda: demand(findings))


def _say_plan(settings: TrainSettings, parts: Parts, model: Any, order: Order, validation: int, spread: Alone) -> None:
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    whole = sum(one.numel() for one in model.parameters())
    steps = settings.max_steps if settings.max_steps > 0 else order.total(settings.num_train_epochs)
    processes = f" x {spread.processes}" if spread.processes > 1 else ""
    _say(
        spread,
        f"training {trained / 1e6:.3g} of {whole / 1e6:.3g} million parameters ({say_parts(model, parts)}) "
        f"on {many(len(order.lengths), 'record')}, {validation} to validate, {many(steps, 'step')}, {spread.device.type}{processes}",
    )


def _say(spread: Alone, words: str) -> None:
    if spread.main:
        say(words)
