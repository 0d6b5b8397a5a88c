"""Requests by the thousand against a server in this process: no 5xx, no hang, no growth; prints a table of statuses and the memory.

    python tests/soak/fuzz_serve.py [REQUESTS=10000] [SEED=0]

Half of the requests are made by schemathesis from the OpenAPI page, half are uploads changed at random (`serve.fuzzing`, whose short form
is tests/serve/test_fuzz.py). The model is a tiny one with random weights, held to its task: what it says does not matter here. An upload
that goes wrong is saved as /tmp/upload-SEED-NUMBER.bin. Memory is this process's, at every tenth of the uploads: the first tenth may grow.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))

import torch
from PIL import Image
from starlette.testclient import TestClient

from seeworth.encode import Encoder
from seeworth.phi3v.tiny import make_tiny
from seeworth.predict.vlm import VLM
from seeworth.record import Record
from seeworth.serve.app import build
from seeworth.serve.guard import Guard, Rules
from seeworth.serve.house import House
from seeworth.settings import ServeSettings
from seeworth.task import Task
from serve.fuzzing import Found, from_openapi, uploads
from serve.sending import png

GROWTH = 60  # MB between the second tenth of the uploads and the last; measured: see docs/serve.md


def main() -> int:
    requests, seed = (int(word) for word in (*sys.argv[1:], *("10000", "0")[len(sys.argv) - 1 :]))
    torch.set_num_threads(1)
    begin = time.monotonic()
    found, memory = uploaded(requests // 2, seed)
    table(found, f"uploads; memory {' '.join(f'{one:.0f}' for one in memory)} MB")
    each = max(requests // 2 // (5 * 2), 1)  # of the five addresses that take something, as it should be and as it should not
    made = from_openapi(guard(house()), [png(8, 8), png(100, 60), png(30, 300)], examples=each, seed=seed)
    table(made, f"from the OpenAPI page; memory {rss():.0f} MB")
    print(
        f"{found.requests + made.requests} requests in {time.monotonic() - begin:.0f} s; slowest {max(found.slowest, made.slowest):.1f} s"
    )
    grown = memory[-1] - memory[1]
    faults = found.faults + made.faults + ([f"memory grew by {grown:.0f} MB"] if grown > GROWTH else [])
    print(*faults, sep="\n")
    return 1 if faults else 0


def uploaded(count: int, seed: int) -> tuple[Found, list[float]]:
    """The uploads, and the memory at every tenth of them, MB."""
    memory: list[float] = []

    def watch(number: int) -> None:
        if number % max(count // 10, 1) == 0:
            memory.append(rss())

    inside = guard(house())
    with TestClient(inside, base_url="http://localhost") as client:
        found = uploads(client, count, seed, watch=watch)
    if inside.bodies or inside.visits:
        found.faults.append(f"left over: {inside.bodies} bytes of bodies, {inside.visits} requests under way")
    return found, memory


def house() -> House:
    """A tiny model that has learnt nothing."""
    task = Task().with_choices([{"category3_code": word} for word in ("BELTS", "BOOTS", "CAPS", "COATS")])
    values = {"title": "Fine Belt", "category3_code": "BELTS", "full_price": Decimal(120)}
    model, processor = make_tiny([task.write(values)], seed=1, num_crops=2)
    vlm = VLM(model.eval(), Encoder(processor, task), max_new_tokens=12, name="shop", constrained=task, distribution=True)
    photo = Path(f"/tmp/fuzz-serve-{os.getpid()}.png")
    Image.new("RGB", (40, 40), "red").save(photo)
    settings = ServeSettings(Path("shop"), max_new_tokens=12, max_chat_tokens=12, photo_threads=2, timeout=120)
    return House.of(vlm, None, replace(settings), [Record("0", photo, values, "0")])


def guard(inside: House) -> Guard:
    return Guard(build(inside), Rules(hosts=()), inside.metrics)


def rss() -> float:
    """MB that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(found: Found, words: str) -> None:
    print(f"{found.requests} {words}")
    for what, count in sorted(found.statuses.items()):
        print(f"{count:8} {what}")


if __name__ == "__main__":
    sys.exit(main())
