"""Write docs/cli.md from the settings classes; a test checks that the page is what this writes."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from docstring_parser import parse_from_object

from seeworth.cli import VERBS

HEAD = """# The command line

Written by `make docs` from `src/seeworth/settings.py`; do not edit. Every verb also takes `--config recipe.yaml`; settings after it
win. Exit status: 0 done, 1 a problem that you can fix (told in one line), 2 wrong usage.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_verb(verb, *about) for verb, about in VERBS.items())


def _verb(verb: str, settings_class: type[Any], _: str, positional: bool) -> str:
    described = parse_from_object(settings_class)
    help_of = {one.arg_name: one.description for one in described.params}
    required = [one.name for one in fields(settings_class) if one.default is MISSING]
    words = [name.upper() if positional else f"--{name} {name.upper()}" for name in required]
    rows = []
    for one in fields(settings_class):
        plain = one.name in required and positional
        default = "required" if one.default is MISSING else f"`{one.default}`"
        rows.append(f"| `{one.name.upper() if plain else '--' + one.name}` | {default} | {help_of[one.name]} |\n")
    return (
        f"\n## seeworth {verb}\n\n{described.short_description}\n\n    seeworth {' '.join([verb, *words])} [--setting value ...]\n\n"
        f"| setting | default | meaning |\n| --- | --- | --- |\n{''.join(rows)}"
    )


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(page(), encoding="utf-8")
