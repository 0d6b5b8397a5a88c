"""The page's sections of intervals and of a comparison: their numbers are evaluation.json's, and words from data stay words."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from seeworth.evaluate.compare import difference_words
from seeworth.evaluate.estimate import Estimate
from seeworth.evaluate.folder import read_manifest, write_manifest
from seeworth.evaluate.run import run as evaluate
from seeworth.evaluate.words import interval, number
from seeworth.page.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Scale
from seeworth.predict.predictor import FakePredictor
from seeworth.record import Prediction, Record
from seeworth.report import run as report
from seeworth.settings import EvaluateSettings

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Cells(HTMLParser):
    """The text of table cells that carry a data-interval or data-compared, words, and tags."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[tuple[str, str, str], str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._at: tuple[str, str, str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = dict(attrs)
        self.tags.append((tag, have))
        for kind in ("interval", "compared"):
            if f"data-{kind}" in have:
                self._at = (kind, str(have[f"data-{kind}"]), str(have["data-of"]))
                self.found[self._at] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._at = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._at:
            self.found[self._at] += data + "|"

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


class Sure:
    """Off by a noise that it knows; its category is wrong as often as it says; some titles are an attack."""

    name = f"sure {EVIL}"

    def __init__(self, shop: Any, salt: int) -> None:
        self.shop, self.salt = shop, salt

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        for record in records:
            rng = np.random.default_rng(int(record.id[1:]) + self.salt)
            sigma, confidence = float(rng.uniform(0.05, 0.4)), float(rng.uniform(0.5, 1))
            price = float(record.values["full_price"]) * float(np.exp(rng.normal(0, sigma)))
            true = record.values["category3_code"]
            category = true if rng.random() < confidence else next(name for name in self.shop.names if name != true)
            title = EVIL if rng.random() < 0.3 else record.values["title"]
            text = self.shop.task.write({"title": title, "full_price": round(price, 2), "category3_code": category})
            factor = float(np.exp(1.645 * sigma))
            own = {"median": price, "low": price / factor, "high": price * factor}
            yield Prediction(record.id, text, 0.0, confidence={"category3_code": confidence}, distribution={"full_price": own})


@pytest.fixture(scope="module")
def compared(shops: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("compared")
    shop = shops.make_shop(home / "data", rows=1300, categories=2)
    trained = shops.make_run(home / "run", shop)
    old, new = (
        EvaluateSettings(run=trained, output=home / name, bootstrap=100, grounding_records=0, against=against)
        for name, against in (("old", None), ("new", home / "old"))
    )
    evaluate(old, predictor=Sure(shop, 100_000), console=Console(file=io.StringIO()))
    return evaluate(new, predictor=Sure(shop, 0), console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def page(compared: Path) -> Cells:
    return Cells(report.render(compared))


def test_every_number_shown_is_evaluation_jsons(compared: Path, page: Cells) -> None:
    content = read_manifest(compared)
    expected: dict[tuple[str, str, str], str] = {}

    def shown(data: Mapping[str, Any], unit: str) -> str:
        one = Estimate.from_dict(data)
        return f"{number(one.value, unit)}|{interval(one, unit)}|n = {one.n}|"

    for name, one in content["intervals"]["fields"].items():
        for way, found in one["ways"].items():
            expected["interval", name, f"{way}/coverage"] = shown(found["coverage"], "share")
            expected["interval", name, f"{way}/width"] = shown(found["width"], "USD")
    words = {1: "better|", 0: "no clear difference|", -1: "worse|", None: ""}
    for name, one in content["comparison"]["figures"].items():
        for who in ("ours", "other"):
            expected["compared", name, who] = shown(one[who], one["unit"])
        expected["compared", name, "difference"] = f"{difference_words(one)}|{words[one['outcome']]}n = {one['difference']['n']}|"
    assert page.found == expected
    assert len([key for key in expected if key[0] == "interval"]) == 8


def test_the_sentences_stand_in_the_page_word_by_word(compared: Path, page: Cells) -> None:
    content = read_manifest(compared)
    said = [*content["intervals"]["sentences"], *content["comparison"]["verdict"]]
    assert len(said) == 1 + 1 + 2 + 1
    for one in said:
        assert " ".join(one["text"].split()) in page.text
    ece = Estimate.from_dict(content["intervals"]["reliability"]["category3_code"]["ece"])
    assert f"{number(ece.value, 'share')} ({interval(ece, 'share')}), n = {ece.n}" in page.text


def test_the_reliability_curve_stands_at_its_numbers(compared: Path) -> None:
    content = read_manifest(compared)
    bins = content["intervals"]["reliability"]["category3_code"]["bins"]
    html = report.render(compared)
    chart = re.search(r'<svg role="img" aria-label="category3_code: how often.*?</svg>', html, re.DOTALL)
    assert chart
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart.group())
    x, y = Scale(0, 100, LEFT, WIDTH - RIGHT), Scale(0, 100, 340 - BOTTOM, TOP)
    places = [(x(100 * one["confidence"]), y(100 * one["accuracy"]["value"])) for one in bins]
    assert [tuple(map(float, dot)) for dot in dots] == [pytest.approx(place, abs=0.06) for place in places]
    assert len(bins) == 10
    assert chart.group().count('class="whisker model"') == len(bins)


def test_changed_answers_have_their_photos(compared: Path, page: Cells) -> None:
    content = read_manifest(compared)
    photos = [attributes for tag, attributes in page.tags if tag == "img" and str(attributes.get("alt")).startswith("Photo of record")]
    changed = content["comparison"]["changed"]
    assert len(changed["better"]) == len(changed["worse"]) == 12
    assert len(photos) == 24 + sum(map(len, content["gallery"].values()))
    assert all(str(one["src"]).startswith("data:image/jpeg;base64,") for one in photos)


def test_words_of_data_and_models_do_not_act(compared: Path, page: Cells) -> None:
    assert [have.get("type") for tag, have in page.tags if tag == "script"] == ["application/json", None]
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert EVIL in page.text


def test_sections_that_are_not_there_leave_no_link(compared: Path, tmp_path: Path) -> None:
    content = read_manifest(compared)
    content.pop("format")
    write_manifest(tmp_path, content | {"intervals": {"why_not": "Intervals were left out: of a test."}, "comparison": None})
    page = Cells(report.render(tmp_path))
    assert "Intervals were left out: of a test." in page.text
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert "comparison" not in ids
    links = {str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"}
    assert links <= ids
    old = {key: value for key, value in content.items() if key not in ("intervals", "comparison")}
    write_manifest(tmp_path, old)
    assert "intervals" not in {attributes.get("id") for _, attributes in Cells(report.render(tmp_path)).tags}


def test_too_few_validation_records_are_told_in_the_page(shops: Any, tmp_path: Path) -> None:
    shop = shops.make_shop(tmp_path / "data")
    settings = EvaluateSettings(run=shops.make_run(tmp_path / "run", shop), output=tmp_path / "out", bootstrap=20, grounding_records=0)
    page = Cells(report.render(evaluate(settings, predictor=FakePredictor(shop.look), console=Console(file=io.StringIO()))))
    assert "6 groups of validation records are too few for 90 % intervals, 9 are needed" in page.text
    assert "do not say how sure the model is" in page.text
