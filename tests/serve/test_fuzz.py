"""Some hundred requests made from the OpenAPI page and uploads changed at random: no 5xx, nothing that the page does not say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seeworth.serve.app import build
from seeworth.serve.guard import Guard, Rules
from seeworth.serve.house import House
from seeworth.serve.schemas import PIXEL
from serve.conftest import SETTINGS
from serve.fuzzing import from_openapi, uploads


def test_requests_made_from_the_openapi_page_are_answered_as_it_says(vlm: Any, intervals: Any, photos: list[bytes]) -> None:
    house = House.of(vlm, intervals, replace(SETTINGS, occlusion=False))
    guard = Guard(build(house), Rules(hosts=()), house.metrics)
    found = from_openapi(guard, photos[:3], examples=15, seed=1)
    assert not found.faults
    assert found.statuses["POST /v1/predict 200"]
    assert found.requests > 100


def test_uploads_changed_at_random_are_answered_or_refused(behind: Any, shop: Any) -> None:
    with behind(train=shop.records, similar=True) as client:
        while client.post("/v1/similar", json={"photo": PIXEL}).status_code == 503:
            pass
        found = uploads(client, 120, 2)
        assert (client.guard.bodies, client.guard.visits, client.house.queue.waiting) == (0, 0, 0)
    assert not found.faults
    assert found.statuses["POST /v1/predict 200"] > 10
    assert found.statuses["POST /v1/chat/completions 200"] > 3


def test_the_examples_of_the_openapi_page_are_answered(behind: Any) -> None:
    with behind() as client:
        page = client.get("/openapi.json").json()
        for path in ("/v1/predict", "/v1/chat/completions"):
            body = page["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            for example in page["components"]["schemas"][body.rpartition("/")[2]]["examples"]:
                assert client.post(path, json=example).status_code == 200
