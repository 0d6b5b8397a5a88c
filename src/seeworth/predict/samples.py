"""Sampled answers beside the likeliest one: k branches of each row, over the prompt that its answer left in the cache.

    slot     shift ... base-1            first ...
    row      the prompt, forced words    tokens of its branches, each seeing the prompt and its own branch alone

So no prompt is read or copied twice, whatever k is; a pass reads the next tokens of all branches. A token is drawn from the model's
probabilities at the temperature, among those that the constraint lets come: where the model would leave the task, what it may say gets
that probability token by token, while `likely` shares it over whole answers. Each branch has random numbers of its own, by seed, record
and number, so that neither the batch nor k changes what it says. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from .answer import Batch, Row
from .constrain import Walk

AT_ONCE = 256  # branches in a pass


@dataclass(eq=False)
class Branch:
    """One sampled answer under way.

    Attributes:
        row: whose prompt it follows. rng: its own. walk: its constraint; None leaves the words free.
        said: its tokens. pending: those that the cache does not hold yet. slots: where it holds the others that are its own.
    """

    row: Row
    rng: np.random.Generator
    walk: Walk | None
    said: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    finished: bool = False


def source(seed: int, record_id: str, number: int) -> np.random.Generator:
    """The random numbers of a record's n-th sample."""
    digest = sha256(record_id.encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, number, *np.frombuffer(digest, dtype=np.uint32).tolist()])


@torch.inference_mode()
def sample(
    batch: Batch, walks: Sequence[Sequence[Walk | None]], rngs: Sequence[Sequence[np.random.Generator]], temperature: float
) -> list[list[list[int]]]:
    """Tokens of each sample of each row of an answered batch.

    Args:
        walks: of each row a new walk for each sample; None for one that is free. rngs: likewise its random numbers.
        temperature: above 0; 1 leaves the model's probabilities as they are.
    """
    if late := [row for row in batch.rows if row.pending]:
        batch.feed(late)  # said last, and never read
    draw = Draw(batch, temperature)
    branches = [
        [Branch(row, rng, walk) for walk, rng in zip(own, ours, strict=True)]
        for row, own, ours in zip(batch.rows, walks, rngs, strict=True)
    ]
    together = [one for own in branches for one in own if not _may_cross(batch, one.row)]
    for one in together:
        one.said = one.walk.forced() if one.walk else []
        one.finished = one.walk is not None and one.walk.done
    _grow(batch, [one for one in together if not one.finished], draw)
    for own in branches:
        for one in own if _may_cross(batch, own[0].row) else []:
            one.said = _alone(batch, one, draw)
    return [[one.said for one in own] for own in branches]


class Draw:
    """Draws the next token of branches: by where a random number falls in the cumulative probabilities, in the order of the vocabulary."""

    def __init__(self, batch: Batch, temperature: float) -> None:
        self.batch, self.temperature = batch, temperature

    def __call__(self, walks: Sequence[Walk | None], rngs: Sequence[np.random.Generator], logits: Tensor) -> list[int]:
        """The tokens; logits: float[branch, vocabulary]."""
        logits = logits.double()
        logits[:, self.batch.never] = -torch.inf
        held = [(at, walk.allowed()) for at, walk in enumerate(walks) if walk is not None]
        if held:
            bound, allowed = [at for at, _ in held], torch.from_numpy(np.stack([mask for _, mask in held]))
            logits[bound] = logits[bound].masked_fill(~allowed.to(logits.device), -torch.inf)
        upto = (logits / self.temperature).softmax(-1).cumsum(-1)
        fallen = torch.tensor([[rng.random()] for rng in rngs], dtype=torch.float64, device=logits.device) * upto[:, -1:]
        last = (upto >= upto[:, -1:]).int().argmax(-1)  # the last token that has a probability: rounding must not pass it
        found: list[int] = torch.minimum(torch.searchsorted(upto, fallen, right=True)[:, 0], last).tolist()
        return found


