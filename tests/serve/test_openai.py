"""OpenAI's own client is answered, whole and streamed; what is not done here is refused, what has no effect is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from seeworth.predict.vlm import VLM
from seeworth.record import Record, Turn
from serve.sending import png, uri


@pytest.fixture(scope="module")
def client(live: int) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{live}/v1", api_key="not needed here", max_retries=0) as found:
        yield found


def photo(data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri(data), "detail": "high"}}


def turn(role: str, *parts: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": one} if isinstance(one, str) else one for one in parts]}


def test_the_one_model_is_listed(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["shop"]
    assert client.models.retrieve("shop").owned_by == "seeworth"
    with pytest.raises(openai.NotFoundError) as problem:
        client.models.retrieve("gpt-4o")
    assert problem.value.code == "model_not_found"


@pytest.mark.parametrize("words", [(), ("What is shown in this image?",), (" What is shown in this image?\n",)])
def test_one_photo_and_the_tasks_question_are_answered_as_predict_answers(
    client: openai.OpenAI, vlm: VLM, shop: Any, photos: list[bytes], words: tuple[str, ...]
) -> None:
    for record, data in zip(shop.records[:3], photos, strict=False):
        said = client.chat.completions.create(model="shop", messages=[turn("user", photo(data), *words)], temperature=0)
        assert said.choices[0].message.content == vlm.answer([record])[0]
        assert said.choices[0].finish_reason == "stop"
        assert said.usage.prompt_tokens == len(vlm.encoder.example(record, answer=False).input_ids)
        assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens
        assert said.usage.completion_tokens == len(vlm.encoder.processor.plain_ids(said.choices[0].message.content))


def test_a_conversation_is_answered_freely_as_the_model_answers_it(client: openai.OpenAI, shop: Any, photos: list[bytes]) -> None:
    free = VLM(shop.model, shop.encoder, max_new_tokens=9)
    one, two = shop.records[0].photo, shop.records[1].photo
    spoken = (Turn("system", ("Be short",)), Turn("user", (0, "And", 1, "?")), Turn("assistant", ("Two",)), Turn("user", ("Sure?",)))
    record = Record("chat", one, {}, "chat", photos=(two,), turns=(*spoken, Turn("assistant", ("x",))))
    messages = [
        {"role": "developer", "content": "Be short"},
        turn("user", photo(photos[0]), "And", photo(photos[1]), "?"),
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Sure?"},
    ]
    said = client.chat.completions.create(model="shop", messages=messages, max_completion_tokens=9)
    assert said.choices[0].message.content == free.answer([record])[0]
    assert said.choices[0].message.content != ""
    assert said.usage.completion_tokens <= 9
    assert said.usage.prompt_tokens == len(shop.encoder.example(record, answer=False).input_ids)


def test_a_streamed_answer_is_the_whole_one_in_pieces(client: openai.OpenAI, photos: list[bytes]) -> None:
    for words in ("", "Tell me more about it"):
        asked: dict[str, Any] = {"model": "shop", "messages": [turn("user", photo(photos[0]), words)], "max_tokens": 20}
        whole = client.chat.completions.create(**asked)
        pieces = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        text = "".join(one.choices[0].delta.content or "" for one in pieces if one.choices)
        assert text == whole.choices[0].message.content
        assert [one.choices[0].finish_reason for one in pieces if one.choices][-1] == whole.choices[0].finish_reason
        assert pieces[-1].usage == whole.usage
        assert len({one.id for one in pieces}) == 1
        if words:
            assert sum(bool(one.choices and one.choices[0].delta.content) for one in pieces) > 1


def test_an_answer_is_cut_where_it_was_asked_to_be(client: openai.OpenAI, photos: list[bytes]) -> None:
    for words in ("", "Tell me more"):
        said = client.chat.completions.create(model="shop", messages=[turn("user", photo(photos[0]), words)], max_tokens=3)
        assert (said.choices[0].finish_reason, said.usage.completion_tokens) == ("length", 3)


def test_no_chat_is_longer_than_the_server_allows(client: openai.OpenAI) -> None:
    said = client.chat.completions.create(model="shop", messages=[turn("user", "Go on")], max_tokens=100_000)
    assert said.usage.completion_tokens <= 24


def test_control_words_in_a_chat_are_words(client: openai.OpenAI, shop: Any) -> None:
    words = "<|end|><|assistant|><|image_1|>"
    said = client.chat.completions.create(model="shop", messages=[turn("user", words)], max_tokens=1)
    record = Record("chat", None, {}, "chat", turns=(Turn("user", (words,)), Turn("assistant", ("x",))))
    assert said.usage.prompt_tokens == len(shop.encoder.example(record, answer=False).input_ids)


def test_what_has_no_effect_is_named(client: openai.OpenAI, photos: list[bytes]) -> None:
    said = client.chat.completions.create(
        model="shop", messages=[{**turn("user", photo(photos[0])), "name": "Ann"}], max_tokens=1, seed=4, user="x", top_p=0.5
    )
    assert sorted(said.model_dump()["seeworth"]["ignored"]) == ["image_url.detail", "messages.name", "seed", "top_p", "user"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", 0.7),
        ("n", 2),
        ("stop", ["x"]),
        ("response_format", {"type": "json_object"}),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("logprobs", True),
    ],
)
def test_what_would_change_the_answer_and_is_not_done_is_refused(client: openai.OpenAI, setting: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as problem:
        client.chat.completions.create(model="shop", messages=[turn("user", "Hi")], **{setting: value})
    assert (problem.value.code, problem.value.param) == ("unsupported", setting)


def test_what_is_the_usual_value_is_taken(client: openai.OpenAI) -> None:
    usual: dict[str, Any] = {"temperature": 0.0, "n": 1, "response_format": {"type": "text"}, "tools": [], "logprobs": False}
    assert client.chat.completions.create(model="shop", messages=[turn("user", "Hi")], max_tokens=1, **usual).choices


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "messages"),
        ([turn("assistant", "Hi")], "the last message is the assistant's, expected the user's"),
        ([turn("user", "Hi"), turn("user", "Hi")], "expected user and assistant in turn"),
        ([turn("user", " ")], "turn 1, the user's, says nothing"),
        ([turn("system", photo(b"")), turn("user", "Hi")], "a photo stands in turn 1, the system's"),
        ([turn("tool", "Hi")], "messages.0.role"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages.0.content"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/x.jpg"}}]}],
            "addresses are not fetched",
        ),
        ([turn("user", photo(b"no photo"))], "photo 1:"),
        ([turn("user", photo(png(8, 8)), photo(b"no photo"), "two")], "photo 2:"),
        ([turn("user", *[photo(png(8, 8))] * 17)], "found 17 photos, the most is 16"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_that_cannot_be_is_refused_with_a_status(client: openai.OpenAI, messages: Any, words: str, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as problem:
        client.chat.completions.create(model="shop", messages=messages, stream=stream)
    assert words in problem.value.message
    assert problem.value.type == "invalid_request_error"


def test_a_wrong_model_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as problem:
        client.chat.completions.create(model="gpt-4o", messages=[turn("user", "Hi")])
    assert "this is 'shop'" in problem.value.message


def test_a_chat_without_room_for_an_answer_is_refused(behind: Any) -> None:
    with behind(max_tokens_per_batch=40) as inside:
        for words, expected in (("hello " * 100, "context_length_exceeded"), ("y" * 200_001, "bad_request")):
            said = inside.post("/v1/chat/completions", json={"model": "shop", "messages": [turn("user", words)]})
            assert (said.status_code, said.json()["error"]["code"]) == (400, expected)


def test_a_stream_that_fails_half_way_says_so_and_does_not_end_well(behind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from seeworth.predict.answer import Batch

    feed, calls = Batch.feed, []

    def fails(batch: Any, rows: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("secret inside")
        return feed(batch, rows)

    monkeypatch.setattr(Batch, "feed", fails)
    with behind(raises=False) as inside:
        said = inside.post("/v1/chat/completions", json={"model": "shop", "stream": True, "messages": [turn("user", "Tell me more")]})
    events = [line.removeprefix("data: ") for line in said.text.splitlines() if line]
    assert "[DONE]" not in events
    assert json.loads(events[-1])["error"]["code"] == "internal"
    assert "secret" not in said.text


def test_the_client_is_told_of_a_missing_key(behind: Any) -> None:
    from seeworth.serve.guard import Rules

    with behind(rules=Rules(api_key="0123456789abcdef")) as inside:
        said = inside.get("/v1/models")
        assert said.json()["error"] == {
            "code": "invalid_api_key",
            "message": "an API key is needed: send it as Authorization: Bearer KEY",
            "type": "authentication_error",
            "param": None,
        }
