"""Claim: photos that wait are answered together, so many clients get at least three times the answers a second of one at a time.

    python benchmarks/serve.py --run RUN [--seconds 20] [--clients 1,8,32,128] [--rounds 3] [--memory 10000]

RUN is a tiny run, say the demo's. Two servers on loopback, taking turns in every round, each at rest while the other is asked:

    ours      `seeworth serve RUN`
    naive     the same with `--batch_size 1`: one photo after the other, as a handler that calls the model does it

and one line more without HTTP: the limit, `VLM.answer_examples` on batches of 32 whose photos are opened and cut beforehand.

Each client sends one photo in a form, waits for the answer, and sends the next; photos are test records', taken in turn. The load comes
from this process, which does nothing else: prepared bytes over sockets. Then --memory requests go to ours, and what the server's process
holds is printed every tenth of them. Errors are all answers but 200 and 429.

Predicted before the first run, on two cores, one for the model: alone a photo costs 95 ms, 11 a second; in batches of 32 15 ms, and 3 ms
for HTTP and for opening it, on the other core: 55 a second, 5 times as many. At 1 client both the same.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seeworth.data.dataset import Dataset
from seeworth.run_folder import read_run


@dataclass
class Round:
    """Seconds of every answer, how many there were of each status, and processor seconds of the server."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lasted: float = 0.0
    processor: float = 0.0

    @property
    def errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status not in (200, 429))


def main(run: Path, data: Path | None, seconds: float, clients: Sequence[int], rounds: int, memory: int, port: int) -> None:
    """Print a line for each way and number of clients."""
    requests = _requests(data or Path(read_run(run)["data"]))
    found: dict[tuple[str, int], list[Round]] = {}
    with _server(run, port, 32) as ours, _server(run, port + 1, 1) as naive:
        for number in range(rounds + 1):  # the first warms up
            for count in clients:
                for name, where, process in (("ours", port, ours), ("naive", port + 1, naive)):
                    before = _processor(process.pid)
                    one = asyncio.run(_load(where, requests, count, seconds=seconds if number else 2))
                    one.processor = _processor(process.pid) - before
                    if number:
                        found.setdefault((name, count), []).append(one)
        _table(found, clients)
        naive.send_signal(signal.SIGTERM)
        if memory:
            _memory(ours.pid, port, requests, memory)
    _limit(run, requests)


def _table(found: dict[tuple[str, int], list[Round]], clients: Sequence[int]) -> None:
    print(f"{'clients':>8} {'way':>6} answers/s     p50     p95     p99 ms  processor ms  429  errors  x naive")
    for count in clients:
        rates = {name: float(np.median([len(one.seconds) / one.lasted for one in found[name, count]])) for name in ("ours", "naive")}
        for name in ("ours", "naive"):
            all_ = [one for each in found[name, count] for one in each.seconds]
            p50, p95, p99 = np.percentile(all_, [50, 95, 99]) * 1e3
            processor = sum(one.processor for one in found[name, count]) / len(all_) * 1e3
            busy = sum(one.statuses[429] for one in found[name, count])
            errors = sum(one.errors for one in found[name, count])
            times = f"{rates['ours'] / rates['naive']:8.2f}" if name == "ours" else ""
            row = f"{count:>8} {name:>6} {rates[name]:9.1f} {p50:7.0f} {p95:7.0f} {p99:7.0f} {processor:15.1f}"
            print(f"{row} {busy:4d} {errors:7d} {times}", flush=True)


def _memory(pid: int, port: int, requests: Sequence[bytes], count: int) -> None:
    print(f"memory of the server's process over {count} requests of 32 clients, MB:", end="", flush=True)
    errors = 0
    for _ in range(10):
        one = asyncio.run(_load(port, requests, 32, most=count // 10))
        errors += one.errors
        print(f" {_rss(pid):.0f}", end="", flush=True)
    print(f"; {errors} errors")


def _processor(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _rss(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _requests(data: Path) -> list[bytes]:
    """One POST for each of some test photos."""
    records = Dataset.open(data).records("test")[:256]
    return [_request(record.photo.read_bytes()) for record in records if record.photo is not None]


def _request(photo: bytes) -> bytes:
    body = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="photo"\r\n\r\n' + photo + b"\r\n--x--\r\n"
    head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _load(port: int, requests: Sequence[bytes], clients: int, *, seconds: float = 1e9, most: int = 10**9) -> Round:
    """So many clients at once, for so many seconds or requests; what was begun is waited for."""
    found = Round()
    start = time.perf_counter()
    left = iter(range(most))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in left:
            began = time.perf_counter()
            if began - start > seconds:
                break
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            status = int(head[9:12])
            found.statuses[status] += 1
            if status == 200:
                found.seconds.append(time.perf_counter() - began)
            elif status == 429:
                await asyncio.sleep(1)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    found.lasted = time.perf_counter() - start
    return found


@contextlib.contextmanager
def _server(run: Path, port: int, batch_size: int) -> Iterator[subprocess.Popen[bytes]]:
    words = [
        sys.executable,
        "-m",
        "seeworth.cli",
        "serve",
        str(run),
        "--port",
        str(port),
        "--batch_size",
        str(batch_size),
        "--similar",
        "false",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise SystemExit("the server did not start: run seeworth serve to see why")
            yield process
        finally:
            process.terminate()


def _limit(run: Path, requests: Sequence[bytes]) -> None:
    """The model alone, no HTTP."""
    import torch

    from seeworth.data.photo.decode import open_photo
    from seeworth.predict.vlm import load_run
    from seeworth.record import Record

    torch.set_num_threads(max(len(os.sched_getaffinity(0)) - 1, 1))
    model = load_run(run, distribution=True)
    photos = [open_photo(one.partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n--x--\r\n")) for one in requests]
    records = [Record("photo", Path("photo"), {}, "photo")] * len(photos)
    examples = [model.encoder.example(record, answer=False, photos=[photo]) for record, photo in zip(records, photos, strict=True)]
    start = time.perf_counter()
    for at in range(0, len(examples), 32):
        model.answer_examples(records[at : at + 32], examples[at : at + 32])
    print(f"limit: {len(examples) / (time.perf_counter() - start):.1f} answers/s, the model alone in batches of 32")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="dataset folder; the run's own when left out")
    parser.add_argument("--seconds", type=float, default=20, help="of each round")
    parser.add_argument("--clients", default="1,8,32,128")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=10_000, help="requests of the memory run; 0 leaves it out")
    parser.add_argument("--port", type=int, default=8790, help="and the one after it")
    given = parser.parse_args()
    numbers = [int(one) for one in given.clients.split(",")]
    main(given.run, given.data, given.seconds, numbers, given.rounds, given.memory, given.port)
