"""4 bits: exports in them, and exports of runs that were trained on them. Needs bitsandbytes (extra `quant`)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from seeworth.errors import RunError
from seeworth.export.folder import read_manifest
from seeworth.export.merge import merged, rounded_base
from seeworth.export.run import run as export
from seeworth.phi3v import Phi3VForCausalLM
from seeworth.predict.vlm import load_base, load_run
from seeworth.run_folder import read_run

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes: pip install 'seeworth[quant]'"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def qlora(home: Any) -> Path:
    found: Path = home.run("qlora", load_in_4bit=True, dtype="bfloat16")
    return found


def test_an_export_in_4_bits_loads_as_it_was_saved_and_says_what_it_cost(home: Any, lora: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(home.export(lora, out, merge=True, load_in_4bit=True))
    told = read_manifest(out)
    assert told["kind"] == "4 bits"
    merged_, four, anew = told["proof"]["agreements"]
    assert merged_["exact"]
    assert merged_["same_words"] == 4
    assert not four["held"]
    assert 0.01 < four["largest"] < 2  # told, not demanded
    assert anew["largest"] < 0.1  # measured 0.02: on a CPU the saved weights are packed another way
    config = json.loads((out / "config.json").read_text())
    assert config["quantization_config"]["bnb_4bit_quant_type"] == "nf4"
    assert not list(out.glob(".*"))
    model = Phi3VForCausalLM.from_pretrained(out)
    assert type(model.model.layers[0].self_attn.qkv_proj).__name__ == "Linear4bit"
    assert type(model.lm_head).__name__ == "Linear"
    assert (out / "model.safetensors").stat().st_size < (lora.parent / "base" / "trained" / "model.safetensors").stat().st_size
    assert read_run(out)["method"] == "full"


def test_a_qlora_run_is_merged_into_the_weights_it_was_trained_on(home: Any, qlora: Path, tmp_path: Path) -> None:
    """The adapter fits the rounded base: over the original weights the tuned model would say something else."""
    ids = torch.tensor([[1, *range(40, 60)]])
    with torch.inference_mode():
        expected = load_run(qlora).model(ids).logits.float()
        right = merged(rounded_base(read_run(qlora), qlora), qlora, torch.float32)[0](ids).logits
        original, _ = load_base(str(home.base), dtype="bfloat16")
        wrong = merged(PeftModel.from_pretrained(original, str(qlora)), qlora, torch.float32)[0](ids).logits
    apart = [float((one - expected).square().mean().sqrt() / expected.std()) for one in (right, wrong)]
    assert apart[0] < 0.03  # measured 0.011, products in bfloat16
    assert apart[1] > 0.1  # measured 0.24
    export(home.export(qlora, tmp_path / "merged", merge=True))
    told = read_manifest(tmp_path / "merged")
    assert told["dtype"] == "bfloat16"
    assert any("rounded to 4 bits" in note for note in told["notes"])
    assert all(one["largest"] is None or one["largest"] < 0.25 for one in told["proof"]["agreements"])


def test_a_qlora_adapter_is_exported_with_the_word_that_it_needs_4_bits(home: Any, qlora: Path, tmp_path: Path) -> None:
    export(home.export(qlora, tmp_path / "adapter"))
    assert read_run(tmp_path / "adapter")["settings"] == {"load_in_4bit": True}
    (anew,) = (one for one in read_manifest(tmp_path / "adapter")["proof"]["agreements"] if one["largest"] is not None)
    assert anew["largest"] == 0


def test_a_qlora_run_merged_into_the_original_weights_would_fail_the_proof(
    home: Any, qlora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def original(about: Any, run: Path) -> Any:
        return PeftModel.from_pretrained(load_base(str(home.base), dtype="bfloat16")[0], str(run)).eval()

    monkeypatch.setattr("seeworth.export.run.rounded_base", original)
    with pytest.raises(RunError, match="does not agree with the run"):
        export(home.export(qlora, tmp_path / "out", merge=True, dtype="float32"))
