"""The verb `train`: a dataset folder -> a run folder, `run.json` written last.

    OUT/adapter_model.safetensors + adapter_config.json (LoRA), or OUT/model*.safetensors + config.json (full)
    OUT/ processor and tokenizer files, settings.yaml, task.yaml, log.jsonl, README.md (model card), run.json
    OUT/checkpoint-N/, OUT/wandb/
"""

from __future__ import annotations

import platform
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from transformers import set_seed

from ..data.dataset import Dataset
from ..encode import Encoder
from ..errors import DataError, RunError
from ..memory import keep_freed_memory
from ..phi3v.tiny import make_tiny
from ..predict.vlm import VLM, load_base
from ..record import Record
from ..run_folder import write_run
from ..settings import TrainSettings, to_plain
from ..track import Track, listeners
from .answers import Answering
from .card import model_card
from .compile import compile_layers
from .doctor import examine
from .folder import Claim, claim
from .loop import Trainer
from .memory import needs_checkpointing
from .optimizer import make_optimizer
from .order import Order
from .parts import Parts, prepare_parts, resolve_parts
from .spread import Alone, make_spread

FINAL_RECORDS = 200  # validation records that the finished model answers


def run(settings: TrainSettings) -> None:
    """Train and write the run folder, or go on where it was broken off.

    Raises SettingsError when the folder holds something else or a training with other settings, DataError when the dataset has no train
    split, ModelError when the model cannot be loaded, RunError when the loss is not finite or the disk is full, PhotoError when a
    photo has vanished.
    """
    dataset = Dataset.open(settings.data)
    train, validation = dataset.records("train"), dataset.records("validation")
    if not train:
        raise DataError(f"{settings.data} has no record in its train split: import it again with a split column, or without one")
    parts = resolve_parts(settings)
    keep_freed_memory()
    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    spread = make_spread(settings)
    with ExitStack() as held:
        held.callback(spread.close)
        taken = spread.first(lambda: claim(settings, dataset.fingerprint))
        if taken.finished:
            print(f"{settings.output_dir} is finished already: nothing to do (--overwrite trains anew)")
            return
        while True:
            try:
                return _train(settings, dataset, train, validation, parts, spread, taken)
            except torch.OutOfMemoryError as problem:
                settings = _smaller(settings, problem)
                print(f"out of memory: now {settings.per_device_train_batch_size} records in a forward pass", flush=True)


def _train(
    settings: TrainSettings,
    dataset: Dataset,
    train: list[Record],
    validation: list[Record],
    parts: Parts,
    spread: Alone,
    taken: Claim,
) -> None:
    set_seed(settings.seed)
    model, encoder = build(settings, dataset, train, parts)
    lengths = [encoder.length(record) for record in train]
    order = Order(
        lengths,
        settings.per_device_train_batch_size,
        settings.gradient_accumulation_steps,
        spread.processes,
        settings.max_tokens_per_batch,
        settings.group_by_length,
        settings.packing,
        settings.seed,
    )
    _speed_up(model, settings, lengths, spread)
    plain = to_plain(settings)
    if spread.main:
        _say_plan(settings, parts, model, train, validation, order)
    if settings.doctor and taken.checkpoint is None and spread.main:
        for finding in examine(model, encoder, train, settings):
            print(f"  {finding.words}", flush=True)
    wrapped = spread.wrap(model)
    track = Track(
        taken.out,
        listeners(
            settings.report_to if spread.main else "none",
            taken.out,
            project=settings.project,
            name=settings.run_name or taken.out.name,
            job_type="train",
            config=plain | {"data_fingerprint": dataset.fingerprint},
        ),
    )
    vlm = VLM(model, Encoder(encoder.processor, encoder.task), batch_size=settings.per_device_eval_batch_size)
    trainer = Trainer(
        model=wrapped,
        optimizer=make_optimizer(wrapped, settings),
        train=train,
        validation=validation,
        encoder=encoder,
        order=order,
        settings=settings,
        out=taken.out,
        track=track,
        spread=spread,
        answering=Answering(track, vlm, validation[: settings.eval_records]),
    )
    if taken.checkpoint is not None:
        trainer.load(taken.checkpoint)
        if spread.main:
            print(f"going on at step {trainer.step} of {trainer.total}", flush=True)
    start = time.time()
    trainer.run()
    minutes = (time.time() - start) / 60
    trainer.load_best()
    figures = {} if trainer.best["loss"] is None else {"eval/best_loss": trainer.best["loss"]}
    with spread.answering(wrapped) as whole:
        # Another family than eval/: more records, and the best checkpoint, so no point on the same curve.
        figures |= trainer.answering.answer(trainer.step, "final", whole, validation[: max(settings.eval_records, FINAL_RECORDS)])
        if spread.main:
            about = _about(settings, parts, dataset, trainer, whole, minutes, figures)
            _write(taken.out, whole, encoder, plain, about)
            track.finish(figures)
            write_run(taken.out, about)
            print(f"trained {trainer.step} steps in {minutes:.1f} minutes: {taken.out}")
    spread.wait()


