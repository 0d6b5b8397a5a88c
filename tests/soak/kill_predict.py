"""Proof: a predict that is killed again and again answers every good photo once, names every bad one, and ends as the undisturbed one.

    python tests/soak/kill_predict.py [--kills 40] [--photos 2000] [--seed 0] [--fork]

A folder of photos, one in twenty of them broken in all the ways of tests/data/corpus, a link out of the folder, a dangling one, a FIFO, a
device, a file without bytes. A tiny model answers. Each run of `seeworth predict` gets SIGKILL at a random moment. After each kill the
lines that were whole must stand in the unfinished file as they are, after the next start too, byte for byte. When it has finished, .jsonl
and .csv are compared with the undisturbed ones, all but the seconds, and the next one begins, until `kills` kills are done.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image

from seeworth.errors import PhotoError
from seeworth.predict.run import run
from seeworth.settings import PredictSettings

HUES = {"Red Coats": "red", "Green Coats": "green", "Blue Hats": "blue", "Black Hats": "black", "Shirts": "white"}
BAD_OF = 20  # one in so many is broken


def make_model(folder: Path) -> None:
    """A tiny model after a few steps, as plain weights with a task.yaml."""
    import torch

    from seeworth.encode import Encoder, collate
    from seeworth.phi3v.tiny import make_tiny
    from seeworth.record import Record
    from seeworth.task import Field, Task

    torch.manual_seed(3)
    fields = (Field("title"), Field("category3_code", "category", choices=tuple(HUES)), Field("full_price", "number", "USD"))
    task = Task(fields=fields)
    folder.mkdir()
    records = []
    for number, (name, hue) in enumerate(HUES.items()):
        draw(folder / f"{number}.png", number, hue)
        values = {"title": f"Fine {name[:-1]}", "category3_code": name, "full_price": 100 + 37 * number}
        records.append(Record(str(number), folder / f"{number}.png", values, str(number)))
    model, processor = make_tiny([task.write(one.values) for one in records], seed=1, num_crops=2)
    encoder = Encoder(processor, task)
    examples = [encoder.example(record) for record in records]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(20):
        model(**collate(examples, pad_id=processor.tokenizer.pad_token_id), logits_at_labels=True, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    task.save(folder / "task.yaml")


def draw(path: Path, number: int, hue: str) -> None:
    size = ((60, 60), (120, 60), (60, 110), (200, 60))[number % 4]
    Image.blend(Image.effect_noise(size, 60).convert("RGB"), Image.new("RGB", size, hue), 0.6).save(path)


def make_photos(folder: Path, photos: int, seed: int) -> dict[str, str]:
    """The folder; returns name -> "" for a good photo, else what is wrong with it. Names stand twice, in two sub-folders."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
    from corpus.photos import refused

    from seeworth.data.photo.decode import open_photo

    chance = random.Random(seed)
    broken = set(chance.sample(range(photos), max(photos // BAD_OF, 1)))
    (folder.parent / "secret.png").write_bytes(b"not for you")
    special: list[tuple[str, Callable[[Path], Any]]] = [
        ("a link out of the folder", lambda path: path.symlink_to(folder.parent / "secret.png")),
        ("a link to nothing", lambda path: path.symlink_to("gone.png")),
        ("links in a circle", lambda path: path.symlink_to(path.name)),
        ("a FIFO", os.mkfifo),
        ("a device", lambda path: path.symlink_to("/dev/zero")),
        ("a folder by a link", lambda path: path.symlink_to(".")),
        ("no bytes", lambda path: path.touch()),
    ]
    ways = special[:: 1 if len(broken) > len(special) else 2]
    for case in chance.sample(cases := list(refused()), len(cases)):
        if len(ways) < len(broken):
            data = case.make()
            try:
                open_photo(data)
            except PhotoError:
                ways.append((case.name, lambda path, data=data: path.write_bytes(data)))
    chance.shuffle(ways)
    names = {}
    for number in range(photos):
        path = folder / ("a", "b")[number % 2] / f"{number // 2:05d}{(' é', '', ', x', '')[number // 2 % 4]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = ""
        if number in broken:
            kind, make = ways[len([one for one in names.values() if one]) % len(ways)]
            make(path)
        else:
            draw(path, number, list(HUES.values())[number % len(HUES)])
        names[path.relative_to(folder).as_posix()] = kind
    return names


class Command:
    """`seeworth predict` as a user starts it."""

    def __init__(self, settings: PredictSettings, log: Path) -> None:
        words = ["--output", str(settings.output), "--batch_size", str(settings.batch_size)]
        command = [sys.executable, "-m", "seeworth.cli", "predict", settings.model, str(settings.input), *words]
        with log.open("ab") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)

    def wait(self, seconds: float) -> int | None:
        """The exit status; None when it still runs after so long."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Fork:
    """The same work in one process, forked from one that has all modules loaded: what the tests have time for."""

    def __init__(self, settings: PredictSettings, log: Path) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["seeworth.predict.run", "seeworth.predict.vlm"])
        self.process = context.Process(target=_quietly, args=(settings, log))
        self.process.start()

    def wait(self, seconds: float) -> int | None:
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def _quietly(settings: PredictSettings, log: Path) -> None:
    import torch

    torch.set_num_threads(1)
    with log.open("a") as file:
        sys.stdout = sys.stderr = file
        run(settings)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a finished file, without what no two runs share."""
    return [{key: one for key, one in json.loads(line).items() if key != "seconds"} for line in path.read_bytes().splitlines()]


def cells_of(path: Path) -> list[list[str]]:
    import csv

    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return [header, *([cell for name, cell in zip(header, row, strict=True) if name != "seconds"] for row in rows)]


def soak(kills: int, photos: int, seed: int, folder: Path, *, form: Any = Command, model: Path | None = None) -> dict[str, Any]:
    """Run it; return the counts. AssertionError: an output differs, a finished line was lost or repeated, a photo has no line."""
    chance = random.Random(seed)
    if model is None:
        make_model(model := folder / "model")
    names = make_photos(folder / "photos", photos, seed)
    log = folder / "log"

    def settings(name: str) -> PredictSettings:
        return PredictSettings(str(model), folder / "photos", folder / f"{name}.csv", batch_size=4)

    process = form(settings("whole"), log)  # what forks has its modules loaded when this returns
    start = time.monotonic()
    assert process.wait(3600) == 0, log.read_text()[-2000:]
    seconds = time.monotonic() - start
    wanted, cells = lines_of(folder / "whole.jsonl"), cells_of(folder / "whole.csv")
    _need_each_once(wanted, names)
    done = runs = 0
    while done < kills or not runs:
        done += _killed_until_done(form, settings("out"), log, chance, seconds, kills - done)
        runs += 1
        assert lines_of(folder / "out.jsonl") == wanted
        assert cells_of(folder / "out.csv") == cells
        left = sorted(path.name for path in folder.iterdir() if path.name.startswith((".", "out")))
        assert left == ["out.csv", "out.jsonl"], left
        (folder / "out.jsonl").unlink()
        (folder / "out.csv").unlink()
        print(f"{runs} runs, {done} kills", flush=True)
    bad = sum(map(bool, names.values()))
    return {"kills": done, "runs": runs, "photos": photos, "bad": bad, "seconds undisturbed": round(seconds, 1)}


def _need_each_once(lines: Sequence[dict[str, Any]], names: dict[str, str]) -> None:
    assert Counter(line["record_id"] for line in lines) == Counter(dict.fromkeys(names, 1))
    assert [line["record_id"] for line in lines] == sorted(names)
    for line in lines:
        bad = names[line["record_id"]]
        assert ("error" in line) == bool(bad), f"{line} is {bad}"
        assert ("text" in line) != ("error" in line)


def _killed_until_done(form: Any, settings: PredictSettings, log: Path, chance: random.Random, seconds: float, most: int) -> int:
    """One predict, killed at random moments, at most so often, and begun again until it is done; return how often it was killed."""
    killed, before = 0, b""
    part = settings.output.with_suffix(".jsonl.part")
    while True:
        process = form(settings, log)
        status = process.wait(chance.uniform(0, seconds) if killed < most else 3600)
        if status is not None:
            assert status == 0, log.read_text()[-2000:]
            return killed
        process.kill()
        killed += 1
        if not part.exists():  # finished on its way out, or nothing begun yet
            if settings.output.exists():
                return killed
            continue
        data = part.read_bytes()
        assert data.startswith(before), "a line that was whole was lost"
        before = data[: data.rfind(b"\n") + 1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fork", dest="form", action="store_const", const=Fork, default=Command, help="one process, forked: quick")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        started = time.monotonic()
        print(soak(**vars(arguments), folder=Path(name)), f"in {time.monotonic() - started:.0f} s")
