"""The verb `check`: what the target is, and who proves that it will work.

a dataset folder                    data/check: splits, leaks, photos, cells; torch is not loaded
a YAML file of train settings       train/doctor, with the model and the data that the settings name
a run folder that is finished       the doctor's questions to the trained model
a run folder that is not            as the settings it was begun with
"""

from __future__ import annotations

import json
from argparse import ArgumentError
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from .errors import SettingsError, told_as
from .run_folder import MANIFEST, read_run
from .say import many, say
from .settings import CheckSettings, TrainSettings
from .usage import fault

STARTED = "started.json"  # of a run folder, written by `train` before anything else


def run(settings: CheckSettings) -> None:
    """Check the target and print what was found. Raises DataError or RunError, of one line, when it would not work."""
    target = settings.target
    if target.is_file():
        _check_training(_settings_of(target, settings), settings)
    elif (target / MANIFEST).is_file():
        _check_run(target, settings)
    elif (target / STARTED).is_file():
        with told_as(SettingsError, OSError, ValueError, KeyError, TypeError, where=target / STARTED):
            begun = json.loads((target / STARTED).read_text(encoding="utf-8"))["settings"]
            one = _parsed(dict(begun), target / STARTED)
        _check_training(one, settings)
    elif not target.exists():
        raise SettingsError(f"{target}: expected a dataset folder, found nothing: name one, or train settings (YAML), or a run folder")
    else:
        if settings.data is not None:
            raise SettingsError(f"--data is for train settings and run folders, {target} is neither: leave it out")
        from .data.check.run import run as check_data

        check_data(settings)


def _settings_of(path: Path, settings: CheckSettings) -> TrainSettings:
    """Train settings of a YAML file. Raises SettingsError when it is none, holds an unknown setting, or names no dataset."""
    with told_as(SettingsError, OSError, UnicodeDecodeError, yaml.YAMLError, where=f"{path}: cannot be read as YAML"):
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(said, dict):
        raise SettingsError(f"{path}: expected train settings as `name: value`, or a dataset or run folder: found neither")
    if settings.data is None and "data" not in said:
        raise SettingsError(f"{path}: names no dataset: add --data DATASET")
    return _parsed({"data": str(settings.data), "output_dir": "none"} | said, path)


def _parsed(said: dict[str, Any], path: Path) -> TrainSettings:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(TrainSettings, as_group=False)
    try:
        return TrainSettings(**vars(parser.parse_object(said)))
    except ArgumentError as problem:
        raise SettingsError(f"{path}: {fault(problem, TrainSettings)}") from problem


def _only_for_data(settings: CheckSettings) -> None:
    if settings.output is not None or settings.photos or settings.processes:
        raise SettingsError(f"--output, --photos and --processes are for dataset folders, {settings.target} is none: leave them out")


def _check_training(one: TrainSettings, settings: CheckSettings) -> None:
    """What `train` would do up to the first step; nothing is written."""
    from .data.dataset import Dataset
    from .errors import DataError
    from .memory import keep_freed_memory
    from .predict.vlm import device
    from .train.build import build, speed_up
    from .train.doctor import demand, examine, show
    from .train.features import refuse_features
    from .train.limits import check_limits
    from .train.optimizer import make_optimizer
    from .train.parts import resolve_parts, say_parts
    from .train.run import make_order, passes_of, reached_parts, take_threads
    from .train.spread import Alone

    _only_for_data(settings)
    one = replace(one, data=settings.data or one.data, torch_compile=False)
    check_limits(one)
    take_threads(one)
    parts = resolve_parts(one)
    dataset = Dataset.open(one.data)
    train = dataset.records("train")
    if not train:
        raise DataError(f"{one.data} has no record in its train split: import it again with a split column, or without one")
    keep_freed_memory()
    parts = reached_parts(parts, train)
    model, encoder = build(one, dataset, train, parts)
    order = make_order(one, encoder, train)
    refuse_features(one, model, train, passes_of(one, order))
    speed_up(model, one, max(order.lengths), Alone(device()))
    say(f"{settings.target}: {one.model}, {say_parts(model, parts)}, on {many(len(train), 'record')} of {one.data}")
    findings = examine(model, encoder, train, one, parts=parts, optimizer=make_optimizer(model, one))
    print(show(findings))
    demand(findings)
    say(f"{settings.target}: would train")


def _check_run(target: Path, settings: CheckSettings) -> None:
    """The questions that make sense of a model that was trained, on records that it was not trained on where there are such."""
    from .data.dataset import Dataset
    from .errors import DataError
    from .predict.vlm import load_run
    from .train.doctor import demand, question, show

    _only_for_data(settings)
    about = read_run(target)
    dataset = Dataset.open(settings.data or Path(about["data"]))
    splits = [split for split in ("test", "validation", "train") if dataset.counts.get(split)]
    if not splits:
        raise DataError(f"{dataset.folder} has no record in a split: the run cannot be asked about anything")
    tuned = load_run(target)
    records = dataset.records(splits[0])  # type: ignore[arg-type]
    say(f"{target}: {about['model']}, asked about {splits[0]} records of {dataset.folder}")
    findings = question(tuned.model, tuned.encoder, records, TrainSettings(dataset.folder, target, dtype=about["dtype"]))
    print(show(findings))
    demand(findings)
    say(f"{target}: sees what it is shown")
