"""The engine of this machine: the model's words, each input once, a bounded number held, and the last bits whatever was done before."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seeworth.encode import Encoder
from seeworth.errors import ModelError
from seeworth.features import FeatureStore
from seeworth.intervals import Abstention, Cells, FieldIntervals, Intervals, Quantile
from seeworth.predict import local
from seeworth.predict.inputs import Input
from seeworth.predict.local import Local, Plain, Tuned, cut
from seeworth.predict.predictor import FakePredictor
from seeworth.predict.vlm import AHEAD, VLM
from seeworth.record import Prediction, Record
from seeworth.task import Field, Task

TASK = Task("What?", "{name}", (Field("name"),))


def jpeg(size: tuple[int, int] = (16, 16)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "JPEG")
    return buffer.getvalue()


def held(number: int, data: bytes, name: str = "") -> Input:
    """An input whose photo stands in its row."""
    return Input(number, Record(name or f"r{number}", Path("<row>"), {}, ""), None, (data,))


def inputs_of(records: list[Record]) -> list[Input]:
    return [Input(number, record, str(record.photo)) for number, record in enumerate(records)]


def words(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines in the inputs' order, without what no two runs share."""
    return [{key: one for key, one in line.items() if key != "seconds"} for line in sorted(lines, key=lambda line: line["number"])]


class Counting(FakePredictor):
    """Remembers whom it was asked about, batch by batch."""

    def __init__(self) -> None:
        super().__init__(lambda record: f"name of {record.id}")
        self.asked: list[list[str]] = []

    def __call__(self, records: Any) -> Iterator[Prediction]:
        self.asked.append([record.id for record in records])
        return super().__call__(records)


@pytest.fixture(scope="module")
def tuned(shop: Any) -> Tuned:
    return Tuned(VLM(shop.model, shop.encoder, batch_size=3, max_new_tokens=24, constrained=shop.task, distribution=True))


@pytest.fixture(scope="module")
def undisturbed(shop: Any, tuned: Tuned) -> list[dict[str, Any]]:
    return words(list(Local(tuned)(iter(inputs_of(shop.records)))))


def test_the_words_are_the_model_s_own_with_what_was_read_from_them(shop: Any, tuned: Tuned, undisturbed: list[dict[str, Any]]) -> None:
    own = list(tuned.vlm(shop.records))
    assert [line["record_id"] for line in undisturbed] == [record.id for record in shop.records]
    assert [line["text"] for line in undisturbed] == [one.text for one in own]
    assert [line["confidence"] for line in undisturbed] == [one.confidence for one in own]
    assert all(line["values"] and not line["problems"] for line in undisturbed)


@pytest.mark.parametrize("done", [{0}, {3, 7, 11}, set(range(15)), set(range(1, 16, 2))], ids=str)
def test_what_is_done_is_not_told_again_and_changes_no_bit_of_the_rest(
    shop: Any, tuned: Tuned, undisturbed: list[dict[str, Any]], done: set[int]
) -> None:
    inputs = [replace(item, done=item.number in done) for item in inputs_of(shop.records)]
    found = words(list(Local(tuned)(iter(inputs))))
    assert found == [line for line in undisturbed if line["number"] not in done]


def test_a_photo_in_its_row_is_answered_as_the_same_one_in_a_file(shop: Any, tuned: Tuned, undisturbed: list[dict[str, Any]]) -> None:
    inputs = [replace(item, data=tuple(item.photo_bytes())) for item in inputs_of(shop.records)]
    lost = [replace(item, record=replace(item.record, photo=Path("<row>"), sizes=())) for item in inputs]
    assert words(list(Local(tuned)(iter(lost)))) == undisturbed


