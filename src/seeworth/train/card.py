"""The model card of a run folder: what it is, what it was trained on, how to ask it. Hugging Face's README.md form.

`export` makes its own card of the parts here. Words from data (a question, a title, an answer) go through `plain` or `block`, so that
none of them can become Markdown, HTML or YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

_MARKS = re.compile(r"[\\`*_\[\]<>|#~$&!@:{}]")
LICENCE = (
    "The weights follow the base's licence, MIT. The training photos and texts have their own licence, which whoever passes this model on "
    "has to look after."
)


def plain(text: object) -> str:
    """Words from data on one line, every mark of Markdown and HTML in them as it stands."""
    printable = "".join(char if char.isprintable() else " " for char in str(text))
    return _MARKS.sub(lambda mark: "\\" + mark[0], " ".join(printable.split()))


def block(text: object) -> str:
    """Words from data as a block of code, line by line: an indented line cannot leave it."""
    lines = ["".join(char if char.isprintable() else " " for char in line) for line in str(text).splitlines()]
    return "\n".join(f"    {line}" for line in lines or [""])


def front_matter(head: Mapping[str, Any]) -> str:
    """The YAML between two lines of dashes that the Hub reads."""
    return f"---\n{yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True).strip()}\n---"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def model_card(about: dict[str, Any]) -> str:
    """The card's text, from what run.json says."""
    lora = about["method"] == "lora"
    head: dict[str, Any] = {"library_name": "peft" if lora else "transformers", "pipeline_tag": "image-text-to-text", "license": "mit"}
    if lora:
        head["base_model"] = about["model"]
    figures = table(("figure", "value"), [(plain(name.partition("/")[2]), f"{value:.4g}") for name, value in about["validation"].items()])
    return f"""{front_matter(head)}

# A Phi-3-Vision that answers: {plain(about["task"]["question"])}

Trained by seeworth on photos with the answer

{block(about["task"]["answer"])}

Start: {plain(about["model"])} · method: {about["method"]} · {about["steps"]} steps · {about["minutes"]} minutes.

Validation figures, answered by real generation (no interval is given here: `seeworth evaluate` measures the test split with
intervals, beside baselines, and without the photo):

{figures}

    seeworth predict THIS_FOLDER photo.jpg
"""
