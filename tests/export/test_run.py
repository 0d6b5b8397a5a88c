"""The verb: what comes out agrees with the run, is a run folder too, loads elsewhere; and a fault leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoProcessor

from seeworth.cli import main
from seeworth.data.dataset import Dataset
from seeworth.errors import RunError, SettingsError, TaskError
from seeworth.evaluate.run import run as evaluate
from seeworth.export import merge as merging
from seeworth.export import run as verb
from seeworth.export.agree import MEAN_TOLERANCE, TOLERANCE
from seeworth.export.folder import is_export, read_manifest
from seeworth.export.names import ADAPTER
from seeworth.export.probe import drawn, find_probes, spread
from seeworth.export.run import run as export
from seeworth.export.served import served_answers
from seeworth.intervals import NAME as INTERVALS
from seeworth.phi3v import Phi3VForCausalLM, Phi3VProcessor
from seeworth.record import read_predictions
from seeworth.run_folder import read_run
from seeworth.settings import EvaluateSettings
from seeworth.task import Field, Task


def agreements(folder: Path) -> dict[str, dict[str, Any]]:
    return {one["who"]: one for one in read_manifest(folder)["proof"]["agreements"]}


def left(folder: Path) -> list[str]:
    """What stands in a folder, hidden drafts too."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def evaluated(home: Any, lora: Path) -> Path:
    """The LoRA run with an evaluation of its own."""
    run = home.folder / "evaluated"
    shutil.copytree(lora, run)
    evaluate(EvaluateSettings(run, grounding_records=0, baselines="cheap", bootstrap=20, max_new_tokens=12, batch_size=50))
    return run


