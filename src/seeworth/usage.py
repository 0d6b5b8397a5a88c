"""What is wrong with settings on a command line or in a YAML file, in one line of our words.

jsonargparse finds the fault and tells it in several lines, with Python's names of types. Knows nothing of verbs and of what settings do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path", list: "a list such as [a, b]"}
_VALUE = re.compile(r'Parser key "([^"]+)": .*?(?:Got value|Given value): (.*)')
_NO_VALUE = re.compile(r"argument --(\w+): expected one argument")
_UNKNOWN = re.compile(r"(?:unrecognized arguments: |Option '|does not accept option ')([^\s'=]+)")
_TOO_MUCH = re.compile(r"unrecognized arguments: ([^\s=]+)")
_NO_MAPPING = re.compile(r"Unexpected config: (.*)")
_FILE = re.compile(r'Parser key "config": (.*)')
_MISSING = re.compile(r"the following arguments are required: (.*)")


def fault(problem: Exception, settings: type[Any], *, positional: bool = False, typed: Sequence[str] = ()) -> str:
    """One line: what was found, and what was expected; behind the name of the --config file where the fault is not in what was typed.

    Args:
        problem: what jsonargparse raised. settings: the dataclass whose fields were read. positional: the required ones are given by place.
        typed: the words of the command line.
    """
    words, culprit = _read(" ".join(str(problem).split()), settings, positional)
    files = [after for word, after in pairwise(typed) if word == "--config"]
    files += [word.partition("=")[2] for word in typed if word.startswith("--config=")]
    in_file = culprit is not None and not any(culprit and culprit in word for word in typed)
    return f"{', '.join(files)}: {words}" if files and in_file else words


def _read(said: str, settings: type[Any], positional: bool) -> tuple[str, str | None]:
    """Our words, and what was given that is wrong: "" where the file itself is, None where something is missing."""
    if found := _FILE.fullmatch(said):
        return f"--config: {found[1][0].lower()}{found[1][1:]}", None
    if found := _VALUE.fullmatch(said):
        return f"{found[1]} is {found[2]!r}, expected {expected(settings, found[1])}", found[2]
    if found := _NO_VALUE.fullmatch(said):
        return f"--{found[1]} has no value, expected {expected(settings, found[1])}", None
    if (found := _TOO_MUCH.match(said)) and not found[1].startswith("-"):
        return f"{found[1]!r} is a word too many", found[1]
    if found := _UNKNOWN.search(said):
        return f"there is no setting {found[1]}{_perhaps(found[1], settings)}", found[1]
    if found := _MISSING.fullmatch(said):
        names = [name.rpartition(".")[2] for name in found[1].split(", ")]
        words = _listed([name.upper() if positional else f"--{name}" for name in names], "and")
        return f"{words} {'is' if len(names) == 1 else 'are'} missing", None
    if found := _NO_MAPPING.fullmatch(said):
        return f"expected settings as `name: value`, found {found[1]!r}", ""
    return said.removeprefix("Problems parsing config: ").replace(' in "<unicode string>",', ":"), ""


def expected(settings: type[Any], name: str) -> str:
    """What a setting may be: "auto, lora or full", "a whole number"."""
    hint = get_type_hints(settings).get(name, str)
    kinds = [kind for kind in (get_args(hint) if _is_union(hint) else (hint,)) if kind is not NoneType]
    words: list[str] = []
    for kind in kinds:
        words += [str(one) for one in get_args(kind)] if get_origin(kind) is Literal else _words_of(kind).split(" or ")
    return _listed(words, "or")


def _words_of(kind: Any) -> str:
    if get_origin(kind) is dict:
        return "pairs such as {photo: imageurl}"
    return _WORDS[get_origin(kind) or kind]


def _is_union(hint: Any) -> bool:
    return get_origin(hint) not in (None, Literal, list, dict)


def _perhaps(name: str, settings: type[Any]) -> str:
    """A setting of nearly the same name."""
    near = get_close_matches(name.lstrip("-"), [one.name for one in fields(settings)], n=1)
    return f", did you mean {'--' if name.startswith('-') else ''}{near[0]}?" if near else ""


def _listed(words: Sequence[str], last: str) -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]
