"""The prompt, the answer and their labels; words from data stay words."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seeworth.data.intake.stored import store_photo, stored_hash
from seeworth.encode import IGNORED, Encoder, collate, jitter
from seeworth.errors import PhotoError, TaskError
from seeworth.phi3v.tiny import make_tiny
from seeworth.record import Record
from seeworth.task import Field, Task

TASK = Task()
VALUES = {"title": "Long Coat in Camel", "category3_code": "COATS", "full_price": Decimal(1290)}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    _, processor = make_tiny([TASK.write(VALUES), TASK.prompt()])
    return Encoder(processor, TASK)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    path = tmp_path / "photo.png"
    Image.new("RGB", (60, 90), (200, 40, 40)).save(path)
    return Record("r1", path, VALUES, "g1", "train")


def test_the_prompt_is_the_cookbooks(encoder: Encoder, record: Record) -> None:
    processor = encoder.processor
    count = processor.image_processor.plan(60, 90).num_tokens
    text = "<|user|>\n<|image_1|>What is shown in this image?<|end|><|assistant|>\n"
    published = processor(text, Image.new("RGB", (60, 90)))["input_ids"][0].tolist()
    assert encoder.prompt_ids(record, count) == published


def test_only_the_answer_and_its_two_ends_are_labelled(encoder: Encoder, record: Record) -> None:
    example = encoder.example(record)
    tokenizer, ids = encoder.processor.tokenizer, encoder.processor.ids
    labelled = [label for label in example.labels if label != IGNORED]
    assert labelled[-2:] == [ids["<|end|>"], ids["<|endoftext|>"]]
    assert tokenizer.decode(labelled[:-2]) == "Product: Long Coat in Camel, Category: COATS, Full Price: 1290"
    assert example.input_ids[-len(labelled) :] == labelled
    assert set(example.labels[: -len(labelled)]) == {IGNORED}


def test_without_an_answer_nothing_is_labelled_and_no_value_is_needed(encoder: Encoder, record: Record) -> None:
    bare = Record("r2", record.photo, {}, "g")
    example = encoder.example(bare, answer=False)
    assert set(example.labels) == {IGNORED}
    assert example.input_ids[-1] == encoder.processor.ids["<|assistant|>"]
    with pytest.raises(TaskError, match="title: is missing"):
        encoder.example(bare)


CONTROL = st.sampled_from(["<|end|>", "<|assistant|>", "<|user|>", "<|image_1|>", "<|image|>", "<|endoftext|>", "</s>", "<s>", "<unk>"])
HOSTILE = st.lists(CONTROL | st.text(min_size=1, max_size=5), min_size=1, max_size=4).map("".join).filter(lambda text: text.strip())


@settings(max_examples=150, deadline=None)
@given(title=HOSTILE)
def test_a_title_can_never_become_a_control_token(encoder: Encoder, title: str) -> None:
    processor = encoder.processor
    added = set(processor.tokenizer.added_tokens_decoder)
    answer = encoder.answer_ids(Record("r", Path("p"), VALUES | {"title": title}, "g"))
    assert not added & set(answer[:-2])
    asking = Encoder(processor, Task("What costs {title}?", "{full_price}", (Field("title"), Field("full_price", "number"))))
    prompt = asking.prompt_ids(Record("r", Path("p"), {"title": title}, "g"), num_tokens=3)
    ids = processor.ids
    expected = [encoder.bos, ids["<|user|>"], *[ids["<|image|>"]] * 3, encoder.bos, ids["<|end|>"], ids["<|assistant|>"]]
    assert [one for one in prompt if one in added] == expected


def test_batches_pad_left_to_generate_and_right_to_train(encoder: Encoder, record: Record, tmp_path: Path) -> None:
    longer = Record("r2", record.photo, VALUES | {"title": "A very much longer title than the other one"}, "g")
    examples = [encoder.example(record), encoder.example(longer)]
    for side, edge in (("left", 0), ("right", -1)):
        batch = collate(examples, pad_id=0, side=side)
        assert batch["attention_mask"][0, edge] == 0
        assert batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist() == examples[0].input_ids
        assert batch["labels"][1].tolist() == examples[1].labels
        assert batch["pixel_values"].shape == (2, 2, 3, 112, 112)
        assert torch.equal(batch["pixel_values"][0], examples[0].tiles[0])


def test_a_broken_photo_is_told_by_name(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(PhotoError, match=r"broken\.jpg"):
        encoder.example(Record("r", path, VALUES, "g"))


def test_a_photo_of_a_dataset_folder_that_was_changed_is_told(encoder: Encoder, tmp_path: Path) -> None:
    """Under the same name and of the same size: nothing else would ever show it, and its features would be kept as the old one's."""
    Image.new("RGB", (40, 40), (200, 0, 0)).save(tmp_path / "red.png")
    name, sha256 = store_photo(tmp_path, (tmp_path / "red.png").read_bytes(), "png")
    assert stored_hash(tmp_path / name) == sha256
    assert stored_hash(tmp_path / "red.png") == ""
    one = Record("r1", tmp_path / name, {}, "g")
    encoder.example(one, answer=False)
    Image.new("RGB", (40, 40), (0, 200, 0)).save(tmp_path / name)
    with pytest.raises(PhotoError, match=r"record r1, photo .*: its \d+ bytes are not those of the import") as told:
        encoder.example(one, answer=False)
    assert told.value.code == "changed"


def test_jitter_keeps_the_size_and_follows_the_seed() -> None:
    photo = Image.linear_gradient("L").convert("RGB").resize((80, 60))
    once = jitter(photo, 1.0, random.Random(3))
    assert jitter(photo, 1.0, random.Random(3)).tobytes() == once.tobytes()
    assert jitter(photo, 1.0, random.Random(4)).tobytes() != once.tobytes()
    assert once.size == photo.size
    assert once.tobytes() != photo.tobytes()
