"""Sentences for people: one line each, on a terminal broken between words. Knows nothing of what they say."""

from __future__ import annotations

import shutil
import sys
import textwrap


def say(words: str, *, error: bool = False) -> None:
    """Print lines to stdout, or as an error to stderr: each as it is for a file or a pipe, on a terminal in as many as it needs.

    Paths and other long words stay whole, so that they can be copied.
    """
    stream = sys.stderr if error else sys.stdout
    if stream.isatty():
        width = max(shutil.get_terminal_size().columns, 20)
        lines = (textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in words.splitlines())
        words = "\n".join(lines)
    print(words, file=stream, flush=True)


def many(count: int, noun: str) -> str:
    """A number of things: "1 photo", "2 photos", "7,000 photos"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
