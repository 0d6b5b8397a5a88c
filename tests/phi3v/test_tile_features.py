"""The frozen half on its own: what the tower gave can stand in for the pixels everywhere, and changes not one bit."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from seeworth.phi3v import Phi3VError, Phi3VForCausalLM

IMAGE = 319


@pytest.fixture
def mixed(small: Any, reference: ModuleType) -> dict[str, Tensor]:
    """Three rows, with no photo, one and two, padded on the left."""
    return small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)


def from_features(model: Phi3VForCausalLM, batch: dict[str, Tensor]) -> dict[str, Any]:
    """The batch with the tower's output in place of its pixels."""
    with torch.no_grad():
        features = model.tile_features(batch["pixel_values"], batch["image_sizes"])
    return {key: one for key, one in batch.items() if key != "pixel_values"} | {"tile_features": features}


def watched_tower(model: Phi3VForCausalLM) -> list[int]:
    """Grows by one entry whenever the tower runs."""
    ran: list[int] = []
    model.model.vision_embed_tokens.img_processor.vision_model.register_forward_hook(lambda *_: ran.append(1))
    return ran


def test_logits_from_tile_features_are_those_from_pixels_bit_by_bit(home: Any, reference: ModuleType) -> None:
    model = home.model()
    ran = watched_tower(model)
    for name in ("mixed_left", "mixed_right", "one_photo_c1"):
        batch = home.inputs(reference, home.cases[name], placeholder=None)
        cached = from_features(model, batch)
        expected = model(**batch).logits
        before = len(ran)
        assert torch.equal(model(**cached).logits, expected)
        assert len(ran) == before
    assert ran


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradients_are_those_from_pixels_when_the_tower_is_frozen(
    small: Any, mixed: dict[str, Tensor], dtype: torch.dtype
) -> None:
    model = small.model(dtype=dtype).train()
    model.model.vision_embed_tokens.img_processor.requires_grad_(False)
    labels = mixed["input_ids"].masked_fill((mixed["attention_mask"] == 0) | (mixed["input_ids"] == IMAGE), -100)
    found = []
    for batch in (mixed, from_features(model, mixed)):
        for more in ({}, {"logits_at_labels": True}):
            model.zero_grad()
            loss = model(**batch, labels=labels, **more).loss
            loss.backward()
            found.append((loss, {name: one.grad for name, one in model.named_parameters() if one.grad is not None}))
    for (loss, grads), (expected, those) in zip(found[2:], found[:2], strict=True):
        assert torch.equal(loss, expected)
        assert set(grads) == set(those)
        assert {"model.vision_embed_tokens.glb_GN", "model.vision_embed_tokens.img_projection.0.weight"} <= set(grads)
        assert all(torch.equal(grads[name], those[name]) for name in grads)


def test_a_photo_of_one_tile_has_one_and_all_others_a_global_view_more(small: Any, reference: ModuleType) -> None:
    model = small.model()
    processor = small.image_processor(num_crops=6)
    photos = [reference.photo(112, 112, 1), reference.photo(60, 200, 2), reference.photo(300, 80, 3)]
    cut = processor(photos)
    features = model.tile_features(cut["pixel_values"], cut["image_sizes"])
    tiles = [processor.plan(*photo.size).num_tiles for photo in photos]
    assert [len(one) for one in features] == [1 if count == 2 else count for count in tiles]
    assert {tuple(one.shape[1:]) for one in features} == {(4, 4, 4 * small.config["img_processor"]["clip_config"]["hidden_size"])}
    for own, pixels, size in zip(features, cut["pixel_values"], cut["image_sizes"], strict=True):
        rows = model.model.vision_embed_tokens(None, size[None], [own])
        assert (rows[0] - model.image_features(pixels[None], size[None])[0]).abs().max() < 2e-5  # measured 2e-6: another batch


def test_the_features_of_no_photo_are_no_photo(small: Any) -> None:
    model = small.model()
    ids = torch.tensor([[1, 5, 9]])
    sizes = torch.zeros(0, 2, dtype=torch.long)
    assert torch.equal(model(input_ids=ids, tile_features=[], image_sizes=sizes).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 3}, {"use_cache": False}])
