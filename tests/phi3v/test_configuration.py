"""config.json: what was published is read, what is saved has the published form, and both say the same."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, CLIPVisionConfig

from seeworth.phi3v import Phi3VConfig, Phi3VError


def published_code_accepts(data: dict[str, Any]) -> None:
    """The conditions of the published configuration code, and of engines that read its form."""
    rope = data["rope_scaling"]
    assert set(rope) == {"type", "short_factor", "long_factor"}
    assert rope["type"] == "su"
    half = data["hidden_size"] // data["num_attention_heads"] // 2
    for key in ("short_factor", "long_factor"):
        assert len(rope[key]) == half
        assert all(isinstance(one, int | float) for one in rope[key])
    assert data["rope_theta"] == 10000.0
    assert data["model_type"] == "phi3_v"
    assert data["architectures"] == ["Phi3VForCausalLM"]
    assert data["embd_layer"]["embedding_cls"] == "image"
    assert data["img_processor"]["name"] == "clip_vision_model"
    assert {"image_dim_out", "num_img_tokens", "model_name"} <= set(data["img_processor"])
    assert isinstance(data["sliding_window"], int)
    assert data["original_max_position_embeddings"] < data["max_position_embeddings"]
    assert not {"vision_config", "rope_parameters", "published_sliding_window", "_attn_implementation"} & set(data)


def test_the_published_config_is_read(published: Path) -> None:
    config = AutoConfig.from_pretrained(published)
    assert type(config) is Phi3VConfig
    assert config.rope_parameters["rope_type"] == "longrope"
    assert len(config.rope_parameters["short_factor"]) == 48
    assert (config.max_position_embeddings, config.original_max_position_embeddings) == (131072, 4096)
    assert config.sliding_window is None
    vision = config.vision_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.image_size, vision.patch_size) == (1024, 24, 336, 14)
    assert (vision.intermediate_size, vision.num_attention_heads, vision.hidden_act) == (4096, 16, "quick_gelu")
    assert config._attn_implementation is None  # the file's flash attention is somebody else's machine


def test_the_published_config_is_written_back_with_every_value_it_had(published: Path, tmp_path: Path) -> None:
    Phi3VConfig.from_pretrained(published).save_pretrained(tmp_path)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (published, tmp_path))
    published_code_accepts(after)
    for key in set(before) - {"_attn_implementation", "_name_or_path", "transformers_version"}:
        assert after[key] == before[key], key


def test_every_way_of_copying_a_config_keeps_all_of_it(home: Any) -> None:
    config = Phi3VConfig.from_dict(home.config)
    copies = [
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
        Phi3VConfig.from_dict(config.to_dict()),
        Phi3VConfig.from_dict(json.loads(config.to_json_string())),
        Phi3VConfig.from_dict(json.loads(json.dumps(config.to_diff_dict()))),
    ]
    for other in copies:
        assert other.to_dict() == config.to_dict()
        assert other.rope_parameters == config.rope_parameters
        assert other.vision_config.to_dict() == config.vision_config.to_dict()
        assert other.sliding_window is None
    published_code_accepts(config.to_dict() | {"img_processor": {"model_name": "x"} | config.img_processor})


def test_reading_changes_neither_the_callers_dict_nor_the_config(home: Any) -> None:
    data = copy.deepcopy(home.config)
    config = Phi3VConfig.from_dict(data)
    assert data == home.config
    first = config.to_dict()
    assert config.to_dict() == first


def test_clip_sizes_given_in_either_way_are_saved() -> None:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3, "image_size": 112, "patch_size": 14}
    for vision in (sizes, CLIPVisionConfig(**sizes, hidden_act="quick_gelu")):
        config = Phi3VConfig(vision_config=vision)
        again = Phi3VConfig.from_dict(config.to_dict())
        for key, value in sizes.items():
            assert getattr(again.vision_config, key) == getattr(config.vision_config, key) == value


def test_a_window_that_binds_stays() -> None:
    assert Phi3VConfig(sliding_window=100).sliding_window == 100
    assert Phi3VConfig(sliding_window=100).to_dict()["sliding_window"] == 100


def test_a_config_without_long_rope_round_trips() -> None:
    config = Phi3VConfig(hidden_size=48, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    again = Phi3VConfig.from_dict(json.loads(config.to_json_string()))
    assert again.rope_parameters["rope_type"] == "default"
    assert again.rope_parameters["rope_theta"] == 500.0
    assert again.to_dict()["rope_scaling"] is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "llava"}, "this checkpoint is a 'llava', expected 'phi3_v'"),
        ({"embd_layer": {"hd_transform_order": "glb_sub"}}, "hd_transform_order is 'glb_sub', expected 'sub_glb'"),
        ({"img_processor": {"name": "siglip"}}, "expected 'clip_vision_model'"),
        ({"img_processor": {"type_feature": "cls_patch"}}, "with 'cls_patch' features"),
    ],
)
def test_another_model_is_refused_in_one_line(home: Any, change: dict[str, Any], told: str) -> None:
    with pytest.raises(Phi3VError) as caught:
        Phi3VConfig.from_dict(home.config | change)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
