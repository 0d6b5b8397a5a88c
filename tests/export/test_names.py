"""Names of adapters: held against the model, written so that other engines find their layers, and what these would leave out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from seeworth.errors import RunError
from seeworth.export.names import ADAPTER, KEPT, check_adapter, engines_line, linear_layers, short_targets, tensor_names, untouched_tensors
from seeworth.phi3v import Phi3VConfig, Phi3VForCausalLM
from seeworth.predict.vlm import load_base
from seeworth.settings import TrainSettings
from seeworth.train.parts import Parts, lora_config

TOWER = "model.vision_embed_tokens.img_processor.vision_model"


@pytest.fixture(scope="module")
def large(shared: Path) -> Any:
    with torch.device("meta"):
        return Phi3VForCausalLM(Phi3VConfig.from_pretrained(shared / "phi3v" / "pretrained" / "phi-3.5-vision-instruct"))


def pattern(model: Any, parts: Parts) -> str:
    settings = TrainSettings(data=Path("x"), output_dir=Path("y"), model="some/folder")
    return str(lora_config(model, settings, parts).target_modules)


def test_at_full_size_an_adapter_names_published_tensors_and_no_others(large: Any, shared: Path) -> None:
    published = json.loads(gzip.decompress((shared / "phi3v" / "state_dict_phi35.json.gz").read_bytes()))
    model = get_peft_model(large, LoraConfig(r=2, target_modules=pattern(large, Parts("lora", "lora", "lora"))))
    try:
        names = [name for name, _ in model.named_parameters() if ".lora_" in name]
        layers = {name.split(".lora_")[0].removeprefix("base_model.model.") for name in names}
        assert len(layers) == 32 * 4 + 2 + 23 * 6
        assert all(f"{layer}.weight" in published for layer in layers)
    finally:
        model.unload()


def test_target_modules_are_a_list_where_a_list_means_the_same(large: Any) -> None:
    layers = [name for name, _ in linear_layers(large)]
    language = short_targets(pattern(large, Parts("lora", "frozen", "frozen")), layers)
    assert language == ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]
    # q_proj would mean the last CLIP layer too, which is never computed; "0" and "2" could be anything
    everything = pattern(large, Parts("lora", "lora", "lora"))
    assert short_targets(everything, layers) == everything
    assert short_targets(["q_proj"], layers) == ["q_proj"]


def test_an_engine_is_told_what_it_would_leave_out(lora: Path) -> None:
    names = tensor_names(lora / ADAPTER)
    assert untouched_tensors(names) == {"projector": 4, "vision": 48}
    line = engines_line(names)
    assert "vLLM takes no adapter of this architecture" in line
    assert "would leave out 4 of projector, 48 of vision, of 68 tensors" in line
    assert "\n" not in line
    only = [name for name in names if "vision_embed" not in name]
    assert "Every tensor is LoRA of the language model's linear layers" in engines_line(only)


def test_the_exported_adapter_is_the_runs_bit_by_bit_and_loads_over_the_base_with_plain_peft(home: Any, lora: Path, adapter: Path) -> None:
    assert (adapter / ADAPTER).read_bytes() == (lora / ADAPTER).read_bytes()
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert set(config) <= set(KEPT)
    assert config["base_model_name_or_path"] == "trained"  # no path of this machine
    base, _ = load_base(str(home.base), dtype="float32")
    model = PeftModel.from_pretrained(base, str(adapter)).eval()
    theirs = PeftModel.from_pretrained(load_base(str(home.base), dtype="float32")[0], str(lora)).eval()
    ids = torch.tensor([[1, 40, 41, 42]])
    assert torch.equal(model(ids).logits, theirs(ids).logits)
    assert not torch.equal(model(ids).logits, load_base(str(home.base), dtype="float32")[0](ids).logits)


@pytest.fixture
def loaded(home: Any, lora: Path) -> Any:
    return PeftModel.from_pretrained(load_base(str(home.base), dtype="float32")[0], str(lora))


def changed(lora: Path, folder: Path, change: Any) -> Path:
    tensors = load_file(lora / ADAPTER)
    change(tensors)
    save_file(tensors, folder / ADAPTER)
    return folder / ADAPTER


LORA = {"language": "lora", "projector": "lora", "vision": "lora"}
QKV = "base_model.model.model.layers.0.self_attn.qkv_proj.lora_B.weight"


def test_names_as_they_should_be_are_given_back(loaded: Any, lora: Path) -> None:
    assert len(check_adapter(lora / ADAPTER, loaded, LORA)) == 68


@pytest.mark.parametrize(
    "name",
    ["base_model.model.language_model.model.layers.0.self_attn.qkv_proj.lora_B.weight", QKV.replace("base_model.model.", ""), QKV + "s"],
)
def test_a_tensor_that_no_module_has_is_told_by_its_name(loaded: Any, lora: Path, tmp_path: Path, name: str) -> None:
    file = changed(lora, tmp_path, lambda tensors: tensors.update({name: tensors.pop(QKV)}))
    with pytest.raises(RunError, match=r"holds .*qkv_proj.* the model has no place of that name") as told:
        check_adapter(file, loaded, LORA)
    assert name in str(told.value)


def test_a_tensor_that_is_missing_is_told_by_its_name(loaded: Any, lora: Path, tmp_path: Path) -> None:
    file = changed(lora, tmp_path, lambda tensors: tensors.pop(QKV))
    with pytest.raises(RunError, match=f"lacks {QKV} \\(1 tensors\\), which was trained"):
        check_adapter(file, loaded, LORA)


def test_a_part_trained_in_full_has_to_be_in_the_file(loaded: Any, lora: Path) -> None:
    with pytest.raises(RunError, match=r"lacks base_model\.model\.model\.vision_embed_tokens\.glb_GN \(6 tensors\)"):
        check_adapter(lora / ADAPTER, loaded, LORA | {"projector": "full"})


def test_a_damaged_file_is_told(loaded: Any, tmp_path: Path) -> None:
    (tmp_path / ADAPTER).write_bytes(b"\xff" * 100)
    with pytest.raises(RunError, match="cannot be read, take it from the run again"):
        check_adapter(tmp_path / ADAPTER, loaded, LORA)
