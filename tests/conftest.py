"""What all tests share: one busy core, no progress bars, no network, and the way to `../shared`, where it is there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")

import hypothesis
import pytest
import torch
import transformers

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell leaves it to what runs behind it: some tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
hypothesis.settings.register_profile("ours", deadline=None)  # these machines are noisy: no test is timed
hypothesis.settings.load_profile("ours")

pytest_plugins = ["browser"]  # found through pythonpath in pyproject.toml
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `../shared`; the test is skipped where it is away."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    return SHARED
