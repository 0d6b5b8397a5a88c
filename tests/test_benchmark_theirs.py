"""Somebody else's implementation in benchmarks/train.py: it gets our weights, gives our loss, or one line says why not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CONFIGURATION = """
from transformers import PretrainedConfig

class OtherConfig(PretrainedConfig):
    model_type = "phi3_v"
    def __init__(self, rope_scaling=None, rope_theta=10000.0, **kwargs):
        for name in ("hidden_size", "vocab_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "img_processor"):
            setattr(self, name, kwargs.pop(name))
        super().__init__(**kwargs)
        assert rope_scaling["type"] == "su"  # as published code asks, whether there is one or not
"""
MODELING = """
import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Phi3Config, PreTrainedModel
from transformers.models.phi3.modeling_phi3 import Phi3DecoderLayer, Phi3RMSNorm, Phi3RotaryEmbedding
try:
    from flash_attn import flash_attn_func
except ImportError:
    pass
from {dot}configuration_other import OtherConfig

CLIP = CLIPVisionConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=9, num_attention_heads=2, image_size=56, patch_size=14)
CLIP.hidden_act = "quick_gelu"
PHOTO = {photo}

class Photos(nn.Module):
    def __init__(self, config, wte):
        super().__init__()
        self.wte, self.img_processor = wte, CLIPVisionModel(CLIP)
        self.glb_GN, self.sub_GN = nn.Parameter(torch.zeros(1, 1, 256)), nn.Parameter(torch.zeros(1, 1, 1, 256))
        wide = config.hidden_size
        self.img_projection = nn.Sequential(nn.Linear(256, wide), nn.GELU(), nn.Linear(wide, wide))

    def rows(self, grid):
        grid = torch.cat([grid[a::2, b::2] for a in (0, 1) for b in (0, 1)], -1)
        return torch.cat([grid, self.sub_GN[0].expand(len(grid), 1, -1)], 1).flatten(0, 1)

    def forward(self, ids, pixel_values, image_sizes):
        words = self.wte(ids if PHOTO >= 0 else ids.clamp_min(0))
        seen = self.img_processor(pixel_values[0], output_hidden_states=True).hidden_states[-2][:, 1:].unflatten(1, (4, 4))
        assert pixel_values.shape[-1] == 56
        h, w = (image_sizes[0] // 56).tolist()
        whole = seen[1 : 1 + h * w].unflatten(0, (h, w)).transpose(1, 2).reshape(4 * h, 4 * w, 64)
        rows = self.img_projection(torch.cat([self.rows(whole), self.glb_GN[0], self.rows(seen[0])]))
        return words.masked_scatter((ids == PHOTO)[..., None], rows)

class Inner(nn.Module):
    def __init__(self, config):
        super().__init__()
        names = ("hidden_size", "vocab_size", "num_attention_heads", "num_hidden_layers", "intermediate_size")
        sizes = {{name: getattr(config, name) for name in names}}
        plain = Phi3Config(**sizes, num_key_value_heads=config.num_attention_heads, pad_token_id=0)
        plain._attn_implementation = "eager"
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.vision_embed_tokens = Photos(config, self.embed_tokens)
        self.layers = nn.ModuleList(Phi3DecoderLayer(plain, number) for number in range(config.num_hidden_layers))
        self.norm, self.rotary_emb = Phi3RMSNorm(config.hidden_size), Phi3RotaryEmbedding(plain)

class OtherForCausalLM(PreTrainedModel):
    config_class = OtherConfig
    def __init__(self, config):
        super().__init__(config)
        self.model = Inner(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, pixel_values=None, image_sizes=None, labels=None):
        states = self.model.vision_embed_tokens(input_ids, pixel_values, image_sizes)
        length = input_ids.shape[1]
        places = torch.arange(length)[None]
        hidden = torch.full((length, length), -1e9).triu(1)[None, None] + (1 - attention_mask[:, None, None]) * -1e9
        for layer in self.model.layers:
            states = layer(states, hidden, position_embeddings=self.model.rotary_emb(states, places), position_ids=places)
        logits = self.lm_head(self.model.norm(states))
        return (nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:]), logits)
