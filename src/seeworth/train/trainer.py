"""The training loop: transformers' Trainer, fed by our encoder, heard by our tracker, checked by real answers.

Knows nothing of files but the checkpoint folders the Trainer writes; `run.py` makes the run folder around it.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from ..encode import Encoder, Example, collate, photo_of
from ..errors import RunError
from ..evaluate.figures import validation_figures
from ..predict.vlm import VLM
from ..record import Record
from ..settings import TrainSettings
from ..track import Track
from .optimizer import make_optimizer


class Examples(TorchDataset[Example]):
    """Records of one split, encoded when asked for.

    The first photos, up to `megabytes` of decoded pixels, are kept between passes: on a CPU, decoding costs as much as a fifth
    of the step.
    """

    def __init__(self, records: Sequence[Record], encoder: Encoder, megabytes: float = 0) -> None:
        self.records = records
        self.encoder = encoder
        self.room = megabytes * 2**20
        self.photos: dict[int, Image.Image] = {}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        record, rng = self.records[index], random.Random(random.random())
        return self.encoder.example(record, photos=None if len(record.all_photos) != 1 else [self._photo(index)], rng=rng)

    def _photo(self, index: int) -> Image.Image:
        if index in self.photos:
            return self.photos[index]
        photo = photo_of(self.records[index])
        if self.encoder.augment:
            photo = self.encoder.smaller(photo)
        if (size := photo.width * photo.height * len(photo.getbands())) <= self.room:
            self.room -= size
            self.photos[index] = photo
        return photo


@dataclass
class Answering(TrainerCallback):
    """Sends the Trainer's figures to the tracker; at each evaluation answers some validation photos by real generation."""

    track: Track
    model: VLM
    records: Sequence[Record]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        names = {"loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/grad_norm", "eval_loss": "eval/loss"}
        figures = {names[key]: float(value) for key, value in (logs or {}).items() if key in names}
        for name, value in figures.items():
            if name in ("train/loss", "eval/loss") and not math.isfinite(value):
                raise RunError(f"{name} is {value} at step {state.global_step}: lower learning_rate, or use another dtype")
        if figures:
            self.track.log(state.global_step, figures | {"train/epoch": round(float(state.epoch or 0), 3)})

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.records:
            self.answer(state.global_step, self.records)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:  # the last step counts too, wherever the interval falls
            control.should_evaluate = control.should_save = True

    def answer(self, step: int, records: Sequence[Record], family: str = "eval") -> dict[str, float]:
        """Answer the records, log the table and the figures as `family`/name, return the figures."""
        task = self.model.encoder.task
        predictions = list(self.model(records))
        figures = {f"{family}/{name}": value for name, value in validation_figures(task, records, predictions).items()}
        rows = []
        for record, prediction in zip(records, predictions, strict=True):
            reading = task.read(prediction.text)
            fields = {f"{one.name} read": reading.values.get(one.name, "") for one in task.answer_fields}
            row = {"id": record.id, "photo": record.photo, "truth": task.write(record.values), "answer": prediction.text}
            rows.append(row | fields | {"problems": "; ".join(reading.problems)})
        self.track.answers(step, f"{family}/answers", rows)
        self.track.log(step, figures)
        return figures


class PlainProgress(TrainerCallback):
    """A line now and then, where no terminal shows a bar."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        shown = {key: logs[key] for key in ("loss", "eval_loss") if logs and key in logs}
        if shown:
            words = " · ".join(f"{key} {value:.4f}" for key, value in shown.items())
            print(f"step {state.global_step}/{state.max_steps} · {words}", flush=True)


def make_trainer(
    model: Any, encoder: Encoder, train: Sequence[Record], validation: Sequence[Record], settings: TrainSettings, track: Track
) -> tuple[Trainer, Answering]:
    """A Trainer ready to train, and the callback that answers photos.

    Checkpoints go to `output_dir/checkpoint-N`; with a validation split the best one by validation loss is loaded at the end.
    """
    processor = encoder.processor
    without_jitter = Encoder(processor, encoder.task)
    vlm = VLM(model, without_jitter, batch_size=settings.per_device_eval_batch_size)
    answering = Answering(track, vlm, list(validation)[: settings.eval_records])
    trainer = Trainer(
        model=model,
        args=arguments(settings, len(train), bool(validation)),
        # a worker process would keep photos of its own, and forget them after each pass
        train_dataset=Examples(train, encoder, 0 if settings.dataloader_num_workers else settings.photo_memory),
        eval_dataset=Examples(validation, without_jitter) if validation else None,
        data_collator=partial(_batch, pad_id=processor.tokenizer.pad_token_id),
        callbacks=[answering],
        optimizers=(make_optimizer(model, settings), None),
    )
    trainer.remove_callback(PrinterCallback)
    if not sys.stderr.isatty():
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(PlainProgress())
    return trainer, answering


def _batch(examples: Sequence[Example], pad_id: int) -> dict[str, Any]:
    """What the model is called with: the answer's logits are all that the loss needs."""
    return {**collate(examples, pad_id=pad_id), "logits_at_labels": True}


def total_steps(settings: TrainSettings, records: int) -> int:
    """Optimizer steps of the whole training on one process."""
    if settings.max_steps > 0:
        return settings.max_steps
    batches = -(-records // settings.per_device_train_batch_size)
    per_epoch = max(-(-batches // settings.gradient_accumulation_steps), 1)
    return max(int(per_epoch * settings.num_train_epochs), 1)


def arguments(settings: TrainSettings, records: int, validate: bool) -> TrainingArguments:
    """Our settings in the Trainer's words."""
    cuda = torch.cuda.is_available()
    steps = total_steps(settings, records)
    every = max(-(-steps // max(settings.evals_per_run, 1)), 1)
    return TrainingArguments(
        output_dir=str(Path(settings.output_dir)),
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        per_device_eval_batch_size=settings.per_device_eval_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        optim="adamw_torch_fused",
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=round(steps * settings.warmup_ratio),
        max_grad_norm=settings.max_grad_norm,
        activation_checkpointing=settings.gradient_checkpointing is not False and settings.model != "tiny",
        activation_checkpointing_kwargs={"use_reentrant": False},
        logging_steps=max(every // 5, 1),
        logging_first_step=True,
        logging_nan_inf_filter=False,  # the default shows a NaN loss as 0.0000
        eval_strategy="steps" if validate else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=settings.save_total_limit,
        load_best_model_at_end=validate,
        metric_for_best_model="eval_loss" if validate else None,
        prediction_loss_only=True,
        dataloader_num_workers=settings.dataloader_num_workers,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        label_names=["labels"],
        bf16=cuda and settings.dtype in ("auto", "bfloat16"),
        fp16=cuda and settings.dtype == "float16",
        use_cpu=not cuda,
        seed=settings.seed,
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
    )
