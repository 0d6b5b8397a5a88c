"""A template and its values -> the text of one self-contained page. Escapes whatever data holds."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined


def render(package: str, template: str, **values: Any) -> str:
    """The page that `template` in `package` makes of `values`; it extends "page/base.html", which has the head of all
    pages with their style sheet, and fills the blocks title, style (more of it) and body.

    Everything is escaped unless it is markup already, as charts are. Raises jinja2.UndefinedError for a missing value.
    """
    loader = PrefixLoader({"page": PackageLoader("seeworth.page", ""), "own": PackageLoader(package, "")})
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(f"own/{template}").render(**values)
