"""The doctor: finds a sound training sound, finds each planted fault in one line, and leaves no trace."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seeworth.encode import IGNORED, Encoder, Example
from seeworth.errors import RunError
from seeworth.phi3v.tiny import make_tiny
from seeworth.record import Record, Turn
from seeworth.settings import TrainSettings
from seeworth.task import Field, Task
from seeworth.train.doctor import Finding, demand, examine, show
from seeworth.train.optimizer import make_optimizer
from seeworth.train.parts import Parts, prepare_parts, resolve_parts

TASK = Task(fields=(Field("title"), Field("category3_code", "category"), Field("full_price", "number", "USD")))
COLOURS = [(220, 30, 30), (30, 180, 60), (40, 60, 220), (240, 240, 240)]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("photos")
    found = []
    for number, colour in enumerate(COLOURS):
        path = folder / f"{number}.png"
        Image.new("RGB", (60 + 20 * number, 70), colour).save(path)
        values = {"title": f"Sheet {number}", "category3_code": "AB"[number % 2], "full_price": Decimal(100 + number)}
        found.append(Record(f"r{number}", path, values, f"g{number}", "train"))
    return found


def settings(**more: Any) -> TrainSettings:
    plain = {"model": "tiny", "per_device_train_batch_size": 2, "learning_rate": 3e-3, "max_steps": 10}
    return TrainSettings(data=Path("x"), output_dir=Path("y"), **(plain | more))


def sound(records: list[Record], one: TrainSettings) -> tuple[Any, Encoder]:
    """A model that can learn these records, and its encoder."""
    texts = [TASK.write(record.values) for record in records if record.turns is None]
    model, processor = make_tiny([*texts, TASK.prompt()], num_crops=2)
    return prepare_parts(model, one, resolve_parts(one)), Encoder(processor, TASK)


def findings(records: list[Record], one: TrainSettings, spoil: Callable[[Any, Encoder], Encoder | None] = lambda *_: None) -> list[Finding]:
    model, encoder = sound(records, one)
    return examine(model, spoil(model, encoder) or encoder, records, one)


def the_bad(found: list[Finding]) -> Finding:
    (bad,) = [one for one in found if not one.ok]
    with pytest.raises(RunError, match=f"^would not train well: {bad.name}: "):
        demand(found)
    return bad


# sound


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"vision": "frozen"},
        {"optim": "muon"},
        {"model": "x", "method": "lora", "lora_rank": 2},
        {"model": "x", "method": "lora", "lora_rank": 2, "use_dora": True, "projector": "full", "vision": "frozen"},
        {"model": "x", "dtype": "bfloat16", "lora_rank": 2},
    ],
    ids=str,
)
def test_a_sound_training_is_found_sound(records: list[Record], how: dict[str, Any]) -> None:
    found = findings(records, settings(**how))
    assert [one.name for one in found] == ["photos", "labels", "answers", "gradients", "photo", "work", "memory"]
    assert [one for one in found if not one.ok] == []
    demand(found)


def test_it_says_what_was_found(records: list[Record]) -> None:
    words = {one.name: one.words for one in findings(records, settings(vision="frozen", num_train_epochs=3, max_steps=-1))}
    assert re.fullmatch(r"2 photos make (\d+) rows, and the text has \1 places for them", words["photos"])
    assert re.match(r"\d+ of \d+ tokens are trained \(\d+\.\d%\), of the first record: 'Product: Sheet 0, ", words["labels"])
    assert words["labels"].endswith("<|end|><|endoftext|>'")
    assert words["answers"] == "4 different answers in 4 records"
    assert re.fullmatch(r"loss [\d.]+, norms language [\d.]+, projector [\d.]+; none in vision", words["gradients"])
    assert re.fullmatch(r"loss ([\d.]+) with their own photo and (?!\1 )[\d.]+ with another record's, on 2 records: .*%", words["photo"])
    # 4 records, 2 in a pass, 16 passes in a step, 3 epochs; the photos have 41, 61 (three) tokens and the words as many in each
    assert re.match(r"3 steps, 12 records of \d+ tokens, \d+ of them the photo's: about .+ by the time", words["work"])
    assert re.match(r"about [\d.]+ of [\d.]+ GiB \(an estimate\): weights 0\.01, gradients 0\.0\d, ", words["memory"])


def test_a_conversation_and_words_alone_are_sound_too(records: list[Record]) -> None:
    turns = (Turn("user", (0, "What is it?")), Turn("assistant", ("A sheet.",)), Turn("user", ("Which?",)), Turn("assistant", ("This.",)))
    talks = [replace(record, turns=(*turns[:-1], Turn("assistant", (f"Number {record.id}.",)))) for record in records]
    assert all(one.ok for one in findings(talks, settings()))
    spoken = [replace(one, photo=None, turns=(Turn("user", ("Who?",)), Turn("assistant", (one.id,)))) for one in records]
    found = findings(spoken, settings(projector="frozen", vision="frozen"))
    assert all(one.ok for one in found)
    assert {one.name: one.words for one in found}["photos"] == "no record has a photo: words alone are trained"
    assert "freeze projector" in the_bad(findings(spoken, settings(vision="frozen"))).words


def test_one_batch_is_learnt_by_heart_and_the_weights_are_put_back(records: list[Record]) -> None:
    one = settings(overfit_steps=40, per_device_train_batch_size=1)
    model, encoder = sound(records, one)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = {finding.name: finding for finding in examine(model, encoder, records, one)}
    assert found["overfit"].ok, found["overfit"].words
    assert re.match(r"the loss of one batch fell from [\d.]+ to [\d.]+ in 40 steps; the weights", found["overfit"].words)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("how", [{}, {"model": "x", "lora_rank": 2}, {"model": "x", "lora_rank": 2, "projector": "full"}], ids=str)
def test_it_leaves_weights_gradients_modes_and_random_generators_bit_by_bit(records: list[Record], how: dict[str, Any]) -> None:
    one = settings(overfit_steps=3, **how)
    model, encoder = sound(records, one)
    optimizer = make_optimizer(model, one)
    model.eval()
    next(model.modules()).training = True  # a mixture, to see that each module gets its own back
    for seed, weight in enumerate(model.parameters()):
        weight.grad = torch.full_like(weight, float(seed)) if weight.requires_grad and seed % 2 else None
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)

    def state() -> list[Any]:
        gradients = [None if weight.grad is None else weight.grad.clone() for weight in model.parameters()]
        modes = [module.training for module in model.modules()]
        generators = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()]
        return [{name: tensor.clone() for name, tensor in model.state_dict().items()}, gradients, modes, generators, optimizer.state_dict()]

    before = state()
    found = examine(model, encoder, records, one, optimizer=optimizer)
    after = state()
    assert [finding.name for finding in found].count("overfit") == 1
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(tensor, after[0][name]) for name, tensor in before[0].items())
    assert all((a is None) == (b is None) and (a is None or torch.equal(a, b)) for a, b in zip(before[1], after[1], strict=True))
    assert before[2] == after[2]
    assert torch.equal(before[3][0], after[3][0])
    assert before[3][1:] == after[3][1:]
    assert before[4] == after[4]


# planted faults, each found in one line


class Spoilt(Encoder):
    """An encoder that changes each example by `change`."""

    def __init__(self, encoder: Encoder, change: Callable[[Example, Encoder], Example]) -> None:
        super().__init__(encoder.processor, encoder.task)
        self.change = change

    def example(self, record: Record, **more: Any) -> Example:
        return self.change(super().example(record, **more), self)


def spoilt(change: Callable[[Example, Encoder], Example]) -> Callable[[Any, Encoder], Encoder]:
    return lambda model, encoder: Spoilt(encoder, change)


def without_photo(example: Example, encoder: Encoder) -> Example:
    kept = [place for place, token in enumerate(example.input_ids) if token != encoder.processor.image_token_id]
    pick = {"input_ids": [example.input_ids[at] for at in kept], "labels": [example.labels[at] for at in kept]}
    return replace(example, tiles=(), image_sizes=(), **pick)


def cut_short(example: Example, encoder: Encoder) -> Example:
    return replace(example, input_ids=example.input_ids[:2] + example.input_ids[5:], labels=example.labels[:2] + example.labels[5:])


def relabelled(change: Callable[[list[int], list[int]], list[int]]) -> Callable[[Example, Encoder], Example]:
    return lambda example, encoder: replace(example, labels=change(example.labels, example.input_ids))


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (without_photo, "photos", r"record r0 has 1 photo of \d+ tokens, the encoder gives 0 and 0 places: expected as many"),
        (cut_short, "photos", r"record r0 has 1 photo of (\d+) tokens, the encoder gives 1 and (?!\1)\d+ places"),
        (relabelled(lambda labels, ids: [IGNORED] * len(ids)), "labels", "record r0: no token is labelled"),
        (relabelled(lambda labels, ids: list(ids)), "labels", "token 0, '<s>', is labelled and not the assistant's"),
        (relabelled(lambda labels, ids: [*labels[:-1], IGNORED]), "labels", r"'<\|endoftext\|>', is the assistant's and not labelled"),
        (relabelled(lambda labels, ids: [*labels[1:], IGNORED]), "labels", "labels are shifted"),
    ],
)
def test_a_fault_of_the_encoder_is_found(records: list[Record], change: Any, name: str, words: str) -> None:
    found = findings(records, settings(), spoilt(change))
    assert the_bad(found).name == name
    assert re.search(words, the_bad(found).words)
    assert {one.name for one in found} == {"photos", "labels", "answers"}  # no pass is made with what is broken


def test_a_data_set_of_one_answer_is_told(records: list[Record]) -> None:
    same = [replace(record, values=records[0].values) for record in records]
    bad = the_bad(findings(same, settings()))
    assert bad.words.startswith("all 4 answers are 'Product: Sheet 0, ")
    assert "it can be said without a photo" in bad.words


def blind(model: Any, encoder: Encoder) -> None:
    """The rows have the right number and always the same values, and still a gradient."""
    embedding = model.model.vision_embed_tokens
    forward = embedding.forward

    def same(pixel_values: Any, *args: Any, **more: Any) -> Any:
        return forward(None if pixel_values is None else torch.ones_like(pixel_values), *args, **more)

    embedding.forward = same


def detached(model: Any, encoder: Encoder) -> None:
    embedding = model.model.vision_embed_tokens
    see = embedding.see
    embedding.see = lambda tiles: see(tiles).detach()


def deaf(model: Any, encoder: Encoder) -> None:
    """The projector's rows are taken times zero."""
    embedding = model.model.vision_embed_tokens
    forward = embedding.forward
    embedding.forward = lambda *args, **more: [rows * 0 for rows in forward(*args, **more)]


