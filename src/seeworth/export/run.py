"""The verb `export`: a run folder -> a folder that other engines load, with the proof that both answer alike.

    1 look at names, places and repository     2 ask the run            3 merge, layer by layer, and ask again
    4 write the files, read them back          5 ask what was written   6 run.json, model card, export.json; only then OUT is there

A disagreement ends it with one line, and OUT is not made. Each model is in memory alone.
"""

from __future__ import annotations

import gc
import re
import shutil
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from ..errors import RunError, SettingsError, told_as
from ..evaluate.folder import file_hash
from ..files import share_tensors
from ..intervals import NAME as INTERVALS
from ..predict.vlm import VLM, load_base, load_run, pick_dtype
from ..run_folder import MANIFEST as RUN
from ..run_folder import read_run, write_run
from ..settings import ExportSettings, to_plain
from ..task import Task
from . import hub
from .agree import Agreement, Said, agreement, demand, listen
from .card import export_card
from .evaluated import Evaluated, read_evaluated
from .folder import check_output, export_folder, is_export, read_manifest, write_manifest
from .merge import check_files, merged, rounded_base, weights_of, write_weights
from .names import ADAPTER, check_adapter, engines_line, tensor_names, write_adapter_config
from .probe import Probes, find_probes
from .publish import known_base, write_published
from .served import served_answers

Kind = Literal["adapter", "merged", "4 bits"]
WHOLE = ".whole"  # the merged model, while it is being quantised
REPEATED = ("push", "public", "overwrite", "output", "evaluation")  # settings that do not change what is exported


@dataclass
class Work:
    """What one export knows of itself on its way."""

    settings: ExportSettings
    about: dict[str, Any]
    kind: Kind
    dtype: str
    folder: Path
    model: VLM | None = None
    task: Task = field(default_factory=Task)
    base: str | None = None
    said: list[Agreement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tensors: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)


def run(settings: ExportSettings) -> None:
    """Export a run, prove it, and upload it where that is asked.

    Raises SettingsError for places, names and settings that cannot be, RunError for a run that is none, and for a disagreement.
    """
    about = read_run(settings.run)
    kind = kind_of(settings, about)
    if settings.push and _is_done(settings):
        print(f"{settings.output} is exported already: it is uploaded as it is", flush=True)
        target = hub.prepare(settings.push, public=settings.public, overwrite=settings.overwrite)
        return _upload(settings, target)
    check_output(settings.output, settings.run, overwrite=settings.overwrite)
    read_evaluated(settings.run, settings.evaluation)  # a wrong name is told before the proof
    prepared = hub.prepare(settings.push, public=settings.public, overwrite=settings.overwrite) if settings.push else None
    dtype = about["dtype"] if settings.dtype == "auto" else settings.dtype
    with export_folder(settings.output, settings.run, overwrite=settings.overwrite) as folder, TemporaryDirectory() as scratch:
        work = Work(settings, about, kind, str(dtype), folder)
        probes = _prove(work, Path(scratch))
        _finish(work, probes)
    print(f"exported ({work.kind}): {settings.output}", flush=True)
    for line in work.notes:
        print(line, flush=True)
    if prepared is not None:
        _upload(settings, prepared)


def kind_of(settings: ExportSettings, about: dict[str, Any]) -> Kind:
    """What is made of the run. Raises SettingsError for settings that do not go together."""
    if settings.base_model is not None:
        hub.check_name(settings.base_model, "base_model")
    if not re.fullmatch(r"[1-9][0-9]*(KB|MB|GB|TB)", settings.max_shard_size):
        raise SettingsError(f"max_shard_size is {settings.max_shard_size!r}, expected a number and KB, MB or GB, such as 500MB")
    if settings.probes < 1:
        raise SettingsError(f"probes is {settings.probes}, expected 1 or more: without one nothing is proven")
    if about["method"] == "lora" and not settings.merge:
        for name in ("load_in_4bit", "dtype"):
            if getattr(settings, name) not in (False, "auto"):
                raise SettingsError(f"{name} is set, and the export of this LoRA run is its adapter: add --merge, or leave {name} out")
        return "adapter"
    return "4 bits" if settings.load_in_4bit else "merged"


