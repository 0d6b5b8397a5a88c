"""A finished run finds the features that its training kept, and only those that its own tower has made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seeworth.encode import Encoder
from seeworth.features import FeatureStore, features_folder
from seeworth.features.key import embedding_of
from seeworth.phi3v import Phi3VForCausalLM
from seeworth.predict.vlm import load_run
from seeworth.run_folder import write_run

from .conftest import MakePhotos

Made = tuple[Phi3VForCausalLM, Encoder]


@pytest.fixture
def run(made: Made, tmp_path: Path) -> Path:
    """The tiny model as a run folder, trained on tmp_path/data."""
    out = tmp_path / "run"
    made[0].save_pretrained(out)
    made[1].processor.save_pretrained(out)
    about = {"task": made[1].task.to_dict(), "data": str(tmp_path / "data"), "model": "tiny", "method": "full"}
    write_run(out, about | {"dtype": "float32", "attn_implementation": "sdpa", "settings": {"vision_cache_dir": None}})
    return out


def test_a_run_answers_from_the_features_of_its_training(made: Made, photos: MakePhotos, run: Path, tmp_path: Path) -> None:
    records = photos()
    assert load_run(run).features is None
    root = features_folder(tmp_path / "data")
    root.mkdir()
    assert load_run(run, keep_features=True).features is None  # nothing was kept: evaluation begins no store of its own
    kept = FeatureStore.open(root, *made)
    kept.features(records[:4], made[0])
    reader, keeper = load_run(run, max_new_tokens=4), load_run(run, max_new_tokens=4, keep_features=True)
    assert reader.features is not None
    assert keeper.features is not None
    said = [one.text for one in reader(records)]
    assert FeatureStore.open(root, *made).num_photos == 4
    assert [one.text for one in keeper(records)] == said
    assert FeatureStore.open(root, *made).num_photos == len(records)
    assert len(reader.features.found) == len(keeper.features.found) == 4


def test_a_run_whose_tower_was_trained_uses_no_features_of_the_untrained_one(
    made: Made, photos: MakePhotos, run: Path, tmp_path: Path
) -> None:
    FeatureStore.open(features_folder(tmp_path / "data"), *made).features(photos(), made[0])
    model = load_run(run).model
    with torch.no_grad():
        embedding_of(model).img_processor.vision_model.encoder.layers[0].mlp.fc1.weight += 0.01
    model.save_pretrained(run)
    assert load_run(run).features is None
