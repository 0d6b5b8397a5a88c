"""What waits is answered together, in one thread, within bounds; what nobody waits for is not answered."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from seeworth.predict.vlm import VLM
from seeworth.serve.app import build
from seeworth.serve.guard import Guard, Rules
from serve.sending import Wire, png, serving, uri


class Gate:
    """Stands before a model: lets a batch through when it is opened, and keeps what came."""

    def __init__(self, model: VLM) -> None:
        self.model = model
        self.answer = VLM.answer_examples
        self.open = threading.Event()
        self.inside = threading.Semaphore(0)
        self.batches: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, records: Any, examples: Any) -> Any:
        self.batches.append(len(records))
        self.threads.add(threading.current_thread().name)
        self.inside.release()
        assert self.open.wait(60)
        return self.answer(self.model, records, examples)


@pytest.fixture
def gate(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> Gate:
    found = Gate(vlm)
    monkeypatch.setattr(vlm, "answer_examples", found, raising=False)
    return found


def until(true: Callable[[], bool]) -> None:
    """Wait for something that other threads bring about."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_waits_while_a_batch_is_answered_goes_into_the_next_one(behind: Any, gate: Gate, photos: list[bytes], form: Any) -> None:
    with behind(batch_size=4) as client, ThreadPoolExecutor(7) as pool:
        asked = [pool.submit(client.post, "/v1/predict", files=form(photos[0]))]
        assert gate.inside.acquire(timeout=60)
        asked += [pool.submit(client.post, "/v1/predict", files=form(one)) for one in photos[1:7]]
        until(lambda: len(client.house.queue.worker._asked) == 6)
        gate.open.set()
        assert [one.result().status_code for one in asked] == [200] * 7
    assert gate.batches == [1, 4, 2]
    assert gate.threads == {"model"}


def test_a_full_queue_says_when_to_come_back(
    behind: Any, gate: Gate, photos: list[bytes], form: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with behind(queue_size=16, max_photos=16) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/predict", files=form(*photos[:15]))
        assert gate.inside.acquire(timeout=60)
        said = client.post("/v1/predict", files=form(*photos[:2]))
        assert (said.status_code, said.json()["error"]["code"]) == (429, "busy")
        assert 1 <= int(said.headers["retry-after"]) <= 60
        client.house.queue.size = 15
        with caplog.at_level(logging.INFO, "seeworth.serve"):
            assert client.post("/v1/predict", files=form(photos[0])).status_code == 429
        assert " in=0 " in caplog.text  # told before its body is read
        client.house.queue.size = 16
        chat = {"model": "shop", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": uri(photos[0])}}]}]}
        second = pool.submit(client.post, "/v1/chat/completions", json=chat)
        gate.open.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]
        assert client.post("/v1/predict", files=form(*photos)).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up_and_the_next_is_given(behind: Any, gate: Gate, photos: list[bytes], form: Any) -> None:
    with behind(timeout=0.3) as client:
        late = client.post("/v1/predict", files=form(photos[0]))
        assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
        queued = client.post("/v1/predict", files=form(photos[1]))  # waits behind the first, which is still inside
        assert queued.status_code == 504
        gate.open.set()
        until(lambda: not client.house.queue.worker._asked)
        assert gate.batches == [1]  # what nobody waits for is not answered
        assert client.house.queue.waiting == 0


def test_a_request_whose_client_went_away_is_dropped(vlm: VLM, intervals: Any, gate: Gate) -> None:
    from dataclasses import replace

    from seeworth.serve.house import House
    from serve.conftest import SETTINGS

    house = House.of(vlm, intervals, replace(SETTINGS))
    guard = Guard(build(house), Rules(), house.metrics)
    body = f'{{"photo": "{uri(png(20, 20))}"}}'.encode()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with serving(guard) as port:
        with Wire(port) as first, Wire(port) as second:
            first.send(head, body)
            assert gate.inside.acquire(timeout=60)
            second.send(head, body)
            until(lambda: len(house.queue.worker._asked) == 1)
        until(lambda: guard.visits == 0)
        assert house.queue.waiting == 0
        gate.open.set()
        until(lambda: not house.queue.worker._asked)
    assert gate.batches == [1]
    assert house.metrics.dropped._value.get() == 1


def test_a_batch_that_fails_is_answered_one_by_one(
    behind: Any, shop: Any, vlm: VLM, photos: list[bytes], form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = VLM.answer_examples
    sizes = []

    def fails(records: Any, examples: Any) -> Any:
        sizes.append(len(records))
        if any(one.image_sizes == poison.image_sizes for one in examples):
            raise RuntimeError("no memory")
        return answer(vlm, records, examples)

    poison = vlm.encoder.example(shop.records[1], answer=False)
    monkeypatch.setattr(vlm, "answer_examples", fails, raising=False)
    with behind() as client, ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda one: client.post("/v1/predict", files=form(one)).status_code, photos[:6]))
    assert 1 in sizes
    assert found == [500 if vlm.encoder.example(one, answer=False).image_sizes == poison.image_sizes else 200 for one in shop.records[:6]]
    assert set(found) == {200, 500}


