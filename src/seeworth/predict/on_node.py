"""What `--engine ray` is made of: the cluster's machinery, and what each actor loads on its node.

An actor finds the model under the path that it has here, and must find the same one. What answers are held to (the categories of the train
records) is looked up here alone and sent, so nodes need no dataset folder. Knows nothing of how Ray moves anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import RunError, SeeworthError
from ..settings import PredictSettings
from ..task import Task
from .inputs import Engine
from .local import Local, Tuned, cut
from .named import Named, named
from .vlm import AHEAD


@dataclass(frozen=True)
class OnNode:
    """Makes the local engine on a node. It can be pickled.

    Attributes:
        settings: with a model that every node finds. about: of the model, as `Named.about` has it here. held: what answers are held to.
    """

    settings: PredictSettings
    about: Mapping[str, Any]
    held: Task | None

    def __call__(self) -> Engine:
        """Raises RunError where the node has no such model, or another one."""
        try:
            known = named(self.settings)
            if known.about != self.about:
                raise RunError(f"{self.settings.model} is another model here than where predict was started")
            return Local(Tuned(known.load(self.held)), known.intervals, self.settings.decode_threads)
        except (SeeworthError, OSError) as problem:
            raise RunError(f"{problem}; with --engine ray the model must lie on every node under the same path") from problem


def ray_engine(settings: PredictSettings, known: Named, spool: Path) -> Engine:
    """The engine over a Ray cluster. `spool`: a file of this machine for what is to be answered, see `over_ray`.

    Raises SettingsError where Ray is not installed, or for settings of it that cannot be.
    """
    from .over_ray import over_ray  # here: it needs Ray

    folder = Path(settings.model)
    here = replace(settings, model=str(folder.absolute())) if folder.is_dir() else settings
    return over_ray(
        OnNode(here, known.about, known.held()),
        windows=partial(cut, many=settings.batch_size * AHEAD),
        spool=spool,
        address=settings.ray_address,
        actors=settings.ray_actors,
        gpus=settings.ray_gpus,
    )
