"""A shop whose every word tries to act in the page, and a model that does not look at its photos; evaluated once for all browser tests."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from seeworth.evaluate.folder import read_manifest
from seeworth.evaluate.run import run
from seeworth.record import Prediction, Record, write_predictions
from seeworth.settings import EvaluateSettings

HIT = "window.hit=1"
NAMES = [
    f"<script>{HIT}</script>",
    f"</script><script>{HIT}</script>",
    f'"><img src=x onerror={HIT}>',
    f"<svg onload={HIT}>",
    f"javascript:{HIT}//",
    "\u202egnp.<b>exe",
    "</style><style>body{display:none}</style>",
    f"' onmouseover='{HIT}' x='",
    "{{ 7 * 7 }}{% raw %}",
    "<!--<script>",
    "&lt;b&gt; \u2028\u2029 \\u003c",
    "]]></svg><a href='javascript:1'>",
]


class Blind:
    """Knows the records by heart, whatever their photos; sure or unsure, right or wrong, and now and then not to be understood."""

    name = f"blind {NAMES[1]}"

    def __init__(self, shop: Any, salt: int) -> None:
        self.shop, self.salt = shop, salt

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        for record in records:
            number = int(record.id[1:])
            rng = np.random.default_rng(number + self.salt)
            if number % 17 == 0:
                yield Prediction(record.id, f"I cannot tell. {NAMES[number % 12]}", 0.01)
                continue
            sure = float(rng.uniform(0.3, 1))
            category = str(record.values["category3_code"]) if rng.random() < sure else self.shop.names[number % len(self.shop.names)]
            price = float(record.values["full_price"]) * float(np.exp(rng.normal(0, 0.3)))
            words = {"title": record.values["title"], "full_price": round(price, 2), "category3_code": category}
            own = {"median": price, "low": price * 0.8, "high": price * 1.25}
            yield Prediction(
                record.id, self.shop.task.write(words), 0.01, confidence={"category3_code": sure}, distribution={"full_price": own}
            )


def evaluate(shops: Any, home: Path) -> Path:
    """The evaluation folder: with a comparison, leaks, intervals, every gallery, and occlusion maps."""
    before = shops.NAMES
    shops.NAMES = [f"{name}s" for name in NAMES]
    try:
        shop = shops.make_shop(home / "data", rows=640, categories=len(NAMES))
    finally:
        shops.NAMES = before
    other = home / "other.jsonl"
    write_predictions(other, Blind(shop, 100_000)(shop.dataset.records("test")))
    settings = EvaluateSettings(
        run=shops.make_run(home / "run", shop), output=home / "out", against=other, slices="category3_code",
        bootstrap=40, grounding_records=30, abstain_error=0.3,
    )  # fmt: skip
    folder = run(settings, predictor=Blind(shop, 0), console=Console(file=io.StringIO()))
    _occlude(folder)
    return folder


def _occlude(folder: Path) -> None:
    """Maps as `evaluate --occlusion` writes them."""
    fields = {"category3_code": {"kind": "category", "unit": None}, "full_price": {"kind": "number", "unit": "USD"}}
    rng = np.random.default_rng(0)

    def grid() -> list[list[float]]:
        return [[float(round(value, 4)) for value in row] for row in rng.normal(0, 0.2, (6, 6)).clip(-1, 1)]

    gallery = read_manifest(folder)["gallery"]
    maps = {
        one: {"rows": 6, "columns": 6, "words": NAMES[0], "base": {}, "changes": {name: grid() for name in fields}}
        for one in [*gallery["best"], *gallery["worst"]]
    }
    (folder / "occlusion.json").write_text(json.dumps({"format": "seeworth-occlusion/1", "fields": fields, "records": maps}))
