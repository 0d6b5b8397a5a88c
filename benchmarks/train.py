"""Claim: training is many times faster than the usual loop, and learns the same.

    python benchmarks/train.py [--photos 192] [--passes 3] [--crops 4] [--max_length 512] [--rounds 3] [--theirs FOLDER]

One tiny model with LoRA on language model and projector, the CLIP tower frozen; the same weights, photos, order, steps of 16 records
and learning rate, each way in a process of its own, on this machine:

    ours     frozen features computed once and kept (the time of that counts), batches of like length, logits at the labels, SDPA,
             LoRA in fewer passes; photos decoded, batches collated as `seeworth train` does it
    naive    one record a forward pass, padded to --max_length tokens, every slot for tiles through CLIP, in every pass; logits
             everywhere, eager attention, PEFT's own LoRA. 512 tokens is what the cookbook's script pads to (padding='max_length',
             max_length=512, batch size 1)
    lean     naive, but padded to the longest record of the data only, which the cookbook's script does not know
    bf16     ours with --dtype bfloat16: products in 16 bits, attention, norms' sums and what is trained in float32
    limit    ours with all batches ready in memory and all features known: the step alone
    theirs   with --theirs: somebody else's implementation in the naive loop, with our weights and our LoRA in PEFT's own layers. FOLDER
             holds modeling_*.py with a class ...ForCausalLM and configuration_*.py with its config class, as published copies of
             Phi-3-Vision do; its code is run, so look at it first. A tower whose width stands in that code (published: 1,024 wide,
             tiles of 336 pixels) is what all ways get then, with three layers at most

Predicted before the first run: a record of 4 crops is 5 tiles and 112 + 45 tokens. Lean: 5 tiles of CLIP forward, and 157
tokens padded to 160 one by one, where a tiny layer's products are too small to fill a core: some 25 ms. Ours: no CLIP in passes 2
and 3, a batch of 16 at once: 2 ms, so 10 times. Found: 31 ms and 12.5 ms, 2.5 times, since small products fill a core after all. Naive
has 3.3 times as many tokens and 10 times the attention of lean: predicted some 85 ms, so 7 times. Found then: 68 ms, 4.9 times. What came
after that, and what it was predicted to bring, is in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import theirs as their
import torch
from download import draw_photos

from seeworth.data.dataset import Dataset
from seeworth.data.run import run as import_
from seeworth.encode import Encoder, collate
from seeworth.features import FeatureStore
from seeworth.memory import keep_freed_memory
from seeworth.phi3v import Phi3VConfig, Phi3VForCausalLM, Phi3VImageProcessor, Phi3VProcessor
from seeworth.phi3v.tiny import make_tiny, tiny_config
from seeworth.settings import ImportSettings, TrainSettings
from seeworth.train.examples import Examples, Place, loader
from seeworth.train.fast_layers import speed_up_layers
from seeworth.train.fast_lora import speed_up_lora
from seeworth.train.optimizer import make_optimizer
from seeworth.train.order import Order
from seeworth.train.parts import prepare_parts, resolve_parts
from seeworth.train.spread import Alone
from seeworth.train.step import Stepper

STEP = 16  # records in an optimizer step
SETTINGS = TrainSettings(
    Path("-"), Path("-"), model="base", vision="frozen", lora_rank=8, lora_dropout=0.0, learning_rate=1e-3, dtype="float32", seed=1
)


def main(photos: int, passes: int, crops: int, max_length: int, rounds: int, theirs: Path | None) -> None:
    """Raises SystemExit, in one line, where a way cannot be run."""
    if theirs:
        their.need_folder(theirs)
    ways = ["naive", "lean", "ours", "bf16", "limit", *(["theirs"] if theirs else [])]
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        tower = json.loads(in_process("tower", home, passes, max_length, theirs)) if theirs else None
        prepare(home, photos, crops, tower)
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way in sorted(ways, key="theirs".__ne__):  # what may fail comes first
                found[way].append(json.loads(in_process(way, home, passes, max_length, theirs)))
        for way in ways:
            print(line(way, found[way], rate(found["naive"])))
        print(f"ours is {rate(found['ours']) / rate(found['lean']):.1f} x lean")
        naive, lean, ours, bf16 = (found[way][0]["losses"] for way in ways[:4])
        apart = max(apart_of(one, ours) for one in (naive, lean))
        ends = f"loss of the first step {ours[0]:.4f} and {naive[0]:.4f}, of the last {ours[-1]:.4f} and {naive[-1]:.4f} (ours, naive)"
        if theirs:
            told = found["theirs"][0]["losses"]
            print(f"theirs: first loss {told[0]:.4f}, last {told[-1]:.4f}, at most {apart_of(told, naive):.1e} from naive's")
        print(f"{ends}; over {len(ours)} steps at most {apart:.1e} of itself apart, bf16 {apart_of(bf16, naive):.1e}")


def in_process(way: str, home: Path, passes: int, max_length: int, theirs: Path | None) -> str:
    """The last line of what a way says, run in a process of its own. Raises SystemExit with its reason where it fails."""
    words = [sys.executable, __file__, "--way", way, "--home", str(home), "--passes", str(passes), "--max_length", str(max_length)]
    words += ["--theirs", str(theirs)] if theirs else []
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() if done.returncode > 0 else []  # a signal comes with no words
        why = said[-1] if said else f"its process ended with {done.returncode} (-9: most likely no memory was left)"
        raise SystemExit(f"{'theirs' if way == 'tower' else way} could not be run: {why}")
    return done.stdout.splitlines()[-1]


def rate(found: list[dict[str, Any]]) -> float:
    """Photos a second, the median of the rounds."""
    return statistics.median(one["photos_per_second"] for one in found)


def apart_of(one: list[float], other: list[float]) -> float:
    """The largest difference of a step's loss, as a share of it."""
    return max(abs(a - b) / b for a, b in zip(one, other, strict=True))


