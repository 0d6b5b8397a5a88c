"""The second implementation (make_goldens.py) against the published code's outputs, and the committed files against it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

# Measured: rows 5e-6, logits 1.3e-5, loss 4e-6, gradient norms 2e-5 relative. A wrong order of patches moves logits by 3.
ROWS, LOGITS, LOSS, GRADIENTS = 5e-5, 1e-4, 5e-5, 1e-3
CASES = [
    "text_only", "single_wide_c4", "single_tall_c4", "batch2_left_pad_generate", "batch2_right_pad_train", "longrope_at64",
    "longrope_at65", "longrope_cross_image_c1",
]  # fmt: skip


def formula_pixels(recipe: dict[str, int]) -> torch.Tensor:
    """Pixels of the kit's `model` cases, as its README says."""
    n, k, ch, y, x = torch.meshgrid(*(torch.arange(size) for size in (recipe["N"], recipe["K"], 3, 336, 336)), indexing="ij")
    level = n * recipe["a"] + k * recipe["b"] + ch * 41 + y * recipe["c"] + x * recipe["d"] + (x * y) // (50 + 7 * k)
    return ((level % 256).double() / 127.5 - 1).float()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("which", ["phi3", "phi35"])
def test_the_second_implementation_equals_the_published_code(phi3v: Path, reference: ModuleType, which: str, name: str) -> None:
    goldens = phi3v / "goldens"
    facts = json.loads((goldens / which / "cases" / f"{name}.json").read_text())
    saved = load_file(goldens / which / "cases" / f"{name}.safetensors")
    folder = goldens / which / "checkpoint"
    config = json.loads((folder / "config.json").read_text()) | (facts.get("config_overrides") or {})
    train = "grad_norms" in facts
    weights = {key: one.float().requires_grad_(train) for key, one in load_file(folder / "model.safetensors").items()}
    cuts = _cuts(reference, goldens, facts, saved)
    rows = [reference.photo_rows(weights, config, *one) for one in cuts]
    ids, mask = saved["input_ids"], saved["attention_mask"]
    scores = reference.logits(weights, config, _numbered(ids, rows), mask, torch.arange(ids.shape[1])[None].expand_as(ids), rows)
    if rows:
        assert (torch.cat(rows)[saved["image_embeds_rows"]] - saved["image_embeds"]).abs().max() < ROWS
    real = mask.bool()
    expected = saved["logits_cols"][real[:, saved["pos_sel"]]]
    found = scores[:, saved["pos_sel"]][:, :, torch.arange(0, 32064, 501)][real[:, saved["pos_sel"]]]
    assert (found - expected).abs().max() < LOGITS
    if train:
        value = reference.loss(scores, saved["labels"])
        assert abs(value.item() - facts["loss"]) < LOSS
        value.backward()
        for key, norm in facts["grad_norms"].items():
            grad = weights[key].grad
            assert (grad is None) == (norm is None), key
            assert grad is None or abs(float(grad.norm()) - norm) <= GRADIENTS * max(norm, 1e-3), key


def _cuts(reference: ModuleType, goldens: Path, facts: dict[str, Any], saved: dict[str, torch.Tensor]) -> list[Any]:
    """Tiles and grid of every photo of a kit case."""
    if facts["kind"] == "e2e":
        return [reference.cut(Image.open(goldens / "images" / name), facts["num_crops"], 336) for name in facts["images"]]
    if not facts.get("pixel_formula"):
        return []
    grids = [(h // 336, w // 336) for h, w in saved["image_sizes"].tolist()]
    pixels = formula_pixels(facts["pixel_formula"])
    return [(pixels[i, : r * c + 1], r, c) for i, (r, c) in enumerate(grids)]


def _numbered(ids: torch.Tensor, rows: list[torch.Tensor]) -> torch.Tensor:
    """Placeholders as -1, -2, ... over the whole batch, from the lengths of the photos."""
    flat = ids.flatten().clone()
    places = (flat < 0).nonzero().flatten()
    lengths = [len(one) for one in rows]
    assert len(places) == sum(lengths)
    for number, own in enumerate(places.split(lengths) if lengths else [], 1):
        flat[own] = -number
    return flat.view_as(ids)


def test_the_committed_goldens_are_what_the_script_makes(home: Any, reference: ModuleType) -> None:
    values, tensors = reference.answers(home.weights, home.config)
    assert values.keys() == home.cases.keys()
    assert tensors.keys() == home.tensors.keys()
    for key, one in tensors.items():
        assert torch.allclose(one.double(), home.tensors[key].double(), atol=LOGITS), key
    for name, case in values.items():
        assert case["expected"]["greedy"] == home.cases[name]["expected"]["greedy"], name
        assert abs(case["expected"]["loss"] - home.cases[name]["expected"]["loss"]) < LOSS


def test_the_committed_goldens_leave_no_greedy_choice_to_rounding_and_stay_small(home: Any, reference: ModuleType) -> None:
    assert min(case["expected"]["margin"] for case in home.cases.values()) > reference.SAFE_MARGIN
    assert home.config == reference.CONFIGS[home.name]
    assert sum(path.stat().st_size for path in home.folder.parent.rglob("*") if path.is_file()) < 3_000_000
