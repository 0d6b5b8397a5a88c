"""Requests by the thousand against a server in this process: no 5xx, no hang, no growth; prints a table of statuses and the memory.

    python tests/soak/fuzz_serve.py [REQUESTS=10000] [SEED=0]

Half of the requests are made by schemathesis from the OpenAPI page, half are uploads changed at random (`serve.fuzzing`, whose short form
is tests/serve/test_fuzz.py). The model is a tiny one with random weights, held to its task: what it says does not matter here. An upload
that goes wrong is saved as /tmp/upload-SEED-NUMBER.bin.

Then the same uploads go once more, not counted, since a high-water mark does not rise in a second round and a leak does. At every tenth of
both rounds two kinds of memory are looked at and held against the first tenth's, and C's heap is told what `seeworth serve` tells it:

    live    what C's heap holds that is not freed (mallinfo2). It may rise by LIVE: what is under way, and what waits for Python's collector
            (the test client leaves rings of references). Measured: 1.0 MB. Before 2026-11-28 the server left such rings too: 14 MB in
            5,000 uploads.
    held    what the process has of the machine (RSS): live, freed and kept, code. It may rise by HELD: freed memory between what is live.
            Measured: none, and 6 MB where nothing is kept; before 2026-11-28, with a heap for each thread, 23 to 65.
"""

# ruff: noqa: E402 (C's heap is told before torch makes threads)
from __future__ import annotations

import ctypes
import os
import sys
import time
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))

from seeworth.memory import keep_freed_memory, share_freed_memory

share_freed_memory()  # before there are threads

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
from seeworth.serve.run import KEPT
from seeworth.settings import ServeSettings
from seeworth.task import Task
from serve.fuzzing import Found, from_openapi, uploads
from serve.sending import png

LIVE, HELD = 3, 6  # MB, see above
TENTHS = 10
WARM_UP = 500  # uploads of another seed, not counted: what is made once is made then


def main() -> int:
    requests, seed = (int(word) for word in (*sys.argv[1:], *("10000", "0")[len(sys.argv) - 1 :]))
    torch.set_num_threads(1)
    keep_freed_memory(KEPT)
    begin = time.monotonic()
    found, memory = uploaded(requests // 2, seed)
    table(found, "uploads")
    for name, values in (("live", memory.live), ("held", memory.held)):
        rounds = [" ".join(f"{one:.1f}" for one in part) for part in (values[:TENTHS], values[TENTHS:])]
        print(f"memory {name}, MB: {rounds[0]} | once more {rounds[1]}")
    each = max(requests // 2 // (5 * 2), 1)  # of the five addresses that take something, as it should be and as it should not
    photos = [png(8, 8), png(100, 60), png(30, 300)]
    made = from_openapi(guard(house()), photos, examples=each, seed=seed, requests=requests - requests // 2)
    table(made, f"from the OpenAPI page; memory held {rss():.1f} MB, with what schemathesis keeps")
    total, slowest = found.requests + made.requests, max(found.slowest, made.slowest)
    print(f"{total} requests, and {found.requests} once more, in {time.monotonic() - begin:.0f} s; slowest {slowest:.1f} s")
    faults = found.faults + made.faults + memory.faults()
    print(*faults or ["no fault"], sep="\n")
    return 1 if faults else 0


@dataclass
class Memory:
    """MB at every tenth of the uploads, in both rounds."""

    live: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)

    def look(self) -> None:
        """At this process's, now."""
        self.live.append(live())
        self.held.append(rss())

    def faults(self) -> list[str]:
        """What grew."""
        grown = (("live", max(self.live) - self.live[0], LIVE), ("held", max(self.held) - self.held[0], HELD))
        return [f"memory {name} grew by {found:.1f} MB, over {most}" for name, found, most in grown if found > most]


def uploaded(count: int, seed: int) -> tuple[Found, Memory]:
    """The uploads, and the memory at every tenth of them and of their second round."""
    memory = Memory()

    def watch(number: int) -> None:
        if number % max(count // TENTHS, 1) == 0:
            memory.look()

    inside = guard(house())
    with TestClient(inside, base_url="http://localhost") as client:
        uploads(client, WARM_UP, seed + 1)
        found = uploads(client, count, seed, watch=watch)
        again = uploads(client, count, seed, watch=watch)
    if again.statuses != found.statuses:
        found.faults.append("the same uploads were answered otherwise the second time")
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


class _Info(ctypes.Structure):
    """mallinfo2(3), bytes."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in _names]


def live() -> float:
    """MB of C's heap that are not freed."""
    library = ctypes.CDLL("libc.so.6")
    library.mallinfo2.restype = _Info
    info = library.mallinfo2()
    return (info.uordblks + info.hblkhd) / 2**20


def table(found: Found, words: str) -> None:
    print(f"{found.requests} {words}")
    for what, count in sorted(found.statuses.items()):
        print(f"{count:8} {what}")


if __name__ == "__main__":
    sys.exit(main())