def build(settings: TrainSettings, dataset: Dataset, train: list[Record], parts: Parts) -> tuple[Any, Encoder]:
    """The model with what is to be trained marked, and its encoder."""
    if settings.model == "tiny":
        texts = [dataset.task.write(record.values) for record in train] + [dataset.task.prompt(record.values) for record in train]
        model, processor = make_tiny(texts, seed=settings.seed, num_crops=settings.num_crops or 1)
    else:
        model, processor = load_base(
            settings.model, dtype=settings.dtype, attn_implementation=settings.attn_implementation, num_crops=settings.num_crops
        )
    model.config.use_cache = False
    return prepare_parts(model, settings, parts), Encoder(processor, dataset.task, augment=settings.augment)


def _speed_up(model: Any, settings: TrainSettings, lengths: list[int], spread: Alone) -> None:
    """What trades memory and start-up time for speed; no weight and no loss depends on it beyond rounding."""
    again = settings.gradient_checkpointing
    if needs_checkpointing(model, settings, max(lengths)) if again == "auto" else again:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if settings.torch_compile:
        compile_layers(model)


def _smaller(settings: TrainSettings, problem: Exception) -> TrainSettings:
    """The same step in smaller forward passes. Raises RunError when there is no smaller one, or none is to be looked for."""
    size, budget = settings.per_device_train_batch_size, settings.max_tokens_per_batch
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


def _say_plan(
    settings: TrainSettings, parts: Parts, model: Any, train: list[Record], validation: list[Record], order: Order
) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters())
    steps = settings.max_steps if settings.max_steps > 0 else order.total(settings.num_train_epochs)
    print(
        f"training {trained / 1e6:.1f} of {whole / 1e6:.1f} million parameters ({parts}) on {len(train)} records, "
        f"{len(validation)} to validate, {steps} steps, {model.device.type}",
        flush=True,
    )


def _about(
    settings: TrainSettings, parts: Parts, dataset: Dataset, trainer: Trainer, model: Any, minutes: float, figures: dict[str, float]
) -> dict[str, Any]:
    best = trainer.best["step"]
    return {
        "method": parts.method,
        "model": settings.model,
        "dtype": str(model.dtype).removeprefix("torch."),
        "attn_implementation": settings.attn_implementation,
        "task": dataset.task.to_dict(),
        "data": str(Path(settings.data).resolve()),
        "data_fingerprint": dataset.fingerprint,
        "steps": trainer.step,
        "best_checkpoint": f"checkpoint-{best}" if best is not None else None,
        "minutes": round(minutes, 2),
        "validation": figures,
        "settings": to_plain(settings),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version()},
    }


def _write(out: Path, model: Any, encoder: Encoder, plain: dict[str, Any], about: dict[str, Any]) -> None:
    model.config.use_cache = True
    model.save_pretrained(str(out))
    encoder.processor.save_pretrained(out)
    (out / "settings.yaml").write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
    encoder.task.save(out / "task.yaml")
    (out / "README.md").write_text(model_card(about), encoding="utf-8")