def test_a_long_prompt_is_answered_alone_and_batches_keep_their_bound(behind: Any, gate: Gate, photos: list[bytes], form: Any) -> None:
    with behind(batch_size=8, max_tokens_per_batch=250) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/v1/predict", files=form(photos[0]))
        assert gate.inside.acquire(timeout=60)
        rest = pool.submit(client.post, "/v1/predict", files=form(*photos[:6]))
        until(lambda: len(client.house.queue.worker._asked) == 6)
        gate.open.set()
        assert (first.result().status_code, rest.result().status_code) == (200, 200)
    assert sum(gate.batches) == 7
    assert max(gate.batches) < 6


def test_photos_are_opened_beside_the_model(
    behind: Any, gate: Gate, photos: list[bytes], form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    with behind() as client, ThreadPoolExecutor(2) as pool:
        real = client.house.open
        monkeypatch.setattr(client.house, "open", lambda *given: (opened.append(threading.current_thread().name), real(*given))[1])
        first = pool.submit(client.post, "/v1/predict", files=form(photos[0]))
        assert gate.inside.acquire(timeout=60)
        second = pool.submit(client.post, "/v1/predict", files=form(*photos[:4]))
        until(lambda: len(opened) == 5)  # while the model is busy
        gate.open.set()
        assert (first.result().status_code, second.result().status_code) == (200, 200)
    assert all(name.startswith("photo") for name in opened)


def test_only_as_many_photos_are_open_as_are_of_use_soon(
    behind: Any, gate: Gate, photos: list[bytes], form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    with behind(batch_size=1) as client, ThreadPoolExecutor(1) as pool:
        real = client.house.open
        monkeypatch.setattr(client.house, "open", lambda *given: (opened.append(1), real(*given))[1])
        asked = pool.submit(client.post, "/v1/predict", files=form(*photos[:8]))
        assert gate.inside.acquire(timeout=60)
        until(lambda: len(client.house.queue.worker._asked) == 2)
        assert (len(opened), client.house.queue.waiting) == (3, 8)
        gate.open.set()
        assert asked.result().status_code == 200
    assert len(opened) == 8


def test_chats_go_on_while_photos_are_answered(behind: Any, photos: list[bytes], form: Any) -> None:
    chat = {"model": "shop", "messages": [{"role": "user", "content": "Tell me more"}], "max_tokens": 24}
    with behind() as client, ThreadPoolExecutor(8) as pool:
        talks = [pool.submit(client.post, "/v1/chat/completions", json=chat) for _ in range(4)]
        asked = [pool.submit(client.post, "/v1/predict", files=form(one)) for one in photos[:8]]
        assert {one.result().status_code for one in (*talks, *asked)} == {200}
        assert len({one.result().json()["choices"][0]["message"]["content"] for one in talks}) == 1
        until(lambda: not client.house.queue.worker._groups)  # it is told just before it is put away


def test_the_server_stops_only_when_what_it_took_is_answered(behind: Any, gate: Gate, photos: list[bytes], form: Any) -> None:
    with behind() as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/predict", files=form(photos[0]))
        assert gate.inside.acquire(timeout=60)
        assert client.get("/readyz").status_code == 200
        client.house.queue.draining = True
        assert client.get("/readyz").status_code == 503
        refused = client.post("/v1/predict", files=form(photos[0]))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
        gate.open.set()
        assert first.result().status_code == 200


def test_warning_filters_are_put_back(behind: Any, photos: list[bytes], form: Any) -> None:
    import warnings

    before = list(warnings.filters)
    with behind() as client, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: client.post("/v1/predict", files=form(one)), photos))
    assert warnings.filters == before


def test_nothing_is_left_when_a_waiting_answer_is_cancelled(behind: Any) -> None:
    with behind() as client:
        queue = client.house.queue

        async def cancelled() -> None:
            task = asyncio.ensure_future(queue.answer(lambda: (_ for _ in ()).throw(ValueError("late"))))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        client.portal.call(cancelled)
        until(lambda: queue.worker._coming == 0)
