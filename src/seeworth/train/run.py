"""The verb `train`: a dataset folder -> a run folder, `run.json` written last.

OUT/adapter_model.safetensors + adapter_config.json (LoRA), or OUT/model*.safetensors + config.json (full)
OUT/ processor and tokenizer files, settings.yaml, task.yaml, log.jsonl, README.md (model card), run.json
OUT/checkpoint-N/, OUT/wandb/
"""

from __future__ import annotations

import platform
import shutil
import time
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from transformers import set_seed

from ..data.dataset import Dataset
from ..encode import Encoder
from ..errors import DataError, SettingsError
from ..memory import keep_freed_memory
from ..phi3v.tiny import make_tiny
from ..predict.vlm import load_base
from ..record import Record
from ..run_folder import write_run
from ..settings import TrainSettings, to_plain
from ..track import Track, listeners
from .card import model_card
from .parts import dtype_of, prepare_parts, resolve_parts, save_trained, say_parts
from .trainer import make_trainer, total_steps


def run(settings: TrainSettings) -> None:
    """Train and write the run folder.

    Raises SettingsError when the folder is there already, DataError when the dataset has no train split, ModelError when the
    model cannot be loaded, RunError when the loss is not finite.
    """
    dataset = Dataset.open(settings.data)
    train, validation = dataset.records("train"), dataset.records("validation")
    if not train:
        raise DataError(f"{settings.data} has no record in its train split: import it again with a split column, or without one")
    out = _make_folder(settings)
    keep_freed_memory()
    set_seed(settings.seed)
    model, encoder = build(settings, dataset, train)
    _say_plan(settings, model, train, validation)
    plain = to_plain(settings)
    track = Track(
        out,
        listeners(
            settings.report_to,
            out,
            project=settings.project,
            name=settings.run_name or out.name,
            job_type="train",
            config=plain | {"data_fingerprint": dataset.fingerprint},
        ),
    )
    trainer, answering = make_trainer(model, encoder, train, validation, settings, track)
    start = time.time()
    trainer.train()
    minutes = (time.time() - start) / 60
    answering.model.model = trainer.model
    figures = _best_figures(trainer, validation)
    if validation:
        # Another family than eval/: more records, and the best checkpoint, so no point on the same curve.
        figures |= answering.answer(trainer.state.global_step, validation[: max(settings.eval_records, 200)], "final")
    about = _about(settings, dataset, trainer, minutes, figures)
    _write(out, trainer.model, encoder, plain, about)
    track.finish(figures)
    write_run(out, about)
    print(f"trained {trainer.state.global_step} steps in {minutes:.1f} minutes: {out}")


def build(settings: TrainSettings, dataset: Dataset, train: list[Record]) -> tuple[Any, Encoder]:
    """The model with what is to be trained marked, and its encoder."""
    parts = resolve_parts(settings)
    if settings.model == "tiny":
        texts = [dataset.task.write(record.values) for record in train] + [dataset.task.prompt(record.values) for record in train]
        model, processor = make_tiny(texts, seed=settings.seed, num_crops=settings.num_crops or 1)
    else:
        model, processor = load_base(
            settings.model,
            dtype=settings.dtype,
            attn_implementation=settings.attn_implementation,
            num_crops=settings.num_crops,
            load_in_4bit=settings.load_in_4bit,
        )
    model.config.use_cache = False
    return prepare_parts(model, settings, parts), Encoder(processor, dataset.task, augment=settings.augment)


def _make_folder(settings: TrainSettings) -> Path:
    out = settings.output_dir
    if out.exists() and not out.is_dir():
        raise SettingsError(f"output_dir {out} is a file: name a folder")
    if out.exists() and any(out.iterdir()):
        if not settings.overwrite:
            raise SettingsError(f"output_dir {out} is not empty: name another folder, or add --overwrite")
        if not ((out / "run.json").exists() or (out / "log.jsonl").exists()):
            raise SettingsError(f"output_dir {out} is not a run folder, so --overwrite does not delete it: name another folder")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    return out


def _say_plan(settings: TrainSettings, model: Any, train: list[Record], validation: list[Record]) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters())
    print(
        f"training {trained / 1e6:.1f} of {whole / 1e6:.1f} million parameters ({say_parts(model, resolve_parts(settings))}) "
        f"on {len(train)} records, {len(validation)} to validate, {total_steps(settings, len(train))} steps, {model.device.type}",
        flush=True,
    )


def _best_figures(trainer: Any, validation: list[Record]) -> dict[str, float]:
    if not validation or trainer.state.best_metric is None:
        return {}
    return {"eval/best_loss": float(trainer.state.best_metric)}


def _about(settings: TrainSettings, dataset: Dataset, trainer: Any, minutes: float, figures: dict[str, float]) -> dict[str, Any]:
    model = trainer.model
    return {
        "method": resolve_parts(settings).method,
        "model": settings.model,
        "dtype": str(dtype_of(model)).removeprefix("torch."),
        "attn_implementation": settings.attn_implementation,
        "task": dataset.task.to_dict(),
        "data": str(Path(settings.data).resolve()),
        "data_fingerprint": dataset.fingerprint,
        "steps": trainer.state.global_step,
        "best_checkpoint": Path(trainer.state.best_model_checkpoint).name if trainer.state.best_model_checkpoint else None,
        "minutes": round(minutes, 2),
        "validation": figures,
        "settings": to_plain(settings),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version()},
    }


def _write(out: Path, model: Any, encoder: Encoder, plain: dict[str, Any], about: dict[str, Any]) -> None:
    model.config.use_cache = True
    save_trained(model, out)
    encoder.processor.save_pretrained(out)
    (out / "settings.yaml").write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
    encoder.task.save(out / "task.yaml")
    (out / "README.md").write_text(model_card(about), encoding="utf-8")
