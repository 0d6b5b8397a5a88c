"""One forward: mixed batches, only what is needed computed, ids untouched, dtypes, and mismatches that are told."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from seeworth.phi3v import Phi3VConfig, Phi3VError, Phi3VForCausalLM, modeling
from seeworth.phi3v.vision import Phi3VVisionTower

IMAGE = 319  # the placeholder of the repository's checkpoints
EQUAL = 2e-5  # measured 4e-6: another order of the same sums


@pytest.fixture
def mixed(small: Any, reference: ModuleType) -> dict[str, Tensor]:
    """Three rows, with no photo, one and two, padded on the left."""
    return small.inputs(reference, small.cases["mixed_left"], placeholder=IMAGE)


def alone(batch: dict[str, Tensor], photos: list[int]) -> list[dict[str, Tensor]]:
    """The rows of a batch on their own, without padding; `photos` counts each row's."""
    rows, start = [], 0
    for ids, mask, count in zip(batch["input_ids"], batch["attention_mask"], photos, strict=True):
        row = {"input_ids": ids[mask.bool()][None]}
        if count:
            row |= {key: batch[key][start : start + count] for key in ("pixel_values", "image_sizes")}
        rows.append(row)
        start += count
    return rows


def generation_positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_with_no_one_and_several_photos_equal_the_rows_alone(small: Any, reference: ModuleType, attn: str, side: str) -> None:
    model = small.model(attn=attn)
    batch = small.inputs(reference, small.cases[f"mixed_{side}"], placeholder=IMAGE)
    together = model(**batch, position_ids=generation_positions(batch["attention_mask"])).logits
    for scores, mask, row in zip(together, batch["attention_mask"], alone(batch, [0, 1, 2]), strict=True):
        assert (scores[mask.bool()] - model(**row).logits[0]).abs().max() < EQUAL


def test_a_photo_changes_only_its_own_row(small_model: Phi3VForCausalLM, mixed: dict[str, Tensor]) -> None:
    before = small_model(**mixed).logits
    changed = mixed | {"pixel_values": mixed["pixel_values"].clone()}
    changed["pixel_values"][2] += 1
    moved = (small_model(**changed).logits - before).abs()[:, -1].amax(-1)
    assert moved[0] == moved[1] == 0
    assert moved[2] > 1e-2


def test_negative_ids_and_the_placeholder_say_the_same(small_model: Phi3VForCausalLM, mixed: dict[str, Tensor]) -> None:
    negative = mixed["input_ids"].masked_fill(mixed["input_ids"] == IMAGE, -1)
    assert torch.equal(small_model(**mixed).logits, small_model(**mixed | {"input_ids": negative}).logits)


def test_the_callers_ids_are_never_changed(small: Any, mixed: dict[str, Tensor]) -> None:
    model = small.model()
    negative = mixed["input_ids"].masked_fill(mixed["input_ids"] == IMAGE, -2)
    for ids in (mixed["input_ids"], negative):
        before = ids.clone()
        first = model(**mixed | {"input_ids": ids}).logits
        words = model.generate(**mixed | {"input_ids": ids}, max_new_tokens=2, do_sample=False)
        assert torch.equal(ids, before)
        assert torch.equal(words[:, : ids.shape[1]], before)
        assert torch.equal(model(**mixed | {"input_ids": ids}).logits, first)


def test_only_real_tiles_go_through_clip(small: Any, reference: ModuleType) -> None:
    model = small.model()
    photos = [reference.photo(90, 60, 1), reference.photo(60, 200, 2)]
    cut = small.image_processor(num_crops=6)(photos)
    seen: list[int] = []
    tower = model.model.vision_embed_tokens.img_processor.vision_model
    tower.embeddings.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    rows = model.image_features(cut["pixel_values"], cut["image_sizes"])
    real = [small.image_processor(num_crops=6).plan(*photo.size).num_tiles for photo in photos]
    assert cut["pixel_values"].shape[:2] == (2, 7)
    assert seen == [sum(real)]
    assert sum(real) < 14
    assert [len(one) for one in rows] == cut["num_img_tokens"].tolist()
    junk = cut["pixel_values"].clone()
    for slots, count in zip(junk, real, strict=True):
        slots[count:] = float("nan")
    again = model.image_features(junk, cut["image_sizes"])
    assert all(torch.equal(one, other) for one, other in zip(rows, again, strict=True))


