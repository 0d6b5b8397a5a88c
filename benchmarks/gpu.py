"""Claim: LoRA training of the full-size model runs near what the GPU can do. Random weights, no download, no files.

    python benchmarks/gpu.py [--batch 1 2 4] [--parts vision frozen cached] [--how eager compiled] [--memory] [--profile] [--seconds 20]

A record as published comparisons have it: num_crops 16, a photo of 3 x 5 tiles and the global view (2,377 photo tokens) and 66 words,
32 of them labelled: 2,443 tokens. What is timed is our own optimizer step (train/step.py), pixels on their way to the GPU included,
photo decoding not. Parts: the CLIP tower trained by LoRA; frozen but computed; frozen with its features from the cache.

The work, counted for one record; a frozen weight costs 2 operations a token forward and 2 backward (no gradient of its own),
a LoRA weight 2 and 4, a frozen tower 2 and 0; attention 4 * tokens^2 * width forward, half of it when causal, twice that backward;
recomputed activations and the flash kernel's own recomputation are not counted, nor the last layer's wide half where nothing is learnt.
Utilisation = work / seconds / peak, where peak is the chip's dense bf16 rate by its data sheet (989.4 TFLOP/s for H100 SXM and H200).

Predicted before the first run (H100, 650 TFLOP/s in large products, 3 TB/s): 54 TFLOP a record with the tower trained, so 83 ms of
products and some 25 ms of element-wise work when layers are compiled: 9.2 photos/s, 50 %; 41 TFLOP cached: 11.8 photos/s.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from seeworth.phi3v import Phi3VConfig, Phi3VForCausalLM
from seeworth.settings import TrainSettings
from seeworth.train.compile import compile_layers
from seeworth.train.fast_layers import speed_up_layers
from seeworth.train.fast_lora import speed_up_lora
from seeworth.train.optimizer import make_optimizer
from seeworth.train.parts import prepare_parts, resolve_parts
from seeworth.train.spread import Alone
from seeworth.train.step import Stepper

ROWS, COLUMNS, WORDS, LABELS = 5, 3, 66, 32
PEAK = {"H100": 989.4e12, "H200": 989.4e12, "A100": 312e12}


def main(
    batches: list[int], kinds: list[str], ways: list[str], *, memory: bool, profile: bool, seconds: float, layers: int, dropout: float
) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name} · torch {torch.__version__} · transformers {transformers.__version__}", flush=True)
    peak = next((value for key, value in PEAK.items() if key in name), None)
    if device.type == "cuda":
        found = product_rate(device) / 1e12
        print(f"products of 8192 x 8192 in bf16: {found:.0f} TFLOP/s, peak by the data sheet {(peak or 0) / 1e12:.0f}")
    for kind in kinds:
        model, settings = build(kind, device, layers, dropout)
        work = flops(model, kind, settings.lora_rank)
        print(f"{kind}: {sum(work.values()) / 1e12:.1f} TFLOP a record ({', '.join(f'{k} {v / 1e12:.1f}' for k, v in work.items())})")
        optimizer = make_optimizer(model, settings)
        stepper = Stepper(model, optimizer, Alone(device), torch.bfloat16)
        if memory:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            show(kind, 1, "recomputed", stepper, device, sum(work.values()), peak, seconds)
            model.gradient_checkpointing_disable()
        for how in ways:
            if how == "compiled":
                compile_layers(model)
            for size in batches:
                torch.compiler.reset()  # each batch is compiled for its own shape
                try:
                    show(kind, size, how, stepper, device, sum(work.values()), peak, seconds)
                except torch.OutOfMemoryError:
                    print(f"{kind:8} batch {size} {how}: does not fit", flush=True)
                    optimizer.zero_grad(set_to_none=True)
                    break
        if profile:
            kernels(stepper, batch(kind, batches[-1], model, device))
        del model, optimizer, stepper
        torch.compiler.reset()
        torch.cuda.empty_cache()


def build(kind: str, device: torch.device, layers: int, dropout: float) -> tuple[Any, TrainSettings]:
    """The model at full size (fewer `layers` to try this file out), random bf16 weights, LoRA as recipes/one-80gb.yaml has it."""
    torch.manual_seed(0)
    config = Phi3VConfig(num_hidden_layers=layers, attn_implementation="sdpa")
    with device:
        model = Phi3VForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.config.use_cache = False
    vision = "lora" if kind == "vision" else "frozen"
    plain = {"model": "random", "dtype": "bfloat16", "learning_rate": 1e-5}
    settings = TrainSettings(Path("-"), Path("-"), vision=vision, lora_dropout=dropout, **plain)
    model = prepare_parts(model, settings, resolve_parts(settings)).train()
    speed_up_lora(model)
    speed_up_layers(model)
    return model, settings


def batch(kind: str, size: int, model: Any, device: torch.device) -> dict[str, Any]:
    """Records of 2,443 tokens, in pinned memory where there is a GPU."""
    config = model.config
    side = 336
    photo = (ROWS * COLUMNS + 1) * 144 + (ROWS + 1) * 12 + 1
    ids = torch.randint(100, 30000, (size, WORDS + photo))
    ids[:, 10 : 10 + photo] = config.image_token_id
    labels = ids.clone()
    labels[:, : -LABELS - 1] = -100
    made: dict[str, Any] = {"input_ids": ids, "labels": labels, "image_sizes": torch.tensor([[ROWS * side, COLUMNS * side]] * size)}
    if kind == "cached":
        width = 4 * config.vision_config.hidden_size
        made["tile_features"] = [torch.randn(ROWS * COLUMNS + 1, 12, 12, width, dtype=torch.bfloat16) for _ in range(size)]
    else:
        made["pixel_values"] = torch.randn(size, ROWS * COLUMNS + 1, 3, side, side)
    if device.type == "cuda":
        made = {name: value if name == "image_sizes" else pinned(value) for name, value in made.items()}
    return made


def pinned(value: Any) -> Any:
    return [pinned(one) for one in value] if isinstance(value, list) else value.pin_memory()


def show(kind: str, size: int, how: str, stepper: Stepper, device: torch.device, work: float, peak: float | None, seconds: float) -> None:
    """Time steps of one batch for about so many seconds and print one line."""
    made = batch(kind, size, stepper.model, device)
    start = time.perf_counter()
    for _ in range(3):
        done = stepper.step([made])
    warm = time.perf_counter() - start
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    times, last = [], done
    start = begun = time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 2:
        done, last = stepper.step([made]), done
        float(last.loss)  # as the loop does: it looks at a step's figures when the next one is on its way
        times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
    if cuda:
        torch.cuda.synchronize()
    mean = (time.perf_counter() - start) / len(times)
    rate = size / mean
    tokens = int(done.tokens) * rate / size
    used = f"{work * rate / peak:6.1%} of peak" if peak else "peak not known"
    gib = torch.cuda.max_memory_allocated() / 2**30 if cuda else float("nan")
    print(
        f"{kind:8} batch {size} {how:10}: {rate:6.2f} photos/s · {tokens:7.0f} tokens/s · {used} · {gib:5.1f} GiB · "
        f"{mean * 1e3:.0f} ms a step on average ({min(times) * 1e3:.0f} to {max(times) * 1e3:.0f}, {len(times)} steps, start {warm:.0f} s)",
        flush=True,
    )


def flops(model: Any, kind: str, rank: int) -> dict[str, float]:
    """Operations of one record's forward and backward pass, by part; see the head of this file."""
    config, vision = model.config, model.config.vision_config
    tiles = ROWS * COLUMNS + 1
    photo = tiles * 144 + (ROWS + 1) * 12 + 1
    tokens, patches = photo + WORDS, tiles * 577
    hidden, wide = config.hidden_size, config.intermediate_size
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, 2 * wide), (wide, hidden)]
    language = config.num_hidden_layers * sum(a * b for a, b in shapes) * tokens
    adapters = config.num_hidden_layers * sum(rank * (a + b) for a, b in shapes) * tokens
    for a, b in shapes[2:]:  # the last layer's wide half is computed where an answer is learnt
        language -= a * b * (tokens - LABELS)
        adapters -= rank * (a + b) * (tokens - LABELS)
    projector = 4 * vision.hidden_size * hidden + hidden * hidden
    projector_adapters = rank * (4 * vision.hidden_size + 3 * hidden)
    work = {
        "language": 4.0 * language,
        "LoRA": 6.0 * adapters + 6.0 * projector_adapters * photo,
        "attention": 3 * 2.0 * tokens**2 * hidden * config.num_hidden_layers,
        "projector": 4.0 * projector * photo,
        "head": 4.0 * config.vocab_size * hidden * LABELS,
    }
    if kind == "cached":
        return work
    width, layers = vision.hidden_size, vision.num_hidden_layers - 1
    shapes = [(width, width)] * 4 + [(width, vision.intermediate_size), (vision.intermediate_size, width)]
    tower = layers * sum(a * b for a, b in shapes)
    trained = kind == "vision"
    work["tower"] = (4.0 if trained else 2.0) * tower * patches + (3 if trained else 1) * 4.0 * tiles * 577**2 * width * layers
    if trained:
        work["LoRA"] += 6.0 * layers * sum(rank * (a + b) for a, b in shapes) * patches
    return work


def product_rate(device: torch.device, side: int = 8192) -> float:
    """What the chip does in large products here and now, operations a second."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        a @ b
    torch.cuda.synchronize()
    return 20 * side**3 / (time.perf_counter() - start)


def kernels(stepper: Stepper, made: dict[str, Any]) -> None:
    """The kernels that take most of a step."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    with record(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        stepper.step([made])
        torch.cuda.synchronize()
    print(found.key_averages().table(sort_by="self_device_time_total", row_limit=30, max_name_column_width=70))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", dest="batches", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--parts", dest="kinds", nargs="+", default=["vision", "frozen", "cached"], choices=["vision", "frozen", "cached"])
    parser.add_argument("--how", dest="ways", nargs="+", default=["eager", "compiled"], choices=["eager", "compiled"], help="in this order")
    parser.add_argument("--memory", action="store_true", help="also batch 1 with recomputed activations: what a small GPU needs")
    parser.add_argument("--profile", action="store_true", help="also the kernels of one step")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--dropout", type=float, default=0.0, help="before the LoRA matrices")
    parser.add_argument("--layers", type=int, default=32, help="of the language model; fewer only to try this file")
    main(**vars(parser.parse_args()))