def line(way: str, found: list[dict[str, Any]], naive: float) -> str:
    rates = sorted(one["photos_per_second"] for one in found)
    return (
        f"{way:7} {rate(found):7.1f} photos/s ({rates[0]:.1f} to {rates[-1]:.1f}) · "
        f"{statistics.median(one['tokens_per_second'] for one in found):8.0f} tokens/s · "
        f"{max(one['peak_megabytes'] for one in found):5.0f} MB at most · {rate(found) / naive:5.1f} x"
    )


def prepare(home: Path, photos: int, crops: int, tower: dict[str, Any] | None) -> None:
    """A dataset folder of drawn photos, and a tiny model with words of its own, and a tower of its own or of these sizes."""
    drawn = draw_photos(photos, 640)
    lines = ["photo,title,category3_code,full_price"]
    for number, data in enumerate(drawn):
        (home / f"{number}.jpg").write_bytes(data)
        colour, category = "red" if number % 2 else "blue", "BAGS" if number % 3 else "HATS"
        lines.append(f"{number}.jpg,Bag number {number} in {colour},{category},{number + 10}")
    (home / "table.csv").write_text("\n".join(lines) + "\n")
    import_(ImportSettings(home / "table.csv", home / "data", processes=1))
    dataset = Dataset.open(home / "data")
    texts = [dataset.task.write(one.values) for one in dataset.records()]
    model, processor = make_tiny([*texts, dataset.task.prompt()], num_crops=crops)
    if tower and any(getattr(model.config.vision_config, name) != size for name, size in tower.items()):
        model, processor = with_tower(tower, model, processor)
    model.save_pretrained(home / "base")
    processor.save_pretrained(home / "base")


