"""Proof: a training that is killed again and again ends as the undisturbed one, byte for byte.

    python tests/soak/kill_train.py [--kills 50] [--form tiny|lora|workers|wandb|all] [--seed 0] [--steps 22] [--fork]

`seeworth train` on a few dozen photos drawn here: augmented, gradients accumulated, several evaluations, checkpoints out of step with
the log's lines; as a tiny model, with LoRA and its dropout on a pretrained folder, with worker processes that decode, and with Weights
& Biases offline. Each command is a process group of its own and gets SIGKILL at a random moment, or while a checkpoint is being
written, or while the finished model is; with workers, one time in four the parent alone, and no worker may outlive it. The same command
is given again until it finishes; then every file of the run folder, log.jsonl and the checkpoints' optimizers among them, is compared
with the undisturbed one's, and the next training begins, until `kills` kills are done. Left out is what the clock says: speed.jsonl,
the minutes in run.json and README.md, and what a tracker writes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true", "OMP_NUM_THREADS": "1"}

import psutil
from PIL import Image, ImageDraw

from seeworth.cli import main
from seeworth.data.dataset import Dataset, Row, store_photo, write_dataset
from seeworth.task import Field, Task

COLOURS = {"Red": (220, 30, 30), "Green": (30, 180, 60), "Blue": (40, 60, 220), "Grey": (120, 120, 120)}
TASK = Task(
    fields=(Field("title"), Field("category3_code", "category", choices=tuple(sorted(COLOURS))), Field("full_price", "number", "USD"))
)
LEFT_OUT = re.compile(r"speed\.jsonl|\.lock|wandb(/.*)?")
FORMS: dict[str, dict[str, Any]] = {
    "tiny": {"optim": "muon", "augment": 0.5},
    "lora": {"model": "base", "lora_dropout": 0.3, "lora_rank": 4, "num_crops": 2},
    "workers": {"augment": 0.5, "dataloader_num_workers": 2},
    "wandb": {"augment": 0.5, "report_to": "wandb"},
}


def make_data(folder: Path, train: int = 37, validation: int = 4) -> Path:
    """Sheets of a colour with a few stripes: titles and photos of several lengths, so that batches differ."""
    chance = random.Random(0)
    folder.mkdir()
    rows = []
    for number in range(train + validation):
        colour = chance.choice(list(COLOURS))
        photo = Image.new("RGB", (chance.randint(40, 300), chance.randint(40, 300)), COLOURS[colour])
        for _ in range(number % 5):
            ImageDraw.Draw(photo).line([chance.randint(0, 300) for _ in range(4)], fill=(255, 255, chance.randint(0, 255)), width=9)
        photo.save(folder.parent / "photo.png")
        name, sha256 = store_photo(folder, (folder.parent / "photo.png").read_bytes(), "png")
        values = {"title": f"{colour} Sheet{' of Cotton' * (number % 4)}", "category3_code": colour, "full_price": Decimal(number)}
        split = "train" if number < train else "validation"
        rows.append(Row(f"r{number}", name, f"g{number}", split, *photo.size, sha256, "0" * 16, values))  # type: ignore[arg-type]
    write_dataset(folder, TASK, rows, source={"kind": "test"})
    return folder


def make_base(folder: Path, data: Path) -> None:
    """A pretrained folder for LoRA: a tiny model, untrained."""
    from seeworth.phi3v.tiny import make_tiny

    model, processor = make_tiny(
        [TASK.write(record.values) for record in Dataset.open(data).records("train")] + [TASK.prompt()], num_crops=4
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def words_of(form: str, folder: Path, steps: int) -> list[str]:
    """The command's words after `seeworth`."""
    settings = {"data": folder / "data", "output_dir": folder / "out", "model": "tiny", "max_steps": steps,
                "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "learning_rate": 4e-3, "evals_per_run": 3,
                "eval_records": 2, "logging_steps": 4, "save_steps": 3, "report_to": "none", "num_threads": 1, **FORMS[form]}  # fmt: skip
    settings["model"] = folder / "base" if settings["model"] == "base" else settings["model"]
    return ["train", *(f"--{name}={value}" for name, value in settings.items())]


class Command:
    """`seeworth train` as a user starts it, in a process group of its own."""

    def __init__(self, words: list[str], log: Path) -> None:
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "seeworth.cli", *words], stdout=file, stderr=file, start_new_session=True
            )
        self.pid = self.process.pid

    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self.process.poll()

    def close(self) -> None:
        """Nothing is left to close."""


class Fork:
    """The same command in a process forked from one that has all modules loaded: what the tests have time for."""

    def __init__(self, words: list[str], log: Path) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["seeworth.cli", "seeworth.train.run"])
        self.process = context.Process(target=_forked, args=(words, log))
        self.process.start()
        self.pid = self.process.pid or 0

    def status(self) -> int | None:
        return self.process.exitcode

    def close(self) -> None:
        self.process.join()
        self.process.close()


def _forked(words: list[str], log: Path) -> None:
    with suppress(PermissionError):
        os.setsid()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(words))


def kill(pid: int, chance: random.Random) -> None:
    """All processes of the command at once; one time in four its first one alone."""
    with suppress(psutil.Error, ProcessLookupError):
        if chance.random() < 0.25:
            psutil.Process(pid).kill()
        else:
            os.killpg(pid, signal.SIGKILL)


