"""The verb `predict`: a model and photos -> predictions.jsonl, one line an input, and a table of it. The order of the steps.

    1  the model's task, what the output may be and what the inputs are     named, inputs
    2  the unfinished file is begun or gone on with                         journal
    3  an engine answers what has no line yet                               local; over_ray: on many machines
    4  the lines are put in the inputs' order, the table is made            journal, table

Memory does not grow with the inputs, but for nine bytes of each; a run that is killed goes on at step 3 with the same command.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..data.progress import metered
from ..errors import DataError, SettingsError
from ..settings import PredictSettings
from .inputs import Engine, Inputs, open_inputs
from .journal import Journal, part_of
from .local import Local, Model, Tuned
from .named import Named, named
from .on_node import ray_engine
from .table import SUFFIXES, write_table

SHOWN = 10  # inputs that could not be answered, told one by one


@dataclass(frozen=True)
class Outputs:
    """The finished files: the lines, and the table made of them where one is asked for."""

    jsonl: Path
    table: Path | None = None

    @classmethod
    def of(cls, output: Path) -> Outputs:
        """Raises SettingsError for a name that ends otherwise."""
        suffix = output.suffix.lower()
        if suffix not in (".jsonl", *SUFFIXES):
            raise SettingsError(f"output {output}: expected a name that ends in .jsonl, {' or '.join(SUFFIXES)}")
        return cls(output) if suffix == ".jsonl" else cls(output.with_suffix(".jsonl"), output)

    def need_none(self) -> None:
        """Raise SettingsError for one that is there already."""
        for path in (self.table, self.jsonl):
            if path is not None and path.exists():
                beside = f", and {self.table} has its lines beside it" if self.table and path != self.table else ""
                raise SettingsError(f"output {path} is there already{beside}: name another file, or add --overwrite")


def run(settings: PredictSettings, *, model: Model | None = None) -> None:
    """Answer every input and write the files. `model` stands in for the one that is named, as tests do.

    What cannot be answered is a line with its reason, and told. Raises SettingsError, DataError, RunError or ModelError in one line: when
    a file is there already, for what is no model or no input, and when nothing could be answered.
    """
    _check(settings)
    outputs = Outputs.of(settings.output)
    part = part_of(outputs.jsonl)
    if not settings.overwrite and not part.exists():
        outputs.need_none()
    known = named(settings)
    inputs = open_inputs(settings, known.task)
    asked = _asked(settings, known, inputs)
    engine = open_engine(settings, known, model) if settings.overwrite else None  # before anything is thrown away
    with Journal.open(part, asked, overwrite=settings.overwrite) as journal:
        if journal.before:
            print(f"going on: {journal.before} of {inputs.total} have their lines in {part}", file=sys.stderr)
        if journal.before < inputs.total:
            _answer(inputs, engine or open_engine(settings, known, model), journal)
        else:
            deque(journal.marked(inputs), 0)  # they may have been changed since
        for notice in inputs.notices():
            print(f"note: {notice}", file=sys.stderr)
        journal.finish(outputs.jsonl, lambda jsonl: _table(jsonl, outputs, known))
    _account(settings, journal)


def open_engine(settings: PredictSettings, known: Named, model: Model | None = None) -> Engine:
    """The engine that answers."""
    if settings.engine == "ray":
        if model is not None:
            raise SettingsError("engine ray loads the model that is named, on each node: it cannot take one that is loaded here")
        return ray_engine(settings, known, part_of(Outputs.of(settings.output).jsonl).with_suffix(".inputs"))
    return Local(model or Tuned(known.load()), known.intervals, settings.decode_threads)


def _answer(inputs: Inputs, engine: Engine, journal: Journal) -> None:
    """Every line that lacks, written as it comes."""
    told = 0
    try:
        with metered(inputs.total - journal.before, "photos") as meter, closing(cast(Any, engine(journal.marked(inputs)))) as lines:
            for line in lines:
                journal.add(line)
                if "error" in line:
                    _tell(line, told)
                    told += 1
                meter.step()
    except KeyboardInterrupt:
        print(f"{journal.path}: {journal.count} of {inputs.total} answered; the same command goes on", file=sys.stderr)
        raise


def _tell(line: Mapping[str, Any], told: int) -> None:
    if told < SHOWN:
        print(f"not answered: {line['record_id']}: {line['error']['message']} ({line['error']['code']})", file=sys.stderr)
    elif told == SHOWN:
        print("not answered: further ones are in the file, each with its reason", file=sys.stderr)


def _table(jsonl: Path, outputs: Outputs, known: Named) -> None:
    if outputs.table is not None:
        write_table(jsonl, outputs.table, known.task)


def _account(settings: PredictSettings, journal: Journal) -> None:
    """How many were answered; raises DataError when none was."""
    bad, total = journal.codes, journal.count
    reasons = ", ".join(f"{count} {code}" for code, count in bad.most_common())
    if bad.total() == total:
        raise DataError(f"{settings.input}: none of {total} could be answered ({reasons}): each has its reason in {settings.output}")
    good, lines = total - bad.total(), "its line says" if bad.total() == 1 else "their lines say"
    print(f"answered {good} {'photo' if good == 1 else 'photos'}: {settings.output}")
    if bad:
        print(f"{bad.total()} of {total} could not be answered: {reasons}; {lines} why")


def _asked(settings: PredictSettings, known: Named, inputs: Inputs) -> dict[str, Any]:
    """All that decides what lines say; how many are answered together, and by which engine, does not, but for the last bits."""
    names = ("max_new_tokens", "constrained", "free_categories", "distribution", "samples")
    model = {f"model {name}": one for name, one in known.about.items()}
    return model | {f"input {name}": one for name, one in inputs.about.items()} | {name: getattr(settings, name) for name in names}


def _check(settings: PredictSettings) -> None:
    limits = {"batch_size": (1, 65536), "max_new_tokens": (1, 2**20), "decode_threads": (0, 512), "samples": (0, 1024)}
    for name, (low, high) in limits.items():
        if not low <= getattr(settings, name) <= high:
            raise SettingsError(f"{name} is {getattr(settings, name)}: expected {low} to {high}")
    if settings.engine == "local" and (settings.ray_address is not None or settings.ray_actors or settings.ray_gpus is not None):
        raise SettingsError("ray_address, ray_actors and ray_gpus are of a Ray cluster: add --engine ray, or leave them out")
