"""LLaVA conversations and chat messages: what becomes of each kind of turn."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seeworth.data.rows.reader import Columns, Draft, RowReader
from seeworth.data.sources import ConversationTable, Source, SourceRow, open_source
from seeworth.record import Turn, check_turns, read_turns, write_turns

PNG = "data:image/png;base64,AAAA"


def llava(*turns: str, **more: Any) -> dict[str, Any]:
    """Turns of human and gpt in turn."""
    said = [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(turns)]
    return {"image": "a.jpg", "conversations": said} | more


def chat(content: Any, answer: Any = "A bag.", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]} | more


def image_url(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def opened(path: Path, objects: list[dict[str, Any]]) -> Source:
    path.write_text(json.dumps(objects) if path.suffix == ".json" else "".join(json.dumps(one) + "\n" for one in objects))
    source = open_source(path)
    assert isinstance(source, ConversationTable)
    assert list(source) == list(source)
    return source


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_llava_record_is_the_whole_conversation(tmp_path: Path, name: str) -> None:
    objects = [llava("<image>\nWhat is it?", "A bag.", "Which colour?", "Red.", id="x1"), llava("And this?\n<image>", "A hat.", id="x2")]
    source = opened(tmp_path / name, objects)
    first, second = source
    assert {key: first.cells[key] for key in ("question", "answer", "photo", "id")} == {
        "question": "Which colour?", "answer": "Red.", "photo": "a.jpg", "id": "x1",
    }  # fmt: skip
    assert read_turns(first.cells["conversation"]) == (
        Turn("user", (0, "What is it?")), Turn("assistant", ("A bag.",)), Turn("user", ("Which colour?",)), Turn("assistant", ("Red.",)),
    )  # fmt: skip
    assert second.cells["question"] == "And this?"
    assert turns(second)[0] == Turn("user", ("And this?", 0))
    assert source.notices == ["of the conversations, 1 have several questions"]
    assert (source.task.question, source.task.answer, source.defaults["id"]) == ("{question}", "{answer}", "id")


def turns(row: SourceRow) -> tuple[Turn, ...]:
    return read_turns(row.cells["conversation"])


def photos(row: SourceRow) -> list[Any]:
    """The path or the bytes of each photo."""
    found = [(row.cells["photo"], row.embedded.get("photo")), *row.further]
    return [] if row.photoless else [path if data is None else data for path, data in found]


@pytest.mark.parametrize(
    ("content", "beside", "found", "parts"),
    [
        ("<image>\n<image>\nCompare.", {"images": ["b.jpg", "c.jpg"]}, ["b.jpg", "c.jpg"], (0, 1, "Compare.")),
        ("Compare.", {"images": ["b.jpg", "c.jpg"]}, ["b.jpg", "c.jpg"], (0, 1, "Compare.")),
        ("Is <|image_2|> like <|image_1|>?", {"images": ["b.jpg", "c.jpg"]}, ["c.jpg", "b.jpg"], ("Is", 0, "like", 1, "?")),
        ([image_url("b.jpg"), {"type": "text", "text": "or"}, image_url(PNG)], {}, ["b.jpg", b"\0\0\0"], (0, "or", 1)),
        ([{"type": "image", "index": 1}, {"type": "image", "index": 0}], {"images": ["b", "c"]}, ["c", "b"], (0, 1)),
        ([image_url("b"), {"type": "image"}, {"type": "text", "text": "x <image> y"}], {"image": "c"}, ["b", "c"], (0, 1, "x y")),
        ("Only words.", {}, [], ("Only words.",)),
        ("Several\r\n    lines\t.\n\n\0of <b>words</b>.", {}, [], ("Several\n    lines .\n\nof <b>words</b>.",)),
    ],
)
def test_photos_stand_where_their_places_are(
    tmp_path: Path, content: Any, beside: dict[str, Any], found: list[Any], parts: tuple[str | int, ...]
) -> None:
    chatted = chat(content, **beside)
    chatted["messages"] += [{"role": "user", "content": "So?"}, {"role": "assistant", "content": "So."}]
    (row,) = opened(tmp_path / "a.jsonl", [chatted])
    assert (row.code, photos(row)) == ("", found)
    assert [one.parts for one in turns(row)] == [parts, ("A bag.",), ("So?",), ("So.",)]


def test_photos_of_later_turns_are_in_order_too(tmp_path: Path) -> None:
    (row,) = opened(tmp_path / "a.json", [llava("Hi.", "Hello.", "What is <image>?", "A bag.", "<image> And that?", "A hat.",
                                                image=["b.jpg", "c.jpg"])])  # fmt: skip
    assert photos(row) == ["b.jpg", "c.jpg"]
    assert [one.parts for one in turns(row)][2::2] == [("What is", 0, "?"), (1, "And that?")]
    assert (row.cells["question"], row.cells["answer"]) == ("And that?", "A hat.")


def test_what_conversations_hold_is_told(tmp_path: Path) -> None:
    source = opened(tmp_path / "a.jsonl", [llava("Hi", "x", image=None), llava("Hi", "x", "Ho", "y"), llava("Hi", "x", image=["a", "b"])])
    assert source.notices == ["of the conversations, 1 have several questions, 1 are about several photos, 1 are words alone"]


def test_ids_that_stand_twice_name_no_records(tmp_path: Path) -> None:
    source = opened(tmp_path / "a.json", [llava("What?", "A bag.", id="x"), llava("How?", "Well.", id="x")])
    assert source.defaults["id"] == ""
    assert source.notices == ["ids are missing or stand twice: records are named by row number"]
    assert [draft.id for draft in drafts(source)] == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "beside", "photo", "question"),
    [
        ([{"type": "text", "text": "What?"}, image_url("https://a.example/1")], {}, "https://a.example/1", "What?"),
        ([{"type": "image_url", "image_url": "b.jpg"}, {"type": "text", "text": "What?"}], {}, "b.jpg", "What?"),
        ([{"type": "image", "image": "b.jpg"}, {"type": "text", "text": "<image>What?"}], {}, "b.jpg", "What?"),
        ([{"type": "image"}, {"type": "text", "text": "What?"}], {"images": ["b.jpg"]}, "b.jpg", "What?"),
        ("<|image_1|>\nWhat?", {"images": ["b.jpg"]}, "b.jpg", "What?"),
        ("What is <ImageHere> here?", {"image": "b.jpg"}, "b.jpg", "What is here?"),
        ("What  <b>?", {"images": [{"path": "b.jpg"}]}, "b.jpg", "What  <b>?"),
    ],
)
def test_each_form_of_a_photo_is_found(tmp_path: Path, content: Any, beside: dict[str, Any], photo: str, question: str) -> None:
    (row,) = opened(tmp_path / "a.jsonl", [chat(content, **beside)])
    assert (row.code, row.cells["photo"], row.cells["question"], row.cells["answer"]) == ("", photo, question, "A bag.")


def test_a_data_uri_is_the_photo_and_is_not_repeated_in_the_conversation(tmp_path: Path) -> None:
    (row,) = opened(tmp_path / "a.jsonl", [chat([{"type": "text", "text": "What?"}, image_url(PNG)])])
    assert (row.cells["photo"], dict(row.embedded)) == ("", {"photo": b"\0\0\0"})
    assert PNG not in row.cells["conversation"]
    assert turns(row)[0] == Turn("user", ("What?", 0))


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (llava("<image>What?", "A bag.", image=None), "photo_missing"),
        (llava("<image>What?", "A bag.", image=["a.jpg", ""]), "photo_count"),
        (llava("<image>What? <image>", "A bag."), "photo_count"),
        (llava("<image_2>What?", "A bag."), "photo_count"),
        (llava("<image_1> or <image_1>?", "A bag.", image=["a.jpg", "b.jpg"]), "photo_count"),
        (llava("<image> or <image_1>?", "A bag.", image=["a.jpg", "b.jpg"]), "photo_count"),
        (llava("What?", "A bag <image>."), "photo_misplaced"),
        (llava("What?", "A bag.", image=["a.jpg", ""]), "photo_missing"),
        (llava("What?", "A bag.", image=["a.jpg", "ftp://b"]), "bad_address"),
        (llava("What?", "A bag.", image=["a.jpg", "../b.jpg"]), "outside"),
        (llava("What?", "A bag.", "And?"), "turns_order"),
        (llava("What?", "A bag.", "And?", " "), "turn_empty"),
        (llava("What?", "A bag.", "", "Yes."), "turn_empty"),
        (llava("What?", "A bag.", "x" * 4001, "Yes."), "text_too_long"),
        (chat("What?", images=[{"bytes": None}]), "photo_missing"),
        (chat("What?", images=[True]), "photo_missing"),
        (llava("What?"), "turns_missing"),
        (llava(), "turns_missing"),
        ({"conversations": "none", "image": "a.jpg"}, "turns_missing"),
        ({"image": "a.jpg"}, "turns_missing"),
        (llava("What?", "A bag.") | {"conversations": [{"from": "gpt", "value": "A"}, {"from": "human", "value": "B"}]}, "turns_order"),
        (llava("What?", "A bag.") | {"conversations": [{"from": "human", "value": "A"}, {"from": "tool", "value": "B"}]}, "turn_role"),
        (llava("What?", "A bag.") | {"conversations": ["What?", "A bag."]}, "turn_unreadable"),
        (chat([{"type": "video", "video": "a.mp4"}], image="a.jpg"), "turn_unreadable"),
        (chat({"nested": 1}, image="a.jpg"), "turn_unreadable"),
        (chat([image_url("data:image/png;base64,@@")]), "bad_data_uri"),
        (chat([image_url("data:text/html;base64,AAAA")]), "bad_data_uri"),
        (llava("What?", "x" * 4001), "text_too_long"),
        (llava("What?", " "), "turn_empty"),
        (llava("<image>", "A bag."), "text_missing"),
    ],
)
def test_each_fault_of_a_conversation_has_its_code(tmp_path: Path, found: dict[str, Any], code: str) -> None:
    source = opened(tmp_path / "a.jsonl", [llava("What?", "y" * 4000), found])
    if "messages" in found:  # a file holds one kind
        source = opened(tmp_path / "a.jsonl", [chat("What?", image="a.jpg"), found])
    good, bad = drafts(source)
    assert isinstance(good, Draft)
    assert (bad.row, bad.code) == (2, code)
    assert bad.reason


def test_the_first_object_may_be_the_broken_one(tmp_path: Path) -> None:
    source = opened(tmp_path / "a.jsonl", [{"messages": []}, {"messages": None}, chat("What?", image="a.jpg")])
    assert [row.code for row in source] == ["turns_missing", "turns_missing", ""]


def test_a_system_prompt_is_the_first_turn_unless_it_is_empty(tmp_path: Path) -> None:
    found = [chat("What?", image="a.jpg") for _ in range(3)]
    for one, words in zip(found, ["Be brief.", " ", None], strict=True):
        one["messages"].insert(0, {"role": "system", "content": words})
    source = opened(tmp_path / "a.jsonl", found)
    first, *others = source
    assert first.cells["question"] == "What?"
    assert turns(first) == (Turn("system", ("Be brief.",)), Turn("user", (0, "What?")), Turn("assistant", ("A bag.",)))
    assert [turns(one) for one in others] == [turns(first)[1:]] * 2
    assert source.notices == []


def test_other_keys_are_kept_and_ours_win(tmp_path: Path) -> None:
    (row,) = opened(tmp_path / "a.jsonl", [llava("What?", "A bag.", question="old", score=1.25)])
    assert (row.cells["question"], row.cells["source_question"], row.cells["score"]) == ("What?", "old", "1.25")


WORDS = st.text(max_size=12) | st.sampled_from(["<image>", "<image_1>", "<|image_2|> x", "\r\n a\0b", PNG, "data:"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | WORDS,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["type", "text", "image", "image_url", "url", "path", "bytes", "index", "role", "content"]), inner),
    max_leaves=8,
)
ROLES = st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool", "USER"]) | VALUES
PARTS = st.fixed_dictionaries({"type": st.sampled_from(["text", "image", "image_url", "video"]) | VALUES}, optional={"text": VALUES,
                              "image": VALUES, "image_url": VALUES, "index": VALUES})  # fmt: skip
TURNS = st.fixed_dictionaries({"role": ROLES, "content": WORDS | VALUES | st.lists(PARTS, max_size=3)}) | VALUES
BESIDE = {"image": VALUES, "images": VALUES, "id": VALUES}
OBJECTS = st.fixed_dictionaries({"messages": st.lists(TURNS, max_size=5) | VALUES}, optional=BESIDE)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OBJECTS, min_size=1, max_size=3))
def test_whatever_stands_in_a_file_is_a_conversation_or_refused(tmp_path: Path, objects: list[dict[str, Any]]) -> None:
    source = opened(tmp_path / "a.jsonl", [chat("What?", image="a.jpg"), *objects])
    for row, draft in zip(source, drafts(source), strict=True):
        if isinstance(draft, Draft):
            kept = read_turns(str(draft.values["conversation"]))
            assert check_turns(kept, len(draft.photos)) is None
            assert write_turns(kept) == draft.values["conversation"]
        else:
            assert (draft.row, bool(draft.code), bool(draft.reason)) == (row.number, True, True)


SPOKEN = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9).filter(str.strip)
PIECES = st.lists(SPOKEN | st.just(-1), min_size=1, max_size=4)


@given(st.lists(PIECES, min_size=2, max_size=6))
def test_turns_are_read_as_they_were_written(pieces: list[list[str | int]]) -> None:
    places = count()
    said = tuple(
        Turn(("user", "assistant")[number % 2], tuple(next(places) if part == -1 else part for part in parts))  # type: ignore[arg-type]
        for number, parts in enumerate(pieces)
    )
    assert read_turns(write_turns(said)) == said


def test_messages_in_parquet_with_embedded_photos_are_read(tmp_path: Path) -> None:
    part = [{"type": "text", "text": "What?", "index": None}, {"type": "image", "text": None, "index": 0}]
    messages = [{"role": "user", "content": part}, {"role": "assistant", "content": [{"type": "text", "text": "A bag.", "index": None}]}]
    images = pa.array([[{"bytes": b"one", "path": None}]], pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
    pq.write_table(pa.table({"messages": [messages], "images": images}), tmp_path / "a.parquet")
    (row,) = open_source(tmp_path / "a.parquet")
    assert (row.cells["question"], row.cells["answer"], dict(row.embedded)) == ("What?", "A bag.", {"photo": b"one"})


def drafts(source: Source) -> list[Any]:
    reader = RowReader(source, source.task, Columns.of(source, source.task, None))
    return [reader.read(row) for row in source]