def settle(pid: int) -> None:
    """Wait until every process of the group is gone, at most 10 s: workers must not outlive their parent."""
    for _ in range(200):
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"processes of group {pid} outlive their killed parent")


def moment(out: Path, chance: random.Random, seconds: float) -> Any:
    """When to kill: a function that says so. At a random time; or, after one, as soon as files appear and a moment later."""
    kind = chance.choice(["any", "checkpoint", "checkpoint", "model"])
    begin = time.monotonic() + chance.uniform(0, seconds)
    if kind == "any":
        return lambda: time.monotonic() >= begin
    pattern = "checkpoint-*.*" if kind == "checkpoint" else "*.json"  # config.json and the like: the model is being written
    before = {path.name for path in out.glob(pattern)} | {"started.json"}
    later = chance.choice([0.0, 0.002, 0.005, 0.01, 0.03])

    def seen() -> bool:
        if kind == "checkpoint" and time.monotonic() < begin:
            return False
        if any(path.name not in before for path in out.glob(pattern)):
            time.sleep(later)
            return True
        return False

    return seen


def soak(kills: int, form: str, folder: Path, *, seed: int = 0, steps: int = 22, how: Any = Command) -> dict[str, Any]:
    """Kill and compare; return the counts. AssertionError: a file differs, a command failed, a worker outlived its parent."""
    chance = random.Random(seed)
    folder.mkdir(exist_ok=True)
    data = make_data(folder / "data")
    if FORMS[form].get("model") == "base":
        make_base(folder / "base", data)
    out, log, words = folder / "out", folder / "log", words_of(form, folder, steps)
    if how is Fork:
        _killed_until_done(how, words, out, log, chance, 0, 0)  # the first one also waits for the modules to be loaded
        shutil.rmtree(out)
    start = time.monotonic()
    _killed_until_done(how, words, out, log, chance, 0, 0)
    seconds = time.monotonic() - start
    wanted = picture(out)
    shutil.rmtree(out)
    counts: Counter[str] = Counter()
    while counts["kills"] < kills or not counts["trainings"]:
        counts += _killed_until_done(how, words, out, log, chance, seconds, kills - counts["kills"])
        counts["trainings"] += 1
        found = picture(out)
        assert found == wanted, f"the folders differ: {sorted(set(found.items()) ^ set(wanted.items()))[:8]}"
        if form == "wandb":
            runs = {path.name.rpartition("-")[2] for path in out.glob("wandb/offline-run-*")}
            assert len(runs) <= 1 + counts["begun anew"], runs
        shutil.rmtree(out)
        print(f"{form}: {counts['trainings']} trainings, {dict(counts)}", flush=True)
    return {**counts, "files compared": len(wanted), "seconds undisturbed": round(seconds, 1)}


def _killed_until_done(how: Any, words: list[str], out: Path, log: Path, chance: random.Random, seconds: float, most: int) -> Counter[str]:
    """One training, killed at most so often, and begun again until it is done; what happened, counted."""
    counts: Counter[str] = Counter()
    while True:
        process, due = how(words, log), moment(out, chance, seconds)
        deadline = time.monotonic() + 300
        killed = False
        while (status := process.status()) is None and time.monotonic() < deadline:
            if not killed and counts["kills"] < most and due():
                kill(process.pid, chance)
                killed = True
            time.sleep(0.001)
        settle(process.pid)
        process.close()
        if status == 0:
            return counts
        told = log.read_text(errors="replace")[-1500:]
        assert status == -signal.SIGKILL, f"status {status}: {told}"
        counts["kills"] += 1
        counts[_where(out)] += 1
        counts["begun anew"] += not any(path.name.removeprefix("checkpoint-").isdigit() for path in out.glob("checkpoint-*"))


def _where(out: Path) -> str:
    """What the killed process was doing."""
    if (out / "run.json").exists():
        return "after the end"
    if any(out.glob("checkpoint-*.*")):
        return "in a checkpoint"
    if (out / "config.json").exists() or (out / "adapter_config.json").exists():
        return "in the finished model"
    if any(out.glob("checkpoint-*")):
        return "between checkpoints"
    return "before the first checkpoint"


def picture(folder: Path) -> dict[str, str]:
    """Every file of a run folder, with the hash of its content but for what the clock says."""
    return {
        name: hashlib.sha256(_timeless(path)).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
        if not LEFT_OUT.fullmatch(name := path.relative_to(folder).as_posix())
    }


def _timeless(path: Path) -> bytes:
    if path.name == "run.json":
        return json.dumps({**json.loads(path.read_text()), "minutes": 0}).encode()
    if path.name == "README.md":
        return re.sub(rb"[\d.]+ minutes", b"", path.read_bytes())
    if path.name == "state.json":  # a tracker's run has an id of its own
        state = json.loads(path.read_text())
        state["track"].pop("trackers")
        return json.dumps({**state, "seal": ""}).encode()
    return path.read_bytes()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each form")
    parser.add_argument("--form", choices=[*FORMS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=22)
    parser.add_argument("--fork", dest="how", action="store_const", const=Fork, default=Command, help="forked from a loaded process: quick")
    arguments = vars(parser.parse_args())
    for one in [*FORMS] if arguments["form"] == "all" else [arguments["form"]]:
        with tempfile.TemporaryDirectory() as name:
            started = time.monotonic()
            counts = soak(**{**arguments, "form": one}, folder=Path(name))
            print(f"{one}: ended the same after {counts['kills']} kills: {counts}, {time.monotonic() - started:.0f} s", flush=True)
