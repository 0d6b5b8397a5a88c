"""Who started this process and what for: the environment of torchrun, accelerate launch or srun, read once.

Knows nothing of models.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ...errors import SettingsError
from ...settings import TrainSettings
from .alone import Alone

TRUE = {"1", "true", "yes", "on", "y", "t"}


@dataclass(frozen=True)
class Launch:
    """What the launcher says.

    Attributes:
        rank: number of this process among all `processes`; 0 is the main one. local_rank: its number on this machine.
        strategy: ddp, fsdp or deepspeed. cpu: compute there, whatever GPUs there are. environ: all the rest of it.
    """

    rank: int
    processes: int
    local_rank: int
    strategy: str
    cpu: bool
    environ: Mapping[str, str]

    @property
    def device(self) -> torch.device:
        """The GPU of this process's number on its machine; the CPU where there is none, or `accelerate launch --cpu` says so."""
        return torch.device("cpu") if self.cpu or not torch.cuda.is_available() else torch.device("cuda", self.local_rank)


def make_spread(settings: TrainSettings, environ: Mapping[str, str] = os.environ) -> Alone:
    """What the launcher asks for: `Alone` when there is none. Joins the group of processes.

    Raises SettingsError when it asks for what cannot be, RunError when the other processes cannot be reached.
    """
    launch = read_launch(settings, environ)
    if launch is None:
        return Alone(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if launch.strategy == "deepspeed":
        from .zero import Zero

        return Zero(launch)
    if launch.strategy == "fsdp":
        from .sharded import Sharded

        return Sharded(launch)
    from .together import Together

    return Together(launch)


def read_launch(settings: TrainSettings, environ: Mapping[str, str]) -> Launch | None:
    """What the environment says; None without a launcher. Raises SettingsError when it asks for what cannot be."""
    strategy = _strategy(settings, environ)
    if "RANK" not in environ and "WORLD_SIZE" not in environ:
        if strategy != "ddp" and settings.strategy != "auto":
            raise SettingsError(f"strategy {strategy} needs a launcher: start with torchrun or accelerate launch, or leave it out")
        if "SLURM_NTASKS" in environ and int(environ["SLURM_NTASKS"]) > 1 and "SLURM_PROCID" in environ:
            raise SettingsError(
                "srun started several tasks, but RANK and WORLD_SIZE are not set, so each would train alone: start torchrun "
                "with srun, one task a machine (docs/scale.md)"
            )
        return None
    numbers = {name: _number(environ, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if strategy == "ddp" and numbers["WORLD_SIZE"] == 1:
        return None
    cpu = is_true(environ, "ACCELERATE_USE_CPU")
    return Launch(numbers["RANK"], numbers["WORLD_SIZE"], numbers["LOCAL_RANK"], strategy, cpu, environ)


def is_true(environ: Mapping[str, str], name: str, otherwise: bool = False) -> bool:
    return environ[name].lower() in TRUE if name in environ else otherwise


def _strategy(settings: TrainSettings, environ: Mapping[str, str]) -> str:
    if settings.strategy != "auto":
        return settings.strategy
    if is_true(environ, "ACCELERATE_USE_DEEPSPEED"):
        return "deepspeed"
    return "fsdp" if is_true(environ, "ACCELERATE_USE_FSDP") else "ddp"


def _number(environ: Mapping[str, str], name: str) -> int:
    found = environ.get(name, "")
    if not found.isdigit():
        what = repr(found) if found else "nothing"
        raise SettingsError(f"the environment variable {name} holds {what}, expected a number: start with torchrun or accelerate launch")
    return int(found)


def check(launch: Launch, settings: TrainSettings) -> None:
    """Raises SettingsError when the settings cannot be with these processes."""
    if settings.auto_find_batch_size and launch.processes > 1:
        raise SettingsError(
            "auto_find_batch_size works on one process: find per_device_train_batch_size there, and start several with that one"
        )
    if settings.load_in_4bit and launch.strategy != "ddp":
        raise SettingsError(f"load_in_4bit: {launch.strategy} cannot cut up weights of 4 bits: take ddp, or leave it out")
    if settings.optim == "muon" and launch.strategy == "deepspeed":
        raise SettingsError("optim muon needs whole matrices, DeepSpeed cuts them: take adamw, or ddp or fsdp")
    others = {"ACCELERATE_USE_MEGATRON_LM": "Megatron-LM", "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor or context parallelism"}
    for name, what in others.items():
        if is_true(launch.environ, name):
            raise SettingsError(f"accelerate's configuration asks for {what}: expected DDP, FSDP or DeepSpeed (recipes/launch)")
    if launch.device.type == "cuda" and launch.local_rank >= torch.cuda.device_count():
        raise SettingsError(
            f"this machine has {torch.cuda.device_count()} GPUs and process {launch.local_rank} wants one of its own: "
            f"start at most {torch.cuda.device_count()} processes on it"
        )


def not_taken(launch: Launch) -> list[str]:
    """What accelerate's configuration asks for that something of ours decides."""
    found, environ = [], launch.environ
    if (precision := environ.get("ACCELERATE_MIXED_PRECISION", "no")) != "no":
        found.append(f"mixed_precision {precision} (--dtype decides)")
    if environ.get("ACCELERATE_DYNAMO_BACKEND", "NO").upper() != "NO":
        found.append("dynamo_backend (--torch_compile decides)")
    if environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1") not in ("1", "auto", "None"):
        found.append("gradient_accumulation_steps (--gradient_accumulation_steps decides)")
    if launch.strategy == "fsdp" and is_true(environ, "ACCELERATE_USE_FSDP"):
        if environ.get("FSDP_VERSION", "2") != "2":
            found.append("fsdp_version 1 (FSDP2 is what runs)")
        if is_true(environ, "FSDP_ACTIVATION_CHECKPOINTING"):
            found.append("fsdp_activation_checkpointing (--gradient_checkpointing decides)")
        if environ.get("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP") != "TRANSFORMER_BASED_WRAP":
            found.append("fsdp_auto_wrap_policy (each layer is a unit)")
    return found
