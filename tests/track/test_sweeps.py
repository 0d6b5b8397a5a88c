"""What a W&B agent says to `seeworth train` is what the sweep files mean."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from seeworth.cli import _bare_flags, build_parser
from seeworth.phi3v.tiny import make_tiny
from seeworth.settings import TrainSettings
from seeworth.train.parts import lora_config, resolve_parts

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted((ROOT / "recipes").glob("sweep*.yaml"))


def choices(parameter: dict[str, Any]) -> list[Any]:
    """Every value of a parameter, or the ends of its range and one between."""
    if "values" in parameter:
        return list(parameter["values"])
    low, high = parameter["min"], parameter["max"]
    return [low, high, (low + high) // 2 if isinstance(low, int) else (low + high) / 2]


def parse(words: list[str]) -> Any:
    return build_parser().parse_args(_bare_flags(["train", "--data", "d", "--output_dir", "o", *words])).train


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_parameter_is_a_setting_and_every_value_is_understood(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    known = {one.name for one in fields(TrainSettings)}
    assert set(sweep["parameters"]) <= known
    columns = [[(name, value) for value in choices(parameter)] for name, parameter in sweep["parameters"].items()]
    for combination in itertools.zip_longest(*columns):
        chosen = dict(one for one in combination if one)
        words = create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})["args"]
        settings = parse(words)
        assert {name: settings[name] for name in chosen} == chosen


def test_every_choice_of_layers_can_be_trained_with_every_choice_of_parts() -> None:
    """A sweep whose targets leave a part without a layer would fail in each of its runs."""
    sweep = yaml.safe_load((ROOT / "recipes" / "sweep-lora.yaml").read_text())
    model, _ = make_tiny(["Product"])
    decides = [name for name in sweep["parameters"] if name in ("lora_targets", "language", "projector", "vision", "use_rslora")]
    assert "lora_targets" in decides
    for values in itertools.product(*(choices(sweep["parameters"][name]) for name in decides)):
        settings = TrainSettings(Path("d"), Path("o"), **dict(zip(decides, values, strict=True)))
        assert lora_config(model, settings, resolve_parts(settings)).target_modules


@pytest.mark.parametrize(
    ("name", "value"),
    [("lora_rank", 8), ("learning_rate", 1e-05), ("learning_rate", 0.001), ("num_train_epochs", 3), ("packing", True), ("packing", False),
     ("gradient_checkpointing", "auto"), ("gradient_checkpointing", True), ("optim", "muon"), ("model", "owner/name"), ("run_name", "a b"),
     ("lora_targets", ["qkv_proj", "o_proj"]), ("lora_targets", None), ("num_crops", None), ("num_crops", 16), ("run_name", None),
     ("vision_learning_rate", None), ("vision_learning_rate", 3e-06), ("resume_from_checkpoint", "never"), ("report_to", "none")],
)  # fmt: skip
def test_the_agents_form_is_understood_for_every_kind_of_setting(name: str, value: Any) -> None:
    (word,) = create_sweep_command_args({"args": {name: {"value": value}}})["args"]
    assert word == f"--{name}={value}"
    found = parse([word])[name]
    assert found == value
    assert type(found) is type(value) or name == "num_train_epochs"


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_command_that_the_agent_runs_is_a_training_in_a_folder_of_its_own(path: Path, tmp_path: Path) -> None:
    """The agent's own steps, with a `seeworth` that writes down its words."""
    said = tmp_path / "said"
    fake = tmp_path / "seeworth"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {said}\n')
    fake.chmod(0o755)
    words = create_sweep_command_args({"args": {"learning_rate": {"value": 1e-05}, "lora_targets": {"value": ["a b", "c"]}}})
    parts = {"env": ["/usr/bin/env"], "args": words["args"]}
    command: list[str] = []
    for chunk in create_sweep_command(yaml.safe_load(path.read_text())["command"]):
        command += parts[chunk[2:-1]] if chunk.startswith("${") and chunk.endswith("}") else [chunk]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "WANDB_RUN_ID": "abc", "DATA": "my shop"}
    subprocess.run(command, env=env, check=True, timeout=60)
    heard = said.read_text().splitlines()
    assert heard[0] == "train"
    assert heard[3:] == ["--data", "my shop", "--output_dir", "runs/abc", "--learning_rate=1e-05", "--lora_targets=['a b', 'c']"]
    assert (ROOT / heard[2]).is_file()
    del env["DATA"]
    done = subprocess.run(command, env=env, check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode != 0
    assert "DATA=dataset-folder" in done.stderr
    assert yaml.safe_load(path.read_text())["metric"] == {"name": "eval/loss", "goal": "minimize"}