def _grow(batch: Batch, branches: Sequence[Branch], draw: Draw) -> None:
    """Say one token after another, until all branches have ended."""
    if not branches:
        return
    rows = list(dict.fromkeys(one.row for one in branches))
    first = max(row.used for row in batch.rows)  # slots from here on are nobody's
    base = {row: len(row.example.input_ids) + len(next(one.said for one in branches if one.row is row)) for row in rows}
    root = dict(zip(rows, _roots(batch, rows, base, first), strict=True))
    free = dict.fromkeys(rows, first)  # the next free slot; that of the root is written over
    logits = torch.stack([root[one.row] for one in branches])
    active = list(branches)
    while active:
        _say(batch, active, draw([one.walk for one in active], [one.rng for one in active], logits))
        active = [one for one in active if not one.finished]
        parts = [active[at : at + AT_ONCE] for at in range(0, len(active), AT_ONCE)]
        logits = torch.cat([_read(batch, part, base, free) for part in parts]) if parts else logits


def _roots(batch: Batch, rows: Sequence[Row], base: dict[Row, int], first: int) -> Tensor:
    """Read the last token before the samples once more; float[row, vocabulary] of what comes after it."""
    ids = np.array([[(row.example.input_ids + row.said)[base[row] - 1]] for row in rows])
    slots = np.full((len(rows), 1), first)
    positions = np.array([[base[row] - 1] for row in rows])
    mask = np.zeros((len(rows), 1, first + 1), dtype=bool)
    for at, row in enumerate(rows):
        mask[at, 0, row.shift : row.shift + base[row] - 1] = mask[at, 0, first] = True
    return batch.step(rows, ids, slots, positions, mask, first + 1, keep=1)[:, -1]


def _say(batch: Batch, branches: Sequence[Branch], tokens: Sequence[int]) -> None:
    for one, token in zip(branches, tokens, strict=True):
        if token in batch.ends:
            one.finished = True
            continue
        one.pending = [token]
        if one.walk is None:
            one.finished = len(one.said) + 1 >= one.row.limit
        else:
            one.walk.take(token)
            one.pending += one.walk.forced()
            one.finished = one.walk.done
        one.said += one.pending


def _read(batch: Batch, branches: Sequence[Branch], base: dict[Row, int], free: dict[Row, int]) -> Tensor:
    """Read what is pending, in one pass, a row's branches beside each other; float[branch, vocabulary] of what comes after each."""
    of_row: dict[Row, list[Branch]] = {}
    for one in branches:
        of_row.setdefault(one.row, []).append(one)
    rows = list(of_row)
    most = max(sum(len(one.pending) for one in own) for own in of_row.values())
    longest = max(free[row] + sum(len(one.pending) for one in own) for row, own in of_row.items())
    ids, slots = np.full((len(rows), most), batch.pad_id), np.full((len(rows), most), longest)
    positions, mask = np.zeros((len(rows), most), dtype=np.int64), np.zeros((len(rows), most, longest), dtype=bool)
    last: dict[Branch, tuple[int, int]] = {}
    for place, (row, own) in enumerate(of_row.items()):
        mask[place, :, row.shift : row.shift + base[row]] = True  # padding sees it too: it must see something
        at = 0
        for one in own:
            for token in one.pending:
                ids[place, at], slots[place, at], positions[place, at] = token, free[row], base[row] + len(one.slots)
                one.slots.append(free[row])
                mask[place, at, one.slots] = True
                free[row] += 1
                at += 1
            one.pending = []
            last[one] = (place, at - 1)
    logits = batch.step(rows, ids, slots, positions, mask, longest, keep=0)
    where = torch.tensor([last[one] for one in branches], device=logits.device)
    return logits[where[:, 0], where[:, 1]]


def _may_cross(batch: Batch, row: Row) -> bool:
    """Whether the rope factors may change while the row's answer is said: the keys of its prompt are then no use to another answer."""
    return batch.border is not None and len(row.example.input_ids) + row.limit > batch.border


def _alone(batch: Batch, one: Branch, draw: Draw) -> list[int]:
    """A sample whose prompt is read anew."""

    def pick(rows: Sequence[Row], logits: Tensor) -> list[int]:
        return draw([None if row.finished else row.walk for row in rows], [one.rng] * len(rows), logits)

    own = Batch(batch.model, [one.row.example], [one.walk], max_new_tokens=one.row.limit, pad_id=batch.pad_id, pick=pick)
    return own.answer()[0]
