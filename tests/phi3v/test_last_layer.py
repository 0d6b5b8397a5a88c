"""The last layer at some places alone: the states that the whole pass has there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seeworth.phi3v.tiny import make_tiny


@pytest.fixture(scope="module")
def inner() -> Any:
    model, _ = make_tiny(["Product"])
    return model.eval().model


@pytest.mark.parametrize("places", [[0], [3, 4, 5, 17], list(range(22)), []])
@pytest.mark.parametrize("how", ["plain", "padded", "packed", "sliding", "recomputed"])
def test_states_at_some_places_are_those_of_the_whole_pass(
    inner: Any, how: str, places: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    inputs: dict[str, Any] = {"input_ids": torch.randint(10, 200, (2, 11)), "use_cache": False}
    if how == "padded":
        inputs["attention_mask"] = torch.ones(2, 11, dtype=torch.long)
        inputs["attention_mask"][1, 8:] = 0
    if how == "packed":
        inputs["position_ids"] = torch.tensor([[*range(4), *range(7)], [*range(9), *range(2)]])
    if how == "sliding":
        monkeypatch.setattr(inner.config, "sliding_window", 3)
    if how == "recomputed":
        inner.train()
        inner.activation_checkpointing_enable({"use_reentrant": False})
    try:
        whole = inner(**inputs).last_hidden_state.flatten(0, 1)
        found = inner(**inputs, kept=torch.tensor(places, dtype=torch.long)).last_hidden_state
    finally:
        inner.activation_checkpointing_disable()
        inner.eval()
    assert found.shape == (len(places), whole.shape[-1])
    torch.testing.assert_close(found, whole[places], rtol=1e-5, atol=1e-5)  # measured: 2e-6; a product of fewer rows rounds otherwise
