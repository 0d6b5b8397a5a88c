"""Proof: an import that is killed again and again ends as the undisturbed one, byte for byte, and fetches nothing twice.

    python tests/soak/kill_import.py [--kills 200] [--rows 60] [--seed 0] [--processes 2] [--fork]

Rows of local photos and of URLs of a local server that errs, stalls, asks for patience, cuts bodies short, redirects and
sends web pages. Each run of `seeworth import` is a process group of its own and gets SIGKILL, workers and all, at a
random moment; in one of four, a single process of it is killed instead (a worker as by the kernel's OOM killer, or the
parent alone). When an import finishes, its folder is compared with the undisturbed one and the next begins, until
`kills` kills are done and the last import has finished. A photo counts as fetched when the server sent it whole:
expected at most the number of URLs + kills x connections.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import fields
from importlib.util import module_from_spec, spec_from_file_location
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

from seeworth.data.run import run
from seeworth.settings import ImportSettings

CONNECTIONS = 8


def photo_server() -> Any:
    spec = spec_from_file_location("photo_server", Path(__file__).parents[1] / "data" / "photo_server.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


QUICK = ["", "", "?delay=0.05", "?html=1", "?status=404", "?hops=2", "?drip=0.001", "?cut=1&times=1"]
SLOW = ["", "?status=503&times=2", "?status=429&retry_after=1&times=1", "?reset=1&times=1", "?stall=1&times=1"]  # whole seconds of waits


def make_table(folder: Path, server: Any, rows: int, draw: Any, kinds: list[str]) -> Path:
    """A table of `rows` rows: local photos, some damaged or missing, and URLs of these kinds."""
    lines = ["title,category3_code,full_price,product_code,photo"]
    for row in range(rows):
        photo = f"{row % 29}.jpg" if row % 3 == 0 else server.url(f"/photo/{row % 41}{kinds[row % len(kinds)]}")
        lines.append(f"Bag {row},{'BAGS' if row % 2 else 'HATS'},{row + 5},P{row // 2},{photo}")
    for number in range(0, 29):
        data = draw(1000 + number, (300, 200))
        (folder / f"{number}.jpg").write_bytes(data[: len(data) // 2] if number == 6 else data)
    (folder / "9.jpg").unlink()
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


class Command:
    """`seeworth import` as a user starts it, in a process group of its own; killed all at once or, one time in four, one process of it."""

    def __init__(self, settings: ImportSettings, log: Path) -> None:
        words = [word for name, value in _options(settings).items() for word in (f"--{name}", str(value).lower())]
        command = [sys.executable, "-m", "seeworth.cli", "import", str(settings.source), str(settings.output), *words]
        with log.open("ab") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)

    def wait(self, seconds: float) -> int | None:
        """The exit status; None when it still runs after so long."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self, chance: random.Random) -> None:
        one = psutil.Process(self.process.pid)
        with suppress(psutil.Error, ProcessLookupError):
            if chance.random() < 0.25:
                workers = [child for child in one.children() if "resource_tracker" not in " ".join(child.cmdline())]
                chance.choice([one, *workers]).kill()
            else:
                os.killpg(self.process.pid, signal.SIGKILL)

    def settle(self) -> None:
        """Wait until every process of the group is gone, at most 10 s: workers must not outlive their parent."""
        for _ in range(200):
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
        raise AssertionError(f"processes of group {self.process.pid} outlive their killed parent")


class Fork:
    """The same work in one process, forked from one that has all modules loaded: what the tests have time for."""

    def __init__(self, settings: ImportSettings, log: Path) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["seeworth.data.run"])
        self.process = context.Process(target=run, args=(settings,))
        self.process.start()

    def wait(self, seconds: float) -> int | None:
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self, chance: random.Random) -> None:
        self.process.kill()

    def settle(self) -> None:
        self.process.close()


def _options(settings: ImportSettings) -> dict[str, Any]:
    plain = ImportSettings(settings.source, settings.output)
    return {one.name: getattr(settings, one.name) for one in fields(plain) if getattr(settings, one.name) != getattr(plain, one.name)}


def picture(folder: Path) -> dict[str, str]:
    """Every file and folder in a folder, with the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def soak(kills: int, rows: int, seed: int, processes: int, folder: Path, *, form: Any = Command, kinds: list[str] | None = None) -> Any:
    """Run it, with all kinds of troubles unless told; return the counts. AssertionError: a folder differs, too much was fetched."""
    chance = random.Random(seed)
    module = photo_server()
    (folder / "source").mkdir()
    with module.PhotoServer(delay=0.02) as server:
        table = make_table(folder / "source", server, rows, module.draw, kinds or QUICK + SLOW)

        def begin(name: str) -> Any:
            limits = {"connections": CONNECTIONS, "connections_per_host": CONNECTIONS, "timeout": 1.0, "processes": processes}
            return form(ImportSettings(table, folder / name, allow_private_addresses=True, **limits), folder / "log")

        start = time.monotonic()
        assert begin("whole").wait(120) == 0, (folder / "log").read_text()[-2000:]
        seconds = time.monotonic() - start
        wanted, urls = picture(folder / "whole"), sum(server.served.values())
        done = imports = most = 0
        while done < kills or not imports:
            server.asked.clear()  # each import meets the same troubles
            server.served.clear()
            killed = _killed_until_done(begin, folder / "out", chance, seconds, kills - done)
            fetched = sum(server.served.values())
            assert picture(folder / "out") == wanted, _difference(picture(folder / "out"), wanted)
            assert fetched <= urls + killed * CONNECTIONS, f"{fetched} photos sent whole, {urls} URLs, {killed} kills"
            done, imports, most = done + killed, imports + 1, max(most, fetched)
            shutil.rmtree(folder / "out")
            print(f"{imports} imports, {done} kills, {fetched} photos fetched for {urls} URLs", flush=True)
    return {"kills": done, "imports": imports, "urls": urls, "most fetched": most, "files": len(wanted), "seconds undisturbed": seconds}


def _killed_until_done(begin: Any, out: Path, chance: random.Random, seconds: float, most: int) -> int:
    """One import, killed at random moments, at most so often, and begun again until it is done; return how often it was killed."""
    killed, log = 0, out.with_name("log")
    while True:
        process = begin("out")
        status = process.wait(chance.uniform(0, seconds) if killed < most else 120)
        if status is None:
            process.kill(chance)
            killed += 1
            status = process.wait(120)
        process.settle()
        if status == 0 or ((out / "dataset.json").exists() and not (out / ".seeworth-unfinished").exists()):
            return killed  # the second: killed when all was done, on its way out
        told = log.read_text()[-300:] if log.exists() else ""
        assert status == -signal.SIGKILL or "worker process died" in told, f"status {status}: {told}"


def _difference(found: dict[str, str], wanted: dict[str, str]) -> str:
    return f"the folders differ: {sorted(set(found.items()) ^ set(wanted.items()))[:6]}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--fork", dest="form", action="store_const", const=Fork, default=Command, help="one process, forked: quick")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        started = time.monotonic()
        print(soak(**vars(arguments), folder=Path(name)), f"in {time.monotonic() - started:.0f} s")
