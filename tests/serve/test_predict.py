"""What is served is what `predict` writes; and each photo has its own answer or its own reason."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from seeworth.predict.lines import line
from seeworth.predict.vlm import VLM
from seeworth.serve.schemas import Predicted, TaskInfo
from seeworth.task import Field, Task
from serve.sending import png, uri


def test_served_answers_are_those_of_predict(behind: Any, vlm: VLM, shop: Any, intervals: Any, photos: list[bytes], form: Any) -> None:
    expected = [line(record, one, shop.task, intervals) for record, one in zip(shop.records, vlm(shop.records), strict=True)]
    with behind() as client:
        said = client.post("/v1/predict", files=form(*photos)).json()
    assert said["model"] == "shop"
    for mine, theirs, data in zip(said["predictions"], expected, photos, strict=True):
        assert {name: mine[name] for name in ("text", "values", "problems")} == {
            name: theirs[name] for name in ("text", "values", "problems")
        }
        assert mine["intervals"] == theirs["intervals"]
        # batches of other shapes; measured: no difference beyond the sixth digit
        assert mine["confidence"] == {name: pytest.approx(one, abs=1e-4) for name, one in theirs["confidence"].items()}
        assert mine["distribution"].keys() == theirs["distribution"].keys()
        assert mine["abstain"] == any(theirs["abstain"].values())
        assert (mine["abstain_why"] is not None) == mine["abstain"]
        assert mine["photo"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert {one["abstain"] for one in said["predictions"]} == {True, False}
    assert any(end is None for one in said["predictions"] for pair in one["intervals"].values() for end in pair)
    Predicted.model_validate(said)


def test_json_and_form_are_answered_alike(behind: Any, photos: list[bytes], form: Any) -> None:
    with behind() as client:
        ways = [
            client.post("/v1/predict", files=form(photos[0])),
            client.post("/v1/predict", json={"photo": uri(photos[0])}),
            client.post("/v1/predict", json={"photos": [uri(photos[0], "image/jpeg")]}),
        ]
    found = [one.json()["predictions"] for one in ways]
    assert [len(one) for one in found] == [1, 1, 1]
    assert len({one[0]["text"] for one in found}) == 1
    assert [one[0]["photo"]["name"] for one in found] == ["0.png", None, None]
    assert found[0][0]["photo"]["width"] == 60


def test_a_broken_photo_keeps_its_place_and_the_others_are_answered(behind: Any, photos: list[bytes], form: Any) -> None:
    with behind() as client:
        said = client.post("/v1/predict", files=form(photos[0], b"no photo", photos[1][:200], b"", photos[2]))
        alone = client.post("/v1/predict", files=form(b"no photo"))
        counted = client.get("/metrics").text
    kinds = [one.get("error", {}).get("code", "answered") for one in said.json()["predictions"]]
    assert (said.status_code, kinds) == (200, ["answered", "not_a_photo", "damaged", "empty", "answered"])
    assert said.json()["predictions"][1]["photo"]["sha256"] == hashlib.sha256(b"no photo").hexdigest()
    assert alone.status_code == 422
    assert [one["error"]["code"] for one in alone.json()["predictions"]] == ["not_a_photo"]
    Predicted.model_validate(said.json())
    assert 'seeworth_photos_total{outcome="not_a_photo"} 2.0' in counted
    assert 'seeworth_photos_total{outcome="answered"} 2.0' in counted


def test_photos_of_any_shape_are_answered(behind: Any, form: Any) -> None:
    with behind() as client:
        said = client.post("/v1/predict", files=form(png(1, 1), png(1, 3000), png(3000, 1), png(8, 8))).json()
    assert [("text" in one) for one in said["predictions"]] == [True] * 4, said


def test_the_task_is_told(behind: Any, shop: Any, intervals: Any) -> None:
    with behind(max_photos=3) as client:
        said = client.get("/v1/task").json()
    TaskInfo.model_validate(said)
    assert [one["name"] for one in said["fields"]] == ["title", "category3_code", "full_price"]
    assert said["fields"][1]["choices"] == list(shop.task.answer_fields[1].choices)
    assert said["fields"][2]["unit"] == "USD"
    assert (said["coverage"], said["abstain_above"]) == (0.9, {})
    assert said["abstain_below"] == {"category3_code": intervals.abstain["category3_code"].threshold}
    assert said["limits"]["max_photos"] == 3
    assert said["views"] == {"similar": False, "occlusion": True}


def test_a_question_that_names_a_field_needs_its_value(behind: Any, shop: Any, photos: list[bytes], form: Any) -> None:
    task = Task("What is this {colour} thing of {year}?", "It is {title}", (Field("title"), Field("colour"), Field("year", "number")))
    encoder = type(shop.encoder)(shop.encoder.processor, task)
    model = VLM(shop.model, encoder, max_new_tokens=5, name="shop", constrained=task)
    with behind(model=model) as client:
        assert client.get("/v1/task").json()["asks_for"] == ["colour", "year"]
        data = {"colour": "red", "year": "1990"}
        assert client.post("/v1/predict", files=form(photos[0]), data=data).status_code == 200
        body = {"photo": uri(photos[0]), "values": {"colour": "red", "year": 1990}}
        assert client.post("/v1/predict", json=body).status_code == 200
        wrong = [
            ({"colour": "red"}, "the question names year"),
            ({"colour": "red", "year": "soon"}, "year: expected a number"),
            ({"colour": " ", "year": "1"}, "colour: is empty"),
            ({"colour": "red", "year": "1", "size": "L"}, "found 'size', expected photo and colour, year"),
            ({"colour": "r" * 10_001, "year": "1"}, "the part 'colour' has 10001 bytes"),
        ]
        for values, words in wrong:
            said = client.post("/v1/predict", files=form(photos[0]), data=values)
            assert said.status_code in (413, 422)
            assert words in said.json()["error"]["message"]
