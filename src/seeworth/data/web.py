"""URLs as a table has them -> what is asked of the web. Knows nothing of how it is asked."""

from __future__ import annotations

from yarl import URL

from ..errors import PhotoError
from .cells import shown

MAX_URL = 8000  # characters; servers refuse longer ones


def web_url(text: str) -> URL:
    """An http(s) URL, ready to be asked for: percent-encoded, its host in ASCII, without user, password and fragment.

    Raises PhotoError with code bad_address for any other scheme, no host, a port that cannot be, or over MAX_URL characters.
    """
    if len(text) > MAX_URL:
        raise PhotoError("bad_address", f"a URL of {len(text)} characters, expected at most {MAX_URL}")
    try:
        url = URL(text.strip())
        if url.scheme not in ("http", "https") or not url.raw_host:
            raise PhotoError("bad_address", f"expected an http(s) URL with a host, found {shown(text)}")
        return url.with_user(None).with_fragment(None)
    except (ValueError, UnicodeError, TypeError) as problem:
        raise PhotoError("bad_address", f"{shown(text)} is no URL: {problem}") from problem


def same_url(text: str) -> str:
    """One text for all spellings of a URL; a text that is none stays as it is."""
    try:
        return str(web_url(text))
    except PhotoError:
        return text


def host_of(url: URL) -> str:
    """host:port, what a server is told apart by."""
    return f"{url.raw_host}:{url.port}"
