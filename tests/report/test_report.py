"""The page: one file, its numbers those of evaluation.json, and nothing from the data can act in it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from seeworth.errors import RunError
from seeworth.evaluate.estimate import Estimate
from seeworth.evaluate.folder import read_manifest
from seeworth.evaluate.run import run as evaluate
from seeworth.evaluate.words import interval, number
from seeworth.predict.predictor import FakePredictor
from seeworth.report import run as report
from seeworth.report.view import ANOTHER, REST, UNREAD, confusion_table
from seeworth.settings import EvaluateSettings, ReportSettings

VOID = {"meta", "img", "br", "link", "input", "circle", "rect", "line", "path", "polyline", "polygon"}


class Page(HTMLParser):
    """What a browser would make of the page: elements with attributes, the text of table cells, balance of tags."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: dict[tuple[str, str], str] = {}
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self._cell: tuple[str, str] | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td" and found.get("data-figure"):
            self._cell = (str(found["data-figure"]), str(found["data-of"]))
            self.cells[self._cell] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open.pop() == tag
        if tag == "td":
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)
        if self._cell:
            self.cells[self._cell] += data + "|"

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)


@pytest.fixture(scope="session")
def page(evaluation: Path) -> Page:
    return Page(report.render(evaluation))


def test_every_figure_shown_equals_evaluation_json(page: Page, evaluation: Path) -> None:
    figures = read_manifest(evaluation)["figures"]
    expected = {}
    for name, one in figures.items():
        for who, data in (("model", one["model"]), *one["baselines"].items()):
            found = Estimate.from_dict(data)
            expected[name, who] = f"{number(found.value, one['unit'])}|{interval(found, one['unit'])}|n = {found.n}|"
    assert page.cells == expected
    assert len(expected) == 13 * 5 - 2 * 2  # two baselines were told the category


def test_the_shown_value_is_the_measured_one_to_the_last_digit_shown(page: Page, evaluation: Path) -> None:
    content = read_manifest(evaluation)
    fields = [score["fields"]["category3_code"] for score in content["scores"]]
    marks = [one["correct"] for one in fields if one["answer"] is not None]
    assert len(marks) < len(fields)
    assert page.cells["category3_code_accuracy", "model"].startswith(f"{100 * sum(marks) / len(marks):.1f} %")


def test_sections_come_with_the_verdict_first(page: Page) -> None:
    ids = [attributes["id"] for attributes in page.all("section")]
    assert ids == [
        "verdict", "figures", "grounding", "intervals", "slices", "numbers", "confusion", "gallery", "records", "data", "curves", "source",
    ]  # fmt: skip
    assert {str(one["href"])[1:] for one in page.all("a")} == set(ids)
    assert page.open == []


