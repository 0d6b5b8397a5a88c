"""Asking again: what is switched off for photos that were made up, and put back."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from seeworth.evaluate.asked import Asker, ask_modes
from seeworth.record import Prediction, Record


class Watched:
    """Notes what it was asked with: whether features are kept, and whether it tells how likely answers are."""

    name = "watched"

    def __init__(self) -> None:
        self.features = SimpleNamespace(keep=True)
        self.distribution = True
        self.samples = 4
        self.seen: list[tuple[bool, bool, int, bool]] = []

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        for record in records:
            self.seen.append((self.features.keep, self.distribution, self.samples, record.photo is None))
            yield Prediction(record.id, "x", 0)


def test_spoilt_photos_are_asked_for_words_alone(shop: Any, tmp_path: Path) -> None:
    model = Watched()
    ask = Asker(tmp_path, Console(file=io.StringIO()))
    found, lacks = ask_modes(ask, model, shop.task, shop.dataset.records("test"), modes=["text", "blank"], many=5, seed=0)
    assert {name: len(each) for name, each in found.items()} == {"text": 5, "blank": 5}
    assert lacks == []
    assert model.seen == [(False, False, 0, True)] * 5 + [(False, False, 0, False)] * 5
    assert (model.features.keep, model.distribution, model.samples) == (True, True, 4)


def test_two_photos_cannot_be_exchanged_and_it_is_said(shop: Any, tmp_path: Path) -> None:
    one = shop.dataset.records("test")[0]
    ask = Asker(tmp_path, Console(file=io.StringIO()))
    found, lacks = ask_modes(ask, Watched(), shop.task, [one], modes=["swapped", "text"], many=5, seed=0)
    assert list(found) == ["text"]
    assert lacks[0].startswith("Another record's photo was left out of the grounding check: photos cannot be swapped between groups")
    words = Record("w", None, one.values, "w")
    found, lacks = ask_modes(ask, Watched(), shop.task, [words], modes=["text"], many=5, seed=0)
    assert (found, lacks) == ({}, ["The grounding check was left out: no record has just one photo."])
