"""Numbers in words: how a figure is written in a table, a sentence or a page, the same everywhere.

Knows nothing of where the numbers come from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .estimate import Estimate


def number(value: float, unit: str = "") -> str:
    """A value with its unit: 0.934 of "share" is "93.4 %", 1234.5 of "USD" is "1,235 USD", NaN is "none"."""
    if math.isnan(value):
        return "none"
    digits = figure(value, unit)
    return digits if unit in ("", "similarity") else f"{digits} {'%' if unit == 'share' else unit}"


def figure(value: float, unit: str = "") -> str:
    """The digits of `number` without the unit."""
    if unit == "share":
        return f"{100 * value:.1f}".replace("100.0", "100") if value else "0"
    if unit == "similarity":
        return f"{value:.3f}"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 or value == 0 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"


def interval(found: Estimate, unit: str = "") -> str:
    """The ends of the 95 % interval, "91.2 to 95.8", or why there is none."""
    if math.isnan(found.low):
        return "no interval" if found.n else "no record"
    return f"{figure(found.low, unit)} to {figure(found.high, unit)}"


def points(found: Estimate) -> str:
    """A difference of shares in points with its interval: "61.0 points (55.2 to 66.9)"."""
    return f"{figure(found.value, 'share')} points ({interval(found, 'share')})"


def listed(names: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def absent(figures: Mapping[str, Any], name: str, who: str) -> str:
    """Why a baseline has no such figure, in a word: it was "given" the field, or it says nothing that could be measured so: "none".

    `figures` is that of evaluation.json. A baseline that has another figure of the field was not given it.
    """
    field = figures[name]["field"]
    return "none" if any(who in one["baselines"] for one in figures.values() if one["field"] == field) else "given"
