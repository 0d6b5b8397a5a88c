"""Features that are kept are those that are computed, under a fingerprint of all that could change them."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import pickle
import shutil
from collections import namedtuple
from contextlib import redirect_stderr
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from seeworth.encode import IGNORED, Encoder, collate
from seeworth.errors import ModelError, PhotoError
from seeworth.features import FeatureStore, features_folder, is_frozen
from seeworth.features import store as module
from seeworth.features.compute import at_rest, compute
from seeworth.features.key import embedding_of, photo_key, tower_hash
from seeworth.phi3v import Phi3VForCausalLM
from seeworth.predict.vlm import VLM
from seeworth.record import Record, Turn

from .conftest import VALUES, MakePhotos, fresh

Made = tuple[Phi3VForCausalLM, Encoder]
BATCHED = 1e-5  # of features up to 7; measured 0 with one thread, 1e-6 with two: matrix products of another shape


def direct(made: Made, record: Record) -> Tensor:
    """A photo's features from the model, the photo alone in its batch."""
    model, encoder = made
    example = encoder.example(record)
    with torch.no_grad():
        return model.tile_features(example.tiles[0][None], torch.tensor(example.image_sizes))[0]


def fill(store: FeatureStore, records: list[Record], model: Any) -> bool:
    with redirect_stderr(io.StringIO()):
        return store.fill(records, model)


@pytest.mark.parametrize(("num_crops", "tiles"), [(1, {1}), (2, {1, 3}), (4, {3, 5})])
def test_the_store_gives_what_the_model_computes(num_crops: int, tiles: set[int], photos: MakePhotos, tmp_path: Path) -> None:
    made, records = fresh(num_crops), photos()
    store = FeatureStore.open(tmp_path / "kept", *made)
    assert all(store.of(record) is None for record in records)
    assert fill(store, records, made[0])
    for one in (store, FeatureStore.open(tmp_path / "kept", *made), pickle.loads(pickle.dumps(store))):
        for record in records:
            (found,) = one.of(record) or ()
            expected = direct(made, record)
            assert found.shape == expected.shape
            assert found.dtype == expected.dtype
            assert (found - expected).abs().max() < BATCHED
    assert {len(own) for record in records for own in store.of(record) or ()} == tiles


def test_training_from_the_store_has_the_losses_and_gradients_of_training_from_pixels(
    made: Made, photos: MakePhotos, tmp_path: Path
) -> None:
    """Ten steps of everything but the tower, both ways, in the same batches."""
    records, store = photos(6), FeatureStore.open(tmp_path / "kept", *made)
    assert fill(store, records, made[0])
    curves = []
    for cached in (False, True):
        model = copy.deepcopy(made[0]).train()
        embedding_of(model).img_processor.requires_grad_(False)
        optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-3)
        losses = []
        for step in range(10):
            some = records[step % 2 * 3 :][:3]
            examples = [made[1].example(record, tile_features=store.of(record) if cached else None) for record in some]
            loss = model(**collate(examples, pad_id=0), logits_at_labels=True).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        curves.append(losses)
    assert curves[0][-1] < curves[0][0] - 1
    assert max(abs(one - other) for one, other in zip(*curves, strict=True)) < 1e-4  # measured 0 (one thread), 2e-6 (two)


