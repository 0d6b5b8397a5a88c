"""Our own decoding says what `generate` says, word for word; held to the task it says what a slow loop without a cache would say."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from seeworth.encode import Encoder, Example, collate
from seeworth.predict.answer import Batch, ends_of
from seeworth.predict.constrain import Constraint
from seeworth.predict.vlm import VLM
from seeworth.record import Record, Turn
from seeworth.task import Task

from .conftest import Shop


def library(model: Any, examples: list[Example], pad: int, tokens: int) -> list[list[int]]:
    """What the library's generate says, the end and what follows it left out."""
    batch = collate(examples, pad_id=pad, side="left")
    del batch["labels"]
    ids = model.generate(**batch, do_sample=False, max_new_tokens=tokens, use_cache=True)[:, batch["input_ids"].shape[1] :]
    ends = ends_of(model)
    return [row[: next((at for at, one in enumerate(row) if one in ends), len(row))] for row in ids.tolist()]


def slow(model: Any, example: Example, held: Constraint) -> list[int]:
    """One answer held to the task, the whole of it read anew for every token that is not forced."""
    walk = held.walk()
    said = walk.forced()
    while not walk.done:
        longer = replace(example, input_ids=example.input_ids + said, labels=example.labels + said)
        batch = collate([longer], pad_id=0)
        del batch["labels"]
        with torch.inference_mode():
            logits = model(**batch, use_cache=False).logits[0, -1]
        token = int(logits.masked_fill(~torch.from_numpy(walk.allowed()), -torch.inf).argmax())
        if token in held.ends:
            break
        walk.take(token)
        said += [token, *walk.forced()]
    return said


def held_to(shop: Shop, task: Task, max_tokens: int = 30) -> Constraint:
    config, ends = shop.model.config, sorted(ends_of(shop.model))
    return Constraint(task, shop.encoder.processor, vocab_size=config.vocab_size, ends=ends, max_tokens=max_tokens)


def prompts(shop: Shop) -> list[Example]:
    return [shop.encoder.example(record, answer=False) for record in shop.records]


@pytest.mark.parametrize("kind", ["trained", "stubborn"])
def test_free_words_are_those_of_generate(shop: Shop, kind: str) -> None:
    """Some end early, some are cut; "stubborn" is the same model with its ends' rows turned, so that none ever ends."""
    model = shop.model
    if kind == "stubborn":
        model = copy.deepcopy(model)
        with torch.no_grad():
            model.lm_head.weight[list(ends_of(model))] *= -1
    pad = shop.encoder.processor.tokenizer.pad_token_id
    examples = prompts(shop)
    assert len({len(one.input_ids) for one in examples}) > 1
    expected = library(model, examples, pad, 24)
    batch = Batch(model, examples, [None] * len(examples), max_new_tokens=24, pad_id=pad)
    assert batch.answer() == expected
    lengths = {len(one) for one in expected}
    assert lengths == {24} if kind == "stubborn" else len(lengths) > 1


@pytest.mark.parametrize("wait", [True, False])
def test_held_words_are_those_of_a_loop_without_a_cache(shop: Shop, wait: bool) -> None:
    held = held_to(shop, shop.task)
    examples = prompts(shop)
    batch = Batch(shop.model, examples, [held.walk() for _ in examples], max_new_tokens=30, pad_id=0)
    batch.runs_wait = wait
    said = batch.answer()
    assert said == [slow(shop.model, example, held) for example in examples]
    assert all(shop.task.read(held.text(one)).problems == () for one in said)
    assert batch.passes < max(map(len, said))  # what is forced costs no pass of its own


def test_free_and_held_prompts_may_stand_in_one_batch(shop: Shop) -> None:
    held, pad = held_to(shop, shop.task), shop.encoder.processor.tokenizer.pad_token_id
    examples = prompts(shop)[:4]
    walks = [held.walk(), None, held.walk(), None]
    said = Batch(shop.model, examples, walks, max_new_tokens=24, pad_id=pad).answer()
    free = library(shop.model, examples, pad, 24)
    assert [said[1], said[3]] == [free[1], free[3]]
    assert [said[0], said[2]] == [slow(shop.model, examples[at], held) for at in (0, 2)]