def with_tower(tower: dict[str, Any], model: Any, processor: Phi3VProcessor) -> tuple[Any, Phi3VProcessor]:
    """The tiny model with a tower of these sizes, all weights random, and the processor that cuts tiles for it."""
    tokens = (tower["image_size"] // tower["patch_size"] // 2) ** 2
    sizes = {"image_dim_out": tower["hidden_size"], "num_img_tokens": tokens, "clip_config": tower}
    config = Phi3VConfig.from_dict(model.config.to_dict() | {"img_processor": model.config.img_processor | sizes})
    crops = processor.image_processor.num_crops
    cutter = Phi3VImageProcessor(num_crops=crops, num_img_tokens=tokens, tile_size=tower["image_size"])
    torch.manual_seed(0)
    return Phi3VForCausalLM(config).float(), Phi3VProcessor(cutter, processor.tokenizer)


class Bench:
    """What all ways share: records, their order, the model, the step."""

    def __init__(self, home: Path, attention: str, fast: bool, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        keep_freed_memory()
        dataset = Dataset.open(home / "data")
        self.home = home
        self.dtype = dtype
        self.records = dataset.records("train")
        self.encoder = Encoder(Phi3VProcessor.from_pretrained(home / "base"), dataset.task)
        model = Phi3VForCausalLM.from_pretrained(home / "base", dtype=dtype, attn_implementation=attention)
        model.config.use_cache = False
        self.model = prepare_parts(model, SETTINGS, resolve_parts(SETTINGS)).train()
        if fast:
            speed_up_lora(self.model)
            speed_up_layers(self.model)
        self.pad = int(self.encoder.processor.tokenizer.pad_token_id)
        self.lengths = [self.encoder.length(one) for one in self.records]
        self.order = Order(self.lengths, STEP, by_length=True, seed=SETTINGS.seed)

    def stepper(self) -> Stepper:
        return Stepper(self.model, make_optimizer(self.model, SETTINGS), Alone(torch.device("cpu")), self.dtype)

    def steps(self, passes: int) -> Iterator[tuple[int, list[int]]]:
        """(epoch, records) of each step."""
        for epoch in range(passes):
            for step in self.order.epoch(epoch):
                yield epoch, [record for micro in step for record in micro]

    def ours(self, store: FeatureStore | None) -> Callable[[int], Iterator[dict[str, Any]]]:
        examples = Examples(self.records, self.encoder, megabytes=1000, features=store.of if store else None)
        return lambda passes: loader(
            examples, [[Place(record, epoch) for record in records] for epoch, records in self.steps(passes)], pad_id=self.pad
        )


def ours(home: Path, passes: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    bench = Bench(home, "sdpa", fast=True, dtype=dtype)
    stepper = bench.stepper()
    shutil.rmtree(home / "features", ignore_errors=True)
    start = time.perf_counter()
    store = FeatureStore.open(home / "features", bench.model, bench.encoder)
    store.fill(bench.records, bench.model)
    losses = [float(stepper.step([batch]).loss) for batch in bench.ours(store)(passes)]
    return told(bench, passes, losses, time.perf_counter() - start)


def limit(home: Path, passes: int) -> dict[str, Any]:
    bench = Bench(home, "sdpa", fast=True)
    store = FeatureStore.open(home / "features", bench.model, bench.encoder)
    store.fill(bench.records, bench.model)
    batches = list(bench.ours(store)(passes))
    stepper = bench.stepper()
    start = time.perf_counter()
    losses = [float(stepper.step([batch]).loss) for batch in batches]
    return told(bench, passes, losses, time.perf_counter() - start)


def naive(home: Path, passes: int, max_length: int) -> dict[str, Any]:
    """max_length: tokens that every record is padded to; 0 for the longest of the data."""
    bench = Bench(home, "eager", fast=False)

    def loss_of(batch: dict[str, Any]) -> torch.Tensor:
        pixels, sizes = batch.pop("pixel_values"), batch["image_sizes"]
        embedding = next(one for one in bench.model.modules() if hasattr(one, "img_projection"))
        with torch.no_grad():
            patches = embedding.img_processor.vision_model(pixels.flatten(0, 1))  # empty slots too
            (height, width), side = sizes[0].tolist(), embedding.tile_size
            tiles = embedding._merge(patches)[: (height // side) * (width // side) + 1]
        return bench.model(**batch, tile_features=[tiles if len(tiles) > 2 else tiles[:1]]).loss

    return one_by_one(bench, passes, bench.model, loss_of, max_length)


def theirs(home: Path, passes: int, max_length: int, folder: Path) -> dict[str, Any]:
    """Their classes with our weights and our LoRA."""
    bench = Bench(home, "eager", fast=False)
    base = their.make(folder, json.loads((home / "base" / "config.json").read_text()))
    ours = Phi3VForCausalLM.from_pretrained(home / "base", dtype=torch.float32)
    their.give_weights(base, ours.state_dict())
    model = their.adapt(base, bench.model)
    return one_by_one(bench, passes, model, their.asker(model, base, ours.config.image_token_id), max_length)


def their_tower(folder: Path) -> dict[str, Any] | None:
    """The sizes of the tower that their code brings, where it leaves no choice."""
    processor = make_tiny(["a"])[1]
    return their.tower_of(their.make(folder, tiny_config(len(processor.tokenizer), processor.ids).to_dict()))


def one_by_one(bench: Bench, passes: int, model: Any, loss_of: Callable[[dict[str, Any]], torch.Tensor], max_length: int) -> dict[str, Any]:
    """The usual loop: a record at a time, padded to so many tokens."""
    optimizer = make_optimizer(model, SETTINGS)
    crops = bench.encoder.processor.image_processor.num_crops
    longest = max(max_length, *bench.lengths)
    losses = []
    start = time.perf_counter()
    for _, records in bench.steps(passes):
        examples = [bench.encoder.example(bench.records[at]) for at in records]
        labels = sum(one is not None and one != -100 for example in examples for one in example.labels[1:])
        total = 0.0
        for example in examples:
            batch = padded(collate([example], pad_id=bench.pad), longest, crops + 1, bench.pad)
            own = int((batch["labels"][:, 1:] != -100).sum())
            loss = loss_of(batch) * own / labels
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_([one for one in model.parameters() if one.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    return told(bench, passes, losses, time.perf_counter() - start)


def padded(batch: dict[str, Any], longest: int, slots: int, pad: int) -> dict[str, Any]:
    more = longest - batch["input_ids"].shape[1]
    for name, value in (("input_ids", pad), ("labels", -100), ("attention_mask", 0)):
        batch[name] = torch.nn.functional.pad(batch[name], (0, more), value=value)
    pixels = batch["pixel_values"]
    batch["pixel_values"] = torch.cat([pixels, pixels.new_zeros(1, slots - pixels.shape[1], *pixels.shape[2:])], dim=1)
    return batch


def told(bench: Bench, passes: int, losses: list[float], seconds: float) -> dict[str, Any]:
    peak = next(row.split()[1] for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return {
        "photos_per_second": len(bench.records) * passes / seconds,
        "tokens_per_second": sum(bench.lengths) * passes / seconds,
        "peak_megabytes": int(peak) / 1024,
        "losses": losses,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=192)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--crops", type=int, default=4, help="most tiles of a photo")
    parser.add_argument("--max_length", type=int, default=512, help="tokens that naive and theirs pad every record to")
    parser.add_argument("--rounds", type=int, default=3, help="all ways in turn, so many times; medians are told")
    parser.add_argument("--theirs", type=Path, help="a folder with somebody else's implementation; its code is run")
    parser.add_argument("--way", choices=["ours", "bf16", "naive", "lean", "limit", "theirs", "tower"], help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        ways: dict[str, Callable[[], dict[str, Any]]] = {
            "ours": lambda: ours(given.home, given.passes),
            "bf16": lambda: ours(given.home, given.passes, torch.bfloat16),
            "limit": lambda: limit(given.home, given.passes),
            "naive": lambda: naive(given.home, given.passes, given.max_length),
            "lean": lambda: naive(given.home, given.passes, 0),
            "theirs": lambda: theirs(given.home, given.passes, given.max_length, given.theirs),
            "tower": lambda: their_tower(given.theirs) or {},
        }
        try:
            print(json.dumps(ways[given.way]()))
        except Exception as problem:
            raise SystemExit(their.in_one_line(problem)) from problem
    else:
        main(given.photos, given.passes, given.crops, given.max_length, given.rounds, given.theirs)
