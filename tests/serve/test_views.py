"""Similar photos and occlusion over HTTP are those of `predict`, and wait for their index without holding up answers."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from seeworth.data.photo.decode import open_photo
from seeworth.predict.occlusion import occlude
from seeworth.predict.similar import Similar
from seeworth.predict.vlm import VLM
from seeworth.serve.schemas import Occluded, SimilarFound
from serve.sending import uri
from serve.test_queue import until


def test_similar_photos_are_those_of_the_index(behind: Any, vlm: VLM, shop: Any, photos: list[bytes], form: Any) -> None:
    expected = Similar.build(vlm, shop.records).nearest(open_photo(photos[3]), 4)
    with behind(train=shop.records, similar=True) as client:
        until(lambda: client.post("/v1/similar", files=form(photos[3])).status_code != 503)
        said = client.post("/v1/similar?k=4", json={"photo": uri(photos[3])}).json()
    SimilarFound.model_validate(said)
    assert [one["id"] for one in said["similar"]] == [one.record.id for one in expected]
    assert said["similar"][0]["id"] == shop.records[3].id
    assert said["similar"][0]["similarity"] == pytest.approx(1.0, abs=1e-4)
    assert said["similar"][0]["values"] == {
        name: one if isinstance(one, str) else float(one) for name, one in shop.records[3].values.items()
    }
    assert said["similar"][0]["photo"].startswith("data:image/jpeg;base64,")


def test_while_the_index_is_made_photos_are_answered(
    behind: Any, shop: Any, photos: list[bytes], form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def slowly(model: Any, records: Any, *, watch: Any) -> Any:
        while not go.wait(0.01):
            watch(3, 16)
        return build(model, records, watch=watch)

    build = Similar.build
    monkeypatch.setattr(Similar, "build", slowly)
    with behind(train=shop.records, similar=True) as client:
        until(lambda: "3 of 16" in client.post("/v1/similar", files=form(photos[0])).text)
        not_yet = client.post("/v1/similar", files=form(photos[0]))
        assert (not_yet.status_code, not_yet.json()["error"]["code"]) == (503, "not_yet")
        assert int(not_yet.headers["retry-after"]) >= 1
        assert client.post("/v1/predict", files=form(photos[0])).status_code == 200
        assert client.post("/v1/occlusion", files=form(photos[0])).status_code == 200
        go.set()
        until(lambda: client.post("/v1/similar", files=form(photos[0])).status_code == 200)


def test_a_server_that_is_stopped_does_not_wait_for_its_index(behind: Any, shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def forever(model: Any, records: Any, *, watch: Any) -> Any:
        while True:
            begun.set()
            watch(0, 16)

    monkeypatch.setattr(Similar, "build", forever)
    with behind(train=shop.records, similar=True):
        assert begun.wait(60)


def test_an_index_that_cannot_be_made_is_no_longer_offered(behind: Any, shop: Any, photos: list[bytes], form: Any, tmp_path: Any) -> None:
    from dataclasses import replace

    lost = [replace(record, photo=tmp_path / "gone.png") for record in shop.records]
    with behind(train=lost, similar=True) as client:
        until(lambda: not client.get("/v1/task").json()["views"]["similar"])
        assert client.post("/v1/similar", files=form(photos[0])).status_code == 404
        assert client.post("/v1/predict", files=form(photos[0])).status_code == 200


def test_occlusion_is_that_of_predict(behind: Any, vlm: VLM, photos: list[bytes], form: Any) -> None:
    expected = occlude(vlm, open_photo(photos[0]))
    with behind() as client:
        said = client.post("/v1/occlusion", files=form(photos[0])).json()
    Occluded.model_validate(said)
    assert said == {"rows": 6, "columns": 6, "base": expected.base, "changes": expected.changes}


@pytest.mark.parametrize("path", ["/v1/occlusion", "/v1/similar"])
def test_what_is_wrong_with_the_one_photo_is_told(behind: Any, shop: Any, path: str, photos: list[bytes], form: Any) -> None:
    with behind(train=shop.records, similar=True) as client:
        two = client.post(path, files=form(*photos[:2]))
        assert (two.status_code, two.json()["error"]["message"]) == (422, "found 2 photos, expected one")
        bad = client.post(path, files=form(b"no photo"))
        assert (bad.status_code, bad.json()["error"]["code"]) == (422, "not_a_photo")
        for k in ("0", "51", "many", "1e9"):
            assert client.post(f"/v1/similar?k={k}", files=form(photos[0])).status_code == 422


def test_what_is_not_offered_is_not_there(behind: Any, photos: list[bytes], form: Any) -> None:
    with behind(occlusion=False) as client:
        assert client.get("/v1/task").json()["views"] == {"similar": False, "occlusion": False}
        for path in ("/v1/occlusion", "/v1/similar"):
            said = client.post(path, files=form(photos[0]))
            assert (said.status_code, said.json()["error"]["code"]) == (404, "not_offered")