def test_a_damaged_photo_in_a_batch_is_computed_and_the_loss_stays(made: Made, photos: MakePhotos, tmp_path: Path) -> None:
    model, encoder = made
    records, store = photos(5), FeatureStore.open(tmp_path / "kept", *made)
    assert fill(store, records, model)
    path = next(store.folder.glob("*.blocks"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    told: list[str] = []
    after = FeatureStore.open(tmp_path / "kept", *made, tell=told.append)
    given = [after.of(record) for record in records]
    assert [one is None for one in given].count(True) == 1
    assert len(told) == 1
    assert "damaged" in told[0]
    batches = [collate([encoder.example(r, tile_features=f) for r, f in zip(records, given, strict=True)], pad_id=0)]
    batches.append(collate([encoder.example(record) for record in records], pad_id=0))
    with torch.no_grad():
        mixed, pixels = (model(**batch).loss for batch in batches)
    assert abs(mixed - pixels) < 1e-5  # measured 0 to 1e-6
    assert fill(after, records, model)
    assert all(after.of(record) is not None for record in records)
    assert "1 computed" in after.words()
    assert "1 damaged" in after.words()
    again = FeatureStore.open(tmp_path / "kept", *made, tell=told.append)
    assert all(again.of(record) is not None for record in records)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_stands_beside_a_photo_changes_no_bit_of_its_features(made: Made, data: st.DataObject) -> None:
    """So a fill that was killed and went on gives what an undisturbed one gives."""
    sizes = data.draw(st.lists(st.tuples(st.integers(20, 400), st.integers(20, 400)), min_size=1, max_size=9))
    cuts = [torch.randn(made[1].processor.image_processor.plan(*size).num_tiles, 3, 112, 112) for size in sizes]
    with at_rest(made[0]):
        together = dict(compute([(n, lambda one=one: one) for n, one in enumerate(cuts)], made[0], 16))
        order = data.draw(st.permutations(range(len(cuts))))
        some = order[: data.draw(st.integers(1, len(order)))]
        others = dict(compute([(n, lambda n=n: cuts[n]) for n in some], made[0], 16))
    assert list(together) == list(range(len(cuts)))
    assert {n: len(one) for n, one in together.items()} == {n: len(one) for n, one in enumerate(cuts)}
    assert list(others) == some
    assert all(torch.equal(others[n], together[n]) for n in some)


@settings(max_examples=30, deadline=None)
@given(tiles=st.integers(1, 17), dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]), seed=st.integers(0, 99))
def test_every_bit_comes_back(tmp_path_factory: Any, made: Made, tiles: int, dtype: torch.dtype, seed: int) -> None:
    folder = tmp_path_factory.mktemp("bits")
    made_by = FeatureStore.open(folder, *made).made_by | {"dtype": str(dtype).removeprefix("torch.")}
    store = FeatureStore(folder, made_by, made[1], keep=True, tell=print)
    values = torch.randint(-(2**15), 2**15, (tiles, *store.shape[:2], store.shape[2] * dtype.itemsize // 2)).to(torch.int16).view(dtype)
    key = hashlib.sha256(str(seed).encode()).digest()
    assert store.put(key, values)
    found = store.get(key)
    assert found is not None
    assert torch.equal(found.view(torch.int16), values.view(torch.int16))
    with pytest.raises(ValueError, match="expected"):
        store.put(key, values[:, :1])
    shutil.rmtree(folder)


def changed(what: str) -> Made:
    """The model and encoder with one thing changed."""
    model, encoder = fresh(num_crops=3 if what == "num_crops" else 4, seed=1 if what == "seed" else 0)
    embedding = embedding_of(model)
    tower = embedding.img_processor.vision_model
    image_processor = encoder.processor.image_processor
    with torch.no_grad():
        if what == "one weight":
            tower.encoder.layers[2].mlp.fc1.weight[3, 4] += 1e-4
        elif what == "patch bias":
            tower.embeddings.position_embedding.weight[0, 0] += 1e-4
        elif what == "dtype":
            model.to(torch.bfloat16)
        elif what == "mean":
            image_processor.image_mean[0] += 1e-3
        elif what == "activation":
            tower.config.hidden_act = "gelu"
        elif what == "idle layer":
            tower.encoder.layers[-1].mlp.fc1.weight[3, 4] += 1
            tower.post_layernorm.weight[0] += 1
        elif what == "projector":
            embedding.img_projection[0].weight[0, 0] += 1
            embedding.glb_GN += 1
        elif what == "language":
            model.lm_head.weight[0, 0] += 1
    return model, encoder


@pytest.mark.parametrize("what", ["one weight", "patch bias", "dtype", "mean", "activation", "num_crops", "seed"])
def test_whatever_could_change_features_changes_the_fingerprint(made: Made, tmp_path: Path, what: str) -> None:
    assert FeatureStore.open(tmp_path, *changed(what)).folder != FeatureStore.open(tmp_path, *made).folder


@pytest.mark.parametrize("what", ["nothing", "idle layer", "projector", "language"])
def test_what_trains_behind_the_tower_leaves_the_fingerprint(made: Made, tmp_path: Path, what: str) -> None:
    assert FeatureStore.open(tmp_path, *changed(what)).folder == FeatureStore.open(tmp_path, *made).folder


def test_adapters_on_the_language_model_leave_the_fingerprint_and_on_the_tower_are_told(made: Made, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    expected = FeatureStore.open(tmp_path, *made).folder
    language = get_peft_model(fresh()[0], LoraConfig(target_modules=["qkv_proj"]))
    assert FeatureStore.open(tmp_path, language, made[1]).folder == expected
    assert is_frozen(language)
    tower = get_peft_model(fresh()[0], LoraConfig(target_modules=["fc1"]))
    assert not is_frozen(tower)
    with pytest.raises(ModelError, match="the vision tower has adapters"):
        FeatureStore.open(tmp_path, tower, made[1])


def test_a_tensor_moved_to_another_name_or_shape_is_another_tower(made: Made) -> None:
    tower = embedding_of(copy.deepcopy(made[0])).img_processor.vision_model
    before = tower_hash(tower)
    one, two = tower.encoder.layers[0].layer_norm1, tower.encoder.layers[0].layer_norm2
    with torch.no_grad():
        one.weight += 1
    moved = tower_hash(tower)
    one.weight, two.weight = two.weight, one.weight
    assert len({before, moved, tower_hash(tower)}) == 3


def test_a_photo_of_a_dataset_is_known_by_its_name_and_any_other_by_its_bytes(photos: MakePhotos, tmp_path: Path) -> None:
    record = photos(1)[0]
    assert record.photo is not None
    expected = hashlib.sha256(record.photo.read_bytes()).digest()
    other = tmp_path / "x.png"
    shutil.copy(record.photo, other)
    assert photo_key(record.photo) == photo_key(other) == expected
    record.photo.write_bytes(b"")
    assert photo_key(record.photo) == expected  # not opened
    trap = tmp_path / "photos" / "ab" / f"{'ab' * 32}.png"
    trap.parent.mkdir(parents=True)
    assert photo_key(trap) == bytes.fromhex("ab" * 32)
    strange = tmp_path / "photos" / "xy" / f"{'ab' * 32}.png"
    strange.parent.mkdir()
    with pytest.raises(PhotoError):
        photo_key(strange)


def test_a_photo_that_stands_in_many_records_is_computed_once(made: Made, photos: MakePhotos, tmp_path: Path) -> None:
    one, two = photos(2)
    assert one.photo is not None
    assert two.photo is not None
    copied = tmp_path / "copy.png"
    shutil.copy(one.photo, copied)
    said = (Turn("user", (0, "and", 1)), Turn("assistant", ("yes",)))
    both = Record("both", one.photo, {}, "g", photos=(two.photo,), turns=said)
    words = Record("words", None, VALUES, "g")
    store = FeatureStore.open(tmp_path / "kept", *made)
    records = [one, both, replace(one, photo=copied), words]
    assert [record.photo for _, record in store.missing(records)] == [one.photo, two.photo]
    assert fill(store, records, made[0])
    assert store.num_photos == 2
    assert store.of(words) == ()
    found = store.of(both)
    assert found is not None
    assert [len(own) for own in found] == [len(direct(made, one)), len(direct(made, two))]
    example = made[1].example(both, tile_features=found)
    assert [label for label in example.labels if label != IGNORED]


def test_the_size_is_known_before_anything_is_computed(made: Made, photos: MakePhotos, tmp_path: Path) -> None:
    records, store = photos(), FeatureStore.open(tmp_path / "kept", *made)
    expected = store.estimate(records)
    assert expected == sum(direct(made, record).nbytes for record in records)
    assert not (tmp_path / "kept").exists()
    assert fill(store, records, made[0])
    assert sum(path.stat().st_size for path in store.folder.glob("*.blocks")) == expected
    assert store.estimate(records) == 0


def test_too_little_room_is_told_with_both_numbers_before_the_start(
    made: Made, photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, store = photos(), FeatureStore.open(tmp_path / "kept", *made)
    assert store.lack_of_room(records) == ""
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(store.estimate(records) + module.SPARE_BYTES - 1))
    words = store.lack_of_room(records)
    assert "7 records need" in words
    assert "1.1 GB free" in words
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(store.estimate(records) + module.SPARE_BYTES))
    assert store.lack_of_room(records) == ""


def test_a_disk_that_fills_up_is_told_once_and_every_feature_still_comes(
    made: Made, photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, told = photos(), list[str]()
    store = FeatureStore.open(tmp_path / "kept", *made, tell=told.append)
    usage = namedtuple("usage", "free")
    left = iter([10**10] * 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(next(left, 0)))
    assert not fill(store, records, made[0])
    assert store.num_photos == 2
    assert len(told) == 1
    assert not fill(store, records, made[0])
    given = store.features(records, made[0])
    assert [len(own) for (own,) in given] == [len(direct(made, record)) for record in records]
    assert len(told) == 1
    assert sum(store.of(record) is not None for record in records) == 2


def test_a_store_that_keeps_nothing_reads_and_writes_nothing(made: Made, photos: MakePhotos, tmp_path: Path) -> None:
    records = photos()
    assert fill(FeatureStore.open(tmp_path / "kept", *made), records[:3], made[0])
    before = sorted(path.name for path in (tmp_path / "kept").rglob("*"))
    store = FeatureStore.open(tmp_path / "kept", *made, keep=False)
    assert len(store.features(records, made[0])) == len(records)
    assert sorted(path.name for path in (tmp_path / "kept").rglob("*")) == before
    assert "3 found, 4 computed" in store.words()


def test_the_log_says_what_was_saved(made: Made, photos: MakePhotos, tmp_path: Path) -> None:
    records = photos()
    first = FeatureStore.open(tmp_path / "kept", *made)
    assert fill(first, records[:4], made[0])
    second = FeatureStore.open(tmp_path / "kept", *made)
    assert fill(second, records, made[0])
    assert fill(second, records, made[0])
    assert "vision features of 7 photos" in second.words()
    assert f"in {second.folder}: 4 found, 3 computed in" in second.words()
    assert second.words(3.0).endswith("the CLIP tower is left out of 3 passes")
    about = json.loads((second.folder / "meta.json").read_text())
    assert about == second.made_by
    assert about["tiling"]["num_crops"] == 4


def test_features_stand_beside_the_dataset_even_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert features_folder(tmp_path / "link") == tmp_path / "link-features"
    monkeypatch.chdir(tmp_path / "real")
    assert features_folder(Path()) == tmp_path / "real-features"


def test_a_photo_that_cannot_be_opened_is_told_by_record_and_file(made: Made, photos: MakePhotos, tmp_path: Path) -> None:
    records = photos()
    assert records[3].photo is not None
    records[3].photo.write_bytes(b"no photo")
    store = FeatureStore.open(tmp_path / "kept", *made)
    training = made[0].training
    with pytest.raises(PhotoError, match="record r3, photo"):
        fill(store, records, made[0])
    with pytest.raises(PhotoError, match="record r3, photo"):
        store.features(records, made[0])
    assert made[0].training is training
    assert torch.is_grad_enabled()


def test_a_tower_in_training_mode_is_asked_in_eval_mode_and_put_back(photos: MakePhotos, tmp_path: Path) -> None:
    model, encoder = fresh()
    tower = embedding_of(model).img_processor
    for layer in tower.vision_model.encoder.layers:
        layer.self_attn.dropout = 0.9
    store = FeatureStore.open(tmp_path, model, encoder)
    expected = store.features(photos(), model)
    model.train()
    again = FeatureStore.open(tmp_path / "other", model, encoder).features(photos(), model)
    assert tower.training
    assert all(torch.equal(one, other) for (one,), (other,) in zip(expected, again, strict=True))


def test_answers_from_the_store_are_those_from_the_photos(made: Made, photos: MakePhotos, tmp_path: Path) -> None:
    """Own photos, swapped ones, a grey one, and a conversation of two photos: the words are the same, the tower rests."""
    model, encoder = made
    records = photos()
    grey = tmp_path / "grey.png"
    Image.new("RGB", (90, 60), (128, 128, 128)).save(grey)
    first, second = records[0].photo, records[2].photo
    assert second is not None
    both = Record("both", first, {}, "g", photos=(second,), turns=(Turn("user", (0, 1, "?")), Turn("assistant", ("!",))))
    asked = [*records, replace(records[0], photo=records[4].photo, sizes=()), replace(records[1], photo=grey, sizes=()), both]
    plain = [one.text for one in VLM(model, encoder, batch_size=4, max_new_tokens=8)(asked)]
    store = FeatureStore.open(tmp_path / "kept", *made)
    kept = VLM(model, encoder, batch_size=4, max_new_tokens=8, features=store)
    assert [one.text for one in kept(asked)] == plain
    assert store.num_photos == len(records) + 1
    ran: list[int] = []
    hook = embedding_of(model).img_processor.vision_model.register_forward_hook(lambda *_: ran.append(1))
    assert [one.text for one in kept(asked)] == plain
    hook.remove()
    assert not ran
    assert len(set(plain)) > 1


def filler(root: Path, records: list[Record], made: Made) -> BaseProcess:
    """A process that fills the store; forked, so that it need not load torch first. Exit status 0 when all is there."""

    def work() -> None:
        os._exit(0 if fill(FeatureStore.open(root, *made), records, made[0]) else 1)

    process = get_context("fork").Process(target=work)
    process.start()
    return process


def test_a_fill_that_is_killed_goes_on_and_two_at_once_share_the_work(made: Made, photos: MakePhotos, tmp_path: Path) -> None:
    records, root = photos(80), tmp_path / "kept"
    watcher = FeatureStore.open(root, *made)
    for enough in (1, 20):
        process = filler(root, records, made)
        while process.is_alive() and watcher.num_photos < enough:
            watcher.refresh()
        process.kill()
        process.join()
    both = [filler(root, records, made) for _ in range(2)]
    for process in both:
        process.join()
        assert process.exitcode == 0
    store = FeatureStore.open(root, *made)
    assert store.num_photos == 80
    alone = FeatureStore.open(tmp_path / "alone", *made)
    assert fill(alone, records, made[0])
    for record in records:
        (one,), (other,) = store.of(record) or (), alone.of(record) or ()
        assert torch.equal(one, other)  # whoever computed it, and whatever stood beside it
    assert store.shards.damaged == 0
    assert sum(path.stat().st_size for path in store.folder.glob("*.index")) < 64 * 2 * 80  # they did not do all of it twice
