"""Generation with the cache against generation without one: rows alone, left-padded, across the rope border, beams, samples."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from seeworth.phi3v import Phi3VError, Phi3VForCausalLM

IMAGE = 319


def unstopped(model: Phi3VForCausalLM) -> Phi3VForCausalLM:
    model.generation_config.eos_token_id = None
    return model


def without_cache(model: Phi3VForCausalLM, batch: dict[str, Tensor], steps: int) -> list[list[int]]:
    """Greedy words, everything computed anew at every step."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    photos = {key: batch[key] for key in ("pixel_values", "image_sizes") if key in batch}
    with torch.no_grad():
        for _ in range(steps):
            places = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
            scores = model(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False, **photos).logits[:, -1]
            scores[:, IMAGE] = -torch.inf
            ids = torch.cat([ids, scores.argmax(-1, keepdim=True)], 1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    return ids[:, batch["input_ids"].shape[1] :].tolist()


def new_words(model: Phi3VForCausalLM, batch: dict[str, Tensor], steps: int, **more: Any) -> list[list[int]]:
    words = model.generate(**batch, max_new_tokens=steps, do_sample=False, **more)
    return words[:, batch["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("distance", [-3, 0, 1, 5, 40])
def test_a_left_padded_batch_with_photos_crosses_the_rope_border_right(
    small: Any, reference: ModuleType, attn: str, distance: int
) -> None:
    """The longest row ends `distance` words before the border; the cached words equal those computed anew."""
    case = small.cases["mixed_left"]
    batch = small.inputs(reference, case, placeholder=IMAGE)
    longest = int(batch["attention_mask"].sum(-1).max())
    border = {"original_max_position_embeddings": longest + distance, "max_position_embeddings": 4096}
    model = unstopped(small.model(attn=attn, **border))
    expected = without_cache(model, batch, 12)
    assert new_words(model, batch, 12) == expected
    assert new_words(model, batch, 12, use_cache=False) == expected
    if 0 <= distance <= 5:  # the border is really crossed: the short factors alone would say something else
        assert without_cache(unstopped(small.model(attn=attn, original_max_position_embeddings=2048)), batch, 12) != expected


def test_padding_that_every_row_has_does_not_count_towards_the_border(small: Any, reference: ModuleType) -> None:
    """A batch padded wider than its longest row, as to a multiple of 64."""
    batch = small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)
    longest = batch["input_ids"].shape[1]
    model = unstopped(small.model(original_max_position_embeddings=longest + 4, max_position_embeddings=4096))
    expected = new_words(model, batch, 12)
    wide = dict(batch)
    for key, value in (("input_ids", 312), ("attention_mask", 0)):
        wide[key] = torch.nn.functional.pad(batch[key], (7, 0), value=value)
    lengths: list[int] = []
    model.model.layers[0].register_forward_hook(lambda module, inputs, output: lengths.append(inputs[0].shape[1]))
    assert new_words(model, wide, 12) == expected
    assert lengths == [longest + 7] + [1] * 4 + [longest + 7 + 5] + [1] * 6


def test_photos_are_read_again_exactly_once_when_the_border_is_crossed(small: Any, reference: ModuleType) -> None:
    batch = small.inputs(reference, small.cases["one_photo_c1"], placeholder=IMAGE)
    border = batch["input_ids"].shape[1] + 3
    model = unstopped(small.model(original_max_position_embeddings=border, max_position_embeddings=4096))
    ran: list[int] = []
    model.model.vision_embed_tokens.register_forward_hook(lambda *_: ran.append(1))
    lengths: list[int] = []
    model.model.layers[0].register_forward_hook(lambda module, inputs, output: lengths.append(inputs[0].shape[1]))
    new_words(model, batch, 10)
    assert len(ran) == 2
    assert lengths == [border - 3] + [1] * 3 + [border + 1] + [1] * 5


def test_clip_runs_once_when_no_border_is_crossed(small: Any, reference: ModuleType) -> None:
    model = unstopped(small.model())
    ran: list[int] = []
    model.model.vision_embed_tokens.register_forward_hook(lambda *_: ran.append(1))
    new_words(model, small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE), 6)
    assert len(ran) == 1


def test_generating_twice_in_a_row_gives_the_same_words_whatever_came_before(small: Any, reference: ModuleType) -> None:
    """The rope factors of one call must not leak into the next."""
    batch = small.inputs(reference, small.cases["one_photo_c1"], placeholder=IMAGE)
    short = {"input_ids": torch.tensor([[1, 5, 9]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    model = unstopped(small.model(original_max_position_embeddings=20, max_position_embeddings=4096))
    before = (new_words(model, short, 5), new_words(model, batch, 5))
    assert (new_words(model, short, 5), new_words(model, batch, 5)) == before


@pytest.mark.parametrize("how", [{"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 3}])
@pytest.mark.parametrize("border", [4096, 0])
def test_beams_of_a_mixed_batch_equal_those_of_the_rows_alone(
    small: Any, reference: ModuleType, how: dict[str, int], border: int
) -> None:
    batch = small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)
    longest = int(batch["attention_mask"].sum(-1).max())
    model = unstopped(small.model())
    if not border:  # crossed while the beams grow, by the last row alone
        model = unstopped(small.model(original_max_position_embeddings=longest + 2, max_position_embeddings=4096))
    found = new_words(model, batch, 6, **how)
    count = how.get("num_return_sequences", 1)
    last = {key: batch[key][2:] for key in ("input_ids", "attention_mask")}
    last |= {key: batch[key][1:] for key in ("pixel_values", "image_sizes")}
    assert found[2 * count :] == new_words(model, last, 6, **how)
    if border:
        ids = batch["input_ids"][1][batch["attention_mask"][1].bool()][None]
        middle = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        middle |= {key: batch[key][:1] for key in ("pixel_values", "image_sizes")}
        assert found[count : 2 * count] == new_words(model, middle, 6, **how)


def test_several_samples_of_a_row_see_its_own_photos(small: Any, reference: ModuleType) -> None:
    """At a temperature near zero every sample is the greedy answer of its row."""
    batch = small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)
    model = unstopped(small.model())
    greedy = new_words(model, batch, 5)
    words = model.generate(**batch, max_new_tokens=5, do_sample=True, temperature=1e-4, num_return_sequences=3)
    sampled = words[:, batch["input_ids"].shape[1] :].tolist()
    assert sampled == [row for row in greedy for _ in range(3)]


def test_beams_from_features_need_the_sizes_and_then_agree(small: Any, reference: ModuleType) -> None:
    batch = small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)
    model = unstopped(small.model())
    words = {key: batch[key] for key in ("input_ids", "attention_mask")}
    features = model.image_features(batch["pixel_values"], batch["image_sizes"])
    with pytest.raises(Phi3VError, match="need image_sizes too"):
        new_words(model, words, 3, image_features=features, num_beams=2)
    found = new_words(model, words | {"image_sizes": batch["image_sizes"]}, 5, image_features=features, num_beams=2)
    assert found == new_words(model, batch, 5, num_beams=2)


def test_the_placeholder_is_never_said(small: Any, reference: ModuleType) -> None:
    model = unstopped(small.model())
    batch = small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)
    with torch.no_grad():  # a model that would love to say it
        model.lm_head.weight[IMAGE] = 50 * model.model(**batch).last_hidden_state[2, -1]
    assert model(**batch).logits[2, -1].argmax() == IMAGE
    for how in ({"do_sample": False}, {"do_sample": True}, {"num_beams": 2}):
        words = model.generate(**batch, max_new_tokens=6, **how)[:, batch["input_ids"].shape[1] :]
        assert not (words == IMAGE).any()


def test_a_repetition_penalty_works_with_photos(small: Any, reference: ModuleType) -> None:
    model = unstopped(small.model())
    batch = small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)
    assert new_words(model, batch, 20, repetition_penalty=50.0) != new_words(model, batch, 20)
    for row in new_words(model, batch, 20, repetition_penalty=50.0):
        assert len(set(row)) == 20


def test_a_stop_word_ends_a_row_and_the_others_go_on(small: Any, reference: ModuleType) -> None:
    batch = small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)
    free = new_words(unstopped(small.model()), batch, 8)
    stop = free[1][2]
    model = small.model(eos_token_id=stop)
    found = new_words(model, batch, 8)
    for row, words in zip(found, free, strict=True):
        end = words.index(stop) + 1 if stop in words else 8
        assert row[:end] == words[:end]
        assert set(row[end:]) <= {model.config.pad_token_id}


@pytest.mark.parametrize("cache", ["static", "dynamic"])
def test_other_caches_give_the_same_words(small: Any, reference: ModuleType, cache: str) -> None:
    batch = small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)
    model = unstopped(small.model())
    assert new_words(model, batch, 5, cache_implementation=cache) == without_cache(model, batch, 5)


def test_a_dialogue_goes_on_from_its_cache_and_takes_a_second_photo(small: Any, reference: ModuleType) -> None:
    model = small.model()
    batch = small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)
    ids = batch["input_ids"][2:]
    assert batch["attention_mask"][2].all()
    whole = model(input_ids=ids, pixel_values=batch["pixel_values"][1:], image_sizes=batch["image_sizes"][1:]).logits
    cut = int((ids[0] == IMAGE).nonzero()[40]) + 3  # behind the first photo's 41 places and what follows it
    first = model(input_ids=ids[:, :cut], pixel_values=batch["pixel_values"][1:2], image_sizes=batch["image_sizes"][1:2], use_cache=True)
    rest = {"input_ids": ids[:, cut:], "past_key_values": first.past_key_values}
    with pytest.raises(Phi3VError, match="no photo is given, the text holds 41 placeholders"):
        model(**rest)
    second = model(**rest, pixel_values=batch["pixel_values"][2:], image_sizes=batch["image_sizes"][2:])
    assert (second.logits - whole[:, cut:]).abs().max() < 2e-5
