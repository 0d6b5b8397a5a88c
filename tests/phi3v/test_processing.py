"""Texts and photos -> ids: the published ids, photos and tags that match or are told, padding and cutting."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image

from seeworth.phi3v import Phi3VError, Phi3VProcessor

RED, GREEN, BLUE = (Image.new("RGB", (90, 60), colour) for colour in ("red", "green", "blue"))
TALL = Image.new("RGB", (60, 180), "white")
PROMPT = "<|user|>\n<|image_1|>\nWhat is shown in this image?<|end|>\n<|assistant|>\n"


def test_ids_and_words_equal_the_published_ones(published_processor: Phi3VProcessor, phi3v: Path) -> None:
    facts = json.loads((phi3v / "goldens" / "tokenizer.json").read_text())
    tokenizer = published_processor.tokenizer
    assert len(facts["texts"]) > 15
    for one in facts["texts"]:
        assert tokenizer(one["text"]).input_ids == one["ids"]
        assert tokenizer(one["text"], add_special_tokens=False).input_ids == one["ids_no_special"]
        assert published_processor.decode(one["ids"]) == one["decoded"]
        assert published_processor.batch_decode([one["ids"]], skip_special_tokens=True) == [one["decoded_skip"]]
        if "<|image" not in one["text"]:
            assert published_processor(one["text"])["input_ids"].tolist() == [one["ids"]]


def test_chats_are_written_as_published(published_processor: Phi3VProcessor, phi3v: Path) -> None:
    facts = json.loads((phi3v / "goldens" / "tokenizer.json").read_text())
    for one in facts["chat_template"]:
        for door in (published_processor, published_processor.tokenizer):
            text = door.apply_chat_template(one["messages"], tokenize=False, add_generation_prompt=one["gen"])
            assert text == one["text"]


def test_the_worked_example_of_the_specification(published_processor: Phi3VProcessor) -> None:
    published_processor.image_processor.num_crops = 1
    ids = published_processor(PROMPT, Image.new("RGB", (336, 336)))["input_ids"][0].tolist()
    after = [1, 29871, 13, 5618, 338, 4318, 297, 445, 1967, 29973, 32007, 29871, 13, 32001]
    assert ids == [1, 32010, 29871, 13] + [32044] * 313 + after
    assert published_processor.photo_ids(2) == [32044, 32044, 1]
    assert published_processor("<|image_1|>", RED)["input_ids"][0].tolist() == [1] + [32044] * 313 + [1]


def test_one_text_takes_its_photos_in_any_form(tiny_processor: Phi3VProcessor) -> None:
    expected = tiny_processor(PROMPT, RED)
    for text, images in [(PROMPT, [RED]), ([PROMPT], RED), ([PROMPT], [RED]), ([PROMPT], [[RED]]), ((PROMPT,), ((RED,),))]:
        found = tiny_processor(text, images, return_tensors="pt")
        assert found.keys() == expected.keys() == {"input_ids", "attention_mask", "pixel_values", "image_sizes"}
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_many_texts_in_one_call_equal_each_alone(tiny_processor: Phi3VProcessor) -> None:
    texts = ["no photo", PROMPT, "<|image_1|> beside <|image_2|>", "<|image_1|>"]
    groups = [[], [TALL], [RED, TALL], [BLUE]]
    alone = [tiny_processor(text, photos) for text, photos in zip(texts, groups, strict=True)]
    for images in (groups, [TALL, RED, TALL, BLUE], [None, TALL, [RED, TALL], [BLUE]]):
        for side in ("left", "right"):
            found = tiny_processor(texts, images, padding_side=side)
            for ids, mask, own in zip(found["input_ids"], found["attention_mask"], alone, strict=True):
                assert torch.equal(ids[mask.bool()], own["input_ids"][0])
                assert mask[0 if side == "right" else -1] == 1
                assert (ids[mask == 0] == tiny_processor.tokenizer.pad_token_id).all()
            assert torch.equal(found["pixel_values"], torch.cat([one["pixel_values"] for one in alone if "pixel_values" in one]))
            assert torch.equal(found["image_sizes"], torch.cat([one["image_sizes"] for one in alone if "image_sizes" in one]))


def test_tags_out_of_order_take_the_photo_of_their_number(tiny_processor: Phi3VProcessor) -> None:
    turned = tiny_processor("<|image_2|> then <|image_1|>", [RED, TALL])
    straight = tiny_processor("<|image_1|> then <|image_2|>", [TALL, RED])
    assert all(torch.equal(turned[key], straight[key]) for key in straight)


@pytest.mark.parametrize(
    ("text", "images", "told"),
    [
        ("What?", [RED], "holds no photo tag, expected <|image_1|>"),
        ("<|image_1|> What?", None, "holds <|image_1|>, expected no photo tag"),
        ("<|image_1|> and <|image_2|>", [RED], "holds <|image_1|>, <|image_2|>, expected <|image_1|>, each once"),
        ("<|image_1|> and <|image_1|>", [RED, RED], "holds <|image_1|>, <|image_1|>, expected <|image_1|>, <|image_2|>"),
        ("<|image_1|> and <|image_1|>", [RED], "each once"),
        ("<|image_2|>", [RED], "holds <|image_2|>, expected <|image_1|>"),
        ("<|image_0|>", [RED], "holds <|image_0|>"),
        (["<|image_1|>", "<|image_1|>"], [[RED]], "2 texts and 1 lists"),
        (["<|image_1|>", "<|image_1|>"], [RED], "2 photo tags, 1 photos"),
        (["<|image_1|>", "x"], [[], [RED]], "holds <|image_1|>, expected no photo tag"),
        ("<|image|> What?", None, "marks a photo's place"),
        ("<|image_1|>", ["photo.png"], "expected PIL photos, found str"),
        (None, RED, "no text is given"),
        ([], None, "no text is given"),
        (RED, PROMPT, "expected text as str, found Image"),
        ("half \ud83d", None, "no valid Unicode"),
    ],
)
def test_what_does_not_match_is_told_in_one_line(tiny_processor: Phi3VProcessor, text: object, images: object, told: str) -> None:
    with pytest.raises(Phi3VError) as caught:
        tiny_processor(text, images)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_keyword_that_would_change_nothing_is_refused(tiny_processor: Phi3VProcessor) -> None:
    for keyword in ({"num_crops": 2}, {"add_special_tokens": False}, {"sanitize_control_tokens": True}):
        with pytest.raises(Phi3VError, match=f"does not know {next(iter(keyword))}"):
            tiny_processor("x", **keyword)


def test_padding_and_cutting(tiny_processor: Phi3VProcessor) -> None:
    texts = ["one", "one two three four"]
    assert tiny_processor(texts, padding="max_length", max_length=40)["input_ids"].shape == (2, 40)
    assert [len(row) for row in tiny_processor(texts, padding=False, return_tensors=None)["input_ids"]] == [
        len(tiny_processor(text)["input_ids"][0]) for text in texts
    ]
    assert tiny_processor(texts, truncation=True, max_length=3)["input_ids"].shape == (2, 3)
    long = tiny_processor(PROMPT, RED)["input_ids"].shape[1]
    assert tiny_processor(PROMPT, RED, truncation=True, max_length=long - 4)["input_ids"].shape == (1, long - 4)
    with pytest.raises(Phi3VError, match="max_length 9 would cut a photo's tokens"):
        tiny_processor(PROMPT, RED, truncation=True, max_length=9)
    with pytest.raises(Phi3VError, match="needs max_length"):
        tiny_processor(PROMPT, RED, truncation=True)


def test_it_survives_pickling_and_saving(tiny_processor: Phi3VProcessor, tmp_path: Path) -> None:
    tiny_processor.save_pretrained(tmp_path)
    expected = tiny_processor(PROMPT, TALL)
    for other in (pickle.loads(pickle.dumps(tiny_processor)), Phi3VProcessor.from_pretrained(tmp_path)):
        found = other(PROMPT, TALL)
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        assert other.plain_ids("<|end|> é") == tiny_processor.plain_ids("<|end|> é")
        assert other.apply_chat_template([{"role": "user", "content": "a"}]) == "<|user|>\na<|end|>\n"
    assert "Phi3VProcessor" in repr(tiny_processor)


def test_num_crops_may_be_chosen_on_loading(tiny_processor: Phi3VProcessor, tmp_path: Path) -> None:
    tiny_processor.save_pretrained(tmp_path)
    assert Phi3VProcessor.from_pretrained(tmp_path).image_processor.num_crops == 4
    assert Phi3VProcessor.from_pretrained(tmp_path, num_crops=9).image_processor.num_crops == 9


def test_a_folder_without_its_files_and_a_foreign_tokenizer_are_told(tiny_processor: Phi3VProcessor, tmp_path: Path) -> None:
    with pytest.raises(Phi3VError, match=r"preprocessor_config\.json is not there"):
        Phi3VProcessor.from_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace("<|image|>", "<|picture|>"), encoding="utf-8")
    with pytest.raises(Phi3VError, match=r"the tokenizer has no <\|image\|>"):
        Phi3VProcessor.from_pretrained(tmp_path)
    other = json.loads(whole)
    other["normalizer"] = None
    path.write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(Phi3VError, match="not as Phi-3-Vision does"):
        Phi3VProcessor.from_pretrained(tmp_path)
    path.unlink()
    with pytest.raises(Phi3VError, match=r"tokenizer\.json is not there"):
        Phi3VProcessor.from_pretrained(tmp_path)
