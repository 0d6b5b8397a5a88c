"""Requests by the thousand: schemathesis from the OpenAPI page, and uploads changed at random.

Short in test_fuzz.py, long in tests/soak/fuzz_serve.py.
"""

from __future__ import annotations

import base64
import json
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from soak.fuzz_photos import mutated, seeds

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
HUNG = 60.0  # seconds for one request, on a machine that does other things too


@dataclass
class Found:
    """What became of the requests: how often each "METHOD path status", what went wrong in words, the slowest's seconds."""

    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    def took(self, what: str, status: int, seconds: float) -> None:
        """Count one."""
        self.statuses[f"{what} {status}"] += 1
        self.slowest = max(self.slowest, seconds)
        if seconds > HUNG:
            self.faults.append(f"{what}: {seconds:.0f} seconds")


def from_openapi(guard: Any, photos: Sequence[bytes], *, examples: int, seed: int, requests: int = 0) -> Found:
    """So many requests to each operation that are as its schema says, and as many that are not.

    Some operations take few different requests, so there may be fewer: further rounds, of the seeds after it, follow until there are
    `requests`, or something is wrong.
    """
    addresses = [f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in photos]
    wrong = ["", "data:,", "data:image/png;base64,AAAA", "https://example.org/a.jpg", "data:image/png;base64,%%"]
    schemathesis.openapi.format("data-uri", st.sampled_from(addresses + wrong))
    schemathesis.openapi.format("binary", st.one_of(st.sampled_from(list(photos)), st.binary(max_size=100)))
    schema = schemathesis.openapi.from_asgi("/openapi.json", guard)
    operations = [result.ok() for result in schema.get_all_operations()]
    ways = [(one, GenerationMode.POSITIVE) for one in operations]
    ways += [(one, GenerationMode.NEGATIVE) for one in operations if one.method != "get"]
    found, made = Found(), -1
    try:
        while made < found.requests and not found.faults:
            made = found.requests
            for operation, mode in ways:
                _ask(operation, mode, found, examples, seed)
            if found.requests >= requests:
                return found
            examples, seed = math.ceil((requests - found.requests) / len(ways)), seed + 1
    finally:
        shutdown_lifespans()
    found.faults += [] if found.faults else [f"no more than {made} different requests could be made, {requests} were asked for"]
    return found


def _ask(operation: Any, mode: GenerationMode, found: Found, examples: int, seed: int) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        start = time.monotonic()
        response = case.call(timeout=2 * HUNG)
        found.took(f"{operation.method.upper()} {operation.path}", response.status_code, time.monotonic() - start)
        case.validate_response(response, checks=CHECKS)

    try:
        asked()
    except hypothesis.errors.Unsatisfiable:
        return  # any word may stand in a path: no request is wrong
    except Exception as problem:
        parts = problem.exceptions if isinstance(problem, BaseExceptionGroup) else (problem,)
        found.faults += [f"{operation.method} {operation.path}: {' '.join(str(one).split())[:600]}" for one in parts]


def uploads(client: Any, count: int, seed: int, *, watch: Any = None) -> Found:
    """So many uploads: photos changed at random in forms and JSON that are whole, and whole bodies changed at random."""
    pool = _pool()
    found = Found()
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        path, kind, body = _upload(pool, draw)
        start = time.monotonic()
        response = client.post(path, content=body, headers={"Content-Type": kind})
        found.took(f"POST {path}", response.status_code, time.monotonic() - start)
        if fault := _fault(response):
            found.faults.append(f"upload {number} of seed {seed}, {path}: {fault}")
            Path(f"/tmp/upload-{seed}-{number}.bin").write_bytes(body)
        if watch is not None:
            watch(number + 1)
    return found


@cache
def _pool() -> list[bytes]:
    """Made once: the pictures that it takes are 25 MB of memory for a moment."""
    return [one for one in seeds() if len(one) < 20_000]


def _upload(pool: list[bytes], draw: random.Random) -> tuple[str, str, bytes]:
    photos = [draw.choice(pool) if draw.random() < 0.4 else mutated(pool, draw) for _ in range(draw.choice((1, 1, 1, 2, 5)))]
    path = draw.choice(("/v1/predict",) * 4 + ("/v1/chat/completions",) * 2 + ("/v1/similar",))
    if path != "/v1/chat/completions" and draw.random() < 0.6:
        parts = [b'--xx\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n' + one + b"\r\n" for one in photos]
        kind, body = "multipart/form-data; boundary=xx", b"".join(parts) + b"--xx--\r\n"
    else:
        addresses = [f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in photos]
        content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": one}} for one in addresses]
        content += [{"type": "text", "text": "What?"}] if draw.random() < 0.5 else []
        chat = {"model": "shop", "messages": [{"role": "user", "content": content}], "max_tokens": 4, "stream": draw.random() < 0.3}
        said = chat if path == "/v1/chat/completions" else {"photos": addresses}
        kind, body = "application/json", json.dumps(said).encode()
    if draw.random() < 0.4:
        body = mutated([body], draw)
    return path, kind, body


def _fault(response: Any) -> str:
    """What is wrong with an answer; "" when nothing is."""
    if response.status_code >= 500:
        return f"status {response.status_code}: {response.text[:200]}"
    if "Traceback" in response.text:
        return "a traceback"
    if response.headers["content-type"].startswith("text/event-stream"):
        return "" if response.text.endswith("data: [DONE]\n\n") else f"a stream that breaks off: {response.text[-200:]}"
    said = response.json()
    if response.status_code >= 400 and "error" not in said and not all("error" in one for one in said["predictions"]):
        return f"no reason: {response.text[:200]}"
    return ""
