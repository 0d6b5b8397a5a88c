"""Merging, layer by layer, and the files: right for every kind of adapter, and a fault in any of them is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor

from seeworth.errors import RunError
from seeworth.export.merge import INDEX, SAME, adapted, check_files, merged, weights_of, write_weights
from seeworth.export.names import ADAPTER
from seeworth.phi3v import Phi3VForCausalLM
from seeworth.predict.vlm import load_base

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True, "projector": "full"},
    "rslora": {"use_rslora": True, "vision": "frozen", "projector": "full"},
}


def adapter_over_base(home: Any, run: Path) -> Any:
    return PeftModel.from_pretrained(load_base(str(home.base), dtype="float32")[0], str(run)).eval()


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, home: Any) -> Path:
    found: Path = home.run(request.param, **KINDS[request.param])
    return found


def some_ids() -> Tensor:
    torch.manual_seed(0)
    return torch.randint(3, 200, (3, 20))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merged_model_says_what_base_and_adapter_say(home: Any, run: Path, dtype: torch.dtype) -> None:
    before = adapter_over_base(home, run)
    ids = some_ids()
    with torch.no_grad():
        expected = before(ids).logits
        model, worst = merged(before, run, dtype)
        found = model(ids).logits
    assert worst <= SAME
    assert {one.dtype for one in model.parameters()} == {dtype}
    assert not any(isinstance(module, LoraLayer) for module in model.modules())
    # measured: float32 5e-6, bfloat16 0.05 with logits of a standard deviation of 1
    assert (found - expected).abs().max() < (1e-4 if dtype == torch.float32 else 0.3)
    assert set(model.state_dict()) == set(load_file(home.base / "model.safetensors"))


def test_rounded_once_each_bfloat16_weight_is_the_nearest_to_the_exact_one(home: Any, run: Path) -> None:
    exact, _ = merged(adapter_over_base(home, run), run, torch.float32)
    rounded, _ = merged(adapter_over_base(home, run), run, torch.bfloat16)
    one, two = exact.state_dict(), rounded.state_dict()
    assert all(torch.equal(one[name].to(torch.bfloat16), two[name]) for name in one)


def test_a_layer_that_is_merged_wrongly_is_found(home: Any, lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that leaves one layer of 34 out, and one that is off by a thousandth of a weight."""
    model = adapter_over_base(home, lora)
    name, layer = list(adapted(model))[-3]
    monkeypatch.setattr(layer, "merge", lambda **_: None)
    with pytest.raises(RunError, match=f"layer {name} was merged wrongly: it differs by .* nothing was exported"):
        merged(model, lora, torch.float32)
    model = adapter_over_base(home, lora)
    name, layer = next(adapted(model))
    merge = layer.merge

    def nearly(**more: Any) -> None:
        merge(**more)
        weight = layer.get_base_layer().weight.data
        weight[1, 2] += 1e-3 * weight.abs().max()

    monkeypatch.setattr(layer, "merge", nearly)
    with pytest.raises(RunError, match=f"layer {name} was merged wrongly"):
        merged(model, lora, torch.float32)


def test_an_adapter_of_numbers_that_are_none_is_refused(home: Any, lora: Path, tmp_path: Path) -> None:
    tensors = load_file(lora / ADAPTER)
    tensors[next(name for name in tensors if "lora_B" in name)].fill_(float("nan"))
    save_file(tensors, tmp_path / ADAPTER)
    (tmp_path / "adapter_config.json").write_bytes((lora / "adapter_config.json").read_bytes())
    with pytest.raises(RunError, match=r"layer model.*NaNs detected"):
        merged(adapter_over_base(home, tmp_path), tmp_path, torch.float32)


def test_a_full_part_that_does_not_arrive_is_found(home: Any) -> None:
    run = home.run("dora", **KINDS["dora"])
    model = adapter_over_base(home, run)
    model.base_model.model.model.vision_embed_tokens.glb_GN.data.zero_()
    with pytest.raises(RunError, match=r"vision_embed_tokens\.glb_GN did not arrive in the merged model"):
        merged(model, run, torch.float32)


@pytest.fixture
def written(home: Any, tmp_path: Path) -> tuple[Path, Any]:
    model, _ = load_base(str(home.base), dtype="float32")
    names = write_weights(model, tmp_path, "2MB")
    assert len(names) > 2
    assert INDEX in names
    return tmp_path, model


def test_shards_hold_every_tensor_once_and_load(written: tuple[Path, Any]) -> None:
    folder, model = written
    assert check_files(folder, model) == len(model.state_dict())
    again = Phi3VForCausalLM.from_pretrained(folder)
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in model.state_dict().items())


def perturb(folder: Path) -> None:
    path = sorted(folder.glob("model-*"))[1]
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] += 1e-6
    save_file(tensors, path)


def rename(folder: Path) -> None:
    path = sorted(folder.glob("model-*"))[0]
    tensors = load_file(path)
    tensors["strange"] = tensors.pop(sorted(tensors)[0])
    save_file(tensors, path)


def lose(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    del index["weight_map"]["lm_head.weight"]
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("fault", "words"),
    [(perturb, "is not the merged model's, bit by bit"), (rename, "holds .*, and it does not"), (lose, r"disagree about lm_head\.weight")],
)
def test_a_fault_in_the_files_is_found(written: tuple[Path, Any], fault: Callable[[Path], None], words: str) -> None:
    folder, model = written
    fault(folder)
    with pytest.raises(RunError, match=words) as told:
        check_files(folder, model)
    assert "\n" not in str(told.value)


def test_a_shard_size_that_is_none_is_told_in_a_line(home: Any, tmp_path: Path) -> None:
    model, _ = load_base(str(home.base), dtype="float32")
    with pytest.raises(RunError, match="weights cannot be written"):
        write_weights(model, tmp_path, "many")


def test_one_file_is_read_without_an_index(home: Any) -> None:
    assert set(weights_of(home.base).values()) == {home.base / "model.safetensors"}
