"""Similar photos: the index, held against features computed one photo at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seeworth.data.photo.decode import open_photo
from seeworth.errors import DataError, SettingsError
from seeworth.features import FeatureStore
from seeworth.predict.similar import Similar
from seeworth.predict.vlm import VLM
from seeworth.record import Record

from .conftest import Shop


@pytest.fixture(scope="module")
def vlm(shop: Shop) -> VLM:
    return VLM(shop.model, shop.encoder)


def _seen(shop: Shop, record: Record) -> np.ndarray:
    assert record.photo is not None
    tiles = shop.encoder.processor.image_processor.tiles(open_photo(record.photo))[0]
    with torch.inference_mode():
        return np.asarray(shop.model.model.vision_embed_tokens.see(tiles[:1])[0].mean(dim=(0, 1)).double())


def test_similarity_is_the_cosine_of_centred_vectors_nearest_first(vlm: VLM, shop: Shop) -> None:
    index = Similar.build(vlm, shop.records[1:])
    vectors = np.stack([_seen(shop, record) for record in shop.records[1:]])
    centred, one = vectors - vectors.mean(0), _seen(shop, shop.records[0]) - vectors.mean(0)
    expected = centred @ one / np.linalg.norm(centred, axis=1) / np.linalg.norm(one)
    photo = open_photo(shop.records[0].photo or Path())
    found = index.nearest(photo, k=100)
    assert [one.record.id for one in found] == [shop.records[1:][place].id for place in np.argsort(-expected)]
    np.testing.assert_allclose([one.similarity for one in found], sorted(expected, reverse=True), atol=1e-4)
    assert [one.record.id for one in index.nearest(photo, k=3)] == [one.record.id for one in found[:3]]


def test_a_photo_that_is_indexed_finds_itself(vlm: VLM, shop: Shop) -> None:
    index = Similar.build(vlm, shop.records)
    for record in shop.records[:4]:
        first = index.nearest(open_photo(record.photo or Path()), k=1)[0]
        assert first.record.id == record.id
        assert first.similarity == pytest.approx(1, abs=1e-4)


def test_features_that_were_kept_give_the_same_index_without_a_photo(shop: Shop, tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path, shop.model, shop.encoder)
    store.features(shop.records, shop.model)
    keeping = VLM(shop.model, shop.encoder, features=store)
    photo = open_photo(shop.records[2].photo or Path())
    plain = Similar.build(VLM(shop.model, shop.encoder), shop.records).nearest(photo, k=20)
    kept = Similar.build(keeping, shop.records).nearest(photo, k=20)
    assert [one.record.id for one in plain] == [one.record.id for one in kept]
    np.testing.assert_allclose([one.similarity for one in plain], [one.similarity for one in kept], atol=1e-4)


def test_of_many_records_an_even_spread_is_indexed_and_told(vlm: VLM, shop: Shop) -> None:
    index = Similar.build(vlm, shop.records, most=4)
    assert [one.id for one in index.records] == [shop.records[place].id for place in (0, 5, 10, 15)]
    assert index.words().startswith("4 of 16 train photos, evenly spread")
    assert index.num_bytes == 4 * 4 * len(_seen(shop, shop.records[0]))


def test_photos_that_cannot_be_opened_are_left_out_and_counted(vlm: VLM, shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no photo")
    broken = replace(shop.records[0], id="broken", photo=tmp_path / "broken.png")
    gone = replace(shop.records[0], id="gone", photo=tmp_path / "gone.png")
    words = Record("words", None, {}, "words")
    index = Similar.build(vlm, [broken, *shop.records[:3], gone, words])
    assert [one.id for one in index.records] == [one.id for one in shop.records[:3]]
    assert (index.given, index.unreadable) == (5, 2)
    assert "2 cannot be opened" in index.words()
    with pytest.raises(DataError, match="none of 2 train records"):
        Similar.build(vlm, [broken, words])


def test_records_that_share_a_photo_are_all_found_and_progress_is_told(vlm: VLM, shop: Shop) -> None:
    twin = replace(shop.records[0], id="twin")
    told: list[tuple[int, int]] = []
    index = Similar.build(vlm, [*shop.records[:3], twin], watch=lambda done, every: told.append((done, every)))
    assert [one.record.id for one in index.nearest(open_photo(twin.photo or Path()), k=2)] == [shop.records[0].id, "twin"]
    assert told == [(4, 4)]


def test_photos_that_are_all_alike_are_near_to_nothing(vlm: VLM, shop: Shop) -> None:
    index = Similar.build(vlm, [shop.records[0]])
    assert index.nearest(Image.new("RGB", (50, 50), "red"))[0].similarity == pytest.approx(0, abs=1e-6)


def test_no_photo_or_none_asked_for_is_told_in_a_line(vlm: VLM, shop: Shop) -> None:
    with pytest.raises(SettingsError, match="k is 0"):
        Similar.build(vlm, shop.records[:2]).nearest(Image.new("RGB", (9, 9)), k=0)
    with pytest.raises(SettingsError, match="most is 0"):
        Similar.build(vlm, shop.records, most=0)
