"""The files beside the weights, key by key against those that Microsoft published; every difference is meant, and told here."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoProcessor, AutoTokenizer

from seeworth.export.publish import PHI_3, PHI_35, known_base, published_tokenizer, write_published
from seeworth.phi3v import Phi3VConfig, Phi3VForCausalLM, Phi3VProcessor
from seeworth.phi3v.tiny import make_tiny

NAMES = {PHI_3: "phi-3-vision-128k-instruct", PHI_35: "phi-3.5-vision-instruct"}
LISTS = {PHI_3: "state_dict_phi3.json.gz", PHI_35: "state_dict_phi35.json.gz"}
WRITER = {"transformers_version": "5.23.0"}  # who wrote it
# file -> what is otherwise there, in any model; ABSENT: not there
ABSENT = object()
MEANT: dict[str, dict[str, Any]] = {
    # as published, a plain load demands flash attention; and a name of Microsoft's own folder
    "config.json": WRITER | {"_attn_implementation": ABSENT, "_name_or_path": ABSENT},
    # the published 2 ends nothing; <|image|> is no word
    "generation_config.json": WRITER | {"eos_token_id": [32000, 32007], "suppress_tokens": [32044], "_from_model_config": ABSENT},
    "preprocessor_config.json": {},
    "processor_config.json": {},
    "special_tokens_map.json": {},
    "tokenizer.json": {"model.ignore_merges": False},  # says what it means when it is not said
    # reads tokenizer.json as it is in every version of transformers; for LlamaTokenizer 5.0.0 made another one
    "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
}
# model -> file -> what older 3 did not write yet and 3.5 does
ALSO: dict[str, dict[str, dict[str, Any]]] = {
    PHI_35: {},
    PHI_3: {
        "config.json": {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "pad_token_id": 32000},
        "preprocessor_config.json": {"do_convert_rgb": True},
        "tokenizer_config.json": {"processor_class": "Phi3VProcessor", "auto_map.AutoProcessor": "processing_phi3_v.Phi3VProcessor"},
        "tokenizer.json": {"model.ignore_merges": False},
    },
}


@pytest.fixture(scope="module", params=[PHI_3, PHI_35])
def exported(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """(Hub id, the published folder, ours): a full-size model without memory, its files written for real."""
    source = shared / "phi3v" / "pretrained" / NAMES[request.param]
    out = tmp_path_factory.mktemp("published")
    with torch.device("meta"):
        model = Phi3VForCausalLM(Phi3VConfig.from_pretrained(source))
    write_published(out, model, Phi3VProcessor.from_pretrained(source), dtype="bfloat16", base=known_base(model.config))
    return request.param, source, out


def flat(content: Any, before: str = "") -> dict[str, Any]:
    if not isinstance(content, dict) or not content:
        return {before.rstrip("."): content}
    return {key: value for name, one in content.items() for key, value in flat(one, f"{before}{name}.").items()}


@pytest.mark.parametrize("file", MEANT)
def test_every_key_is_as_published_but_for_those_that_are_meant_to_differ(exported: tuple[str, Path, Path], file: str) -> None:
    name, source, out = exported
    ours = flat(json.loads((out / file).read_text()))
    if not (source / file).is_file():
        assert name == PHI_3  # no published file of that name was found
        assert file in ("generation_config.json", "processor_config.json")
        return
    expected = flat(json.loads((source / file).read_text())) | ALSO[name].get(file, {})
    expected = {key: f"{name}--{value}" if key.startswith("auto_map.") else value for key, value in expected.items()}
    for key, value in MEANT[file].items():
        if value is ABSENT:
            expected.pop(key, None)
        else:
            expected[key] = value
    assert {key: ours.get(key, ABSENT) for key in expected} == expected
    assert set(ours) == set(expected)


def test_at_full_size_the_tensors_have_the_published_names_and_shapes(exported: tuple[str, Path, Path], shared: Path) -> None:
    """Of the model that our own config.json describes, read back."""
    name, _, out = exported
    with torch.device("meta"):
        model = Phi3VForCausalLM(Phi3VConfig.from_pretrained(out))
    published = json.loads(gzip.decompress((shared / "phi3v" / LISTS[name]).read_bytes()))
    assert {key: list(one.shape) for key, one in model.state_dict().items()} == {key: shape for key, (shape, _) in published.items()}
    assert model.config.to_dict()["rope_scaling"]["type"] == "su"


def test_what_is_written_comes_back_through_the_auto_classes(exported: tuple[str, Path, Path]) -> None:
    _, source, out = exported
    for trust in ({}, {"trust_remote_code": True}):  # auto_map leads to code that is never fetched or run
        config = AutoConfig.from_pretrained(out, **trust)
        assert type(config) is Phi3VConfig
        processor = AutoProcessor.from_pretrained(out, **trust)
        assert type(processor) is Phi3VProcessor
    before = Phi3VConfig.from_pretrained(source)
    told = [{**one.to_dict(), "transformers_version": "", "auto_map": "", "_name_or_path": ""} for one in (before, config)]
    assert told[0] == told[1]
    theirs = Phi3VProcessor.from_pretrained(source)
    assert processor.image_processor.num_crops == theirs.image_processor.num_crops
    text = "<|user|>\nWhat is it? <|end|>\n<|assistant|>\nProduct: Bag é 漢, Full Price: 12.5<|end|>"
    assert processor.tokenizer(text).input_ids == theirs.tokenizer(text).input_ids == AutoTokenizer.from_pretrained(out)(text).input_ids
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    said = [one.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for one in (processor, theirs)]
    assert said[0] == said[1]


def test_a_model_of_other_sizes_names_no_code_that_could_not_hold_it(tmp_path: Path) -> None:
    model, processor = make_tiny(["Product: Bag"], num_crops=2)
    assert known_base(model.config) is None
    write_published(tmp_path, model, processor, dtype="float32", base=None)
    for path in tmp_path.glob("*.json"):
        assert "auto_map" not in json.loads(path.read_text())
    again = Phi3VProcessor.from_pretrained(tmp_path)
    assert (again.image_processor.tile_size, again.image_processor.num_crops) == (112, 2)
    config = Phi3VConfig.from_pretrained(tmp_path)
    assert (config.image_token_id, config.vision_config.hidden_size) == (model.config.image_token_id, 160)
    assert config.to_dict()["img_processor"] == model.config.to_dict()["img_processor"]


def test_merges_with_spaces_in_them_stay_pairs() -> None:
    pairs = [["a", "b"], ["a b", "c"]]
    assert published_tokenizer({"model": {"merges": pairs}})["model"]["merges"] == pairs
    assert published_tokenizer({"model": {"merges": pairs[:1]}})["model"]["merges"] == ["a b"]
    assert published_tokenizer({"model": {"merges": ["a b"]}})["model"]["merges"] == ["a b"]
