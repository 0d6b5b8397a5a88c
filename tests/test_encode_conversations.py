"""Several photos, several turns, words alone: the ids are the model's own chat template, and their number is known beforehand."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from grain import grain
from seeworth.encode import IGNORED, Encoder, Example, collate
from seeworth.errors import DataError, PhotoError
from seeworth.phi3v import Phi3VProcessor
from seeworth.phi3v.tiny import make_tiny
from seeworth.record import Record, Role, Turn
from seeworth.task import Task

TASK = Task()
VALUES = {"title": "Long Coat in Camel", "category3_code": "COATS", "full_price": Decimal(1290)}
SIZES = [(60, 90), (300, 100), (120, 120)]
TURNS = (
    Turn("system", ("You sell coats.",)),
    Turn("user", ("Compare", 0, "with", 1, "please.")),
    Turn("assistant", ("The first is red.",)),
    Turn("user", (2, "And this?")),
    Turn("assistant", ("It is blue.",)),
)
Ids = dict[str, int]


@pytest.fixture(scope="module")
def processor() -> Phi3VProcessor:
    return make_tiny([TASK.write(VALUES), TASK.prompt(), "Compare with please. The first is red. It is blue."], num_crops=4)[1]


@pytest.fixture(scope="module")
def encoder(processor: Phi3VProcessor) -> Encoder:
    return Encoder(processor, TASK)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for number, size in enumerate(SIZES):
        grain(size, 60, number).convert("RGB").save(folder / f"{number}.png")
    return [folder / f"{number}.png" for number in range(len(SIZES))]


def words(*said: str) -> tuple[Turn, ...]:
    roles: tuple[Role, Role] = ("user", "assistant")
    return tuple(Turn(roles[place % 2], (one,)) for place, one in enumerate(said))


def conversation(paths: list[Path], turns: tuple[Turn, ...] = TURNS, **others: object) -> Record:
    return Record("c1", paths[0] if paths else None, {}, "g", photos=tuple(paths[1:]), turns=turns, **others)  # type: ignore[arg-type]


def published(processor: Phi3VProcessor, turns: tuple[Turn, ...], paths: list[Path], *, generate: bool = False) -> list[int]:
    """The ids that the published template and the processor make of the same conversation."""
    tagged = [
        {"role": one.role, "content": "".join(part if isinstance(part, str) else f"<|image_{part + 1}|>" for part in one.parts)}
        for one in turns
    ]
    text = processor.tokenizer.apply_chat_template(tagged, tokenize=False, add_generation_prompt=generate)
    images = [Image.open(path) for path in paths]
    ids: list[int] = processor(text, images or None)["input_ids"][0].tolist()
    return ids


def test_a_conversation_is_the_chat_template_token_by_token(encoder: Encoder, paths: list[Path]) -> None:
    processor = encoder.processor
    line_end = processor.plain_ids("\n")
    example = encoder.example(conversation(paths))
    assert example.input_ids[:-1] + line_end == published(processor, TURNS, paths)  # the template ends with <|end|>\n
    assert example.input_ids[-1] == processor.ids["<|endoftext|>"]
    prompt = encoder.example(conversation(paths), answer=False)
    assert prompt.input_ids == published(processor, TURNS[:-1], paths, generate=True)
    assert set(prompt.labels) == {IGNORED}
    assert encoder.prompt_ids(conversation(paths), [plan.num_tokens for plan in encoder.tilings(conversation(paths))]) == prompt.input_ids


@pytest.mark.parametrize("name", ["phi-3-vision-128k-instruct", "phi-3.5-vision-instruct"])
def test_with_the_published_tokenizers_too(shared: Path, paths: list[Path], name: str) -> None:
    processor = Phi3VProcessor.from_pretrained(shared / "phi3v" / "pretrained" / name)
    encoder = Encoder(processor, TASK)
    ids = encoder.example(conversation(paths)).input_ids
    assert [*ids[:-1], 29871, 13] == published(processor, TURNS, paths)
    assert encoder.example(conversation(paths), answer=False).input_ids == published(processor, TURNS[:-1], paths, generate=True)
    assert encoder.max_length == 131072


def test_every_turn_of_the_assistant_is_trained_and_nothing_else(encoder: Encoder, paths: list[Path]) -> None:
    example = encoder.example(conversation(paths))
    ids, tokenizer = encoder.processor.ids, encoder.processor.tokenizer
    spans: list[list[int]] = [[]]
    for label in example.labels:
        if label != IGNORED:
            spans[-1].append(label)
        elif spans[-1]:
            spans.append([])
    assert [tokenizer.decode(span) for span in spans] == ["The first is red.<|end|>", "It is blue.<|end|><|endoftext|>"]
    trained = [place for place, label in enumerate(example.labels) if label != IGNORED]
    assert all(example.input_ids[place] == example.labels[place] for place in trained)
    starts = [place for place in trained if place - 1 not in trained]
    assert [example.input_ids[place - 1] for place in starts] == [ids["<|assistant|>"]] * 2  # the first word is trained too


def test_words_alone_need_no_photo(encoder: Encoder) -> None:
    record = conversation([], words("What is red?", "A colour."))
    example = encoder.example(record)
    assert example.image_sizes == example.tiles == ()
    assert example.input_ids[:-1] + encoder.processor.plain_ids("\n") == published(encoder.processor, record.turns or (), [])
    batch = collate([example, example], pad_id=0)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}


def test_each_photo_of_a_conversation_has_its_tiles_in_order(encoder: Encoder, paths: list[Path]) -> None:
    example = encoder.example(conversation(paths))
    cut = [encoder.processor.image_processor.tiles(Image.open(path).convert("RGB")) for path in paths]
    assert all(torch.equal(found, tiles) for found, (tiles, _) in zip(example.tiles, cut, strict=True))
    assert example.image_sizes == tuple((plan.height, plan.width) for _, plan in cut)
    batch = collate([encoder.example(conversation([], words("Hm?", "Yes."))), example], pad_id=0)
    assert batch["pixel_values"].shape == (3, max(plan.num_tiles for _, plan in cut), 3, 112, 112)
    assert batch["image_sizes"].tolist() == [list(size) for size in example.image_sizes]
    assert not batch["pixel_values"][0, cut[0][1].num_tiles :].any()


RECORDS = st.one_of(
    st.just("task"),
    st.tuples(
        st.lists(st.lists(st.sampled_from(["red", "a longer word", "1,290", "€"]), min_size=1, max_size=3), min_size=2, max_size=6),
        st.lists(st.integers(0, 2), max_size=4),
        st.booleans(),
    ),
)


@settings(max_examples=60, deadline=None)
@given(drawn=RECORDS, known=st.booleans(), num_crops=st.sampled_from([1, 4, 16]))
def test_the_size_of_an_example_is_known_without_opening_a_photo(paths: list[Path], drawn: object, known: bool, num_crops: int) -> None:
    processor = _processor(num_crops)
    encoder = Encoder(processor, TASK)
    record = _record(paths, drawn)
    if known:
        record = Record(**{**vars(record), "sizes": tuple(SIZES[paths.index(path)] for path in record.all_photos)})
    example = encoder.example(record)
    labels = sum(label != IGNORED for label in example.labels)
    photo_tokens = example.input_ids.count(processor.image_token_id)
    assert encoder.measure(record) == (len(example.input_ids), photo_tokens, labels, sum(map(len, example.tiles)))
    assert encoder.length(record) == encoder.measure(record).tokens
    assert len(example.labels) == len(example.input_ids)


_MADE: dict[int, Phi3VProcessor] = {}


def _processor(num_crops: int) -> Phi3VProcessor:
    if num_crops not in _MADE:
        _MADE[num_crops] = make_tiny(["red", "a longer word"], num_crops=num_crops)[1]
    return _MADE[num_crops]


def _record(paths: list[Path], drawn: object) -> Record:
    if not isinstance(drawn, tuple):
        return Record("t", paths[0], VALUES, "g")
    said, shown, system = drawn
    photos = [paths[one] for one in shown]
    turns: list[Turn] = [Turn("system", ("Be kind.",))] if system else []
    places = iter(range(len(photos)))
    for place, parts in enumerate(said[: len(said) // 2 * 2]):
        mixed: list[str | int] = []
        for part in parts:
            mixed.append(part)
            if place % 2 == 0 and (photo := next(places, None)) is not None:
                mixed.append(photo)
        turns.append(Turn(("user", "assistant")[place % 2], tuple(mixed)))  # type: ignore[arg-type]
    used = sum(isinstance(part, int) for turn in turns for part in turn.parts)
    photos = photos[:used]
    return Record("c", photos[0] if photos else None, {}, "g", photos=tuple(photos[1:]), turns=tuple(turns))


def test_with_sizes_known_no_photo_is_touched(encoder: Encoder, tmp_path: Path) -> None:
    gone = [tmp_path / "gone.png", tmp_path / "gone too.png"]
    turns = (Turn("user", (0, 1, "Which?")), Turn("assistant", ("None",)))
    assert encoder.measure(conversation(gone, turns, sizes=((60, 90), (300, 100)))).photo_tokens > 0
    with pytest.raises(PhotoError, match=r"record c1, photo .*gone\.png"):
        encoder.length(conversation(gone, turns))
    with pytest.raises(DataError, match="has 2 photos and the sizes of 1"):
        encoder.length(conversation(gone, turns, sizes=((60, 90),)))


CONTROL = st.sampled_from(["<|end|>", "<|assistant|>", "<|user|>", "<|system|>", "<|image_1|>", "<|image|>", "<|endoftext|>", "<s>"])
HOSTILE = st.lists(CONTROL | st.text(min_size=1, max_size=5), min_size=1, max_size=4).map("".join).filter(lambda text: text.strip())


@settings(max_examples=100, deadline=None)
@given(said=st.lists(HOSTILE, min_size=2, max_size=2), system=HOSTILE)
def test_no_word_of_a_conversation_becomes_a_control_token(encoder: Encoder, said: list[str], system: str) -> None:
    record = conversation([], (Turn("system", (system,)), *words(*said)))
    ids = encoder.processor.ids
    added = {*encoder.processor.tokenizer.added_tokens_decoder, encoder.bos}
    expected = [encoder.bos]
    for role in ("<|system|>", "<|user|>", "<|assistant|>"):
        expected += [ids[role], ids["<|end|>"]]
    assert [one for one in encoder.example(record).input_ids if one in added] == [*expected, ids["<|endoftext|>"]]


def test_an_example_longer_than_the_model_takes_is_told_by_its_record(processor: Phi3VProcessor, paths: list[Path]) -> None:
    record = conversation(paths)
    whole = Encoder(processor, TASK).length(record)
    assert len(Encoder(processor, TASK, max_length=whole).example(record).input_ids) == whole
    short = Encoder(processor, TASK, max_length=whole - 1)
    for measure in (short.example, short.length):
        with pytest.raises(DataError, match=f"record c1: has {whole} tokens, the model takes {whole - 1}: lower num_crops"):
            measure(record)
    assert Encoder(processor, TASK).max_length == processor.tokenizer.model_max_length == 4096


def test_jitter_follows_its_own_random_numbers_and_no_others(processor: Phi3VProcessor, paths: list[Path]) -> None:
    encoder = Encoder(processor, TASK, augment=0.5)
    record = conversation(paths)
    random.seed(1)
    first = encoder.example(record, rng=random.Random("0 3 c1"))
    random.seed(2)
    assert _same(first, encoder.example(record, rng=random.Random("0 3 c1")))
    assert not _same(first, encoder.example(record, rng=random.Random("0 4 c1")))
    assert _same(encoder.example(record), Encoder(processor, TASK).example(record))  # no rng, no jitter
    assert encoder.measure(record).tokens == len(first.input_ids)


def _same(one: Example, other: Example) -> bool:
    return one.input_ids == other.input_ids and all(map(torch.equal, one.tiles, other.tiles))


@settings(max_examples=200, deadline=None)
@given(width=st.integers(8, 4000), height=st.integers(8, 4000), num_crops=st.sampled_from([1, 2, 4, 16]))
def test_a_photo_made_smaller_for_jitter_keeps_its_tiles(width: int, height: int, num_crops: int) -> None:
    encoder = Encoder(_processor(num_crops), TASK, augment=0.5)
    plan = encoder.processor.image_processor.plan
    smaller = plan(*encoder.smaller(Image.new("L", (width, height))).size)
    assert (smaller.rows, smaller.columns) == (plan(width, height).rows, plan(width, height).columns)


def test_features_stand_in_the_tiles_place_and_no_photo_is_opened(encoder: Encoder, paths: list[Path], tmp_path: Path) -> None:
    gone = [tmp_path / path.name for path in paths]
    record = conversation(gone, sizes=tuple(SIZES))
    opened = encoder.example(conversation(paths))
    features = [torch.zeros(1 if len(tiles) == 2 else len(tiles), 4, 4, 640) for tiles in opened.tiles]
    example = encoder.example(record, tile_features=features)
    assert (example.input_ids, example.labels, example.image_sizes) == (opened.input_ids, opened.labels, opened.image_sizes)
    batch = collate([example, example], pad_id=0)
    assert "pixel_values" not in batch
    assert all(found is one for found, one in zip(batch["tile_features"], features * 2, strict=True))
    assert batch["image_sizes"].tolist() == [list(size) for size in opened.image_sizes * 2]
    with pytest.raises(DataError, match=r"record c1: its photos have \[\d, \d, \d\] tiles, features of \[\d, \d\] are given"):
        encoder.example(record, tile_features=features[:2])
    both = collate([example, opened], pad_id=0)
    assert both["tile_features"] == [*features, None, None, None]
    assert len(both["pixel_values"]) == 3
    with pytest.raises(ValueError, match="6 photos, 3 with tiles or features"):
        collate([example, replace(opened, tiles=())], pad_id=0)


def test_photos_that_are_given_are_as_many_as_the_record_has(encoder: Encoder, paths: list[Path]) -> None:
    with pytest.raises(DataError, match="record c1: has 3 photos, 1 are given"):
        encoder.example(conversation(paths), photos=[Image.new("RGB", (9, 9))])


@pytest.mark.parametrize(
    ("turns", "photos", "told"),
    [
        ([], 0, "expected a question and its answer, found 0 turns"),
        ([("system", "x"), ("user", "x")], 0, "found 1 turns"),
        ([("user", "x"), ("user", "x")], 0, "user and assistant in turn, found user, user"),
        ([("assistant", "x"), ("user", "x")], 0, "found assistant, user"),
        ([("user", "x"), ("assistant", "x"), ("system", "x")], 0, "found user, assistant, system"),
        ([("user", "x"), ("assistant", "x"), ("user", "x")], 0, "the last question has no answer"),
        ([("user", "x"), ("tool", "x")], 0, "expected system, user, assistant, found a turn of 'tool'"),
        ([("user", " \n"), ("assistant", "x")], 0, "turn 1, the user's, says nothing"),
        ([("user", 0), ("assistant", "")], 1, "turn 2, the assistant's, says nothing"),
        ([("user", "x"), ("assistant", 0)], 1, "a photo stands in turn 2, the assistant's"),
        ([("user", "x"), ("assistant", "x")], 1, "have places for 0 photos, the record has 1"),
        ([("user", 0), ("assistant", "x"), ("user", 0), ("assistant", "x")], 1, "have places for 2 photos, the record has 1"),
    ],
)
def test_turns_that_are_no_conversation_are_refused(turns: list[tuple[Role, str | int]], photos: int, told: str) -> None:
    with pytest.raises(DataError, match=f"record r: .*{told}"):
        Record("r", Path("p") if photos else None, {}, "g", turns=tuple(Turn(role, (part,)) for role, part in turns))
