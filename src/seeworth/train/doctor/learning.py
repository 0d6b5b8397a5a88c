"""Gradients, the photo's weight in the loss, and a batch learnt by heart: whether this model can learn from these records."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from PIL import ImageOps

from ...encode import Example, collate, photos_of
from ...say import many
from ..loop import compute_dtype
from ..optimizer import make_optimizer
from ..parts import PARTS, Part, part_of, published
from ..untouched import same_weights
from .case import Case, Finding

LEARNT = 0.1  # share of its first loss that a batch learnt by heart has left


def look_at_gradients(case: Case, optimizer: torch.optim.Optimizer | None) -> tuple[Finding, float]:
    """One backward pass as in training; and the seconds that a second one takes, not a number where the loss is none."""
    case.model.train()
    loss = case.loss(case.batch)
    value = float(loss.detach())
    if not math.isfinite(value):
        words = f"the loss of the first batch is {value}: expected a number: use another dtype, or look for broken weights"
        return Finding("gradients", False, words), math.nan
    scale = 1024.0 if compute_dtype(case.settings, case.device) is torch.float16 else 1.0  # half precision loses small ones
    (loss * scale).backward()  # type: ignore[no-untyped-call]
    fault = _fault_of_gradients(case, scale) or _fault_of_optimizer(case, optimizer)
    norms = ", ".join(f"{part} {_norm(case.model, part) / scale:.3g}" for part in PARTS if case.parts[part] != "frozen")
    frozen = f"; none in {' and '.join(case.parts.those('frozen'))}" if case.parts.those("frozen") else ""
    return Finding("gradients", not fault, fault or f"loss {value:.4g}, norms {norms}{frozen}"), _seconds(case)


def _norm(model: Any, part: Part) -> float:
    """The norm of a part's gradients."""
    own = [weight.grad for name, weight in model.named_parameters() if part_of(name) == part and weight.grad is not None]
    return math.sqrt(sum(float(gradient.float().square().sum()) for gradient in own))


def _fault_of_gradients(case: Case, scale: float) -> str:
    """What is wrong after a backward pass; "" when nothing is. LoRA's A has no gradient while B is zero, so parts are judged whole."""
    trained: Counter[Part] = Counter()
    for name, weight in case.model.named_parameters():
        part, named = part_of(name), published(name)
        if case.parts[part] == "frozen" and (weight.requires_grad or weight.grad is not None):
            return f"{named} has a gradient, and {part} is frozen: expected none: something else marked it as trained"
        if weight.requires_grad and weight.grad is None:
            return f"{named} is to be trained and no gradient reaches it: it is detached, or never computed: freeze {part}"
        if weight.grad is not None and not bool(torch.isfinite(weight.grad).all()):
            return f"the gradient of {named} is not finite: use another dtype (bfloat16 instead of float16)"
        trained[part] += weight.requires_grad
    for part in PARTS:
        if case.parts[part] != "frozen" and not trained[part]:
            return f"{part} is {case.parts[part]} and nothing of it is marked to be trained: expected some of its weights"
        if case.parts[part] != "frozen" and not _norm(case.model, part):
            return f"every gradient in {part} is zero, and it is {case.parts[part]}: its output does not matter to the loss"
    return ""


def _fault_of_optimizer(case: Case, optimizer: torch.optim.Optimizer | None) -> str:
    """Whether the optimizer holds what is trained, each weight once; "" when it does, or there is none."""
    if optimizer is None:
        return ""
    held = Counter(id(weight) for group in optimizer.param_groups for weight in group["params"])
    for name, weight in case.model.named_parameters():
        if held[id(weight)] != int(weight.requires_grad):
            expected = "once" if weight.requires_grad else "not, as it is frozen"
            return f"{published(name)} stands {held[id(weight)]} times in the optimizer: expected {expected}: make it with make_optimizer"
    return ""


def _seconds(case: Case) -> float:
    """Of a forward and a backward pass, after the first, which also pays for what is set up once."""
    wait: Callable[[], object] = torch.cuda.synchronize if case.device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    case.loss(case.batch).backward()  # type: ignore[no-untyped-call]
    wait()
    return time.perf_counter() - start


def look_at_the_photo(case: Case) -> Finding:
    """The loss of each record with its own photos, and with another record's, brought to the same size so that no token moves."""
    case.model.eval()
    own, other = 0.0, 0.0
    changed = 0.0
    seen = [record for record in case.records if record.all_photos][:4]
    whose = "another record's"
    for record in seen:
        images = photos_of(record)
        stranger = next((one for one in case.train if one.all_photos and one.photo != record.photo), None)
        if stranger is None:
            whose, swapped = "its negative, as no record has another", [ImageOps.invert(image) for image in images]
        else:
            swapped = [photos_of(stranger)[0].resize(image.size) for image in images]
        before, after = (_value(case, case.encoder.example(record, photos=given)) for given in (images, swapped))
        own, other, changed = own + before / len(seen), other + after / len(seen), max(changed, abs(after - before) / max(before, 1e-9))
    if not seen:
        return Finding("photo", True, "no record has a photo to swap")
    words = f"loss {own:.4f} with their own photo and {other:.4f} with {whose}"
    if changed <= 1e-6:
        return Finding("photo", False, f"{words}, the same for each: expected a change: the model does not see the photo")
    return Finding("photo", True, f"{words}, on {many(len(seen), 'record')}: the most it changes is {changed:.2%}")


@torch.no_grad()
def _value(case: Case, example: Example) -> float:
    return float(case.loss(collate([example], pad_id=int(case.encoder.processor.tokenizer.pad_token_id))))


def look_at_overfitting(case: Case) -> Finding:
    """Steps on one batch with an optimizer of its own; the weights are put back."""
    steps = case.settings.overfit_steps
    case.model.train()
    weights = [weight for weight in case.model.parameters() if weight.requires_grad]
    with same_weights(case.model):
        optimizer = make_optimizer(case.model, case.settings)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = case.loss(case.batch)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, case.settings.max_grad_norm)
            optimizer.step()
            losses.append(float(loss.detach()))
        with torch.no_grad():
            case.model.eval()
            losses.append(float(case.loss(case.batch)))
    first, last = losses[0], losses[-1]
    words = f"the loss of one batch fell from {first:.4g} to {last:.4g} in {steps} steps"
    if last > LEARNT * first or not math.isfinite(last):
        return Finding("overfit", False, f"{words}: expected a tenth of it: raise learning_rate or overfit_steps, or look at the labels")
    return Finding("overfit", True, f"{words}; the weights are put back")
