"""Whether a training takes the frozen tower's output from a store, and the store, filled. Knows nothing of how it is kept."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..data.dataset import Dataset
from ..encode import Encoder
from ..errors import RunError, SettingsError
from ..features import FeatureStore, features_folder, is_frozen
from ..record import Record
from ..say import say
from ..settings import TrainSettings
from .examples import Features
from .spread import Alone


def open_features(
    settings: TrainSettings, dataset: Dataset, model: Any, encoder: Encoder, records: list[Record], spread: Alone, passes: float
) -> FeatureStore | None:
    """The features of all records, computed now where they are missing; None where every step computes its own. `passes`: of the training.

    vision_cache "auto" does without when the tower is trained, photos are augmented, no record has a photo, there is one pass only,
    or the disk has no room, which is told; True raises SettingsError, or RunError for the disk.
    """
    asked = settings.vision_cache
    if refuse_features(settings, model, records, passes) or asked is False:
        return None
    root = settings.vision_cache_dir or features_folder(dataset.folder)
    store = FeatureStore.open(root, model, encoder)
    if lack := spread.first(lambda: store.lack_of_room(records)):
        _without(asked, lack, spread)
        return None
    whole = store.fill(records, model)
    (lost,) = spread.sum(0.0 if whole else 1.0)
    spread.wait()
    store.refresh()
    if lost:
        _without(asked, f"the disk that holds {root} is full", spread)
        return None
    if spread.main:
        say(store.words())
    return store


def refuse_features(settings: TrainSettings, model: Any, records: list[Record], passes: float) -> str:
    """What speaks against keeping features, "" when nothing does. Raises SettingsError where vision_cache is true all the same."""
    why = _why_not(settings, model, records, passes)
    if why and settings.vision_cache is True:
        raise SettingsError(f"vision_cache is true, but {why}")
    return why


def reader(store: FeatureStore, spread: Alone) -> Features:
    """What gives the loop a record's features; None where a file was damaged since, and the photo is computed anew.

    On several processes that raises RunError: one that entered the tower would wait there for the others.
    """
    if spread.processes == 1:
        return store.of

    def whole(record: Record) -> tuple[Tensor, ...]:
        made = store.of(record)
        if made is None:
            raise RunError(f"record {record.id}: its features in {store.folder} are damaged: give the same command again, which mends them")
        return made

    return whole


def _why_not(settings: TrainSettings, model: Any, records: list[Record], passes: float) -> str:
    """What speaks against a store; "" when nothing does."""
    if not is_frozen(model):
        return "the CLIP tower is trained, so its features change with every step: set vision frozen, or leave vision_cache"
    if settings.augment:
        return "augment changes every photo in every pass: set it to 0, or leave vision_cache"
    if not any(record.photo for record in records):
        return "no record has a photo: leave vision_cache"
    if settings.vision_cache == "auto" and passes <= 1:
        return "one pass computes every photo once anyway"
    return ""


def _without(asked: bool | str, lack: str, spread: Alone) -> None:
    """Do without a store, or with vision_cache true not at all."""
    if asked is True:
        raise RunError(f"vision_cache is true, but {lack}")
    if spread.main:
        say(f"without vision cache: {lack}")