def not_a_number(model: Any, encoder: Encoder) -> None:
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")


def thawed(model: Any, encoder: Encoder) -> None:
    model.model.vision_embed_tokens.img_processor.vision_model.encoder.layers[0].mlp.fc1.weight.requires_grad_(True)


def forgotten(model: Any, encoder: Encoder) -> None:
    model.model.vision_embed_tokens.requires_grad_(False)


@pytest.mark.parametrize(
    ("spoil", "how", "name", "words"),
    [
        (blind, {}, "photo", "the same for each: expected a change: the model does not see the photo"),
        (detached, {}, "gradients", r"img_processor\.vision_model\.\S+ is to be trained and no gradient reaches it: .*freeze vision"),
        (deaf, {"vision": "frozen"}, "gradients", "every gradient in projector is zero, and it is full"),
        (not_a_number, {}, "gradients", "the loss of the first batch is nan: expected a number"),
        (thawed, {"vision": "frozen"}, "gradients", r"layers\.0\.mlp\.fc1\.weight has a gradient, and vision is frozen"),
        (forgotten, {"vision": "frozen"}, "gradients", "projector is full and nothing of it is marked to be trained"),
    ],
)
def test_a_fault_of_the_model_is_found(records: list[Record], spoil: Any, how: dict[str, Any], name: str, words: str) -> None:
    found = findings(records, settings(**how), spoil)
    bad = [one for one in found if not one.ok]
    assert bad[0].name == name
    assert re.search(words, bad[0].words)
    with pytest.raises(RunError, match="would not train well"):
        demand(found)