def test_a_photo_of_one_tile_goes_through_clip_once(small: Any, reference: ModuleType) -> None:
    """Its global view is the same picture; a tile that differs by anything is computed on its own."""
    model = small.model()
    cut = small.image_processor()([reference.photo(90, 60, 1), reference.photo(112, 112, 2)])
    seen: list[int] = []
    tower = model.model.vision_embed_tokens.img_processor.vision_model
    tower.embeddings.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    rows = model.image_features(cut["pixel_values"], cut["image_sizes"])
    assert torch.equal(cut["pixel_values"][:, 0], cut["pixel_values"][:, 1])
    other = cut["pixel_values"].clone()
    other[0, 0] += 1e-3
    changed = model.image_features(other, cut["image_sizes"])
    assert seen == [2, 3]
    assert not torch.equal(changed[0][-20:], rows[0][-20:])  # the global view's rows
    assert (changed[0][:20] - rows[0][:20]).abs().max() < EQUAL


def test_clip_layers_behind_the_one_that_is_read_are_kept_and_not_computed(home: Any, reference: ModuleType) -> None:
    model = home.model()
    tower = model.model.vision_embed_tokens.img_processor.vision_model
    ran: list[int] = []
    for number, layer in enumerate(tower.encoder.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    batch = home.inputs(reference, home.cases["one_photo_c1"])
    model(**batch, labels=batch["input_ids"].clamp(min=0)).loss.backward()
    idle = 1 if home.name == "published_tiles" else 2  # layer_idx -2 and -3
    assert ran == list(range(len(tower.encoder.layers) - idle))
    for number, layer in enumerate(tower.encoder.layers):
        assert (layer.mlp.fc1.weight.grad is None) == (number not in ran)
    assert tower.post_layernorm.weight.grad is None


@pytest.mark.parametrize("layer_idx", [-1, -2, -3, 0, 1, 2])
def test_any_clip_layer_can_be_the_one_that_is_read(small: Any, layer_idx: int) -> None:
    """Against transformers' own list of hidden states."""
    from transformers import CLIPVisionModel

    vision = Phi3VConfig.from_dict(small.config).vision_config
    vision._attn_implementation = "eager"
    torch.manual_seed(0)
    whole = CLIPVisionModel(vision).eval()
    tower = Phi3VVisionTower(vision, layer_idx).eval()
    tower.load_state_dict({key.removeprefix("vision_model."): one for key, one in whole.state_dict().items()}, strict=True)
    pixels = torch.randn(2, 3, 112, 112)
    expected = whole(pixels, output_hidden_states=True).hidden_states[layer_idx][:, 1:]
    assert (tower(pixels) - expected).abs().max() < EQUAL


def test_features_made_before_give_the_same_answer(small: Any, mixed: dict[str, Tensor]) -> None:
    model = small.model()
    features = model.image_features(mixed["pixel_values"], mixed["image_sizes"])
    words = {key: mixed[key] for key in ("input_ids", "attention_mask")}
    assert torch.equal(model(**words, image_features=features).logits, model(**mixed).logits)
    expected = model.generate(**mixed, max_new_tokens=4, do_sample=False)
    assert torch.equal(model.generate(**words, image_features=features, max_new_tokens=4, do_sample=False), expected)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(small: Any, mixed: dict[str, Tensor], reentrant: bool) -> None:
    model = small.model().train()
    labels = mixed["input_ids"].masked_fill(mixed["attention_mask"] == 0, -100)

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        model(**mixed, labels=labels).loss.backward()
        return {key: one.grad.clone() for key, one in model.named_parameters() if one.grad is not None}

    plain = gradients()
    calls: list[int] = []
    tower = model.model.vision_embed_tokens.img_processor.vision_model
    for norm in (model.model.layers[0].input_layernorm, tower.encoder.layers[0].layer_norm1):
        norm.register_forward_hook(lambda *_: calls.append(1))
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    again = gradients()
    assert len(calls) == 4  # each once forward, once more to save the memory
    assert again.keys() == plain.keys()
    assert all(torch.allclose(again[key], one, atol=1e-7) for key, one in plain.items())


def test_the_loss_is_over_the_labelled_words_and_knows_accumulation(small_model: Phi3VForCausalLM, mixed: dict[str, Tensor]) -> None:
    labels = torch.full_like(mixed["input_ids"], -100)
    labels[:, -3:] = mixed["input_ids"][:, -3:]
    output = small_model(**mixed, labels=labels)
    expected = torch.nn.functional.cross_entropy(output.logits[:, -4:-1].flatten(0, 1), labels[:, -3:].flatten())
    assert abs(output.loss - expected) < 1e-6
    assert abs(small_model(**mixed, labels=labels, num_items_in_batch=18).loss - expected / 2) < 1e-6


@pytest.mark.parametrize("num_items", [None, 18])
def test_logits_at_the_labels_alone_give_the_same_loss_and_gradients(small: Any, mixed: dict[str, Tensor], num_items: int | None) -> None:
    """Measured 0 and 3e-8; a label taken from the wrong row or position moves the loss by more than 1e-2."""
    model = small.model().train()
    labels = torch.full_like(mixed["input_ids"], -100)
    labels[0, -3:], labels[2, -5:] = mixed["input_ids"][0, -3:], mixed["input_ids"][2, -5:]
    more = {} if num_items is None else {"num_items_in_batch": num_items}

    def step(**how: bool) -> tuple[Any, dict[str, Tensor]]:
        model.zero_grad()
        output = model(**mixed, labels=labels, **more, **how)
        output.loss.backward()
        return output, {key: one.grad.clone() for key, one in model.named_parameters() if one.grad is not None}

    (plain, expected), (short, found) = step(), step(logits_at_labels=True)
    assert short.logits.shape == (8, plain.logits.shape[-1])
    assert torch.allclose(short.logits[:3], plain.logits[0, -4:-1], atol=1e-6)
    assert abs(short.loss - plain.loss) < 1e-6
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[key], one, atol=1e-6) for key, one in expected.items())
    with pytest.raises(Phi3VError, match="there are no labels"):
        model(**mixed, logits_at_labels=True)


