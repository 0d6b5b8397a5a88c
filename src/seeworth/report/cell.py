"""A figure as the page's tables write it. Knows nothing of what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..evaluate.estimate import Estimate
from ..evaluate.words import interval, number


def cell(data: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """Value and interval in words, n, and the value itself (`raw`, None where there is none), of an estimate as evaluation.json has it."""
    one = Estimate.from_dict(data)
    return {"value": number(one.value, unit), "interval": interval(one, unit), "n": one.n, "raw": data["value"]}
