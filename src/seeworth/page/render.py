"""A template and its values -> the text of one self-contained page. Escapes whatever data holds."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

_HARMFUL = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}  # what could end a script element, or a line of script


def render(package: str, template: str, **values: Any) -> str:
    """The page that `template` in `package` makes of `values`; it extends "page/base.html", which has the head of all
    pages with their style sheet and script, and fills the blocks title, style and script (more of them) and body.

    Everything is escaped unless it is markup already, as charts are; `value | json_data` is JSON that may stand in a script element. The
    page's content security policy names its one style sheet and its one script by their hashes: no other is obeyed, whatever data holds.
    `cell | value` is the attribute by which the script sorts a table's cell. Raises jinja2.UndefinedError for a missing value.
    """
    loader = PrefixLoader({"page": PackageLoader("seeworth.page", ""), "own": PackageLoader(package, "")})
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"sha256": _sha256, "json_data": json_data, "value": _value}
    return environment.get_template(f"own/{template}").render(**values)


def json_data(value: Any) -> Markup:
    """JSON for a <script type="application/json">: nothing in it can end the element. Raises ValueError for NaN."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_HARMFUL))  # noqa: S704 - every character that markup could begin with is written as \uXXXX


def _value(cell: Mapping[str, Any]) -> Markup:
    """` data-value="..."` of a figure, its `raw` number in full; nothing where it has none."""
    return Markup() if cell["raw"] is None else Markup(' data-value="{}"').format(cell["raw"])


def _sha256(text: str) -> str:
    """As a content security policy names a style sheet or a script."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