def test_the_page_asks_nothing_of_anyone(evaluation: Path, page: Page) -> None:
    html = report.render(evaluation)
    (policy,) = (str(one["content"]) for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert [one.get("type") for one in page.all("script")] == ["application/json", None]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'; " in policy
    assert not [key for _, attributes in page.elements for key in attributes if key == "style"]
    assert not list(page.all("link"))
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    for tag, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("src", "href", "xlink:href", "data", "action"):
                assert str(value).startswith(("data:image/jpeg;base64,", "#")), (tag, key, value)


def test_every_skill_shown_equals_evaluation_json(page: Page, evaluation: Path) -> None:
    content = read_manifest(evaluation)
    shown = {
        (str(attributes["data-skill"]), str(attributes["data-of"])) for attributes in page.all("td") if attributes.get("data-skill")
    }
    assert shown == {(name, who) for name, one in content["skill"].items() for who in one["against"]}
    assert len(shown) == 3 * 4 - 2
    for one in content["skill"].values():
        assert one["best"] in one["against"]
        for data in one["against"].values():
            skill = Estimate.from_dict(data["skill"])
            words = f"{skill.value:.2f} {skill.low:.2f} to {skill.high:.2f}" if skill.value == skill.value else "none no interval"
            assert f"{words} n = {skill.n}" in page.text


def test_the_page_shows_each_way_to_spoil_the_photo_and_weak_slices(page: Page) -> None:
    for words in ("another photo of the same category", "its own photo, blurred by 18 %", "no photo at all", "weak", "By full_price"):
        assert words in page.text
    assert "of the lead over the most common answer comes from the photo" in page.text
    assert "4 of 48 unread" in page.text


def test_photos_have_words_and_charts_have_names(page: Page) -> None:
    images = list(page.all("img"))
    assert len(images) == 24 + 4  # best and worst, and what could not be read
    assert all(str(image["alt"]).startswith("Photo of record r") for image in images)
    charts = list(page.all("svg"))
    assert len(charts) == 3 + 1 + 1 + 1 + 3  # intervals, grounding, scatter, confusion, curves
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert all(attributes.get("tabindex") == "0" for attributes in page.all("div") if "scroll" in str(attributes.get("class")))


def test_every_point_of_the_scatter_is_a_read_number(page: Page, evaluation: Path) -> None:
    read = [score for score in read_manifest(evaluation)["scores"] if score["fields"]["full_price"]["answer"] is not None]
    points = [attributes for attributes in page.all("circle") if "point" in str(attributes["class"]).split()]
    assert len(points) == len(read) > 30


def test_the_page_says_what_could_not_be_read(page: Page) -> None:
    assert "I cannot tell." in page.text
    assert "the answer does not start with 'Product: '" in page.text


ATTACKS = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg onload=alert(1)>",
    "{{ 7 * 7 }} {% raw %}",
    "</title></style><b onclick=alert(1)>",
    "' onfocus='alert(1)' autofocus='",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_words_from_the_data_cannot_act(attack: str, evaluation: Path, tmp_path: Path) -> None:
    """The attack stands in every place that data can reach: values, answers, ids, names, settings, warnings, the log."""
    content = read_manifest(evaluation)
    folder = tmp_path / "evil"
    shutil.copytree(evaluation, folder)
    plain = Page(report.render(evaluation))
    for score in content["scores"]:
        for one in score["fields"].values():
            if not one.keys() & {"absolute_error", "percentage_error"} and one["answer"] is not None and not one["truth"].isdecimal():
                one["truth"] = one["answer"] = attack
        score["text"] = attack
        score["problems"] = [attack]
    content["gallery"] = {key: [attack + one for one in ids] for key, ids in content["gallery"].items()}
    content["gallery_notes"] = {key: {one: [attack] for one in ids} for key, ids in content["gallery"].items()}
    some = content["gallery"]["best"][0]
    content["leaks"] = {"train": 9, "photo": {"count": 1, "pairs": [[some, attack]]}, "group": {"count": 0, "pairs": []}}
    content["data"]["refused"] = {attack: {"count": 2, "examples": [{"row": "3", "id": attack, "photo": attack, "reason": attack}]}}
    grid = {"rows": 1, "columns": 1, "words": attack, "base": {attack: attack}, "changes": {attack: [[0.5]]}}
    seen = {"fields": {attack: {"kind": "category", "unit": None}}, "records": {some: grid}}
    (folder / "occlusion.json").write_text(json.dumps({"format": "seeworth-occlusion/1", **seen}))
    for score in content["scores"]:
        score["record_id"] = attack + score["record_id"]
    content["confusion"] = {attack: [[attack, attack, 3], ["b", attack + "2", 1], ["b", None, 1]]}
    content["model"]["name"] = content["data"]["folder"] = content["task"]["question"] = content["task"]["answer"] = attack
    content["settings"][attack] = attack
    content["hashes"][attack] = attack
    content["warnings"] = [attack]
    content["verdict"][0]["text"] = attack
    content["grounding"]["verdict"] = content["grounding"]["label"] = attack
    content["left_out"] = [attack]
    content["unread"] = {attack: 3}
    for mode in content["grounding"]["modes"].values():
        mode["label"] = attack
        mode["fields"] = {name: {**one, "label": attack} for name, one in mode["fields"].items()}
    for column in content["slices"]:
        column["column"] = attack
        for part in column["slices"]:
            part["name"] = attack
    for one in content["skill"].values():
        one["against"] = {attack: next(iter(one["against"].values()))}
        one["best"] = attack
    for one in content["figures"].values():
        one["label"] = attack
        one["baselines"] = {attack: next(iter(one["baselines"].values()))}
    (folder / "evaluation.json").write_text(json.dumps(content))
    shown = Page(report.render(folder))
    assert {tag for tag, _ in shown.elements} <= {tag for tag, _ in plain.elements} | {"ul", "li"}
    assert len(shown.scripts) == len(list(shown.all("script"))) == 2
    assert shown.scripts[1] == plain.scripts[1]
    assert json.loads(shown.scripts[0])["rows"][0][0].startswith(attack)
    assert not set("<>&") & set(shown.scripts[0])
    assert shown.open == []
    names = {key for _, attributes in plain.elements for key in attributes} | {"data-field"}
    assert {key for _, attributes in shown.elements for key in attributes} <= names
    assert attack.replace("  ", " ") in shown.text
    for tag, attributes in shown.elements:
        if "src" in attributes:
            assert tag == "img"
            assert str(attributes["src"]).startswith("data:image/jpeg;base64,")


def test_titles_with_markup_go_all_the_way_from_dataset_to_page(shops: Any, tmp_path: Path) -> None:
    shop = shops.make_shop(tmp_path / "data")
    evil = FakePredictor(lambda record: f"Product: {ATTACKS[0]}, Category: Bags, Full Price: 12")
    settings = EvaluateSettings(run=shops.make_run(tmp_path / "run", shop), output=tmp_path / "out", bootstrap=20)
    html = report.render(evaluate(settings, predictor=evil, console=Console(file=io.StringIO())))
    assert html.count("<script") == html.count("</script") == 2
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in html


def test_a_task_without_number_and_category_leaves_those_sections_out(shops: Any, tmp_path: Path) -> None:
    from seeworth.task import Field, Task

    shop = shops.make_shop(tmp_path / "data", task=Task("What is it?", "It is a {title}.", (Field("title"),)))
    settings = EvaluateSettings(run=shops.make_run(tmp_path / "run", shop), output=tmp_path / "out", bootstrap=20, grounding_records=0)
    page = Page(report.render(evaluate(settings, predictor=FakePredictor(shop.look), console=Console(file=io.StringIO()))))
    sections = ["verdict", "figures", "grounding", "intervals", "gallery", "records", "data", "curves", "source"]
    assert [attributes["id"] for attributes in page.all("section")] == sections
    assert "This check was left out" in page.text


def test_an_evaluation_without_log_has_no_curves_and_a_cut_log_has(evaluation: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(evaluation, folder)
    log = folder / "log.jsonl"
    whole = log.read_text()
    log.write_text(whole[: len(whole) // 2])
    assert 'id="curves"' in report.render(folder)
    log.unlink()
    assert 'id="curves"' not in report.render(folder)


def test_a_gone_thumbnail_leaves_the_words_and_a_false_one_is_refused(evaluation: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(evaluation, folder)
    place = {score["record_id"]: index for index, score in enumerate(read_manifest(folder)["scores"])}
    first, second = (folder / "thumbnails" / f"{place[one]}.jpg" for one in read_manifest(folder)["gallery"]["best"][:2])
    first.unlink()
    assert len(list(Page(report.render(folder)).all("img"))) == 27
    second.write_text("<svg onload=alert(1)>")
    with pytest.raises(RunError, match="expected a JPEG thumbnail"):
        report.render(folder)


def test_many_categories_are_shown_as_the_frequent_ones_and_the_rest() -> None:
    pairs: list[list[Any]] = [[f"c{n}", f"c{n}", 100 - n] for n in range(30)]
    pairs += [["c0", None, 2], ["c29", "c1", 3], ["c1", "never seen", 4], ["c2", "c28", 5]]
    rows, columns, counts = confusion_table(pairs, most=10)
    assert rows == [*sorted(f"c{n}" for n in range(10)), REST]
    assert columns == [*rows, ANOTHER, UNREAD]
    assert sum(map(sum, counts)) == sum(count for *_, count in pairs)
    at = {(row, column): counts[i][j] for i, row in enumerate(rows) for j, column in enumerate(columns)}
    assert (at["c0", "c0"], at["c0", UNREAD], at[REST, "c1"], at["c1", ANOTHER], at["c2", REST]) == (100, 2, 3, 4, 5)


def test_the_verb_writes_the_page_where_it_is_told(evaluation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = report.run(ReportSettings(evaluation=evaluation, output=tmp_path / "deep" / "page.html"))
    assert path.read_text(encoding="utf-8") == report.render(evaluation)
    assert str(path) in capsys.readouterr().out
    assert [one.name for one in path.parent.iterdir()] == ["page.html"]
    assert path.stat().st_size < 1_000_000


def test_showing_prints_figures_and_the_pages_path(evaluation: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    report.show(evaluation, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "full_price" in printed
    assert str(evaluation / "report.html") in printed


def test_what_is_no_evaluation_is_told_in_a_line(evaluation: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no evaluation folder"):
        report.render(tmp_path)
    (tmp_path / "evaluation.json").write_text('{"format": "seeworth-evaluation/99"}')
    with pytest.raises(RunError, match="found format 'seeworth-evaluation/99'"):
        report.render(tmp_path)
    content = read_manifest(evaluation)
    for key in ("figures", "model", "verdict"):
        (tmp_path / "evaluation.json").write_text(json.dumps({name: value for name, value in content.items() if name != key}))
        with pytest.raises(RunError, match="is broken, evaluate once more"):
            report.render(tmp_path)


def test_reporting_never_loads_torch(evaluation: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from seeworth.report.run import render;"
        f"render(Path({str(evaluation)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