@pytest.mark.parametrize("border", [0, 2])
def test_generation_from_tile_features_says_the_same_words(
    small: Any, reference: ModuleType, mixed: dict[str, Tensor], how: dict[str, Any], border: int
) -> None:
    """Also when the rope border is crossed on the way and the photos are read once more."""
    longest = int(mixed["attention_mask"].sum(-1).max())
    sizes = {"original_max_position_embeddings": longest + border, "max_position_embeddings": 4096} if border else {}
    model = small.model(**sizes)
    model.generation_config.eos_token_id = None
    expected = model.generate(**mixed, max_new_tokens=6, do_sample=False, **how)
    cached = from_features(model, mixed)
    ran = watched_tower(model)
    assert torch.equal(model.generate(**cached, max_new_tokens=6, do_sample=False, **how), expected)
    assert not ran


def test_several_samples_from_tile_features_are_those_from_pixels(small: Any, mixed: dict[str, Tensor]) -> None:
    model = small.model()
    said = []
    for batch in (mixed, from_features(model, mixed)):
        torch.manual_seed(5)
        said.append(model.generate(**batch, max_new_tokens=8, do_sample=True, num_return_sequences=3))
    assert torch.equal(*said)


def test_what_does_not_belong_together_is_told_with_both_numbers(small: Any, mixed: dict[str, Tensor]) -> None:
    model = small.model()
    cached = from_features(model, mixed)
    features, sizes = cached["tile_features"], cached["image_sizes"]
    words = {key: cached[key] for key in ("input_ids", "attention_mask")}
    with pytest.raises(Phi3VError, match="found 3 tile features and image_sizes None"):
        model(**words, tile_features=features)
    with pytest.raises(Phi3VError, match=r"found 2 tile features and image_sizes \[3, 2\]"):
        model(**words, tile_features=features[:2], image_sizes=sizes)
    with pytest.raises(Phi3VError, match="from the same photo, tiling and model"):
        model(**words, tile_features=[one[:, :2] for one in features], image_sizes=sizes)
    with pytest.raises(Phi3VError, match="from the same photo, tiling and model"):
        model(**words, tile_features=[torch.cat([one, one, one]) for one in features], image_sizes=sizes)
    with pytest.raises(Phi3VError, match="from tile_features need image_sizes too"):
        model.generate(**words, tile_features=features, num_beams=2, max_new_tokens=2)
    with pytest.raises(Phi3VError, match="photos come with input_ids"):
        model(inputs_embeds=torch.zeros(1, 3, small.config["hidden_size"]), tile_features=features, image_sizes=sizes)


@pytest.mark.parametrize("left_out", [{0}, {1, 2}, {0, 2}, {0, 1, 2}])
@pytest.mark.parametrize("how", [{}, {"num_beams": 3, "num_return_sequences": 2}])
def test_photos_without_features_are_computed_from_their_pixels(
    small: Any, mixed: dict[str, Tensor], left_out: set[int], how: dict[str, int]
) -> None:
    model = small.model()
    model.generation_config.eos_token_id = None
    cached = from_features(model, mixed)
    some = [None if place in left_out else own for place, own in enumerate(cached["tile_features"])]
    partly = cached | {"tile_features": some, "pixel_values": mixed["pixel_values"][sorted(left_out)]}
    expected = model(**mixed).logits
    assert (model(**partly).logits - expected).abs().max() < 2e-5  # measured 0 to 4e-6: a smaller batch goes through the tower
    said = model.generate(**partly, max_new_tokens=6, do_sample=False, **how)
    assert torch.equal(said, model.generate(**mixed, max_new_tokens=6, do_sample=False, **how))
    with pytest.raises(Phi3VError, match=f"leave {len(left_out)} of 3 photos to pixel_values, which hold {len(left_out) + 1}"):
        model(**partly | {"pixel_values": torch.cat([partly["pixel_values"], mixed["pixel_values"][:1]])})
    with pytest.raises(Phi3VError, match=f"leave {len(left_out)} of 3 photos to pixel_values, which hold 0"):
        model(**{key: one for key, one in partly.items() if key != "pixel_values"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frozen_tower_gives_the_same_bits_under_autocast_as_outside(small: Any, mixed: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Or what training keeps would not be what evaluation computes. A tower that is trained computes as autocast says."""
    model = small.model(dtype=dtype)
    model.model.vision_embed_tokens.img_processor.requires_grad_(False)
    plain = from_features(model, mixed)["tile_features"]
    with torch.autocast("cpu", torch.bfloat16):
        inside = from_features(model, mixed)["tile_features"]
        model.requires_grad_(True)
        trained = from_features(model, mixed)["tile_features"]
    assert all(torch.equal(one, other) for one, other in zip(plain, inside, strict=True))
    assert torch.equal(plain[0], trained[0]) == (dtype is torch.bfloat16)  # on a CPU autocast leaves bfloat16 as it is
