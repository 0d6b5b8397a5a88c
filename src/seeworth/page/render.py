"""A template and its values -> the text of one self-contained page; a photo -> a data URI. Escapes whatever data holds."""

from __future__ import annotations

import base64
import io
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from PIL import Image


def render(package: str, template: str, **values: Any) -> str:
    """The page that `template` in `package` makes of `values`; it takes the style sheet by `{% include "page/page.css" %}`.

    Everything is escaped unless it is markup already, as charts are. Raises jinja2.UndefinedError for a missing value.
    """
    loader = PrefixLoader({"page": PackageLoader("seeworth.page", ""), "own": PackageLoader(package, "")})
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(f"own/{template}").render(**values)


def data_uri(jpeg: bytes) -> str:
    """JPEG bytes as an `<img src>` that needs no file."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def thumbnail(image: Image.Image, side: int = 160) -> bytes:
    """A picture as a small JPEG, its longer side at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