def test_evaluated_adapter_merged_reloaded_and_served_answers_agree_on_200_records(
    home: Any, evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Dataset.open(home.data).records("test")
    assert len(records) == 200
    monkeypatch.setattr(verb, "served_answers", served_answers)
    export(home.export(evaluated, tmp_path / "merged", merge=True, probes=200, batch_size=50))
    said = [one.text for one in read_predictions(evaluated / "evaluation" / "predictions.jsonl")]
    assert len(set(said)) > 4
    proof = agreements(tmp_path / "merged")  # each against the run, base + adapter
    assert list(proof) == ["the merged model", "what was written, loaded anew", "the server"]
    assert all(one["records"] == one["same_words"] == 200 and one["exact"] for one in proof.values())
    assert all(one["largest"] is None or one["largest"] < 1e-4 for one in proof.values())  # measured 2e-6
    assert read_manifest(tmp_path / "merged")["proof"]["evaluated"] == {"records": 200, "same_words": 200}
    assert (tmp_path / "merged" / INTERVALS).read_bytes() == (evaluated / INTERVALS).read_bytes()


def test_the_folder_holds_what_it_says_and_export_json_knows_each_file(merged: Path, adapter: Path) -> None:
    common = {"README.md", "export.json", "preprocessor_config.json", "processor_config.json", "run.json", "task.yaml", "tokenizer.json",
              "tokenizer_config.json"}  # fmt: skip
    assert set(left(merged)) == common | {"model.safetensors", "config.json", "generation_config.json", "special_tokens_map.json"}
    assert set(left(adapter)) == common | {ADAPTER, "adapter_config.json", "chat_template.jinja"}
    for folder in (merged, adapter):
        told = read_manifest(folder)["files"]
        assert set(told) == set(left(folder)) - {"export.json"}
        assert all((folder / name).stat().st_size == one["bytes"] for name, one in told.items())


def test_a_merged_export_loads_with_the_auto_classes_under_the_bases_names(home: Any, merged: Path) -> None:
    model, info = Phi3VForCausalLM.from_pretrained(merged, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert set(load_file(merged / "model.safetensors")) == set(load_file(home.base / "model.safetensors"))
    assert type(AutoModelForCausalLM.from_pretrained(merged)) is type(model)
    assert type(AutoProcessor.from_pretrained(merged)) is Phi3VProcessor
    assert "auto_map" not in json.loads((merged / "config.json").read_text())  # these sizes no published code could hold


def test_an_export_is_a_run_folder_and_takes_the_categories_along(merged: Path, home: Any, tmp_path: Path) -> None:
    about = read_run(merged)
    assert (about["method"], about["dtype"], about["exported"]) == ("full", "float32", "merged")
    task = Task.from_dict(about["task"])
    assert sorted(task.of_kind("category")[0].choices or ()) == ["BLUE", "GREEN", "RED", "WHITE"]  # the run's task has none
    photo = tmp_path / "photo.png"
    Image.new("RGB", (60, 50), "red").save(photo)
    assert main(["predict", str(merged), str(photo), "--output", str(tmp_path / "said.jsonl")]) == 0
    assert main(["evaluate", str(merged), "--output", str(tmp_path / "e"), "--grounding_records", "0", "--baselines", "cheap",
                 "--bootstrap", "10", "--max_new_tokens", "4", "--allow_ungrounded"]) in (0, 1)  # fmt: skip
    assert (tmp_path / "e" / "evaluation.json").is_file()


def test_an_export_that_was_moved_away_from_its_data_still_answers_alike(
    merged: Path, home: Any, tmp_path: Path, words: Callable[..., list[str]]
) -> None:
    records = Dataset.open(home.data).records("test")[:6]
    shutil.copytree(merged, tmp_path / "moved")
    about = json.loads((tmp_path / "moved" / "run.json").read_text())
    (tmp_path / "moved" / "run.json").write_text(json.dumps(about | {"data": "gone", "model": "gone"}))
    assert words(tmp_path / "moved", records) == words(merged, records)


@pytest.mark.parametrize(("dtype", "measured"), [("bfloat16", 0.03), ("float16", 0.004)])
def test_half_the_bytes_within_the_tolerance_of_their_dtype(home: Any, lora: Path, tmp_path: Path, dtype: str, measured: float) -> None:
    out = tmp_path / "out"
    export(home.export(lora, out, merge=True, dtype=dtype, max_shard_size="1MB"))
    assert {one.dtype for path in out.glob("model-*.safetensors") for one in load_file(path).values()} == {getattr(torch, dtype)}
    assert len(list(out.glob("model-*.safetensors"))) > 2
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == dtype
    assert Phi3VForCausalLM.from_pretrained(out, dtype="auto").dtype == getattr(torch, dtype)
    for one in agreements(out).values():
        if one["largest"] is not None:
            assert 1e-4 < one["largest"] < 3 * measured < TOLERANCE[dtype]
            assert one["mean"] < MEAN_TOLERANCE[dtype]
            assert not one["exact"]
            assert one["coarser"] == dtype


def test_a_full_run_is_whole_already(home: Any, full: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(home.export(full, out))
    assert read_manifest(out)["kind"] == "merged"
    ours, theirs = load_file(out / "model.safetensors"), load_file(full / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(one["largest"] in (0, None) for one in agreements(out).values())


# faults


def zero(tensor: torch.Tensor) -> None:
    tensor.zero_()


def nudge(tensor: torch.Tensor) -> None:
    tensor.view(-1)[:8] += 0.5 * tensor.abs().max()


def test_an_adapter_tensor_of_another_name_fails_in_a_line_and_leaves_nothing(
    home: Any, lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(lora, run)
    tensors = load_file(run / ADAPTER)
    name = next(name for name in tensors if "qkv_proj.lora_B" in name)
    tensors[name.replace("model.layers", "language_model.layers")] = tensors.pop(name)
    save_file(tensors, run / ADAPTER)
    for more in ([], ["--merge"]):
        assert main(["export", str(run), str(tmp_path / "out"), "--probes", "2", "--max_new_tokens", "4", *more]) == 1
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert told.startswith("seeworth export: ")
        assert "language_model.layers" in told
        assert left(tmp_path) == ["run"]


@pytest.mark.parametrize("fault", [zero, nudge])
def test_an_exported_adapter_whose_tensor_is_not_the_runs_is_found(
    home: Any, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[torch.Tensor], None]
) -> None:
    """On its way into the folder; what was written is loaded anew, and does not say the same."""

    def copy(source: Path, target: Path) -> None:
        tensors = load_file(source)
        fault(tensors[next(name for name in tensors if "qkv_proj.lora_B" in name)])
        save_file(tensors, target)

    monkeypatch.setattr(verb.shutil, "copyfile", copy)
    with pytest.raises(RunError, match="does not agree with the run: a logit of what was written, loaded anew differs by"):
        export(home.export(lora, tmp_path / "out"))
    assert left(tmp_path) == []


@pytest.mark.parametrize("layer", ["model.layers.1.mlp.down_proj", "model.vision_embed_tokens.img_projection.2", "lm_head"])
def test_a_merged_weight_that_changes_before_it_is_written_is_found(
    home: Any, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    real = merging.merged

    def perturbed(*arguments: Any) -> Any:
        model, worst = real(*arguments)
        nudge(model.get_submodule(layer).weight.data)
        return model, worst

    monkeypatch.setattr(verb, "merged", perturbed)
    with pytest.raises(RunError, match=r"a logit of the merged model differs by .* nothing was exported"):
        export(home.export(lora, tmp_path / "out", merge=True))
    assert left(tmp_path) == []


def test_weights_that_change_on_their_way_to_the_disk_are_found(
    home: Any, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = merging.write_weights

    def perturbed(model: Any, folder: Path, size: str) -> list[str]:
        names = real(model, folder, size)
        tensors = load_file(folder / "model.safetensors")
        tensors["model.norm.weight"][3] *= 1 + 1e-6
        save_file(tensors, folder / "model.safetensors")
        return names

    monkeypatch.setattr(verb, "write_weights", perturbed)
    with pytest.raises(RunError, match=r"model\.norm\.weight is not the merged model's, bit by bit"):
        export(home.export(lora, tmp_path / "out", merge=True))
    assert left(tmp_path) == []


def test_a_server_that_says_something_else_is_found(home: Any, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "served_answers", lambda run, records, **_: (["Product: X"] * len(records), ""))
    with pytest.raises(RunError, match="the server answers 4 of 4 probe records in other words"):
        export(home.export(lora, tmp_path / "out"))
    assert left(tmp_path) == []


def test_numbers_too_large_for_float16_are_told(home: Any, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = merging.merged

    def overflowing(*arguments: Any) -> Any:
        model, worst = real(*arguments)
        model.lm_head.weight.data.fill_(6e4)
        return model, worst

    monkeypatch.setattr(verb, "merged", overflowing)
    with pytest.raises(RunError, match=r"is not finite \(an overflow: take bfloat16 or float32\)"):
        export(home.export(lora, tmp_path / "out", merge=True, dtype="float16"))


# places


@pytest.mark.parametrize("where", ["{run}", "{run}/out", "{run}/a/b", "{run}/..", "{run}/wandb/../out"])
def test_output_and_run_lie_apart(home: Any, lora: Path, where: str) -> None:
    before = left(lora)
    with pytest.raises(SettingsError, match="lie within each other"):
        export(home.export(lora, Path(where.format(run=lora))))
    assert left(lora) == before


def test_only_an_export_is_replaced_and_only_when_that_is_asked(home: Any, lora: Path, merged: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    for overwrite in (False, True):
        with pytest.raises(SettingsError, match="is there and is no export"):
            export(home.export(lora, mine, overwrite=overwrite))
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(mine)
    for name in ("file", "link"):
        with pytest.raises(SettingsError, match="is there and is no folder"):
            export(home.export(lora, tmp_path / name, overwrite=True))
    shutil.copytree(merged, tmp_path / "done")
    with pytest.raises(SettingsError, match="holds an export"):
        export(home.export(lora, tmp_path / "done"))
    export(home.export(lora, tmp_path / "done", overwrite=True))
    assert read_manifest(tmp_path / "done")["kind"] == "adapter"
    assert not (tmp_path / "done" / "model.safetensors").exists()
    (tmp_path / "empty").mkdir()
    export(home.export(lora, tmp_path / "empty"))
    assert is_export(tmp_path / "empty")
    assert left(tmp_path) == ["done", "empty", "file", "link", "mine"]


def test_a_failed_export_leaves_the_one_that_was_there(
    home: Any, lora: Path, merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(merged, tmp_path / "out")
    monkeypatch.setattr(verb, "served_answers", lambda run, records, **_: (["?"] * len(records), ""))
    with pytest.raises(RunError):
        export(home.export(lora, tmp_path / "out", overwrite=True))
    assert read_manifest(tmp_path / "out") == read_manifest(merged)
    assert left(tmp_path) == ["out"]


def test_what_a_killed_export_has_left_is_removed_and_what_another_makes_is_not(home: Any, lora: Path, tmp_path: Path) -> None:
    for pid in (2**22 + 7, 1, os.getpid()):  # beyond the largest, one that lives, our own of a failed try
        (tmp_path / f".out.new-{pid}").mkdir()
    (tmp_path / ".other.new-4194311").mkdir()
    export(home.export(lora, tmp_path / "out"))
    assert left(tmp_path) == [".other.new-4194311", ".out.new-1", "out"]


def test_names_with_spaces_quotes_and_letters_of_all_kinds_work(home: Any, lora: Path, tmp_path: Path) -> None:
    out = tmp_path / "a b'\"$(x)é漢-–"
    export(home.export(lora, out, probes=1))
    assert is_export(out)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"load_in_4bit": True}, "load_in_4bit is set, and the export of this LoRA run is its adapter: add --merge"),
        ({"dtype": "bfloat16"}, "dtype is set, and the export of this LoRA run is its adapter: add --merge"),
        ({"max_shard_size": "many"}, "max_shard_size is 'many', expected a number and KB, MB or GB"),
        ({"probes": 0}, "probes is 0, expected 1 or more"),
        ({"base_model": "somewhere"}, "base_model 'somewhere' has no owner"),
    ],
)
def test_settings_that_cannot_be_are_told_before_any_work(
    home: Any, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(verb, "_prove", lambda *_: pytest.fail("worked first"))
    with pytest.raises(SettingsError, match=words):
        export(home.export(lora, tmp_path / "out", **more))


def test_what_is_no_finished_run_is_told(home: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no finished run"):
        export(home.export(home.base.parent / "random", tmp_path / "out"))


# probes


def test_probes_are_spread_over_the_test_split() -> None:
    assert spread(list(range(100)), 5) == [0, 25, 50, 74, 99]  # type: ignore[type-var,arg-type]
    assert spread(list(range(3)), 5) == [0, 1, 2]  # type: ignore[type-var,arg-type]


def test_photos_that_are_given_are_taken_and_broken_ones_told(
    home: Any, lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (70, 50), "green").save(photos / "a.png")
    (photos / "b.jpg").write_bytes(b"broken")
    export(home.export(lora, tmp_path / "out", photos=photos))
    proof = read_manifest(tmp_path / "out")["proof"]
    assert (proof["records"], proof["source"]) == (1, "the photos given")
    assert "left out of the proof" in capsys.readouterr().err


def test_without_data_photos_are_drawn(home: Any, lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = find_probes({"data": str(tmp_path / "gone")}, Task(), count=3, photos=None, scratch=tmp_path / "drawn")
    assert found.source == "photos drawn for the proof"
    assert "the run's dataset is not there" in capsys.readouterr().err
    assert [one.photo.read_bytes() for one in found.records] == [
        one.photo.read_bytes()  # type: ignore[union-attr]
        for one in drawn(3, tmp_path / "again")
    ]
    asking = Task("What colour is the {thing}?", "{colour}", (Field("thing"), Field("colour")))
    with pytest.raises(TaskError, match="the question names thing, which a drawn photo has not: give --photos a table"):
        find_probes({"data": str(tmp_path / "gone")}, asking, count=3, photos=None, scratch=tmp_path / "drawn")
