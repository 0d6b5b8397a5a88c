"""The tiny model: the same classes, a vocabulary of the task's own words, a tower that starts by looking around itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seeworth.phi3v import Phi3VForCausalLM, Phi3VProcessor
from seeworth.phi3v.tiny import make_tiny, tiny_tokenizer
from seeworth.phi3v.tiny_start import NEIGHBOURS

TEXTS = ["Product: Scarf in Camel Checked Cashmere, Long, Category: SCARVES, Full Price: 1290", "What is shown in this image?"]


@pytest.fixture(scope="module")
def tiny() -> tuple[Phi3VForCausalLM, Phi3VProcessor]:
    return make_tiny(TEXTS, seed=3)


def test_it_has_about_two_and_a_half_million_parameters(tiny: tuple[Any, Any]) -> None:
    assert 2.0e6 < sum(weight.numel() for weight in tiny[0].parameters()) < 3.0e6


def test_the_same_words_and_seed_give_the_same_weights(tiny: tuple[Any, Any]) -> None:
    again, _ = make_tiny(TEXTS, seed=3)
    other, _ = make_tiny(TEXTS, seed=4)
    first = tiny[0].state_dict()
    assert all(torch.equal(weight, first[name]) for name, weight in again.state_dict().items())
    assert not torch.equal(other.lm_head.weight, first["lm_head.weight"])


def test_numbers_are_read_digit_by_digit(tiny: tuple[Any, Any]) -> None:
    processor = tiny[1]
    pieces = processor.tokenizer.convert_ids_to_tokens(processor.plain_ids("Full Price: 1290"))
    assert pieces[-4:] == ["1", "2", "9", "0"]
    assert "▁Price" in pieces


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=30).filter(lambda text: "▁" not in text))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    tokenizer = _tokenizer()
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids) == text


def _tokenizer(cache: dict[str, Any] = {}) -> Any:  # noqa: B006 - one tokenizer for all examples
    return cache.setdefault("tiny", tiny_tokenizer(TEXTS))


def test_no_row_of_a_layer_is_all_zeros(tiny: tuple[Any, Any]) -> None:
    """DoRA divides by their lengths: with a row of zeros its first loss is not a number."""
    for name, module in tiny[0].named_modules():
        if isinstance(module, torch.nn.Linear):
            assert module.weight.norm(dim=1).min() > 0, name


def test_four_heads_start_at_their_neighbours(tiny: tuple[Any, Any]) -> None:
    """Measured: 0.99 of the attention on the neighbour; a wrong sign or axis gives under 0.01."""
    tower = tiny[0].model.vision_embed_tokens.img_processor.vision_model
    side, heads = 8, tower.config.num_attention_heads
    width = tower.config.hidden_size // heads
    layer = tower.encoder.layers[0]
    with torch.no_grad():
        hidden = layer.layer_norm1(tower.pre_layrnorm(tower.embeddings(torch.rand(1, 3, 112, 112))))
        query, key = (part(hidden)[0].view(-1, heads, width).transpose(0, 1) for part in (layer.self_attn.q_proj, layer.self_attn.k_proj))
        attention = (query @ key.transpose(1, 2) / width**0.5).softmax(-1)
    for head, (down, right) in enumerate(NEIGHBOURS):
        here, there = 1 + 3 * side + 4, 1 + (3 + down) * side + 4 + right
        assert attention[head, here, there] > 0.8, head
    assert attention[4].max() < 0.2
