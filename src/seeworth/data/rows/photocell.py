"""A photo cell that names several photos, as shops' exports have it: which is the first, and how many there are.

    http://a/1.jpg|http://a/2.jpg      http://a/1.jpg, http://a/2.jpg      ["http://a/1.jpg", "http://a/2.jpg"]      a.jpg;b.jpg

URLs are parted where one of | ; , or white space is followed by the next http(s)://; paths where each part ends like a
photo's name, so `bag, red.jpg` is one. Knows nothing of whether a photo is there.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_BETWEEN_URLS = re.compile(r"[|;,\s]+(?=https?://)", re.IGNORECASE)
_PHOTO = re.compile(r"[^|;,]+\.(?:jpe?g|jfif|png|webp|avif|bmp|tiff?|gif)", re.IGNORECASE)
_LONGEST_LIST = 100_000  # characters


def first_photo(cell: str) -> tuple[str, int]:
    """(the first photo that a cell names, how many it names); a cell that is no list is (the cell, 1)."""
    text = cell.strip()
    if text.startswith("[") and text.endswith("]") and (names := _listed(text)) is not None:
        return (names[0] if names else "", len(names))
    if re.match(r"(?i)https?://", text):
        names = [name.strip(" |;,") for name in _BETWEEN_URLS.split(text)]
        return names[0], len(names)
    for mark in "|;,":
        names = [name.strip() for name in text.split(mark)]
        if len(names) > 1 and all(map(_PHOTO.fullmatch, names)):
            return names[0], len(names)
    return cell, 1


def _listed(text: str) -> list[str] | None:
    """The words of a JSON list, or of a list as Python prints it; None when the text is neither."""
    if len(text) > _LONGEST_LIST:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found: Any = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list) and all(isinstance(name, str) for name in found):
            return found
    return None