"""


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    before = set(sys.modules)
    import train  # type: ignore[import-not-found]  # a script, in no package

    yield train
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("train", "theirs", "download", "configuration_other"):
            del sys.modules[name]


def folder_of(tmp_path: Path, dot: str = ".", photo: int = -1) -> Path:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "configuration_other.py").write_text(CONFIGURATION)
    (folder / "modeling_other.py").write_text(MODELING.format(dot=dot, photo=photo))
    return folder


@pytest.mark.parametrize("dot", [".", ""])
@pytest.mark.parametrize("by", ["minus one", "its own id"])
def test_their_code_gets_our_weights_and_gives_our_loss(benchmark: ModuleType, tmp_path: Path, dot: str, by: str) -> None:
    from seeworth.phi3v.tiny import make_tiny

    image = make_tiny(["a"])[0].config.image_token_id
    folder = folder_of(tmp_path, dot, -1 if by == "minus one" else image)
    tower = benchmark.their_tower(folder)
    assert tower | {"hidden_size": 64, "num_hidden_layers": 3, "image_size": 56, "num_attention_heads": 2} == tower
    model, processor = benchmark.with_tower(tower, *make_tiny(["a"], num_crops=4))
    settings = replace(benchmark.SETTINGS, lora_dropout=0.0)
    base = benchmark.their.make(folder, model.config.to_dict())
    benchmark.their.give_weights(base, model.state_dict())
    ours = benchmark.prepare_parts(model, settings, benchmark.resolve_parts(settings)).train()
    for name, weight in ours.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    other = benchmark.their.adapt(base, ours)
    pixels, sizes = torch.randn(1, 5, 3, 56, 56), torch.tensor([[112, 56]])
    count = processor.image_processor.plan(100, 200).num_tokens
    ids = torch.tensor([[1, *range(10, 15), *[image] * count, *range(15, 30), 0, 0]])
    labels = ids.masked_fill((ids == image) | (ids < 20), -100)
    mask = torch.ones_like(ids)
    mask[:, -2:] = 0
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels, "image_sizes": sizes}
    wanted = ours(**batch).loss
    ask = benchmark.their.asker(other, base, image)
    for _ in range(2):
        loss = ask(batch)
        assert abs(float((loss - wanted).detach())) < 1e-5  # measured 5e-7
    loss.backward()
    wanted.backward()
    mine, yours = ({name: one.grad for name, one in model.named_parameters() if one.requires_grad} for model in (ours, other))
    assert mine.keys() == yours.keys()
    for name, grad in mine.items():
        assert (grad - yours[name]).abs().max() <= 1e-4 * grad.abs().max(), name  # measured 4e-6


FAULTS = [
    ("modeling_other.py", None, "holds no modeling_*.py"),
    ("modeling_other.py", "class Nothing: pass", "defines no class ...ForCausalLM"),
    ("modeling_other.py", "import a_library_that_is_nowhere", "ModuleNotFoundError: No module named 'a_library_that_is_nowhere'"),
    ("configuration_other.py", "OtherConfig = None", "configuration_other.py defines no class ...Config"),
]


@pytest.mark.parametrize(("name", "content", "words"), FAULTS)
def test_what_is_wrong_with_a_folder_is_told_in_one_line(
    benchmark: ModuleType, tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    folder = folder_of(tmp_path)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises((Exception, SystemExit)) as caught:
        benchmark.their_tower(folder)
    said = benchmark.their.in_one_line(caught.value)
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_folder_that_cannot_be_run_ends_the_benchmark_before_anything_is_timed(tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARKS / "train.py"), "--theirs", str(tmp_path / "nowhere")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    where = f"--theirs {tmp_path / 'nowhere'} is no folder: give one with modeling_*.py and configuration_*.py"
    assert done.stderr == f"{where}\n"
    assert done.stdout == ""


def test_another_architecture_is_told(benchmark: ModuleType, tmp_path: Path) -> None:
    from seeworth.phi3v.tiny import make_tiny

    model, _ = make_tiny(["a"])
    other = benchmark.their.make(folder_of(tmp_path), json.loads(json.dumps(model.config.to_dict())))
    with pytest.raises(SystemExit, match=r"their weight model\.vision_embed_tokens\.\S+ is \[1, 1, 256\], ours \[1, 1, 640\]"):
        benchmark.their.give_weights(other, model.state_dict())
