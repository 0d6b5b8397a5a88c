"""What Weights & Biases is shown: rows of the table of answers, charts, the dataset and the run as artifacts.

`wandb` is always given, never imported: it takes a second, and `wandb.py` decides when. Knows nothing of runs and steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.dataset import MANIFEST, METADATA
from ..run_folder import MANIFEST as RUN
from ..run_folder import manifest
from .listener import About, Row
from .photos import picture

SIDE = 512  # px, longer side of a photo in a table: it is looked at, not trained on
COPIED = 64 * 2**20  # bytes; a larger metadata.parquet is referred to, not copied into the run folder
NOT_READ = "(not read)"

_MEASURES = {
    "absolute_error": "absolute error",
    "percentage_error": "error in %",
    "correct": "right",
    "exact": "exact",
    "similarity": "similarity",
}
_KEPT = ("*.safetensors", "*.json", "*.yaml", "README.md", "*.model", "*.txt", "*.jinja")
"""Files of a run folder that make up its artifact: weights or adapter, processor, settings, card. Not log.jsonl: it is the run itself."""


def columns_of(rows: Sequence[Row]) -> list[str]:
    """step, id, photo, truth, answer; for each field what was read and its measures; problems."""
    found = ["step", "id", "photo", "truth", "answer"]
    for name, field in rows[0]["fields"].items():
        measures = {"number": ("absolute_error", "percentage_error"), "category": ("correct",)}.get(field["kind"], ("exact", "similarity"))
        found += [f"{name} read", *(f"{name} {_MEASURES[measure]}" for measure in measures)]
    return [*found, "problems"]


def table_row(wandb: Any, data: Path, step: int, row: Row, columns: Sequence[str]) -> list[Any]:
    """The cells of one answered photo; a measure that the field does not have is an empty cell. Raises PhotoError."""
    shown = picture(data, row, SIDE)
    cells: dict[str, Any] = {"step": step, "photo": shown and wandb.Image(shown, caption=row["answer"], file_type="jpg")}
    cells |= {name: row[name] for name in ("id", "truth", "answer")} | {"problems": "; ".join(row["problems"])}
    for name, field in row["fields"].items():
        cells[f"{name} read"] = field["read"]
        cells |= {f"{name} {words}": field[measure] for measure, words in _MEASURES.items() if measure in field}
    return [cells.get(column) for column in columns]


def charts(wandb: Any, family: str, rows: Sequence[Row]) -> dict[str, Any]:
    """A scatter of answers against truths for each number field, a confusion matrix for each category field.

    A number that was not read is no point, and without points there is no scatter; a category that was not read is one of its own.
    """
    found: dict[str, Any] = {}
    for name, field in rows[0]["fields"].items():
        cells = [row["fields"][name] for row in rows]
        if field["kind"] == "number":
            points = [[float(cell["truth"]), float(cell["read"])] for cell in cells if cell["read"] is not None]
            if points:
                table = wandb.Table(columns=["truth", "answer"], data=points)
                found[f"{family}/{name}_scatter"] = wandb.plot.scatter(table, "truth", "answer", title=f"{name}: answer against truth")
        elif field["kind"] == "category":
            truths, answers = [cell["truth"] for cell in cells], [NOT_READ if cell["read"] is None else cell["read"] for cell in cells]
            names = sorted({*truths, *answers})
            found[f"{family}/{name}_confusion"] = wandb.plot.confusion_matrix(
                y_true=[names.index(one) for one in truths],
                preds=[names.index(one) for one in answers],
                class_names=names,
                title=f"{name}: answers by truth",
            )
    return found


def dataset_artifact(wandb: Any, about: About) -> Any:
    """The dataset folder's table and manifest; its photos are named in the table by their sha256, and are not copied."""
    with (about.data / MANIFEST).open(encoding="utf-8") as file:
        said = json.load(file)
    metadata = {key: said.get(key) for key in ("fingerprint", "records", "counts", "task", "source")} | {
        "folder": str(about.data.resolve())
    }
    artifact = wandb.Artifact(_name(f"dataset-{about.data.resolve().name}"), type="dataset", metadata=metadata)
    for path in (about.data / MANIFEST, about.data / METADATA):
        if path.stat().st_size <= COPIED:
            artifact.add_file(str(path), skip_cache=True)
        else:
            artifact.add_reference(path.resolve().as_uri(), name=path.name)
    return artifact


def model_artifact(wandb: Any, about: About, said: Mapping[str, Any]) -> Any:
    """The run folder without its checkpoints and trackers. Weights are not copied: W&B reads them where they are, so leave them there
    until it has. run.json, which is not written yet, holds what is `said` of the run.
    """
    metadata = {key: value for key, value in said.items() if key != "settings"}
    artifact = wandb.Artifact(_name(f"model-{about.name}"), type="model", metadata=metadata)
    for path in _files(about.folder):
        artifact.add_file(str(path.resolve()), name=path.name, skip_cache=True, policy="immutable")
    with artifact.new_file(RUN, encoding="utf-8") as file:
        file.write(manifest(said))
    return artifact


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted({path for pattern in _KEPT for path in folder.glob(pattern)}):
        if path.is_file() and path.name not in (RUN, "log.jsonl"):
            yield path


def _name(words: str) -> str:
    """Artifact names have letters, digits, and "_.-"."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", words)
