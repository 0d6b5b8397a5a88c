"""The model card: what it says, what it says is missing, and that no words from data can become Markdown, HTML or YAML."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load
from hypothesis import given
from hypothesis import strategies as st

from evaluate.conftest import Shop, make_run, make_shop
from seeworth.evaluate.folder import read_manifest
from seeworth.evaluate.run import run as evaluate
from seeworth.export.card import export_card
from seeworth.export.evaluated import Evaluated, read_evaluated
from seeworth.export.folder import read_manifest as read_export
from seeworth.export.publish import PHI_35
from seeworth.predict.predictor import FakePredictor
from seeworth.record import Record
from seeworth.run_folder import read_run
from seeworth.settings import EvaluateSettings
from seeworth.train.card import block, front_matter, model_card, plain

HOSTILE = (
    "# x\n---\nlicense: gpl\n---\n| a | <script>alert(1)</script> ![i](http://e.vil/p.png) `c` **b** [l](javascript:x) @everyone \x00\u202e"
)
PROOF = {
    "records": 4,
    "source": "the test split of the run's dataset",
    "agreements": [
        {"who": "the merged model", "coarser": "float32", "records": 4, "same_words": 4, "largest": 2e-6, "mean": 3e-7, "exact": True,
         "held": True, "tolerance": 1e-3, "mean_tolerance": 1e-4},
        {"who": "the server", "coarser": "float32", "records": 4, "same_words": 4, "largest": None, "mean": None, "exact": True,
         "held": True, "tolerance": 1e-3, "mean_tolerance": 1e-4},
    ],
    "tensors": {"written": 592, "merging": 1e-7},
    "evaluated": {"records": 3, "same_words": 3},
}  # fmt: skip
ABOUT = {
    "method": "lora", "parts": {"language": "lora", "projector": "full", "vision": "frozen"}, "model": PHI_35, "steps": 12,
    "task": {"question": "What is it?", "answer": "Product: {title}"}, "data": "/home/ada/coats", "data_fingerprint": "abc" * 20,
    "minutes": 3, "validation": {"final/title_exact": 0.5},
}  # fmt: skip


def content(kind: str = "merged", **more: Any) -> dict[str, Any]:
    plain = {"kind": kind, "run": "my-run", "base_model": PHI_35, "dtype": "bfloat16", "proof": PROOF, "notes": []}
    return plain | more


NONE = Evaluated(None, {}, "The run was not evaluated.")


def head(text: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert found
    return dict(yaml.safe_load(found[1]))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return make_shop(tmp_path_factory.mktemp("card") / "coats & co", rows=120)


@pytest.fixture(scope="module")
def run(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose evaluation was made by somebody who looks at photos, and by nobody's weights but its own."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "run", shop)
    (folder / "model.safetensors").write_bytes(b"weights")
    settings = EvaluateSettings(folder, bootstrap=30, baselines="cheap", grounding_records=30)
    evaluate(settings, predictor=FakePredictor(lambda record: shop.look(record)))
    return folder


@pytest.mark.parametrize("kind", ["merged", "adapter", "4 bits"])
def test_the_front_matter_is_what_the_hub_takes(run: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(export_card(ABOUT, content(kind), read_evaluated(run)), encoding="utf-8")
    card = ModelCard.load(path)
    assert metadata_load(path)["license"] == "mit"
    assert card.data.library_name == ("peft" if kind == "adapter" else "transformers")
    assert card.data.pipeline_tag == "image-text-to-text"
    assert card.data.base_model == PHI_35
    assert card.data.to_dict()["base_model_relation"] in ("adapter", "finetune", "quantized")
    results = {(one.metric_type, one.metric_name): one for one in card.data.eval_results or []}
    figures = read_manifest(run / "evaluation")["figures"]
    right = results["accuracy", "category3_code right"]
    assert right.metric_value == round(figures["category3_code_accuracy"]["model"]["value"], 4)
    assert right.dataset_name == "coats & co"


def test_it_tells_figures_with_intervals_baselines_skill_grounding_and_the_proof(run: Path) -> None:
    text = export_card(ABOUT, content(), read_evaluated(run))
    found = read_manifest(run / "evaluation")
    assert re.search(r"\| category3\\_code right \| 100 % \([\d.]+ to 100; n = 48\)", text)
    for name in ("most common answer", "nearest training photo", "Skill is the share", "hardest baseline"):
        assert name in text
    assert plain(found["grounding"]["verdict"]) in text
    assert "| the merged model | float32 | 2e-06 | 3e-07 | 0.001, 0.0001 | 4 of 4 (all demanded) |" in text
    assert "592 tensors were read back from the files" in text
    assert "Of 3 of these records the evaluation has answers too: 3 are the same words." in text
    assert "has their own licence" not in text
    assert "The training photos and texts have their own licence" in text
    assert "/home/ada" not in text  # no path of this machine
    for words in ("vllm serve", "trust_remote_code=True", "seeworth predict"):
        assert words in text


def test_what_there_is_not_is_said(run: Path, tmp_path: Path) -> None:
    text = export_card(ABOUT, content(), NONE)
    assert "The run was not evaluated." in text
    assert "Not measured." in text
    assert "model-index" not in head(text)
    assert "was not evaluated before it was exported" in read_evaluated(tmp_path).why_not
    small = export_card(ABOUT | {"model": "tiny"}, content(base_model=None), NONE)
    assert "base_model" not in head(small)
    assert "No other engine can hold this model" in small
    assert "vllm serve" not in small


def test_figures_of_other_weights_are_not_told(run: Path, tmp_path: Path) -> None:
    weights = run / "model.safetensors"
    weights.write_bytes(b"other weights")
    try:
        found = read_evaluated(run)
        assert found.content is None
        assert "was made of other weights" in found.why_not
    finally:
        weights.write_bytes(b"weights")
    assert read_evaluated(run).content is not None


def test_earlier_answers_are_compared_by_record(run: Path) -> None:
    found = read_evaluated(run)
    ids = list(found.answers)[:3]
    records = [Record(one, None, {}, one) for one in [*ids, "unknown"]]
    assert found.compared(records, [found.answers[ids[0]], "?", found.answers[ids[2]], "!"]) == {"records": 3, "same_words": 2}


def hostile_cards(run: Path) -> list[str]:
    about = ABOUT | {"task": {"question": HOSTILE, "answer": HOSTILE}, "data": f"/x/{HOSTILE.replace('/', '')}", "model": "some/model"}
    found = read_evaluated(run).content or {}
    one = next(iter(found["figures"].values()))
    found = found | {
        "figures": {HOSTILE: {**one, "label": HOSTILE, "baselines": {HOSTILE: one["model"]}}},
        "skill": {}, "verdict": [{"text": HOSTILE, "tone": "good"}], "faults": [{"text": HOSTILE}],
    }  # fmt: skip
    return [model_card(about), *(export_card(about, content(kind, run=HOSTILE), Evaluated(found, {})) for kind in ("merged", "adapter"))]


def test_words_from_data_stay_words(run: Path) -> None:
    for text in hostile_cards(run):
        data = head(text)
        assert data["license"] == "mit"
        assert text.count("\n---\n") == 1 + text.startswith("---\n") - 1  # the end of the front matter, and no other
        body = text.split("\n---\n", 1)[1]
        outside = [line for line in body.splitlines() if not line.startswith("    ")]
        for line in outside:
            bare = re.sub(r"\\.", "", line)  # without what is escaped
            for mark in ("<script", "![i]", "](http", "javascript:", "@everyone", "\x00", "\u202e"):
                assert mark not in bare, line
        assert sum(line.startswith("# ") for line in outside) == 1
        assert not re.search(r"[\x00-\x08\u202e]", body)


@given(st.text())
def test_escaped_words_hold_one_line_and_no_bare_mark(text: str) -> None:
    found = plain(text)
    assert len(found.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|#~$&!@{}]", found)


@given(st.text())
def test_a_block_stays_a_block(text: str) -> None:
    assert all(line.startswith("    ") for line in block(text).split("\n"))
    assert len(block(text).splitlines()) == len(block(text).split("\n"))


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.lists(st.text())))
def test_front_matter_is_read_back_as_it_was(data: dict[str, Any]) -> None:
    text = front_matter(data)
    found = re.match(r"^---\n(.*?)\n---$", text, re.DOTALL)
    assert found
    assert "\n---\n" not in found[1]
    assert yaml.safe_load(found[1]) == data


def test_a_real_exports_card_loads(merged: Path, adapter: Path) -> None:
    for folder in (merged, adapter):
        card = ModelCard.load(folder / "README.md")
        assert card.data.library_name == ("peft" if folder == adapter else "transformers")
        assert plain(read_run(folder)["task"]["question"]) in card.text
        assert read_export(folder)["kind"] in ("merged", "adapter")


def test_the_runs_own_card_escapes_too(monkeypatch: Callable[..., Any]) -> None:
    text = model_card(ABOUT | {"task": {"question": "a_b | <i>", "answer": "x\ny"}})
    assert r"answers: a\_b \| \<i\>" in text
    assert "    x\n    y\n" in text