@pytest.mark.parametrize("num_items", [None, 18])
def test_long_answers_in_parts_give_the_same_loss_and_gradients(
    small: Any, mixed: dict[str, Tensor], num_items: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured below both limits; a part left out moves the loss by more than 1e-2."""
    model = small.model().train()
    labels = torch.full_like(mixed["input_ids"], -100)
    labels[0, -3:], labels[2, -5:] = mixed["input_ids"][0, -3:], mixed["input_ids"][2, -5:]
    more = {} if num_items is None else {"num_items_in_batch": num_items}

    def step() -> tuple[Any, dict[str, Tensor]]:
        model.zero_grad()
        output = model(**mixed, labels=labels, logits_at_labels=True, **more)
        output.loss.backward()
        return output, {key: one.grad.clone() for key, one in model.named_parameters() if one.grad is not None}

    whole, expected = step()
    monkeypatch.setattr(modeling, "LOGITS_AT_ONCE", 3)
    parts, found = step()
    assert parts.logits is None
    assert abs(parts.loss - whole.loss) < 1e-6
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[key], one, atol=1e-6) for key, one in expected.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_on_a_cpu_stays_near_and_keeps_rope_in_float32(home: Any, reference: ModuleType, dtype: torch.dtype) -> None:
    """Measured 0.05 at a logit spread of 1.2 (bfloat16); a wrong photo place moves logits by more than 1."""
    exact = home.model()
    batch = home.inputs(reference, home.cases["one_photo_c1"])
    loaded, cast = home.model(dtype=dtype), copy.deepcopy(exact).to(dtype)
    for model in (loaded, cast):
        assert {one.dtype for one in model.parameters()} == {dtype}
        for name, buffer in model.model.rotary_emb.named_buffers():
            assert torch.equal(buffer, getattr(exact.model.rotary_emb, name)), name
        assert (model(**batch).logits.float() - exact(**batch).logits)[0].abs().max() < 0.3
    assert torch.equal(loaded(**batch).logits, cast(**batch).logits)


def test_a_deep_copy_is_a_model_of_its_own(small: Any, mixed: dict[str, Tensor]) -> None:
    model = small.model()
    other = copy.deepcopy(model)
    expected = model(**mixed).logits
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert torch.equal(other(**mixed).logits, expected)


def test_a_fresh_model_is_finite_and_its_separators_are_zero(small: Any, mixed: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    model = Phi3VForCausalLM(Phi3VConfig.from_dict(small.config))
    assert torch.isfinite(model(**mixed).logits).all()
    embedding = model.model.vision_embed_tokens
    assert embedding.glb_GN.eq(0).all()
    assert embedding.img_projection[0].weight.std() > 0


def test_photo_tokens_that_do_not_fit_are_told_with_both_numbers(small: Any, reference: ModuleType, mixed: dict[str, Tensor]) -> None:
    model = small.model()
    photo = reference.photo(90, 60, 1)
    words, pixels = small.image_processor(4), small.image_processor(1)
    needed, found = pixels.plan(90, 60).num_tokens, words.plan(90, 60).num_tokens
    assert needed != found
    cut = pixels([photo])
    ids = torch.tensor([[1] + [IMAGE] * found + [5]])
    with pytest.raises(Phi3VError, match=f"the photos need {needed} tokens, the text holds {found} placeholders") as caught:
        model(input_ids=ids, pixel_values=cut["pixel_values"], image_sizes=cut["image_sizes"])
    assert "\n" not in str(caught.value)
    with pytest.raises(Phi3VError, match=f"no photo is given, the text holds {found} placeholders"):
        model(input_ids=ids)
    with pytest.raises(Phi3VError, match=f"the photos need {needed} tokens, the text holds 0 placeholders"):
        model(input_ids=torch.tensor([[1, 5]]), pixel_values=cut["pixel_values"], image_sizes=cut["image_sizes"])
    with pytest.raises(Phi3VError, match="placeholders"):
        model.generate(input_ids=ids, max_new_tokens=1)


def test_pixels_and_sizes_that_do_not_fit_are_told(small: Any, reference: ModuleType, mixed: dict[str, Tensor]) -> None:
    model = small.model()
    for change, told in [
        ({"image_sizes": mixed["image_sizes"][:2]}, "of as many photos"),
        ({"image_sizes": mixed["image_sizes"] * 3}, r"names 3 x 3 tiles and a global view, pixel_values has 2 slots"),
        ({"image_sizes": mixed["image_sizes"] * 0}, "names 0 x 0 tiles"),
        ({"pixel_values": mixed["pixel_values"][..., :100, :100]}, "100 pixels wide, this model's are 112"),
        ({"pixel_values": mixed["pixel_values"][0]}, "expected pixel_values"),
    ]:
        with pytest.raises(Phi3VError, match=told):
            model(**mixed | change)
    with pytest.raises(Phi3VError, match="neither input_ids nor inputs_embeds"):
        model()
    with pytest.raises(Phi3VError, match="photos come with input_ids"):
        model(inputs_embeds=torch.zeros(1, 3, 48), pixel_values=mixed["pixel_values"], image_sizes=mixed["image_sizes"])


def test_words_alone_never_touch_clip(small: Any) -> None:
    model = small.model()
    tower = model.model.vision_embed_tokens.img_processor.vision_model
    tower.register_forward_hook(lambda *_: pytest.fail("CLIP ran"))
    ids = torch.tensor([[1, 5, 9]])
    empty = {"pixel_values": torch.zeros(0, 2, 3, 112, 112), "image_sizes": torch.zeros(0, 2, dtype=torch.long)}
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids, **empty).logits)
