"""What a finished training leaves in the run folder, all but run.json. Knows nothing of how it trained."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from ..data.dataset import Dataset
from ..encode import Encoder
from ..errors import RunError, told_as
from ..files import share_tensors, yaml_text
from ..settings import TrainSettings, to_plain
from .card import model_card
from .loop import Trainer, compute_dtype
from .parts import PARTS, Parts, dtype_of, save_trained
from .spread import Alone


def resolved(settings: TrainSettings, parts: Parts, model: Any, encoder: Encoder, cached: bool, spread: Alone) -> dict[str, Any]:
    """The settings as trackers file them: with what "auto", and what was left out, came to on this machine. `cached`: features are kept."""
    again = any(getattr(module, "gradient_checkpointing", False) is True for module in model.modules())
    trained = [part for part in PARTS if parts[part] != "frozen"]
    found: dict[str, Any] = {
        "method": parts.method,
        **{part: parts[part] for part in PARTS},
        **{f"{part}_learning_rate": getattr(settings, f"{part}_learning_rate") or settings.learning_rate for part in trained},
        "num_crops": encoder.processor.image_processor.num_crops,
        "dtype": str(compute_dtype(settings, spread.device)).removeprefix("torch."),
        "attn_implementation": model.config._attn_implementation,
        "gradient_checkpointing": again,
        "vision_cache": cached,
    }
    return to_plain(settings) | found | {"processes": spread.processes, "device": spread.device.type}


def about_run(
    settings: TrainSettings, parts: Parts, dataset: Dataset, trainer: Trainer, model: Any, minutes: float, figures: dict[str, float]
) -> dict[str, Any]:
    """What run.json will say."""
    best = trainer.best["step"]
    return {
        "method": parts.method,
        "parts": {"language": parts.language, "projector": parts.projector, "vision": parts.vision},
        "model": settings.model,
        "dtype": str(dtype_of(model)).removeprefix("torch."),
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


def write_result(out: Path, model: Any, encoder: Encoder, about: dict[str, Any]) -> None:
    """Weights, processor, settings, task and model card. Raises RunError when the disk takes them not."""
    model.config.use_cache = True
    with told_as(RunError, OSError, SafetensorError, where=f"the trained model could not be written; its checkpoints in {out} stay"):
        save_trained(model, out)
        encoder.processor.save_pretrained(out)
        (out / "settings.yaml").write_text(yaml_text(about["settings"]), encoding="utf-8")
        encoder.task.save(out / "task.yaml")
        (out / "README.md").write_text(model_card(about), encoding="utf-8")
        share_tensors(out, out / "README.md")
