"""Folders -> model and back: published names, names other tools know, what is refused, and the Auto classes."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModelForCausalLM, AutoProcessor, AutoTokenizer

from seeworth.phi3v import Phi3VConfig, Phi3VError, Phi3VForCausalLM, Phi3VImageProcessor, Phi3VProcessor

WORD, OTHER_NAME = "model.embed_tokens.weight", "model.vision_embed_tokens.wte.weight"


def folder_with(home: Any, folder: Path, change: Callable[[dict[str, torch.Tensor]], None], **config: Any) -> Path:
    """A copy of the checkpoint whose tensors and config went through a change."""
    folder.mkdir(exist_ok=True)
    weights = dict(home.weights)
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(home.config | config))
    return folder


def same_weights(model: Phi3VForCausalLM, expected: dict[str, torch.Tensor]) -> bool:
    found = model.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[key].to(one.dtype), one) for key, one in expected.items())


@pytest.mark.parametrize(
    ("which", "names"), [("phi-3-vision-128k-instruct", "state_dict_phi3"), ("phi-3.5-vision-instruct", "state_dict_phi35")]
)
def test_at_full_size_names_and_shapes_are_the_published_ones(phi3v: Path, which: str, names: str) -> None:
    with torch.device("meta"):
        model = Phi3VForCausalLM(Phi3VConfig.from_pretrained(phi3v / "pretrained" / which))
    published = json.loads(gzip.decompress((phi3v / f"{names}.json.gz").read_bytes()))
    assert {key: list(one.shape) for key, one in model.state_dict().items()} == {key: shape for key, (shape, _) in published.items()}
    assert sum(one.numel() for one in model.parameters()) == 4_146_621_440


def test_a_folder_in_the_published_form_loads_whole(home: Any) -> None:
    model, info = Phi3VForCausalLM.from_pretrained(home.folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert same_weights(model, home.weights)
    assert model.dtype == torch.bfloat16  # as the file says
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("shard", ["5GB", "100KB"])
def test_what_is_saved_has_the_published_names_and_loads_equal(home: Any, tmp_path: Path, shard: str) -> None:
    model = home.model(dtype=torch.bfloat16)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert (len(files) > 1) == (shard == "100KB")
    saved = {key: one for path in files for key, one in load_file(path).items()}
    assert saved.keys() == home.weights.keys()
    assert all(torch.equal(saved[key], home.weights[key]) for key in saved)
    assert not [*tmp_path.glob("*.bin"), *tmp_path.glob("*.py"), *tmp_path.glob("*.pt")]
    assert same_weights(Phi3VForCausalLM.from_pretrained(tmp_path), home.weights)
    assert json.loads((tmp_path / "config.json").read_text())["rope_scaling"] == home.config["rope_scaling"]


def test_the_word_embedding_loads_under_either_name_or_both(small: Any, tmp_path: Path) -> None:
    def rename(weights: dict[str, torch.Tensor]) -> None:
        weights[OTHER_NAME] = weights.pop(WORD)

    def double(weights: dict[str, torch.Tensor]) -> None:
        weights[OTHER_NAME] = weights[WORD].clone()

    for number, change in enumerate((rename, double)):
        folder = folder_with(small, tmp_path / str(number), change)
        model = Phi3VForCausalLM.from_pretrained(folder)
        assert same_weights(model, small.weights)
        model.save_pretrained(folder / "again")
        assert load_file(folder / "again" / "model.safetensors").keys() == small.weights.keys()


def test_the_old_buffer_of_position_ids_is_ignored(small: Any, tmp_path: Path) -> None:
    def add(weights: dict[str, torch.Tensor]) -> None:
        weights["model.vision_embed_tokens.img_processor.vision_model.embeddings.position_ids"] = torch.arange(65)[None]

    assert same_weights(Phi3VForCausalLM.from_pretrained(folder_with(small, tmp_path, add)), small.weights)


def test_missing_tensors_are_refused_by_name(small: Any, tmp_path: Path) -> None:
    lost = "model.vision_embed_tokens.glb_GN"
    with pytest.raises(Phi3VError, match=f"1 tensors are missing from the checkpoint, first {lost}"):
        Phi3VForCausalLM.from_pretrained(folder_with(small, tmp_path, lambda weights: weights.pop(lost)))


def test_a_folder_of_pickles_is_refused(small: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(small.config))
    torch.save(small.weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"no file named model\.safetensors") as caught:
        Phi3VForCausalLM.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(Phi3VError, match="only safetensors are read"):
        Phi3VForCausalLM.from_pretrained(tmp_path, use_safetensors=False)


def test_a_foreign_model_is_refused_in_one_line(small: Any, tmp_path: Path) -> None:
    folder = folder_with(small, tmp_path, lambda weights: None, model_type="llama")
    with pytest.raises(Phi3VError, match=r"is a 'llama', expected 'phi3_v': give a folder or Hub id of Phi-3-vision"):
        Phi3VForCausalLM.from_pretrained(folder)


def test_weights_of_another_size_are_refused(small: Any, tmp_path: Path) -> None:
    folder = folder_with(small, tmp_path, lambda weights: None, vocab_size=321)
    with pytest.raises(Phi3VError, match=r"lm_head\.weight is \[320, 48\], config\.json says \[321, 48\]"):
        Phi3VForCausalLM.from_pretrained(folder)
    assert Phi3VForCausalLM.from_pretrained(folder, ignore_mismatched_sizes=True).lm_head.weight.shape == (321, 48)


def test_a_damaged_file_is_told_with_its_folder(small: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(small.config))
    (tmp_path / "model.safetensors").write_bytes((small.folder / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(Phi3VError, match="a safetensors file is damaged"):
        Phi3VForCausalLM.from_pretrained(tmp_path)


def test_auto_classes_know_the_model_without_remote_code(small: Any, tiny_processor: Phi3VProcessor, tmp_path: Path) -> None:
    """The folder names remote code and even holds some; it is never run, whatever is asked."""
    auto = {"AutoConfig": "bad.Phi3VConfig", "AutoModelForCausalLM": "bad.Phi3VForCausalLM"}
    folder = folder_with(small, tmp_path, lambda weights: None, auto_map=auto)
    tiny_processor.save_pretrained(folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    remote = {"auto_map": {"AutoProcessor": "bad.Phi3VProcessor", "AutoImageProcessor": "bad.Phi3VImageProcessor"}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | remote))
    (folder / "processor_config.json").write_text(json.dumps(remote | {"processor_class": "Phi3VProcessor"}))
    (folder / "bad.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit('remote code ran')\n")
    for trust in ({}, {"trust_remote_code": False}, {"trust_remote_code": True}):
        assert type(AutoConfig.from_pretrained(folder, **trust)) is Phi3VConfig
        assert type(AutoModelForCausalLM.from_pretrained(folder, **trust)) is Phi3VForCausalLM
        assert type(AutoProcessor.from_pretrained(folder, **trust)) is Phi3VProcessor
        assert type(AutoImageProcessor.from_pretrained(folder, **trust)) is Phi3VImageProcessor
    assert not (tmp_path / "ran").exists()
    assert AutoTokenizer.from_pretrained(folder)("<|user|>\nhi").input_ids == tiny_processor.tokenizer("<|user|>\nhi").input_ids


def test_auto_classes_read_the_published_folders(published: Path) -> None:
    expected = 16 if "128k" in published.name else 4
    processor = AutoProcessor.from_pretrained(published)
    assert type(processor) is Phi3VProcessor
    images = AutoImageProcessor.from_pretrained(published)
    assert type(images) is Phi3VImageProcessor
    assert processor.image_processor.num_crops == images.num_crops == expected
    assert AutoTokenizer.from_pretrained(published)("<|user|>\nhi").input_ids == [1, 32010, 29871, 13, 2918]
    assert AutoProcessor.from_pretrained(published, num_crops=2).image_processor.num_crops == 2


def test_the_kits_checkpoint_next_to_published_processor_files_works_whole(phi3v: Path, published: Path, tmp_path: Path) -> None:
    """A folder as it comes from the Hub: weights, config with remote code and flash attention, tokenizer, preprocessor."""
    which = "phi3" if "128k" in published.name else "phi35"
    for path in (*published.iterdir(), *(phi3v / "goldens" / which / "checkpoint").iterdir()):
        if path.name != "model.safetensors.index.json":
            shutil.copyfile(path, tmp_path / path.name)
    model, processor = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32), AutoProcessor.from_pretrained(tmp_path)
    chat = [{"role": "user", "content": "<|image_1|>\nWhat is shown in this image?"}]
    prompt = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    photo = Image.new("RGB", (64, 48), "red")
    processor.image_processor.num_crops = 1
    words = model.generate(**processor(prompt, [photo], return_tensors="pt"), max_new_tokens=3, do_sample=False)
    assert words.shape == (1, 331 + 3)
    assert "What is shown in this image?" in processor.batch_decode(words, skip_special_tokens=True)[0]


def test_generation_stops_where_a_chat_turn_ends_and_keeps_what_a_folder_says(home: Any, tmp_path: Path, reference: ModuleType) -> None:
    model = home.model()
    assert model.generation_config.eos_token_id == [32000, 32007]  # config.json says 2, which no chat turn ends with
    assert model.generation_config.suppress_tokens == [home.config["image_token_id"]]
    model.generation_config.eos_token_id = [7, 9]
    model.save_pretrained(tmp_path)
    for config in ({}, {"eos_token_id": 32000}):
        (tmp_path / "config.json").write_text(json.dumps(home.config | config))
        assert Phi3VForCausalLM.from_pretrained(tmp_path).generation_config.eos_token_id == [7, 9]
    told = home.model(eos_token_id=[5, 6])
    assert told.generation_config.eos_token_id == [5, 6]