def _is_done(settings: ExportSettings) -> bool:
    """Whether OUT holds this very export, with every file as it was written."""
    if settings.overwrite or not is_export(settings.output):
        return False
    done = read_manifest(settings.output)
    same = done.get("settings") == _kept(settings) and done.get("run_hash") == file_hash(settings.run / RUN)
    return same and all((settings.output / name).is_file() and file_hash(settings.output / name) == one["sha256"]
                        for name, one in done["files"].items())  # fmt: skip


def _kept(settings: ExportSettings) -> dict[str, Any]:
    """The settings as export.json tells them: no path of this machine."""
    plain = {key: value for key, value in to_plain(settings).items() if key not in REPEATED}
    return plain | {"run": settings.run.resolve().name, "photos": settings.photos.name if settings.photos else None}


def _prove(work: Work, scratch: Path) -> Probes:
    """Steps 2 to 5: write the model's files, and hold every form of the model against the run. Raises RunError."""
    settings, about = work.settings, work.about
    four = bool(about["method"] == "lora" and about.get("settings", {}).get("load_in_4bit"))
    exact = work.dtype == "float32" and not four and work.kind != "4 bits"
    asked = "float32" if work.dtype == "float32" and not four else str(about["dtype"])  # a float32 export is proven in float32
    work.model = model = _load(settings, settings.run, dtype=asked)
    work.task = model.constraint.task if model.constraint else model.encoder.task
    if work.kind == "adapter" or about["method"] == "lora":
        check_adapter(settings.run / ADAPTER, model.model, about.get("parts", {}))
    plain = model.model.get_base_model() if about["method"] == "lora" else model.model
    work.base = _base_id(settings, about, plain.config)
    probes = find_probes(about, work.task, count=settings.probes, photos=settings.photos, scratch=scratch)
    count = len(probes.records)
    print(f"proof on {count} {'record' if count == 1 else 'records'}, {probes.source}", flush=True)
    reference = listen(model, probes.records, "the run", "bfloat16" if four else asked)
    work.words = reference.words
    if work.kind == "adapter":
        _write_adapter(work, model)
    else:
        _merge(work, model, four, probes, reference)
        if work.kind == "4 bits":
            reference = _quantise(work, probes, reference)
    _release(work)
    _describe(work)
    work.model = again = _load(settings, work.folder)
    dtype = "bfloat16" if four or work.kind == "4 bits" else work.dtype
    said = listen(again, probes.records, "what was written, loaded anew", dtype, reference.answers)
    work.said.append(demand(agreement(reference, said, exact=exact or work.kind == "adapter")))
    _release(work)
    _serve(work, probes, said)
    return probes


def _merge(work: Work, model: VLM, four: bool, probes: Probes, reference: Said) -> None:
    """Steps 3 and 4 for weights: merged, asked, written, compared with the files bit by bit."""
    dtype = pick_dtype(work.dtype)
    if work.about["method"] == "lora":
        if four:
            _release(work)
            whole = rounded_base(work.about, work.settings.run)
            work.notes.append("the adapter is merged into its base as rounded to 4 bits, which it was trained on, not into the original")
        else:
            whole = model.model
        plain, worst = merged(whole, work.settings.run, dtype)
        work.tensors["merging"] = worst
    else:
        plain = model.model.to(dtype)
    model.model = plain.eval()
    work.model = model
    said = listen(model, probes.records, "the merged model", work.dtype, reference.answers)
    work.said.append(demand(agreement(reference, said, exact=work.dtype == "float32" and not four)))
    folder = work.folder / WHOLE if work.kind == "4 bits" else work.folder
    folder.mkdir(exist_ok=True)
    write_weights(plain, folder, work.settings.max_shard_size)
    work.tensors["written"] = check_files(folder, plain)
    write_published(folder, plain, model.encoder.processor, dtype=work.dtype, base=_code(work, plain))


def _quantise(work: Work, probes: Probes, reference: Said) -> Said:
    """The merged model in 4 bits, saved. It answers a little otherwise, which is told, and becomes what the saved files are held to."""
    assert work.model is not None
    old, work.model.model = work.model.model, None
    del old
    gc.collect()
    quantised, _ = load_base(str(work.folder / WHOLE), dtype=work.dtype, load_in_4bit=True)
    work.model.model = quantised.eval()
    said = listen(work.model, probes.records, "in 4 bits", "bfloat16", reference.answers)
    work.said.append(agreement(reference, said, held=False))
    write_weights(quantised, work.folder, work.settings.max_shard_size)
    work.tensors["written"] = len(weights_of(work.folder))
    write_published(work.folder, quantised, work.model.encoder.processor, dtype=work.dtype, base=_code(work, quantised))
    shutil.rmtree(work.folder / WHOLE)
    return said


