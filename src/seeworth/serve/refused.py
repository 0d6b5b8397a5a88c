"""Why a request is not answered, in one exception, and how it is told: our own form, or OpenAI's under its paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

OPENAI = ("/v1/chat/", "/v1/models")


class Refused(Exception):
    """A request that is not answered as it wished.

    Args:
        status: of HTTP. code: a short stable word. message: one line: what was found, what was expected, what to do.
        param: the part of the request that is at fault, where it is one. headers: further ones of the answer.
    """

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = " ".join(message.split())[:500]
        self.param = param
        self.headers = dict(headers or {})

    def response(self, path: str) -> JSONResponse:
        """The answer to a request of this path."""
        return JSONResponse(self.body(path), self.status, self.headers)

    def body(self, path: str) -> dict[str, Any]:
        """The words of the answer."""
        found: dict[str, Any] = {"code": self.code, "message": self.message}
        if path.startswith(OPENAI):
            kind = {401: "authentication_error", 429: "rate_limit_error"}.get(self.status)
            kind = kind or ("server_error" if self.status >= 500 else "invalid_request_error")
            found |= {"type": kind, "param": self.param}
        return {"error": found}


def too_many(seconds: int, message: str) -> Refused:
    """Come back later."""
    return Refused(429, "busy", message, headers={"Retry-After": str(seconds)})
