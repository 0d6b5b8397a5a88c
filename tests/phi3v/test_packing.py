"""Packed rows: several records behind one another in one row, none of which can see another."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_flash_attention_utils import _flash_attention_forward

from grain import grain
from seeworth.encode import Encoder, Example, collate
from seeworth.phi3v import Phi3VConfig, Phi3VForCausalLM
from seeworth.phi3v.configuration import Phi3VError
from seeworth.phi3v.packing import SDPA_PACKED, sdpa_packed, skip_between_records
from seeworth.phi3v.tiny import make_tiny
from seeworth.record import Record, Turn
from seeworth.task import Field, Task

TASK = Task("{question}", "{answer}", (Field("question"), Field("answer")))
ATTENTION = ["sdpa", "eager", SDPA_PACKED]


@pytest.fixture(scope="module")
def made() -> tuple[Phi3VForCausalLM, Encoder]:
    model, processor = make_tiny(["what is red is blue", "a bag and a coat"], num_crops=4)
    return model, Encoder(processor, TASK)


@pytest.fixture(scope="module")
def examples(made: tuple[Phi3VForCausalLM, Encoder], tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """One photo, words alone, two photos in two turns, one word."""
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number}.png" for number in range(2)]
    for path, size in zip(paths, [(60, 90), (200, 100)], strict=True):
        grain(size, 80, path.name).convert("RGB").save(path)
    talk = (
        Turn("user", (0, "or", 1)), Turn("assistant", ("a bag",)), Turn("user", ("and?",)), Turn("assistant", ("a coat and a bag",)),
    )  # fmt: skip
    records = [
        Record("photo", paths[0], {"question": "what is it", "answer": "a bag"}, "g"),
        Record("words", None, {"question": "what is red", "answer": "a coat is red and a bag is blue"}, "g"),
        Record("turns", paths[1], {}, "g", photos=(paths[0],), turns=talk),
        Record("short", None, {"question": "a", "answer": "b"}, "g"),
    ]
    return [made[1].example(record) for record in records]


def model_of(made: tuple[Phi3VForCausalLM, Encoder], attention: str, **overrides: Any) -> Phi3VForCausalLM:
    config = Phi3VConfig.from_dict(made[0].config.to_dict() | overrides)
    model = Phi3VForCausalLM(config)
    model.load_state_dict(made[0].state_dict())
    model.set_attn_implementation(attention)
    return model.eval()


def logits(model: Phi3VForCausalLM, batch: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**{key: value for key, value in batch.items() if key != "labels"}).logits[0]
    return found


@pytest.mark.parametrize("attention", ATTENTION)
def test_a_packed_row_answers_as_its_records_do_apart(
    made: tuple[Phi3VForCausalLM, Encoder], examples: list[Example], attention: str
) -> None:
    model = model_of(made, attention)
    packed = collate(examples, pad_id=0, packed=True)
    assert packed["input_ids"].shape == packed["position_ids"].shape == (1, sum(len(one.input_ids) for one in examples))
    assert "attention_mask" not in packed
    apart = torch.cat([logits(model, collate([one], pad_id=0)) for one in examples])
    difference = (logits(model, packed) - apart).abs().max()
    assert difference < 1e-4  # measured 3e-6, of logits up to 4; neighbours that see each other are over 1 apart


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("at_labels", [False, True])
def test_loss_and_gradients_are_those_of_the_records_apart(
    made: tuple[Phi3VForCausalLM, Encoder], examples: list[Example], attention: str, at_labels: bool
) -> None:
    model = model_of(made, attention).train()
    asked = {"logits_at_labels": True} if at_labels else {}
    packed = collate(examples, pad_id=0, packed=True)
    loss = model(**packed, **asked).loss
    loss.backward()
    gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    labels = [sum(label != -100 for label in one.labels) for one in examples]
    total = torch.zeros(())
    for one, count in zip(examples, labels, strict=True):
        total = total + model(**collate([one], pad_id=0), **asked).loss * count / sum(labels)
    total.backward()
    assert abs(float((loss - total).detach())) < 1e-5  # measured 1e-6
    for name, one in model.named_parameters():
        if one.grad is not None:
            assert (gradients[name] - one.grad).abs().max() <= 1e-5 * max(1.0, float(one.grad.abs().max())), name  # measured 6e-7


@pytest.mark.parametrize("attention", ATTENTION)
def test_a_record_that_changes_changes_no_bit_of_its_neighbours(
    made: tuple[Phi3VForCausalLM, Encoder], examples: list[Example], attention: str
) -> None:
    model = model_of(made, attention)
    before = logits(model, collate(examples, pad_id=0, packed=True))
    borders = [0]
    for one in examples:
        borders.append(borders[-1] + len(one.input_ids))
    for changed, example in enumerate(examples):
        others = list(examples)
        ids = [*example.input_ids[:-3], *(one + 1 for one in example.input_ids[-3:-1]), example.input_ids[-1]]
        others[changed] = Example(ids, example.labels, example.image_sizes, tuple(-one for one in example.tiles))
        after = logits(model, collate(others, pad_id=0, packed=True))
        for number, span in enumerate(map(slice, borders, borders[1:])):
            assert torch.equal(before[span], after[span]) == (number != changed), (changed, number)


def test_neighbours_stay_unseen_whatever_the_caller_says_of_the_cache(
    made: tuple[Phi3VForCausalLM, Encoder], examples: list[Example]
) -> None:
    model = model_of(made, "sdpa", use_cache=True)
    packed = {key: value for key, value in collate(examples, pad_id=0, packed=True).items() if key != "labels"}
    with torch.no_grad():
        assert torch.equal(model(**packed).logits, model(**packed, use_cache=False).logits)
        with pytest.raises(Phi3VError, match="packed rows are trained, not cached"):
            model(**packed, use_cache=True)


@pytest.mark.parametrize("attention", ATTENTION)
def test_a_sliding_window_slides_within_each_record(
    made: tuple[Phi3VForCausalLM, Encoder], examples: list[Example], attention: str
) -> None:
    model = model_of(made, attention, sliding_window=7)
    apart = torch.cat([logits(model, collate([one], pad_id=0)) for one in examples])
    packed = logits(model, collate(examples, pad_id=0, packed=True))
    assert (packed - apart).abs().max() < 1e-4
    assert (packed - logits(model_of(made, attention), collate(examples, pad_id=0, packed=True))).abs().max() > 1e-2


def test_the_rope_factors_go_by_the_longest_record_not_by_the_row(
    made: tuple[Phi3VForCausalLM, Encoder], examples: list[Example]
) -> None:
    half = made[0].config.hidden_size // made[0].config.num_attention_heads // 2
    longest = max(len(one.input_ids) for one in examples)
    for border, long_ones in ((longest, False), (longest - 1, True)):
        rope = {
            "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * half, "long_factor": [3.0] * half,
            "original_max_position_embeddings": border, "factor": 32.0,
        }  # fmt: skip
        model = model_of(made, "sdpa", rope_parameters=rope, original_max_position_embeddings=border)
        packed = collate(examples, pad_id=0, packed=True)
        assert packed["input_ids"].shape[1] > longest
        found = logits(model, packed)
        padded = model(**{key: value for key, value in collate(examples, pad_id=0).items() if key != "labels"}).logits
        mask = collate(examples, pad_id=0)["attention_mask"].bool()
        assert (found - padded[mask]).abs().max() < 1e-4  # the same choice as in a padded batch of these records
        apart = torch.cat([logits(model, collate([one], pad_id=0)) for one in examples])
        assert ((found - apart).abs().max() > 1e-2) == long_ones  # apart, each record chooses for itself


def test_no_label_crosses_a_border_and_positions_begin_anew(examples: list[Example]) -> None:
    loud = [Example(one.input_ids, list(one.input_ids), one.image_sizes, one.tiles) for one in examples]
    packed = collate(loud, pad_id=0, packed=True)
    starts = (packed["position_ids"][0] == 0).nonzero().flatten().tolist()
    assert len(starts) == len(examples)
    assert all(packed["labels"][0, start] == -100 for start in starts)
    assert int((packed["labels"] == -100).sum()) == len(starts)


def test_rows_that_are_not_packed_may_use_a_cache(made: tuple[Phi3VForCausalLM, Encoder], tmp_path: Path) -> None:
    model = model_of(made, "sdpa", use_cache=True)
    ids = torch.tensor([[1, 30, 31, 32]])
    assert model(ids, position_ids=torch.arange(4)[None]).past_key_values is not None


def test_flash_attention_is_told_the_borders(made: tuple[Phi3VForCausalLM, Encoder], examples: list[Example]) -> None:
    """What it finds the records by. It runs on GPUs alone, so here stands a function that only listens."""
    heard: list[tuple[Tensor | None, dict[str, Any]]] = []

    def listen(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any) -> Any:
        if "position_ids" in kwargs:  # the tower gives none
            heard.append((mask, kwargs))
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)

    AttentionInterface.register("listen", listen)  # with no function for masks, as flash attention makes none of packed rows
    logits(model_of(made, "listen"), collate(examples, pad_id=0, packed=True))
    lengths = [len(one.input_ids) for one in examples]
    assert len(heard) == made[0].config.num_hidden_layers
    for mask, kwargs in heard:
        assert mask is None
        assert kwargs["cu_seq_lens_q"].tolist() == kwargs["cu_seq_lens_k"].tolist() == [sum(lengths[:n]) for n in range(len(lengths) + 1)]
        assert kwargs["max_length_q"] == kwargs["max_length_k"] == max(lengths)
    names = {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"}
    assert names <= inspect.signature(_flash_attention_forward).parameters.keys()


def test_sdpa_packed_is_sdpa_where_nothing_is_packed(made: tuple[Phi3VForCausalLM, Encoder], examples: list[Example]) -> None:
    plain, ours = model_of(made, "sdpa"), model_of(made, "sdpa")
    skip_between_records(ours)
    assert ours.config._attn_implementation == SDPA_PACKED
    batch = collate(examples, pad_id=0, side="left")
    assert torch.equal(logits(plain, batch), logits(ours, batch))
    asked = {key: value for key, value in batch.items() if key != "labels"} | {"max_new_tokens": 5, "do_sample": False}
    assert torch.equal(plain.generate(**asked), ours.generate(**asked))
    eager = model_of(made, "eager")
    skip_between_records(eager)
    assert eager.config._attn_implementation == "eager"


def test_what_is_saved_names_no_attention(made: tuple[Phi3VForCausalLM, Encoder], tmp_path: Path) -> None:
    model_of(made, SDPA_PACKED).save_pretrained(tmp_path)
    assert SDPA_PACKED not in (tmp_path / "config.json").read_text()
    assert Phi3VForCausalLM.from_pretrained(tmp_path).config._attn_implementation == "sdpa"


@pytest.mark.parametrize("attention", ATTENTION)
def test_several_packed_rows_stand_in_one_batch(made: tuple[Phi3VForCausalLM, Encoder], examples: list[Example], attention: str) -> None:
    words = [examples[1], examples[3]]
    one = collate(words, pad_id=0, packed=True)
    two = collate(words[::-1], pad_id=0, packed=True)
    both = {key: torch.cat([one[key], two[key]]) for key in ("input_ids", "position_ids")}
    model = model_of(made, attention)
    with torch.no_grad():
        found = model(**both).logits
    for row, alone in zip(found, (one, two), strict=True):
        assert (row - logits(model, alone)).abs().max() < 1e-4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's kernel for records of many lengths runs on NVIDIA GPUs")
@pytest.mark.parametrize("window", [None, 7])
def test_on_a_gpu_the_kernel_gives_what_sdpa_gives_record_by_record(window: int | None) -> None:
    torch.manual_seed(0)
    sizes = [5, 130, 64, 1]
    borders = torch.tensor([0, *sizes]).cumsum(0).to(torch.int32).cuda()
    inputs = torch.randn(3, 1, 4, sum(sizes), 96, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    told = {"scaling": 96**-0.5, "cu_seq_lens_q": borders, "max_length_q": max(sizes), "sliding_window": window}
    found, _ = sdpa_packed(torch.nn.Identity(), *inputs, None, **told)
    (gradient,) = torch.autograd.grad(found.float().square().sum(), inputs)
    exact = inputs.detach().float().requires_grad_()
    expected, _ = sdpa_packed(torch.nn.Identity(), *exact, None, **told)
    (needed,) = torch.autograd.grad(expected.square().sum(), exact)
    assert (found - expected).abs().max() < 0.03  # not measured yet: one bfloat16 step at 4 is 0.03
    assert (gradient - needed).abs().max() < 0.05 * needed.abs().max()
