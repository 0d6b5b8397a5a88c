"""Claim: photos from the web come in at least 20 times as fast as one after the other, at bounded memory.

    python benchmarks/download.py [--photos 3000] [--naive 40] [--latency 0.1]

A server in a process of its own on this machine waits `latency` seconds before each answer; its photos are drawn
product photos of 640 pixels. Three ways, side by side:

    ours    the command `seeworth import` on a table of these URLs, whole: started, fetched, decoded, hashed, stored, table written
    naive   the tutorial's loop over the first `naive` URLs: one after the other, a connection for each (as requests.get
            without a session does), bytes written to a file; nothing decoded. Its rate is per photo, so that a part is enough
    limit   the slower of connections / latency and what bare Pillow decodes on the cores of this machine

Predicted before the first run, for two cores: naive 9 photos/s (100 ms and a connection each); limit with 32 connections to
one host / 0.1 s = 320 photos/s, decoding at 3 ms a photo 650/s on two cores, of which the server and the event loop take
one third; ours 250 photos/s, 28 times the loop; peak memory of the parent 150 MB, of a worker 70 MB. (The default has
become 48 since.)
"""

from __future__ import annotations

import argparse
import asyncio
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from PIL import Image

from seeworth.data.draw.catalogue import plan
from seeworth.data.draw.scene import draw
from seeworth.settings import ImportSettings

SIZE = 640  # pixels, longer side


def main(photos: int, naive: int, latency: float) -> None:
    """Print a line for each way."""
    drawn = draw_photos(min(photos, 100), SIZE)
    with tempfile.TemporaryDirectory() as name, serve(drawn, latency) as port:
        folder = Path(name)
        urls = [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(photos)]
        limits = ImportSettings(write_table(folder, urls), folder / "out", allow_private_addresses=True)
        each = sum(map(len, drawn)) / len(drawn)
        print(f"{photos} photos of {each / 1000:.0f} kB, {latency * 1000:.0f} ms latency, {len(os.sched_getaffinity(0))} cores,"
              f" {limits.connections} connections, {limits.connections_per_host} per host")  # fmt: skip
        slow = naive / timed(lambda: one_after_the_other(urls[:naive], folder))
        command = [sys.executable, "-m", "seeworth.cli", "import", str(limits.source), str(limits.output), "--allow_private_addresses"]
        peaks: dict[int, int] = {}
        seconds = timed(lambda: peaks.update(run_watched(command)))
        decode = decode_rate(drawn) * len(os.sched_getaffinity(0))
        network = min(limits.connections, limits.connections_per_host) / latency
        fast, limit = photos / seconds, min(network, decode)
        print(f"{'':8}photos/s    MB/s")
        for way, rate in (("ours", fast), ("naive", slow), ("limit", limit)):
            print(f"{way:8}{rate:8.1f}{rate * each / 1e6:8.1f}")
        print(f"ours / naive {fast / slow:.1f}, ours / limit {fast / limit:.2f} (network {network:.0f}/s, decoding {decode:.0f}/s)")
        parent, *workers = peaks.values()
        print(f"peak memory: {parent} MB, its workers {' and '.join(map(str, workers))} MB")


def run_watched(command: list[str]) -> dict[int, int]:
    """Run it to its end; return the peak resident memory of it and of each of its children that decodes, in MB."""
    peaks: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            with suppress(OSError, StopIteration):
                for pid in (process.pid, *map(int, children.read_text().split())):
                    if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text():
                        status = Path(f"/proc/{pid}/status").read_text().splitlines()
                        peaks[pid] = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
            time.sleep(0.2)
    if process.returncode:
        sys.exit(f"the import failed with status {process.returncode}")
    return peaks


def draw_photos(count: int, size: int) -> list[bytes]:
    """Product photos as JPEG, `size` pixels on the longer side; no two alike, so that none is stored for another."""
    return [draw(product.traits, size, np.random.default_rng([0, number])) for number, product in enumerate(plan(count, 0))]


@contextmanager
def serve(photos: list[bytes], latency: float) -> Iterator[int]:
    """The server's port, while it runs."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(photos, latency, theirs), daemon=True)
    process.start()
    yield ours.recv()
    process.kill()
    process.join()


def _serve(photos: list[bytes], latency: float, pipe: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(latency)
        number = int(request.match_info["number"])
        # a comment of its own behind the JPEG's end makes each URL's bytes another photo
        return web.Response(body=photos[number % len(photos)] + str(number).encode(), content_type="image/jpeg")

    async def forever() -> None:
        app = web.Application()
        app.router.add_get("/{number}.jpg", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.sleep(1e6)

    asyncio.run(forever())


def write_table(folder: Path, urls: list[str]) -> Path:
    path = folder / "table.csv"
    lines = [f"Bag {number},BAGS,{number % 900 + 5},{url}" for number, url in enumerate(urls)]
    path.write_text("\n".join(["title,category3_code,full_price,imageurl", *lines]) + "\n")
    return path


def one_after_the_other(urls: list[str], folder: Path) -> None:
    for number, url in enumerate(urls):
        with urllib.request.urlopen(url) as answer:
            (folder / f"naive-{number}.jpg").write_bytes(answer.read())


def decode_rate(photos: list[bytes]) -> float:
    """Photos a second of bare Pillow on one core."""
    def decode() -> None:
        for data in photos:
            Image.open(io.BytesIO(data)).load()

    decode()
    return len(photos) / timed(decode)


def timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=3000)
    parser.add_argument("--naive", type=int, default=40)
    parser.add_argument("--latency", type=float, default=0.1)
    sys.exit(main(**vars(parser.parse_args())))
