"""Examples and their loader: the same tensors whoever decodes them and whenever, and errors that keep their words."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from PIL import Image

from seeworth.encode import IGNORED, Encoder, photos_of
from seeworth.errors import DataError, PhotoError, RunError
from seeworth.phi3v.tiny import make_tiny
from seeworth.record import Record
from seeworth.task import Field, Task
from seeworth.train.examples import Examples, Place, loader

TASK = Task(question="What?", answer="{title}", fields=(Field("title"),))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("photos")
    found = []
    for number in range(12):
        Image.linear_gradient("L").resize((90 + 30 * number, 200)).convert("RGB").save(folder / f"{number}.png")
        found.append(Record(f"r{number}", folder / f"{number}.png", {"title": "Coat " * (1 + number % 3)}, f"g{number}"))
    return found


@pytest.fixture(scope="module")
def processor() -> Any:
    return make_tiny(["Coat", "What?"], num_crops=4)[1]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


PLACES = [[Place(at, epoch), Place((at + 5) % 12, epoch)] for epoch in (0, 1) for at in range(0, 12, 2)]


def test_workers_the_cache_and_a_later_start_change_no_bit(records: list[Record], processor: Any) -> None:
    encoder = Encoder(processor, TASK, augment=0.7)

    def batches(places: list[list[Place]], workers: int = 0, **more: Any) -> list[dict[str, Any]]:
        return list(loader(Examples(records, encoder, seed=3, **more), places, pad_id=0, workers=workers))

    plain = batches(PLACES)
    assert len(plain) == 12
    assert not same(plain[0], plain[6])  # another epoch, another augmentation
    for other in (batches(PLACES, workers=2), batches(PLACES, megabytes=100), batches(PLACES[:7]) + batches(PLACES[7:], workers=1)):
        assert all(same(one, two) for one, two in zip(plain, other, strict=True))
    assert not same(plain[0], next(loader(Examples(records, encoder, seed=4), PLACES, pad_id=0)))


def test_a_place_without_weight_is_seen_and_not_learnt(records: list[Record], processor: Any) -> None:
    one, other = (Examples(records, Encoder(processor, TASK))[Place(3, weight=weight)] for weight in (True, False))
    assert one.input_ids == other.input_ids
    assert set(other.labels) == {IGNORED}
    assert set(one.labels) != {IGNORED}


def test_places_are_asked_for_as_they_are_needed(records: list[Record], processor: Any) -> None:
    asked: list[int] = []

    def places() -> Iterator[list[Place]]:
        for at in range(12):
            asked.append(at)
            yield [Place(at)]

    batches = loader(Examples(records, Encoder(processor, TASK)), places(), pad_id=0)
    next(batches)
    assert len(asked) <= 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_photo_that_vanished_is_told_when_its_batch_is_due(records: list[Record], processor: Any, tmp_path: Path, workers: int) -> None:
    lost = Record("lost", tmp_path / "lost.png", {"title": "Coat"}, "g", sizes=((100, 100),))
    batches = loader(Examples([*records, lost], Encoder(processor, TASK)), [[Place(0)], [Place(1), Place(12)], [Place(2)]], pad_id=0,
                     workers=workers)  # fmt: skip
    next(batches)
    with pytest.raises(PhotoError, match=r"^record lost, photo .*lost.png: .*") as told:
        next(batches)
    assert told.value.code == "missing"
    assert "Traceback" not in str(told.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_another_error_of_ours_keeps_its_kind_and_words(records: list[Record], processor: Any, workers: int) -> None:
    short = Encoder(processor, TASK, max_length=10)
    with pytest.raises(DataError, match=r"^record r0: has \d+ tokens, the model takes 10") as told:
        next(loader(Examples(records, short), [[Place(0)]], pad_id=0, workers=workers))
    assert not isinstance(told.value, PhotoError)


@pytest.mark.filterwarnings("ignore")  # the dead worker's
def test_a_worker_that_is_killed_is_told_in_one_line(records: list[Record], processor: Any) -> None:
    before = {child.pid for child in psutil.Process().children()}
    batches = loader(Examples(records, Encoder(processor, TASK)), [[Place(0)]] * 1000, pad_id=0, workers=2)
    next(batches)
    workers = [child.pid for child in psutil.Process().children() if child.pid not in before and "resource_tracker" not in child.cmdline()]
    os.kill(workers[0], signal.SIGKILL)
    with pytest.raises(RunError, match=r"a process that decodes photos died \(.*\): lower dataloader_num_workers"):
        list(batches)


def test_a_photo_is_not_opened_where_features_are_given(records: list[Record], processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(processor, TASK)
    tiles = [len(tiles) for tiles in Examples(records, encoder)[Place(4)].tiles]
    monkeypatch.setattr("seeworth.train.examples.photos_of", lambda record: pytest.fail(f"{record.id} was opened"))
    examples = Examples(records, encoder, features=lambda record: tuple(torch.zeros(count, 16, 8) for count in tiles))
    assert examples[Place(4)].tiles == ()
    assert len(photos_of(records[4])) == 1
