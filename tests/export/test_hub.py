"""Upload to a stand-in of the Hub: what goes up, what never does, and what is looked at before hours are spent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from export.hub_stand_in import Hub
from seeworth.errors import RunError, SettingsError
from seeworth.export import run as verb
from seeworth.export.folder import read_manifest
from seeworth.export.hub import check_name, stale
from seeworth.export.run import run as export

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub 2.4 with its own HTTP library


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    stand_in = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", stand_in.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    huggingface_hub.utils.disable_progress_bars()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def done(home: Any, merged: Path, tmp_path: Path) -> tuple[Path, Any]:
    """A finished export and the settings that made it: uploading it again takes no second proof."""
    out = tmp_path / "out"
    shutil.copytree(merged, out)
    return out, lambda **more: home.export(home.run("lora"), out, merge=True, **more)


def test_all_files_go_up_and_nothing_else(hub: Hub, done: Any, home: Any, capsys: pytest.CaptureFixture[str]) -> None:
    out, settings = done
    for name in ("wandb", "checkpoint-8"):
        (out / name).mkdir()
        (out / name / "secret.json").write_text("{}")
    (out / ".env").write_text("HF_TOKEN=hf_writes")
    (out / "notes.txt").write_text("mine")
    export(settings(push="ada/coats"))
    found = hub.repositories["ada/coats"]
    assert found["private"]
    assert set(found["files"]) == {".gitattributes", "export.json", *read_manifest(out)["files"]}
    for name in set(found["files"]) - {".gitattributes", "run.json"}:
        assert found["files"][name] == (out / name).read_bytes()
    assert len(hub.storage) == 1  # the weights went as a large file
    everything = b"".join(found["files"].values())
    assert b"hf_writes" not in everything
    for place in (home.folder, home.data, home.base):
        assert str(place).encode() not in everything
    about = json.loads(found["files"]["run.json"])
    assert (about["data"], about["model"]) == ("shop", "trained")
    assert f"uploaded (private): {hub.address}/ada/coats" in capsys.readouterr().out


def test_public_is_asked_for(hub: Hub, done: Any) -> None:
    export(done[1](push="shop/coats", public=True))
    assert not hub.repositories["shop/coats"]["private"]


def test_a_broken_upload_leaves_the_export_and_the_same_command_uploads_it(hub: Hub, done: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fail_commits = 1
    with pytest.raises(RunError, match=r"ada/coats was not uploaded; the export in .* is whole, and the same command uploads it: .*507"):
        export(done[1](push="ada/coats"))
    monkeypatch.setattr(verb, "_prove", lambda *_: pytest.fail("proven a second time"))
    export(done[1](push="ada/coats"))
    assert "model.safetensors" in hub.repositories["ada/coats"]["files"]


def test_a_changed_export_is_not_uploaded_as_it_is(hub: Hub, done: Any) -> None:
    out, settings = done
    (out / "README.md").write_text("another")
    with pytest.raises(SettingsError, match="holds an export"):
        export(settings(push="ada/coats"))
    assert hub.repositories == {}


def test_a_repository_that_holds_files_needs_overwrite_and_its_stale_weights_go(hub: Hub, done: Any) -> None:
    files = {".gitattributes": b"", "model-00001-of-00002.safetensors": b"old", "model.safetensors.index.json": b"{}", "mine.txt": b"x"}
    hub.repositories["ada/coats"] = {"private": True, "files": dict(files)}
    with pytest.raises(SettingsError, match="holds 3 files"):
        export(done[1](push="ada/coats"))
    export(done[1](push="ada/coats", overwrite=True))
    left = hub.repositories["ada/coats"]["files"]
    assert left["mine.txt"] == b"x"
    assert not {"model-00001-of-00002.safetensors", "model.safetensors.index.json"} & set(left)


def test_weights_that_a_loader_would_prefer_are_stale() -> None:
    there = ["model.safetensors", "pytorch_model.bin", "adapter_config.json", "README.md", "config.json", "onnx/model.onnx"]
    assert stale(there, ["model.safetensors", "config.json"]) == ["adapter_config.json", "pytorch_model.bin"]


@pytest.mark.parametrize(
    ("push", "token", "words"),
    [
        ("ada/coats", None, "needs a Hugging Face token: hf auth login"),
        ("ada/coats", "hf_old", "the Hub refuses the token"),
        ("ada/coats", "hf_reads", "the token may only read"),
        ("bob/coats", "hf_writes", "the token is ada's, for ada, shop, not for bob"),
        ("coats", "hf_writes", "has no owner: expected owner/name"),
        ("ada/../x", "hf_writes", "cannot be the name of a repository"),
        ("ada/a b", "hf_writes", "cannot be the name of a repository"),
    ],
)
def test_what_cannot_be_uploaded_is_told_before_any_work(
    hub: Hub, home: Any, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, push: str, token: str | None, words: str
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    else:
        monkeypatch.setattr("seeworth.export.hub.get_token", lambda: None)
    monkeypatch.setattr(verb, "_prove", lambda *_: pytest.fail("worked first"))
    with pytest.raises(SettingsError, match=words) as told:
        export(home.export(lora, tmp_path / "out", push=push))
    assert "\n" not in str(told.value)
    assert hub.repositories == {}
    assert not (tmp_path / "out").exists()


def test_a_public_repository_is_not_filled_by_accident(hub: Hub, home: Any, lora: Path, tmp_path: Path) -> None:
    hub.repositories["ada/coats"] = {"private": False, "files": {}}
    with pytest.raises(SettingsError, match="is public already: add --public"):
        export(home.export(lora, tmp_path / "out", push="ada/coats"))


def test_without_network_nothing_is_tried(home: Any, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SettingsError, match="HF_HUB_OFFLINE is set"):
        export(home.export(lora, tmp_path / "out", push="ada/coats"))


def test_a_hub_that_is_down_is_told_in_a_line(hub: Hub, home: Any, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunError, match="ada/coats could not be looked at"):
        export(home.export(lora, tmp_path / "out", push="ada/coats"))


@pytest.mark.parametrize("name", ["a/b/c", "a/", "/b", "a/.b", "a/b.git", "a/" + "b" * 97, "a\n/b", ""])
def test_strange_names_are_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        check_name(name)
