"""One optimizer step: the same whether its records stand in one forward pass or in several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from seeworth.phi3v.tiny import make_tiny
from seeworth.settings import TrainSettings
from seeworth.train.optimizer import make_optimizer
from seeworth.train.spread import Alone
from seeworth.train.step import Stepped, Stepper, count

PHOTO = 4 * (4 + 1) * 2 + 1  # tokens of a photo of one tile


def stepped(model: Any, batches: list[dict[str, Any]]) -> tuple[Stepped, dict[str, torch.Tensor]]:
    settings = TrainSettings(Path("x"), Path("y"), model="tiny", learning_rate=1e-2)
    stepper = Stepper(model, make_optimizer(model, settings), Alone(torch.device("cpu")), torch.float32)
    return stepper.step(batches), {name: one.detach().clone() for name, one in model.named_parameters()}


def rows(draw: torch.Generator, lengths: list[int]) -> list[dict[str, Any]]:
    """Rows of a photo, a question of 6 words and an answer of so many; padded to the longest."""
    made = []
    width = PHOTO + 9 + max(lengths)
    for length in lengths:
        ids = torch.randint(10, 200, (1, width), generator=draw)
        ids[:, 3 : 3 + PHOTO] = -1
        labels = torch.full_like(ids, -100)
        labels[:, PHOTO + 9 : PHOTO + 9 + length] = ids[:, PHOTO + 9 : PHOTO + 9 + length]
        mask = (torch.arange(width) < PHOTO + 9 + length)[None].long()
        pixels = torch.randn(1, 2, 3, 112, 112, generator=draw)
        made.append({"input_ids": ids, "labels": labels, "attention_mask": mask, "pixel_values": pixels,
                     "image_sizes": torch.tensor([[112, 112]])})  # fmt: skip
    return made


def test_answers_of_any_length_weigh_the_same_in_one_pass_and_in_several() -> None:
    """The mean is over tokens, not over passes: measured 5e-7 in the loss and 2e-9 a weight; a mean of means is 0.16 off."""
    each = rows(torch.Generator().manual_seed(0), [2, 9, 4])
    whole = {name: torch.cat([row[name] for row in each]) for name in each[0]}
    (one, after_one), (several, after_several) = (stepped(make_tiny(["Product"])[0], batches) for batches in ([whole], each))
    assert abs(float(one.loss - several.loss)) < 1e-5
    assert abs(float(one.norm - several.norm)) < 1e-4
    assert (one.photos, one.tokens, one.padding) == (several.photos, several.tokens, several.padding)
    assert count([whole])[0] == 15
    for name, weight in after_one.items():
        assert torch.allclose(weight, after_several[name], atol=2e-3), name  # AdamW's first step is the gradient's sign: 1e-2 a weight
    apart = sum((weight - after_several[name]).abs().sum() for name, weight in after_one.items())
    assert apart / sum(weight.numel() for weight in after_one.values()) < 1e-7


def test_a_pass_that_reaches_nothing_trained_counts_in_the_loss_and_moves_nothing() -> None:
    """Words alone with the language model frozen, beside a photo whose way is trained."""
    model, _ = make_tiny(["Product"])
    model.requires_grad_(False)
    model.model.vision_embed_tokens.img_projection.requires_grad_(True)
    (photo,) = rows(torch.Generator().manual_seed(0), [4])
    ids = torch.randint(10, 200, (1, 12))
    words = {"input_ids": ids, "labels": ids}
    done, _ = stepped(model, [words, photo])
    alone, _ = stepped(make_tiny(["Product"])[0], [words])
    seen, _ = stepped(make_tiny(["Product"])[0], [photo])
    assert abs(float(done.loss) - (11 * float(alone.loss) + 4 * float(seen.loss)) / 15) < 1e-5  # measured 2e-7
    assert 0 < float(done.norm) < float("inf")


def test_the_usual_mean_of_means_would_be_told() -> None:
    each = rows(torch.Generator().manual_seed(0), [2, 9, 4])
    whole = {name: torch.cat([row[name] for row in each]) for name in each[0]}
    loss = float(stepped(make_tiny(["Product"])[0], [whole])[0].loss)
    means = [float(stepped(make_tiny(["Product"])[0], [row])[0].loss) for row in each]
    assert abs(sum(means) / 3 - loss) > 1e-3
