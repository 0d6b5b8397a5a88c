"""Conversations from end to end: import, the folder, its groups, its check, and what is trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from seeworth.data.check.run import examine
from seeworth.data.dataset import COLUMNS, Dataset, write_dataset
from seeworth.data.photo.decode import open_photo
from seeworth.data.run import run
from seeworth.data.split.groups import Shown, group_records
from seeworth.data.twin.learn import learn
from seeworth.encode import Encoder
from seeworth.errors import DataError
from seeworth.phi3v.tiny import make_tiny
from seeworth.record import Turn
from seeworth.settings import ImportSettings

from .scenes import jpeg, scene
from .split.test_groups import member, plain

ONE = ("user", "<image>What?"), ("assistant", "A bag.")
TALK = (
    ("system", "Be brief."), ("user", "Is <image> like <image>?"), ("assistant", "No,\n  not at all."),
    ("user", "Why?"), ("assistant", "So."),
)  # fmt: skip
WORDS = ("user", "What is red?"), ("assistant", "A colour.")


def said(name: str, turns: tuple[tuple[str, str], ...], *photos: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "images": list(photos), "messages": [{"role": role, "content": text} for role, text in turns]} | more


@pytest.fixture
def take(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> Callable[..., Dataset]:
    """take(*objects): the dataset of these, with photos 0.jpg to 9.jpg beside them."""
    folder = tmp_path / "source"
    folder.mkdir()
    for seed in range(10):
        (folder / f"{seed}.jpg").write_bytes(photo_bytes(seed, size=(40 + seed, 30)))

    def read(*objects: dict[str, Any], name: str = "out", **changes: Any) -> Dataset:
        (folder / "chat.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects))
        run(ImportSettings(folder / "chat.jsonl", tmp_path / name, **({"processes": 1} | changes)))
        return Dataset.open(tmp_path / name)

    return read


def refusals(dataset: Dataset) -> dict[str, tuple[str, str]]:
    lines = (dataset.folder / "rejected.jsonl").read_text().splitlines()
    return {str(one["id"]): (one["code"], one["reason"]) for one in map(json.loads, lines)}


def test_one_photo_several_and_none_become_records(take: Callable[..., Dataset], photo_bytes: Callable[..., bytes]) -> None:
    dataset = take(said("one", ONE, "0.jpg"), said("talk", TALK, "1.jpg", "2.jpg"), said("words", WORDS))
    one, talk, words = dataset.records()
    assert [path.read_bytes() for path in (*one.all_photos, *talk.all_photos)] == [photo_bytes(n, size=(40 + n, 30)) for n in range(3)]
    assert (one.sizes, talk.sizes, words.sizes) == (((40, 30),), ((41, 30), (42, 30)), ())
    assert one.turns == (Turn("user", (0, "What?")), Turn("assistant", ("A bag.",)))
    assert talk.turns == (
        Turn("system", ("Be brief.",)), Turn("user", ("Is", 0, "like", 1, "?")), Turn("assistant", ("No,\n  not at all.",)),
        Turn("user", ("Why?",)), Turn("assistant", ("So.",)),
    )  # fmt: skip
    assert (words.photo, words.all_photos) == (None, ())
    assert [dataset.task.write(record.values) for record in (one, talk, words)] == ["A bag.", "So.", "A colour."]
    assert [dataset.task.prompt(record.values) for record in (one, talk, words)] == ["What?", "Why?", "What is red?"]


def test_an_answer_of_several_lines_is_measured_as_it_was_said(take: Callable[..., Dataset]) -> None:
    dataset = take(said("lines", (("user", "Count."), ("assistant", "one\ntwo"))))
    (record,) = dataset.records()
    assert dataset.task.read(dataset.task.write(record.values)).values == {"answer": "one\ntwo"}
    assert next(dataset.rows()).values["answer"] == "one two"


def test_the_columns_of_the_contract_come_first_and_image_folder_reads_it(
    take: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = take(said("words", WORDS), said("one", ONE, "0.jpg"), said("talk", TALK, "1.jpg", "2.jpg"))
    assert pq.read_schema(dataset.folder / "metadata.parquet").names == [
        *COLUMNS, "question", "answer", "photo", "conversation", "source_id", "further_photos",
    ]  # fmt: skip
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("imagefolder", data_dir=str(dataset.folder), cache_dir=str(tmp_path / "cache"), split="train")
    words, one, talk = loaded
    assert (words["image"], words["width"], words["further_photos"]) == (None, None, [])
    assert one["image"].size == (40, 30)
    assert (talk["image"].size, [further["image"].size for further in talk["further_photos"]]) == ((41, 30), [(42, 30)])
    assert json.loads(talk["conversation"])[1]["content"][1] == {"type": "image"}


def test_a_table_is_written_as_ever(table: Callable[..., Path], tmp_path: Path) -> None:
    run(ImportSettings(table("title,category3_code,full_price,photo", "Bag,BAGS,5,0.jpg"), tmp_path / "plain", processes=1))
    dataset = Dataset.open(tmp_path / "plain")
    assert (dataset.manifest["format"], "turns" in dataset.manifest, dataset.conversations) == (1, False, False)
    assert "further_photos" not in pq.read_schema(dataset.folder / "metadata.parquet").names
    (record,) = dataset.records()
    assert (record.turns, record.photos, record.sizes) == (None, (), ((40, 30),))


def test_what_the_model_would_see_is_whole(take: Callable[..., Dataset]) -> None:
    dataset = take(said("one", ONE, "0.jpg"), said("talk", TALK, "1.jpg", "2.jpg"), said("words", WORDS))
    encoder = Encoder(make_tiny(["What is red? A colour."], num_crops=4)[1], dataset.task)
    for record in dataset.records():
        example = encoder.example(record)
        assert len(example.input_ids) == encoder.length(record)
        assert len(example.tiles) == len(record.all_photos)
        assert encoder.example(record, answer=False).input_ids == example.input_ids[: -len(encoder.answer_ids(record))]


def test_a_bad_photo_anywhere_refuses_its_record_and_leaves_nothing_behind(take: Callable[..., Dataset], tmp_path: Path) -> None:
    (tmp_path / "source" / "bad.jpg").write_text("<html>")
    dataset = take(
        said("one", ONE, "0.jpg"), said("lost", TALK, "1.jpg", "lost.jpg"), said("bad", TALK, "bad.jpg", "2.jpg"),
        said("away", TALK, "1.jpg", "../x.jpg"), said("few", TALK, "1.jpg"), said("open", TALK[:2], "1.jpg", "2.jpg"),
    )  # fmt: skip
    codes = {name: code for name, (code, _) in refusals(dataset).items()}
    assert codes == {"lost": "missing", "bad": "not_a_photo", "away": "outside", "few": "photo_count", "open": "turns_missing"}
    assert refusals(dataset)["lost"][1].startswith("photo 2 of 2: ")
    (kept,) = dataset.records()
    assert [*(dataset.folder / "photos").rglob("*.jpg")] == [kept.photo]


def test_the_same_conversation_twice_is_kept_once(take: Callable[..., Dataset]) -> None:
    dataset = take(said("a", TALK, "1.jpg", "2.jpg"), said("b", TALK, "2.jpg", "1.jpg"), said("c", WORDS), said("c", WORDS))
    assert len(dataset.records()) == 3  # ids that stand twice name nothing, and in the second the photos stand the other way round
    assert [code for code, _ in refusals(dataset).values()] == ["duplicate_row"]


def test_records_that_share_any_photo_or_the_very_same_words_are_one_group(take: Callable[..., Dataset]) -> None:
    dataset = take(
        said("a", TALK, "1.jpg", "2.jpg"), said("b", TALK, "3.jpg", "2.jpg"), said("c", ONE, "3.jpg"), said("d", ONE, "4.jpg"),
        said("e", WORDS), said("f", WORDS, note="again"), said("g", (("user", "Hm?"), ("assistant", "Yes."))),
    )  # fmt: skip
    a, b, c, d, e, f, g = (record.group for record in dataset.records())
    assert a == b == c
    assert e == f
    assert len({a, d, e, g}) == 4


def test_several_photos_tie_records_as_one_photo_does() -> None:
    red, blue, green = (scene(seed) for seed in range(3))

    def shown(image: Any) -> Shown:
        return Shown(*member(image)[1:6])

    two_views = member(red)._replace(further=(shown(jpeg(red, 60)), shown(red)))  # near-identical photos of its own record
    groups = group_records([two_views, member(blue)._replace(further=(shown(green),)), member(jpeg(green, 60)), plain("", "other")])
    assert (groups.first, groups.alike) == ([0, 1, 1, 3], [0, 1, 1, 3])
    assert groups.founds == [True, True, False, True]


def test_one_or_many_processes_and_a_second_import_give_the_same_dataset(take: Callable[..., Dataset]) -> None:
    objects = [said(f"r{number}", (TALK, ONE, WORDS)[number % 3], *[f"{number % 10}.jpg", f"{number % 7}.jpg"][: (2, 1, 0)[number % 3]],
                    note=number) for number in range(30)]  # fmt: skip
    one, two = take(*objects), take(*objects, name="two", processes=2)
    assert one.fingerprint == two.fingerprint
    assert (one.folder / "dataset.json").read_bytes() == (two.folder / "dataset.json").read_bytes()


def test_an_earlier_dataset_saves_fetching_every_photo_and_keeps_the_split(take: Callable[..., Dataset], server: Any) -> None:
    urls = [server.url(f"/photo/{seed}") for seed in range(4)]
    first = take(said("a", TALK, *urls[:2]), allow_private_addresses=True)
    assert sum(server.served.values()) == 2
    second = take(said("b", TALK, urls[2], urls[1]), said("a", TALK, *urls[:2]), name="second", earlier=first.folder,
                  allow_private_addresses=True)  # fmt: skip
    assert sum(server.served.values()) == 3
    assert {record.split for record in second.records()} == {first.records()[0].split}


def test_words_alone_keep_their_split_from_an_earlier_dataset(take: Callable[..., Dataset]) -> None:
    talks = [said("", (("user", f"What is {number}?"), ("assistant", "A number."))) for number in range(30)]
    before = take(*talks)
    after = take(*talks[::-1], name="second", earlier=before.folder, seed=7)
    assert {record.split for record in before.records()} == {"train", "validation", "test"}
    assert [record.split for record in after.records()] == [record.split for record in before.records()][::-1]


def test_a_task_of_ones_own_asks_its_own_question(take: Callable[..., Dataset], tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("question: 'In a word: {question}'\nanswer: '{answer}'\n")
    dataset = take(said("talk", TALK, "1.jpg", "2.jpg"), task=tmp_path / "task.yaml")
    (record,) = dataset.records()
    assert (record.turns, len(record.all_photos)) == (None, 2)
    assert dataset.task.prompt(record.values) == "In a word: Why?"


def test_a_check_opens_every_photo_and_finds_leaks_in_further_ones(take: Callable[..., Dataset]) -> None:
    dataset = take(*(said(f"r{n}", TALK, f"{n}.jpg", f"{n + 5}.jpg") for n in range(5)), said("w", WORDS))
    check = examine(dataset.folder)
    assert check.looked == 10
    assert not check.problems
    rows = list(dataset.rows())
    leaky = [rows[0], replace(rows[1], split="test", group="other", further=rows[0].further), *rows[2:]]
    write_dataset(dataset.folder, dataset.task, leaky, source={"verb": "test"}, conversations=True, turns=True)
    assert examine(dataset.folder).problems[0].startswith("leak: 1 clusters of near-identical photos")
    path = dataset.folder / rows[2].further[0].file_name
    path.write_bytes(path.read_bytes()[:100])
    assert any("1 photos cannot be used" in problem for problem in examine(dataset.folder).problems)
    path.unlink()
    with pytest.raises(DataError, match=r"1 of the photos in metadata\.parquet are not there"):
        Dataset.open(dataset.folder)


def test_a_twin_is_not_drawn_of_what_it_cannot_have(take: Callable[..., Dataset]) -> None:
    with pytest.raises(DataError, match=r"one photo each, record 'w' has 0"):
        learn(take(said("one", ONE, "0.jpg"), said("w", WORDS)))


def test_further_photos_are_normalised_like_the_first(
    take: Callable[..., Dataset], tmp_path: Path, photo_bytes: Callable[..., bytes]
) -> None:
    (tmp_path / "source" / "x.webp").write_bytes(photo_bytes(3, "WEBP"))
    (record,) = take(said("talk", TALK, "1.jpg", "x.webp")).records()
    assert record.photos[0].suffix == ".png"
    assert open_photo(record.photos[0]).tobytes() == open_photo(photo_bytes(3, "WEBP")).tobytes()


def test_turns_that_were_damaged_are_told(take: Callable[..., Dataset]) -> None:
    dataset = take(said("one", ONE, "0.jpg"))
    (row,) = dataset.rows()
    for words, told in (("[", "record one: expected turns as JSON"), ("[]", "record one: expected a question and its answer")):
        damaged = replace(row, values={**row.values, "conversation": words})
        write_dataset(dataset.folder, dataset.task, [damaged], source={"verb": "test"}, conversations=True, turns=True)
        with pytest.raises(DataError, match=told):
            Dataset.open(dataset.folder).records()