@pytest.mark.parametrize("hold", [False, True])
def test_beyond_the_border_of_the_short_rope_factors_the_batch_is_read_anew(shop: Shop, hold: bool) -> None:
    examples = prompts(shop)[:1]
    half = shop.model.config.hidden_size // shop.model.config.num_attention_heads // 2
    border = len(examples[0].input_ids) + 8
    config = copy.deepcopy(shop.model.config)
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * half, "long_factor": [3.0] * half}
    config.rope_parameters = rope | {"original_max_position_embeddings": border, "factor": 2.0}
    config.original_max_position_embeddings = border
    model = type(shop.model)(config).eval()
    model.load_state_dict(shop.model.state_dict())
    pad = shop.encoder.processor.tokenizer.pad_token_id
    if hold:
        held = held_to(shop, shop.task)
        assert Batch(model, examples, [held.walk()], max_new_tokens=24, pad_id=pad).answer() == [slow(model, examples[0], held)]
    else:
        expected = library(model, examples, pad, 24)
        assert Batch(model, examples, [None], max_new_tokens=24, pad_id=pad).answer() == expected
        assert len(expected[0]) > 8
        assert expected != library(shop.model, examples, pad, 24)  # the factors matter


def test_a_model_that_knows_nothing_answers_in_form_all_the_same(shop: Shop) -> None:
    model = copy.deepcopy(shop.model)
    torch.manual_seed(0)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    vlm = VLM(model, shop.encoder, batch_size=5, max_new_tokens=8, constrained=shop.task)
    for one in vlm(shop.records):
        assert shop.task.read(one.text).problems == (), one.text
    assert any(shop.task.read(one.text).problems for one in VLM(model, shop.encoder, max_new_tokens=8)(shop.records))


def test_predictions_come_in_the_records_order_whatever_their_lengths(shop: Shop) -> None:
    vlm = VLM(shop.model, shop.encoder, batch_size=3, max_new_tokens=24, constrained=shop.task)
    found = list(vlm(iter(shop.records)))
    assert [one.record_id for one in found] == [record.id for record in shop.records]
    assert [one.text for one in found] == [vlm.answer([record])[0] for record in shop.records]
    assert all(one.seconds > 0 for one in found)
    assert not shop.model.training


def test_a_conversation_is_answered_freely(shop: Shop) -> None:
    record = shop.records[0]
    turns = (Turn("user", (0, "What is shown in this image?")), Turn("assistant", ("Product",)))
    talk = Record("talk", record.photo, {}, "talk", turns=turns)
    held, free = (VLM(shop.model, shop.encoder, max_new_tokens=12, constrained=one) for one in (shop.task, None))
    assert held.answer([talk]) == free.answer([talk])
    assert shop.task.read(free.answer([talk])[0]).problems


def test_attention_is_what_it_was_after_an_answer(shop: Shop) -> None:
    model = copy.deepcopy(shop.model)
    model.set_attn_implementation("eager")
    example = prompts(shop)[:2]
    assert Batch(model, example, [None, None], max_new_tokens=6, pad_id=0).answer() == library(model, example, 0, 6)
    assert model.config._attn_implementation == "eager"


def test_an_adapter_is_heard(shop: Shop) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules=["qkv_proj"], init_lora_weights=False)
    tuned = get_peft_model(copy.deepcopy(shop.model), config).eval()
    examples = prompts(shop)[:3]
    expected = library(tuned, examples, 0, 12)
    assert Batch(tuned, examples, [None] * 3, max_new_tokens=12, pad_id=0).answer() == expected
    assert expected != library(shop.model, examples, 0, 12)


def test_encoders_of_the_same_record_give_prompts_that_end_where_the_answer_begins(shop: Shop) -> None:
    assert isinstance(shop.encoder, Encoder)
    whole = shop.encoder.example(shop.records[0])
    prompt = shop.encoder.example(shop.records[0], answer=False)
    assert whole.input_ids[: len(prompt.input_ids)] == prompt.input_ids
    spelled = whole.input_ids[len(prompt.input_ids) :]
    walk = held_to(shop, shop.task).walk()
    assert walk.forced() == spelled[: len(walk.said)]
    for token in spelled[len(walk.said) : -2]:
        walk.take(token)
