"""URLs as a table has them -> what is asked of the web. Knows nothing of how it is asked."""

from __future__ import annotations

import re

from yarl import URL

from ...errors import PhotoError
from ..rows.cells import shown

MAX_URL = 8000  # characters; servers refuse longer ones

_LEGAL = re.compile(r"(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=|-]|%[0-9A-Fa-f]{2})*")  # a path and query that need no encoding
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")


def web_url(text: str) -> URL:
    """An http(s) URL, ready to be asked for: its host in ASCII, without user, password and fragment, percent-encoded where it must be.

    What needs no encoding is asked for as it is: a signature may depend on it. Raises PhotoError with code bad_address
    for any other scheme, no host, a port that cannot be, or over MAX_URL characters.
    """
    text = text.strip()
    if len(text) > MAX_URL:
        raise PhotoError("bad_address", f"a URL of {len(text)} characters, expected at most {MAX_URL}")
    try:
        url = URL(text)
        if url.scheme not in ("http", "https") or not _HOST.fullmatch(url.raw_host or ""):
            raise PhotoError("bad_address", f"expected an http(s) URL with a host, found {shown(text)}")
        url = url.with_user(None).with_fragment(None)
        asked = URL(text, encoded=True).raw_path_qs
        return URL(f"{url.scheme}://{url.raw_authority}{asked or '/'}", encoded=True) if _LEGAL.fullmatch(asked) else url
    except (ValueError, UnicodeError, TypeError) as problem:
        raise PhotoError("bad_address", f"{shown(text)} is no URL: {problem}") from problem


def same_url(text: str) -> str:
    """One text for a URL with and without its user, fragment or standard port; a text that is no URL stays as it is."""
    try:
        return str(web_url(text))
    except PhotoError:
        return text


def host_of(url: URL) -> str:
    """host:port, what a server is told apart by."""
    return f"{url.raw_host}:{url.port}"
