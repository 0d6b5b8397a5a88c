"""Claim: photo features cost what a photo's own tiles cost, not what num_crops + 1 slots cost.

    python benchmarks/tiles.py [--repeat 5]

Three ways over the same photo and weights (a CLIP tower of 6 layers, width 256, tile 336; random weights), side by side:
ours; the naive way, every slot through the tower, as the published code does; the limit, the tower alone on the real tiles.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from PIL import Image

from seeworth.phi3v import Phi3VConfig, Phi3VForCausalLM, Phi3VImageProcessor

CLIP = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 8}


def main(repeat: int) -> None:
    """Print a line for each photo size and num_crops."""
    torch.manual_seed(0)
    config = Phi3VConfig(hidden_size=256, intermediate_size=512, num_hidden_layers=1, num_attention_heads=4, vocab_size=32064,
                         img_processor={"image_dim_out": 256, "clip_config": CLIP},
                         rope_parameters={"rope_type": "default", "rope_theta": 10000.0})  # fmt: skip
    model = Phi3VForCausalLM(config).eval()
    tower = model.model.vision_embed_tokens.img_processor.vision_model
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; milliseconds, median of {repeat}")
    print(f"{'photo':>10} {'num_crops':>9} tiles slots     ours    naive    limit naive/ours ours/limit")
    for size in ((336, 336), (640, 480), (1000, 200)):
        for num_crops in (1, 4, 16):
            batch = Phi3VImageProcessor(num_crops=num_crops)(Image.effect_noise(size, 60).convert("RGB"))
            pixels, sizes = batch["pixel_values"], batch["image_sizes"]
            tiles = Phi3VImageProcessor(num_crops=num_crops).plan(*size).num_tiles
            ours = _time(lambda p=pixels, s=sizes: model.image_features(p, s), repeat)
            naive = _time(lambda p=pixels: tower(p.flatten(0, 1)), repeat)
            limit = _time(lambda p=pixels, n=tiles: tower(p[0, :n]), repeat)
            row = f"{size[0]}x{size[1]:>4} {num_crops:>9} {tiles:>5} {pixels.shape[1]:>5} {ours:8.0f} {naive:8.0f} {limit:8.0f}"
            print(f"{row} {naive / ours:10.2f} {ours / limit:10.2f}")


@torch.inference_mode()
def _time(work: Callable[[], object], repeat: int) -> float:
    work()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    main(parser.parse_args().repeat)