def test_lora_on_a_layer_that_is_never_computed_is_found(records: list[Record]) -> None:
    from peft import LoraConfig, get_peft_model

    one = settings(model="x", language="frozen", projector="frozen", vision="lora")
    assert resolve_parts(one) == Parts("frozen", "frozen", "lora")
    model, encoder = sound(records, settings())
    careless = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))  # in all five layers, of which four are computed
    bad = the_bad(examine(careless, encoder, records, one))
    assert re.search(r"encoder\.layers\.4\.self_attn\.q_proj\.lora_A\S* is to be trained and no gradient reaches it", bad.words)


def test_an_optimizer_that_lacks_a_weight_or_holds_a_frozen_one_is_found(records: list[Record]) -> None:
    one = settings(vision="frozen")
    model, encoder = sound(records, one)
    fine = make_optimizer(model, one)
    assert all(finding.ok for finding in examine(model, encoder, records, one, optimizer=fine))
    model.lm_head.weight.requires_grad_(False)
    lacking = make_optimizer(model, one)
    model.lm_head.weight.requires_grad_(True)
    assert (
        "lm_head.weight stands 0 times in the optimizer: expected once"
        in the_bad(examine(model, encoder, records, one, optimizer=lacking)).words
    )
    model.lm_head.weight.requires_grad_(False)
    assert "lm_head.weight stands 1 times" in the_bad(examine(model, encoder, records, one, optimizer=fine)).words


