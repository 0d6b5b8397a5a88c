"""What sampled answers tell of how likely each value was: shares, a median, a spread, in the form in which `predict` tells them.

For predictions that have samples and no probabilities. Knows nothing of how samples were drawn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .record import Prediction, Value
from .task import Field, Task

KEPT = 20  # likeliest numbers that are told


def told_by_samples(task: Task, prediction: Prediction) -> Prediction:
    """The prediction with `confidence` and `distribution` of the fields for which it told none, by its samples' shares.

    A category: {"choices": {words: share}}. A number: median, low and high (5 % and 95 %), values, and `covered`, the share of samples
    that it could be read from. `confidence` is the share of samples that have the answer's own value. k samples tell shares no finer
    than 1 / k. As it was where there are no samples, or none of them can be read.
    """
    open_fields = [one for one in task.answer_fields if one.kind != "text" and one.name not in prediction.distribution]
    if not prediction.samples or not open_fields:
        return prediction
    read = [task.read(text).values for text in prediction.samples]
    own = task.read(prediction.text).values
    distribution, confidence = dict(prediction.distribution), dict(prediction.confidence)
    for one in open_fields:
        values = [found[one.name] for found in read if one.name in found]
        if not values:
            continue
        distribution[one.name] = _told(one, values, len(read))
        if one.name in own:
            confidence.setdefault(one.name, round(sum(value == own[one.name] for value in values) / len(values), 6))
    return replace(prediction, confidence=confidence, distribution=distribution)


def _told(one: Field, values: Sequence[Value], drawn: int) -> Mapping[str, Any]:
    shares = {value: count / len(values) for value, count in Counter(values).most_common()}
    if one.kind == "category":
        return {"choices": {str(value): round(share, 6) for value, share in shares.items()}}
    ordered = sorted(float(value) for value in values)
    low, median, high = (ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)] for share in (0.05, 0.5, 0.95))
    likeliest = [[float(value), round(share, 6)] for value, share in list(shares.items())[:KEPT]]
    return {"median": median, "low": low, "high": high, "covered": round(len(values) / drawn, 6), "values": likeliest}
