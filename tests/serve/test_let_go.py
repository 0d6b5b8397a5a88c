"""What a request held is let go with its answer, however it ends: nothing of it is left in rings, for Python's collector to find some day.

A ring keeps the body, a photo half decoded or a batch's keys and values. The test client leaves rings of its own, which are no matter here.
"""

from __future__ import annotations

import asyncio
import gc
import types
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from seeworth.serve.house import together
from seeworth.serve.refused import Refused
from seeworth.serve.schemas import PIXEL
from serve.sending import png, uri

OURS = ("seeworth.", "PIL.", "torch")


def rings(do: Callable[[], Any]) -> Counter[str]:
    """What of ours, of Pillow's and of torch's is in rings that nothing else holds, after doing it."""
    do()  # what is made once is made now
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        do()
        gc.collect()
        return Counter(name for one in gc.garbage if (name := _name(one)).startswith(OURS))
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()


def _name(one: object) -> str:
    if isinstance(one, types.FrameType):
        return f"{one.f_globals.get('__name__')}.{one.f_code.co_qualname}"
    return f"{type(one).__module__}.{type(one).__qualname__}"


def chat(photo: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": photo}}, {"type": "text", "text": "What?"}]
    return {"model": "shop", "max_tokens": 3, "messages": [{"role": "user", "content": content}], **more}


CUT = uri(png(90, 60)[:-30])
SENT: dict[str, tuple[str, dict[str, Any], int]] = {
    "a photo": ("/v1/predict", {"photos": [PIXEL, PIXEL]}, 200),
    "a photo cut short": ("/v1/predict", {"photo": CUT}, 422),
    "one of two cut short": ("/v1/predict", {"photos": [CUT, PIXEL]}, 200),
    "no base64": ("/v1/predict", {"photo": "data:image/png;base64,%"}, 422),
    "a value too many": ("/v1/predict", {"photo": PIXEL, "values": {"colour": "red"}}, 422),
    "a chat": ("/v1/chat/completions", chat(PIXEL), 200),
    "a chat about a photo cut short": ("/v1/chat/completions", chat(CUT), 400),
    "a streamed chat": ("/v1/chat/completions", chat(PIXEL, stream=True), 200),
    "a streamed chat about a photo cut short": ("/v1/chat/completions", chat(CUT, stream=True), 400),
    "a chat without room": ("/v1/chat/completions", chat(PIXEL) | {"messages": [{"role": "user", "content": "one " * 3000}]}, 400),
    "parts covered": ("/v1/occlusion", {"photo": PIXEL}, 200),
    "parts covered of a photo cut short": ("/v1/occlusion", {"photo": CUT}, 422),
}


@pytest.mark.parametrize("what", SENT)
def test_a_request_leaves_nothing_behind(behind: Any, what: str) -> None:
    path, body, status = SENT[what]

    def ask() -> None:
        assert client.post(path, json=body).status_code == status

    with behind(occlusion=True) as client:
        assert not rings(ask)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/occlusion"])
def test_a_model_that_fails_leaves_nothing_behind(behind: Any, vlm: Any, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    def broken(records: Any, examples: Any) -> Any:
        raise RuntimeError("no memory")

    monkeypatch.setattr(vlm, "answer_examples", broken, raising=False)
    monkeypatch.setattr("seeworth.serve.views.occlude", lambda *_, **__: broken(0, 0))
    with behind(raises=False, occlusion=True) as client:
        assert not rings(lambda: client.post(path, json={"photo": PIXEL}))
        assert client.post(path, json={"photo": PIXEL}).status_code == 500


def test_of_several_things_at_once_the_one_that_fails_leaves_nothing_behind() -> None:
    async def one(number: int) -> int:
        await asyncio.sleep(0)
        if number:
            raise Refused(422, "no", "not this one")
        return number

    async def do() -> None:  # asyncio.run itself would leave a ring of what it raises
        with pytest.raises(Refused, match="not this one"):
            await together([one(0), one(1), one(2)])

    assert not rings(lambda: asyncio.run(do()))