def test_features_that_are_kept_are_taken_and_their_photos_not_decoded(
    shop: Any, tuned: Tuned, undisturbed: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore.open(tmp_path / "features", shop.model, shop.encoder)
    assert store.fill(shop.records[:10], shop.model)
    opened = []
    monkeypatch.setattr(local, "open_photo", lambda data, own=local.open_photo: opened.append(data) or own(data))
    vlm = VLM(shop.model, shop.encoder, batch_size=3, max_new_tokens=24, constrained=shop.task, features=store)
    found = words(list(Local(Tuned(vlm))(iter(inputs_of(shop.records)))))
    assert len(opened) == len(shop.records) - 10
    assert [line["text"] for line in found] == [line["text"] for line in undisturbed]


def test_bad_photos_are_lines_with_a_code_and_hold_up_nobody(tmp_path: Path) -> None:
    whole = jpeg((300, 200))
    bad = {"missing": None, "empty": b"", "not_a_photo": b"hello", "damaged": whole[: len(whole) // 2], "too_small": jpeg((4, 40))}
    inputs, codes = [], []
    for number in range(60):
        code = [*bad, ""][number % 6]
        data = bad.get(code, whole)
        path = tmp_path / f"{number}.jpg"
        if data is not None:
            path.write_bytes(data)
        inputs.append(Input(number, Record(f"r{number}", path, {}, ""), path.name))
        codes.append(code)
    inputs.append(Input(60, Record("row", None, {}, ""), "x", refused=("remote", "is\non the web")))
    found = words(list(Local(Plain(Counting(), TASK, 4), threads=3)(iter(inputs))))
    assert [line["record_id"] for line in found] == [item.record.id for item in inputs]
    assert [line.get("error", {}).get("code", "") for line in found] == [*codes, "remote"]
    assert all(("text" in line) != ("error" in line) for line in found)
    assert found[60] == {"number": 60, "record_id": "row", "photo": "x", "error": {"code": "remote", "message": "is on the web"}}


def test_ids_that_stand_twice_are_each_answered(tmp_path: Path) -> None:
    found = words(list(Local(Plain(FakePredictor({"same": "one"}), TASK, 2))(held(number, jpeg(), "same") for number in range(5))))
    assert [line["number"] for line in found] == [0, 1, 2, 3, 4]


def test_a_prompt_that_the_model_cannot_take_is_a_line(shop: Any) -> None:
    lengths = [VLM(shop.model, shop.encoder).length(record) for record in shop.records]
    encoder = Encoder(shop.encoder.processor, shop.task, max_length=min(lengths))
    model = Tuned(VLM(shop.model, encoder, batch_size=3, max_new_tokens=4))
    found = words(list(Local(model)(iter(inputs_of(shop.records)))))
    assert ["text" in line for line in found] == [length == min(lengths) for length in lengths]
    refused = [line["error"] for line in found if "error" in line]
    assert refused
    assert all(one["code"] == "unfit" and f"the model takes {min(lengths)}" in one["message"] for one in refused)


def test_of_endless_inputs_no_more_than_three_blocks_are_held() -> None:
    taken = 0

    def endless() -> Iterator[Input]:
        nonlocal taken
        for taken in count(1):
            yield held(taken - 1, jpeg())

    model = Plain(Counting(), TASK, 2)
    lines = Local(model, threads=2)(endless())
    for told in range(200):
        next(lines)
        assert taken <= told + 3 * model.block
    lines.close()  # type: ignore[attr-defined]  # it is a generator: its threads end with it


def test_blocks_that_are_done_are_passed_over_and_batches_too() -> None:
    predictor = Counting()
    model = Plain(predictor, TASK, 2)
    inputs = [replace(held(number, jpeg()), done=number < model.block + 3) for number in range(2 * model.block)]
    found = list(Local(model)(iter(inputs)))
    assert len(found) == model.block - 3
    assert predictor.asked[0] == [f"r{model.block + 2}", f"r{model.block + 3}"]  # the batch that was cut in two stays as it was
    assert len(predictor.asked) == AHEAD - 1


def test_blocks_are_cut_by_number_and_by_the_weight_of_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "BLOCK_BYTES", 100)
    light, heavy = held(0, b"x"), held(1, b"x" * 60)
    assert [len(block) for block in cut(iter([light] * 7), 3)] == [3, 3, 1]
    assert [len(block) for block in cut(iter([heavy, heavy, light, heavy, heavy]), 3)] == [2, 3]


def test_an_error_of_the_model_s_own_ends_the_run() -> None:
    def fail(_: Record) -> str:
        raise ModelError("out of memory")

    lines = Local(Plain(FakePredictor(fail), TASK))(held(number, jpeg()) for number in range(3))
    with pytest.raises(ModelError):
        next(lines)


def test_lines_tell_intervals_and_whether_the_model_is_too_unsure(
    shop: Any, tuned: Tuned, undisturbed: list[dict[str, Any]]
) -> None:
    sure = sorted(line["confidence"]["category3_code"] for line in undisturbed)[len(undisturbed) // 2]
    cells = Cells(Quantile(0.5, 40, 40), {})
    field = FieldIntervals("ratio", cells, None, 0.05)
    intervals = Intervals(shop.task, 0.9, 30, None, {"full_price": field}, {"category3_code": Abstention("confidence", sure, 0.05)}, {})
    found = list(Local(tuned, intervals)(iter(inputs_of(shop.records))))
    for line in found:
        low, high = line["intervals"]["full_price"]
        assert low < line["values"]["full_price"] < high
        assert line["abstain"] == {"category3_code": line["confidence"]["category3_code"] < sure}
    assert {line["abstain"]["category3_code"] for line in found} == {True, False}
