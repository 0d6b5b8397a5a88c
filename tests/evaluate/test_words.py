"""Words for figures."""

from __future__ import annotations

from seeworth.evaluate.words import absent


def test_what_a_baseline_was_told_is_given_and_what_it_does_not_say_is_none() -> None:
    figures = {
        "kind_accuracy": {"field": "kind", "baselines": {"nearest": {}}},
        "kind_top_3": {"field": "kind", "baselines": {}},
        "price_mae": {"field": "price", "baselines": {"nearest": {}, "median": {}}},
    }
    assert absent(figures, "kind_top_3", "nearest") == "none"
    assert absent(figures, "kind_top_3", "median") == "given"
    assert absent(figures, "kind_accuracy", "median") == "given"
