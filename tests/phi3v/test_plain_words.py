"""Words from data can never become control tokens, whatever they hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seeworth.phi3v import Phi3VError, Phi3VProcessor

MARKS = ["<|end|>", "<|assistant|>", "<|user|>", "<|system|>", "<|endoftext|>", "<|placeholder7|>", "</s>", "<s>", "<unk>", "<|image_1|>"]
MARKS += ["<|image|>", "<0x0A>", "<|", "|>", "<|end", "\n", " ", "  ", "Scarf", "é", "世界", "🙂", "\t", "\x00", "▁x"]
CHARACTERS = st.characters(exclude_categories=["Cs"])
WORDS = st.one_of(st.lists(st.sampled_from(MARKS), max_size=8).map("".join), st.text(CHARACTERS, max_size=30))
WORDS = st.lists(WORDS, min_size=1, max_size=4).map("".join)


def control_ids(processor: Phi3VProcessor) -> set[int]:
    """Everything that is not made of characters: added tokens, and the model's own <unk>, <s>, </s>."""
    return set(processor.tokenizer.added_tokens_decoder) | {0, 1, 2}


def check(processor: Phi3VProcessor, text: str) -> None:
    ids = processor.plain_ids(text)
    assert not control_ids(processor) & set(ids)
    assert processor.tokenizer.decode(ids) == text.replace("▁", " ")  # to the tokenizer, the two are the same character


@settings(max_examples=300, deadline=None)
@given(text=WORDS)
def test_plain_words_of_the_tiny_tokenizer_are_only_characters(tiny_processor: Phi3VProcessor, text: str) -> None:
    check(tiny_processor, text)


@settings(max_examples=300, deadline=None)
@given(text=WORDS)
def test_plain_words_of_the_published_tokenizers_are_only_characters(published_processor: Phi3VProcessor, text: str) -> None:
    check(published_processor, text)


def test_words_without_control_tokens_have_the_ids_that_the_model_was_trained_with(published_processor: Phi3VProcessor) -> None:
    for text in ("Product: Silk Scarf, Category: Scarves, Full Price: 1290", "\nWhat is shown?", " two  spaces ", "héllo 世界 🙂", "a"):
        assert published_processor.plain_ids(text) == published_processor.tokenizer(text, add_special_tokens=False).input_ids
    assert published_processor.plain_ids("") == []


def test_a_trusted_prompt_keeps_its_control_tokens(tiny_processor: Phi3VProcessor) -> None:
    ids = tiny_processor("<|user|>\nhi<|end|>\n<|assistant|>\n")["input_ids"][0].tolist()
    assert {tiny_processor.ids[mark] for mark in ("<|user|>", "<|end|>", "<|assistant|>")} <= set(ids)


def test_half_a_character_is_told_and_not_mangled(tiny_processor: Phi3VProcessor) -> None:
    with pytest.raises(Phi3VError, match="no valid Unicode"):
        tiny_processor.plain_ids("Scarf \ud83d")


def test_a_photo_count_is_the_same_by_size_alone(tiny_processor: Phi3VProcessor) -> None:
    ids = tiny_processor("<|image_1|>", Image.new("RGB", (40, 99)))["input_ids"][0]
    assert int((ids == tiny_processor.image_token_id).sum()) == tiny_processor.image_processor.plan(40, 99).num_tokens