def _write_adapter(work: Work, model: VLM) -> None:
    """Step 4 for an adapter: the run's own file, bit by bit, beside a configuration that older engines read."""
    with told_as(RunError, OSError, where=f"the adapter cannot be written to {work.folder}"):
        shutil.copyfile(work.settings.run / ADAPTER, work.folder / ADAPTER)
    base = work.base or Path(work.about["model"]).name
    write_adapter_config(work.settings.run, work.folder, base, model.model)
    model.encoder.processor.save_pretrained(work.folder)
    names = tensor_names(work.folder / ADAPTER)
    work.tensors["written"] = len(names)
    work.notes.append(engines_line(names))


def _serve(work: Work, probes: Probes, said: Said) -> None:
    """Step 5, through the server."""
    words, why = served_answers(
        work.folder, probes.records, batch_size=work.settings.batch_size, max_new_tokens=work.settings.max_new_tokens
    )
    if words is None:
        work.notes.append(f"served answers were left out of the proof: {why}")
        return
    work.said.append(demand(agreement(said, Said("the server", said.dtype, words))))


def _describe(work: Work) -> None:
    """run.json, task.yaml and intervals.json, by which the folder is a run folder too. Categories that answers were held to go with it."""
    about = {key: value for key, value in work.about.items() if key not in ("format", "settings", "best_checkpoint")}
    about |= {"task": work.task.to_dict(), "exported": work.kind}
    if work.kind == "adapter":
        if work.about.get("settings", {}).get("load_in_4bit"):
            about["settings"] = {"load_in_4bit": True}
    else:
        about |= {"method": "full", "dtype": work.dtype}
    work.task.save(work.folder / "task.yaml")
    if (work.settings.run / INTERVALS).is_file():
        shutil.copyfile(work.settings.run / INTERVALS, work.folder / INTERVALS)
    write_run(work.folder, about)


def _finish(work: Work, probes: Probes) -> None:
    """Step 6: the card, and export.json as the last file."""
    evaluated: Evaluated = read_evaluated(work.settings.run, work.settings.evaluation)
    content = {
        "seeworth": version("seeworth"),
        "kind": work.kind,
        "run": work.settings.run.resolve().name,
        "run_hash": file_hash(work.settings.run / RUN),
        "base_model": work.base,
        "dtype": work.dtype,
        "settings": _kept(work.settings),
        "proof": {
            "records": len(probes.records),
            "source": probes.source,
            "agreements": [asdict(one) | dict(zip(("tolerance", "mean_tolerance"), one.tolerances, strict=True)) for one in work.said],
            "tensors": work.tensors,
            "evaluated": evaluated.compared(probes.records, work.words),
        },
        "notes": work.notes,
    }
    (work.folder / "README.md").write_text(export_card(work.about, content, evaluated), encoding="utf-8")
    share_tensors(work.folder, work.folder / "README.md")
    write_manifest(work.folder, content)


def _load(settings: ExportSettings, folder: Path, *, dtype: str | None = None) -> VLM:
    """A run folder's model, which looks at every photo itself."""
    model = load_run(folder, batch_size=settings.batch_size, max_new_tokens=settings.max_new_tokens, dtype=dtype)
    model.features = None
    return model


def _release(work: Work) -> None:
    """Let go of the model, so that the next one has its memory."""
    if work.model is not None:
        work.model.model = None
    work.model = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _base_id(settings: ExportSettings, about: dict[str, Any], config: Any) -> str | None:
    """Hub id of what the training began with: as told, else the run's, else by its sizes; None for another model, such as tiny."""
    if settings.base_model is not None:
        return settings.base_model
    known = known_base(config)
    model = str(about["model"])
    if known is None or Path(model).exists() or model.count("/") != 1:
        return known
    return model


def _code(work: Work, model: Any) -> str | None:
    """The repository of the published code, for a model that it can hold."""
    return None if known_base(model.config) is None else work.base


def _upload(settings: ExportSettings, target: hub.Target) -> None:
    address = hub.upload(target, settings.output, read_manifest(settings.output))
    print(f"uploaded ({'private' if target.private else 'public'}): {address}", flush=True)