def test_a_batch_that_cannot_be_learnt_by_heart_is_told(records: list[Record]) -> None:
    bad = the_bad(findings(records, settings(overfit_steps=2, learning_rate=1e-6)))
    assert re.match(r"the loss of one batch fell from [\d.]+ to [\d.]+ in 2 steps: expected a tenth of it: raise learning_rate", bad.words)


def test_more_memory_than_there_is_stops_a_training_that_cannot_become_smaller(
    records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seeworth.train.memory.available_memory", lambda device: 30 * 2**20)
    bad = the_bad(findings(records, settings()))
    assert re.match(r"about 0\.\d+ of 0\.03 GiB .*: lower per_device_train_batch_size", bad.words)
    assert all(one.ok for one in findings(records, settings(auto_find_batch_size=True)))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert all(one.ok for one in findings(records, settings()))


def test_a_single_photo_is_compared_with_its_negative(records: list[Record]) -> None:
    found = {one.name: one for one in findings(records[:1], settings())}
    assert found["photo"].ok
    assert "with its negative, as no record has another" in found["photo"].words
    assert found["answers"].ok


def test_no_more_records_are_counted_into_memory_than_there_are(records: list[Record]) -> None:
    words = [findings(records, settings(**{"per_device_train_batch_size": size}))[-1].words for size in (4, 4_000_000)]
    assert words[0] == words[1]
    words = [findings(records, settings(max_tokens_per_batch=budget))[-1] for budget in (10**4, 10**9)]
    assert words[0] == words[1]


@pytest.mark.parametrize("width", [30, 60, 100])
def test_findings_fit_a_narrow_terminal_without_losing_a_word(records: list[Record], width: int) -> None:
    found = [*findings(records, settings()), Finding("photo", False, "word " * 30 + "verylongwordthatfits")]
    lines = show(found, width).splitlines()
    assert max(map(len, lines)) <= width
    said = "".join(f"{'ok' if one.ok else 'BAD'}{one.name}{one.words}" for one in found)
    assert "".join(show(found, width).split()) == "".join(said.split())
    assert sum(line.startswith(("ok ", "BAD")) for line in lines) == len(found)


def test_several_faults_are_told_as_the_first_and_how_many_more() -> None:
    found = [
        Finding("photos", True, "fine"),
        Finding("labels", False, "none"),
        Finding("answers", False, "one"),
        Finding("photo", False, "no"),
    ]
    with pytest.raises(RunError, match=r"^would not train well: labels: none \(and 2 more: answers, photo\)$"):
        demand(found)
