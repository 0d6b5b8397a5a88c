"""Predictor: the one shape of everything that answers, and a fake one for tests.

The tuned model, the base model and a baseline all map Records to Predictions, in words. This module knows nothing of
models or of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from ..record import Prediction, Record


class Predictor(Protocol):
    """Answers the task's question for records: one Prediction a record, in the order given, as they come."""

    name: str
    """A few words for tables and pages, e.g. "nearest training photo"."""

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]: ...


class FakePredictor:
    """The test seam: answers from a mapping of record id to words, or from a function of the record.

    A function sees the record with the photo it was given, so it can play a model that looks, or one that does not.
    A record that the mapping does not name raises KeyError: a fake never makes an answer up.
    """

    def __init__(self, answers: Mapping[str, str] | Callable[[Record], str], *, name: str = "fake", seconds: float = 0.0) -> None:
        self.name = name
        self._answers = answers
        self._seconds = seconds

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        for record in records:
            text = self._answers(record) if callable(self._answers) else self._answers[record.id]
            yield Prediction(record.id, text, self._seconds)
