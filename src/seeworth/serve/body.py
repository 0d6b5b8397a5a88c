"""A request's body -> photos in bytes, with their names: JSON with data URIs, or a multipart form. Nothing is written to disk.

Photos stay bytes here; `queue`'s threads open them. Addresses that lead elsewhere are refused, never fetched.
"""

from __future__ import annotations

import binascii
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..errors import PhotoError
from .refused import Refused
from .schemas import PhotoBody

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

M = TypeVar("M", bound=BaseModel)
logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what is wrong with a form its sender hears
MOST_WORDS = 10_000  # bytes of a form's field that is no photo


@dataclass(frozen=True)
class Upload:
    """A photo as it came: `data` gives its bytes, and raises PhotoError for a data URI that holds none."""

    data: Callable[[], bytes]
    name: str | None = None


@dataclass
class Form:
    """What a request for answers holds."""

    photos: list[Upload] = field(default_factory=list)
    values: dict[str, str | int | float] = field(default_factory=dict)


async def whole(request: Request) -> bytes:
    """The body; the guard has its eye on its length and pace."""
    parts = [part async for part in request.stream()]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_form(kind: str, body: bytes, *, max_photos: int) -> Form:
    """The photos of a body of this Content-Type. Raises Refused."""
    name, options = parse_options_header(kind)
    if name == b"multipart/form-data":
        form = _multipart(body, options.get(b"boundary", b""), max_photos)
    elif name == b"application/json":
        form = _json(body)
    else:
        raise Refused(415, "content_type", f"the Content-Type is {kind[:80]!r}, expected multipart/form-data or application/json")
    if not form.photos:
        raise Refused(422, "no_photo", "the request holds no photo: send a part named photo, or JSON with photo or photos")
    if len(form.photos) > max_photos:
        raise Refused(
            413, "too_many_photos", f"the request holds {len(form.photos)} photos, the most is {max_photos}: send them in several"
        )
    return form


def parsed(kind: type[M], body: bytes, *, status: int = 422) -> M:
    """JSON -> one of our schemas. Raises Refused that names the place and what is wrong there, and repeats nothing of the body."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(one) for one in first["loc"])[:100]
        code = "bad_json" if first["type"] == "json_invalid" else "bad_request"
        message = f"{where or 'the body'}: {first['msg'][:200]}"
        raise Refused(400 if code == "bad_json" else status, code, message, param=where or None) from problem


def from_address(address: str) -> Callable[[], bytes]:
    """The bytes that a data URI holds, decoded when they are asked for. Raises Refused for an address that leads elsewhere."""
    if not address.startswith("data:"):
        where = address[:12].partition(":")[0] if ":" in address[:12] else "no address"
        raise Refused(
            400, "remote_url", f"found {where!r}, expected a data URI: addresses are not fetched here, send data:image/jpeg;base64,..."
        )

    def decode() -> bytes:
        head, comma, _ = address[:200].partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise PhotoError("bad_data_uri", "the data URI is not of the form data:image/jpeg;base64,...")
        try:
            return binascii.a2b_base64(address[len(head) + 1 :].encode("ascii"), strict_mode=True)
        except ValueError as problem:  # binascii.Error, UnicodeEncodeError
            raise PhotoError("bad_data_uri", "the data URI holds no base64: letters, digits, + and /, filled up with =") from problem

    return decode


def _json(body: bytes) -> Form:
    found = parsed(PhotoBody, body)
    if (found.photo is None) == (found.photos is None):
        raise Refused(422, "bad_request", "expected either photo, one data URI, or photos, a list of them")
    addresses = [found.photo] if found.photo is not None else found.photos or []
    return Form([Upload(from_address(one)) for one in addresses], dict(found.values))


def _multipart(body: bytes, boundary: bytes, max_photos: int) -> Form:
    """Parts named photo are photos; all others are values of the question's fields."""
    form = Form()
    reader = _Parts(form, max_photos)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as problem:
        raise Refused(400, "bad_form", f"the form cannot be read: {str(problem)[:200]}") from problem
    if not reader.ended:
        raise Refused(400, "bad_form", "the form breaks off before its last boundary")
    return form


class _Parts:
    """Takes a form's parts as the parser finds them."""

    def __init__(self, form: Form, max_photos: int) -> None:
        self.form = form
        self.max_photos = max_photos
        self.ended = False
        self._count = 0
        self._header = [b"", b""]
        self._disposition = b""
        self._spans: list[bytes] = []

    def callbacks(self) -> MultipartCallbacks:
        """For the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._header_end,
            "on_part_data": lambda data, start, end: self._spans.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > 2 * self.max_photos + 32:
            raise Refused(413, "too_many_parts", f"the form has over {self._count - 1} parts: send at most {self.max_photos} photos")
        self._disposition, self._spans = b"", []

    def _add(self, which: int, data: bytes) -> None:
        self._header[which] += data

    def _header_end(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = [b"", b""]

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        data = b"".join(self._spans)
        if name == "photo":
            file = options.get(b"filename", b"").decode("utf-8", "replace")[:200]
            self.form.photos.append(Upload(lambda: data, file or None))
        elif len(data) > MOST_WORDS:
            raise Refused(
                413, "too_large", f"the part {name[:40]!r} has {len(data)} bytes, the most is {MOST_WORDS}: photos are named photo"
            )
        else:
            self.form.values[name[:100]] = data.decode("utf-8", "replace")

    def _all(self) -> None:
        self.ended = True
