"""How likely each value of a field was to the model, given its own words before it: read from the cache that its answer left.

Exact for choices of at least SLIGHT and for numbers whose every beginning is at least LEAST; choices below SLIGHT share what their first
token has, numbers below LEAST are not counted.

What might have been said is a tree of tokens behind the words before the field. Its nodes are read in a few passes, each node seeing the
prompt, those words and its own branch, so that no prompt is read twice and no row is copied. A choice is spelled as the tokenizer spells
it, a number as the task writes it; other spellings are not counted. Probabilities are those of the model without the constraint, made to
sum to 1 over what is allowed. Knows nothing of records or files.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..record import Value
from ..task import MAX_DIGITS, Field
from .answer import Batch, Row
from .constrain import BEFORE, Constraint

LEAST = 1e-3  # a beginning of a number less likely than this is not followed
SLIGHT = 1e-5  # choices whose first token is less likely than this are not followed
AT_ONCE = 4096  # nodes read in one pass
ALIKE = 12  # up to so many nodes a tree, a pass of its own for the smaller trees costs a CPU more than their padding
KEPT = 20  # likeliest numbers that are told

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?")
_BEGUN = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)?")


@dataclass(frozen=True)
class Likely:
    """Values of one field with their probabilities, which sum to 1, and how much of all that the model might have said they cover."""

    values: Mapping[str, float]
    covered: float

    def of(self, value: Value) -> float:
        """The probability of one value; 0 for one that was not followed."""
        return sum(p for words, p in self.values.items() if (words if isinstance(value, str) else Decimal(words)) == value)

    def told(self, one: Field) -> dict[str, Any]:
        """As predictions.jsonl holds it. A category: {"choices": {words: p}}. A number: median, low and high (5 % and 95 %), the
        likeliest values as [number, p], and the share of the model's probability that was followed."""
        if one.kind != "number":
            return {"choices": {word: round(p, 6) for word, p in self.values.items()}}
        ordered = sorted((float(word), p) for word, p in self.values.items())
        low, median, high = (_quantile(ordered, share) for share in (0.05, 0.5, 0.95))
        likeliest = sorted(ordered, key=lambda pair: -pair[1])[:KEPT]
        values = [[value, round(p, 6)] for value, p in likeliest]
        return {"median": median, "low": low, "high": high, "covered": round(self.covered, 6), "values": values}


@dataclass(frozen=True)
class Place:
    """A field of one row's answer.

    Attributes:
        start: tokens of the answer before it. open: words of the template before it that these tokens do not hold.
        own: the field's words in the answer. quoted: whether the answer is in the quoted form.
    """

    row: Row
    start: int
    open: str
    own: str
    quoted: bool


def likely(batch: Batch, constraint: Constraint, texts: Sequence[str | None]) -> list[dict[str, Likely]]:
    """For each row of an answered batch, by field name: numbers and categories with choices. Nothing where the text is None."""
    task = constraint.task
    asked = [one for one in task.answer_fields if one.kind == "number" or one.choices is not None]
    found: list[dict[str, Likely]] = [{} for _ in batch.rows]
    told = [at for at, text in enumerate(texts) if text is not None]
    if not told or not asked:
        return found
    _read_all(batch, [batch.rows[at] for at in told])
    spans = {at: task.spans(text) for at in told if (text := texts[at]) is not None}
    for one in asked:
        places = [_place(constraint, batch.rows[at], str(texts[at]), *spans[at][one.name]) for at in told]
        after = task.after(one.name)
        values = _numbers(batch, constraint, places, after) if one.kind == "number" else _choices(batch, constraint, places, one, after)
        for at, likelihood in zip(told, values, strict=True):
            if likelihood is not None:
                found[at][one.name] = likelihood
    return found


@torch.inference_mode()
def _read_all(batch: Batch, rows: Sequence[Row]) -> None:
    """Put into the cache what was said and never read, since nothing came after it."""
    if late := [row for row in rows if row.pending]:
        batch.feed(late)


def _place(constraint: Constraint, row: Row, text: str, start: int, stop: int) -> Place:
    """The last place between tokens that is not behind the field's first character."""
    offset = len((BEFORE + text[:start]).encode())
    ends = np.cumsum([0, *(len(constraint.spelled[token]) for token in row.said)])
    count = int(np.searchsorted(ends, offset, side="right")) - 1
    before = (BEFORE + text).encode()
    while True:
        try:
            return Place(row, count, before[ends[count] : offset].decode(), text[start:stop], "\\" in text)
        except UnicodeDecodeError:  # a character spelled in bytes: go back before it
            count -= 1


class _Trees:
    """One tree for each place; node 0 is the last token before the field, read once more."""

    def __init__(self, batch: Batch, places: Sequence[Place]) -> None:
        self.batch, self.rows = batch, [place.row for place in places]
        whole = [[*place.row.example.input_ids, *place.row.said[: place.start]] for place in places]
        self.lengths = [len(ids) - 1 for ids in whole]  # tokens before node 0
        self.paths: list[list[list[int]]] = [[] for _ in places]  # of every node: itself and the nodes above it
        self.roots = [ids[-1] for ids in whole]
        self.first = max(row.used for row in self.rows)  # slots from here on are nobody's

    def grow(self, at: Sequence[int], nodes: Sequence[Sequence[tuple[int, int]]]) -> list[Tensor]:
        """Read further nodes (node above, token) of some trees; float32[node, vocabulary], log probabilities of what comes after each."""
        found: dict[int, Tensor] = {}
        order = sorted(range(len(at)), key=lambda place: len(nodes[place]))
        alike = ALIKE if self.batch.runs_wait else AT_ONCE
        while order:
            group = [order.pop()]  # the largest, and those that do not waste half of a pass beside it
            most = len(nodes[group[0]])
            while order and (len(group) + 1) * most <= AT_ONCE and (len(nodes[order[-1]]) * 2 > most or most <= alike):
                group.append(order.pop())
            found |= zip(group, self._read([at[place] for place in group], [nodes[place] for place in group]), strict=True)
        return [found[place] for place in range(len(at))]

    @torch.inference_mode()
    def _read(self, at: Sequence[int], nodes: Sequence[Sequence[tuple[int, int]]]) -> list[Tensor]:
        most = max(map(len, nodes))
        rows = [self.rows[tree] for tree in at]
        first = self.first
        longest = first + max(len(self.paths[tree]) + len(own) for tree, own in zip(at, nodes, strict=True))
        ids, slots = np.full((len(at), most), self.batch.pad_id), np.full((len(at), most), longest)
        positions, mask = np.zeros((len(at), most), dtype=np.int64), np.zeros((len(at), most, longest), dtype=bool)
        for place, (tree, own, row) in enumerate(zip(at, nodes, rows, strict=True)):
            paths, length = self.paths[tree], self.lengths[tree]
            mask[place, :, row.shift : row.shift + length] = True  # padding sees it too: it must see something
            for number, (above, token) in enumerate(own):
                path = [*(paths[above] if paths else []), len(paths)]
                paths.append(path)
                ids[place, number], slots[place, number] = token, first + path[-1]
                positions[place, number] = length + len(path) - 1
                mask[place, number, [first + node for node in path]] = True
        logits = self.batch.step(rows, ids, slots, positions, mask, longest, keep=0)
        return [one[: len(own)].float().log_softmax(-1) for one, own in zip(logits, nodes, strict=True)]

    def root(self, at: Sequence[int]) -> list[Tensor]:
        """Read node 0 of some trees."""
        return self.grow(at, [[(0, self.roots[tree])] for tree in at])


def _choices(batch: Batch, constraint: Constraint, places: Sequence[Place], one: Field, after: str) -> list[Likely | None]:
    """Every choice is followed as far as the token that ends it, but those whose first token is next to impossible."""
    places = [_before_all(constraint, place, one, after) for place in places]
    forms = {(place.open, place.quoted) for place in places}
    tries = {form: _Trie(_spellings(constraint, *form, one, after), None if after else constraint.ends) for form in forms}
    own = [tries[place.open, place.quoted] for place in places]
    trees = _Trees(batch, places)
    logs = [{0: first[0]} for first in trees.root(range(len(places)))]
    wanted = [trie.worth_reading(first[0]) for trie, first in zip(own, logs, strict=True)]
    at = [tree for tree in range(len(places)) if wanted[tree]]
    read = trees.grow(at, [own[tree].chosen(wanted[tree]) for tree in at])
    for tree, found in zip(at, read, strict=True):
        logs[tree] |= dict(zip(wanted[tree], found, strict=True))
    return [trie.likely(found) for trie, found in zip(own, logs, strict=True)]


def _before_all(constraint: Constraint, place: Place, one: Field, after: str) -> Place:
    """The last place in front of which every choice leaves the tokens as they are.

    A row may have said the template's last space by itself and then "Green" letter by letter, where "Shirts" is one token with that space:
    behind the space that choice could not be met any more.
    """
    while place.start:
        token = place.row.said[place.start - 1]
        try:
            opened = constraint.spelled[token].decode() + place.open
        except UnicodeDecodeError:  # a part of a character: nothing merges with it
            break
        further = replace(place, start=place.start - 1, open=opened)
        if all(tokens[0] == token for _, tokens in _spellings(constraint, opened, place.quoted, one, after)):
            break
        place = further
    return place


def _spellings(constraint: Constraint, opened: str, quoted: bool, one: Field, after: str) -> list[tuple[str, list[int]]]:
    """(choice, its tokens after the place, up to the first that reaches beyond it); at the answer's end there is none beyond it."""
    found = []
    for word in one.choices or ():
        said = opened + (constraint.task.quote(word) if quoted else word)
        inside, length, tokens = len(said.encode()), 0, []
        for token in constraint.tokenizer.tokenize_str(said + after):
            tokens.append(token)
            length += len(constraint.spelled[token])
            if length > inside:
                break
        found.append((word, tokens))
    return found


class _Trie:
    """The spellings of all choices, their common beginnings once; node 0 stands for what is before them.

    Args:
        spellings: (choice, its tokens). ends: of the answer, one of which follows every choice; None where its last token ends it.
    """

    def __init__(self, spellings: Sequence[tuple[str, list[int]]], ends: Sequence[int] | None) -> None:
        self.ends = None if ends is None else list(ends)
        self.nodes: list[tuple[int, int]] = [(0, -1)]  # (node above, token)
        self.first = [0]  # of every node: the one above it that is right behind node 0
        self.paths: list[tuple[str, list[int]]] = []  # (choice, its nodes)
        known: dict[tuple[int, int], int] = {}
        for word, tokens in spellings:
            path = [0]
            for token in tokens:
                step = (path[-1], token)
                if step not in known:
                    known[step] = len(self.nodes)
                    self.first.append(self.first[path[-1]] or len(self.nodes))
                    self.nodes.append(step)
                path.append(known[step])
            self.paths.append((word, path[1:]))
        inner = {above for above, _ in self.nodes}
        self.read = [node for node in range(1, len(self.nodes)) if node in inner or self.ends]
        self.many = Counter(self.first[path[0]] for _, path in self.paths)  # choices behind each first token

    def worth_reading(self, first: Tensor) -> list[int]:
        """Nodes behind which something is to be known, when float32[vocabulary] are the log probabilities behind node 0."""
        likely = {node for node in self.many if float(first[self.nodes[node][1]]) >= math.log(SLIGHT)}
        return [node for node in self.read if self.first[node] in likely]

    def chosen(self, nodes: Sequence[int]) -> list[tuple[int, int]]:
        """(node above, token) of these nodes, numbered anew in their order."""
        number = {0: 0} | {node: at for at, node in enumerate(nodes, 1)}
        return [(number[self.nodes[node][0]], self.nodes[node][1]) for node in nodes]

    def likely(self, logs: Mapping[int, Tensor]) -> Likely:
        """logs: by node, float32[vocabulary] of what follows it. Choices that were not followed share what their first token has."""
        total = []
        for _, path in self.paths:
            steps = [(self.nodes[node][0], self.nodes[node][1]) for node in path]
            followed = all(above in logs for above, _ in steps) and (not self.ends or path[-1] in logs)
            if followed:
                own = sum(float(logs[above][token]) for above, token in steps)
                total.append(own + (float(logs[path[-1]][self.ends].logsumexp(-1)) if self.ends else 0.0))
            else:
                total.append(float(logs[0][steps[0][1]]) - math.log(self.many[path[0]]))
        shares = torch.tensor(total, dtype=torch.float64)
        values = zip((word for word, _ in self.paths), shares.softmax(0).tolist(), strict=True)
        return Likely(dict(values), float(shares.exp().sum()))


def _numbers(batch: Batch, constraint: Constraint, places: Sequence[Place], after: str) -> list[Likely | None]:
    """Digit by digit, every beginning that is likely enough, until none is left."""
    trees = _Trees(batch, places)
    words = _words(constraint, {char for place in places for char in place.open})
    stops = _stops(constraint, after)
    found: list[dict[str, float]] = [{} for _ in places]
    # per tree: (node, what is said behind the place, its log probability)
    edge: list[list[tuple[int, str, float]]] = [[(0, "", 0.0)] for _ in places]
    at: list[int] = list(range(len(places)))
    logs = trees.root(at)
    while at:
        grown: dict[int, list[tuple[int, int, str, float]]] = {}
        for tree, own in zip(at, logs, strict=True):
            grown[tree] = _followed(edge[tree], own, places[tree], words, stops, found[tree])
        at = [tree for tree in at if grown[tree]]
        if at:
            count = {tree: len(trees.paths[tree]) for tree in at}
            logs = trees.grow(at, [[(above, token) for above, token, _, _ in grown[tree]] for tree in at])
            for tree in at:
                edge[tree] = [(count[tree] + number, said, p) for number, (_, _, said, p) in enumerate(grown[tree])]
    return [_normalised(one) for one in found]


def _followed(
    edge: Sequence[tuple[int, str, float]],
    logs: Tensor,
    place: Place,
    words: Mapping[int, str],
    stops: Sequence[int],
    found: dict[str, float],
) -> list[tuple[int, int, str, float]]:
    """Add the numbers that may end here to `found`; return the longer beginnings (node above, token, said, log probability)."""
    longer, opened, own_words = [], place.open, place.open + place.own
    tokens = list(words)
    ahead = logs[:, tokens].tolist()
    stopping = logs[:, list(stops)].logsumexp(-1).tolist()
    for (node, said, p), nexts, stop in zip(edge, ahead, stopping, strict=True):
        number = said.removeprefix(opened) if said.startswith(opened) else ""
        if _is_number(number):
            found[number] = found.get(number, 0.0) + math.exp(p + stop)
        for token, own in zip(tokens, nexts, strict=True):
            more = said + words[token]
            if (p + own >= math.log(LEAST) or own_words.startswith(more)) and _may_begin(more, opened):
                longer.append((node, token, more, p + own))
    return longer


def _is_number(words: str) -> bool:
    return bool(_WHOLE.fullmatch(words)) and words != "-0" and sum(map(str.isdigit, words)) <= MAX_DIGITS


def _may_begin(said: str, opened: str) -> bool:
    if len(said) <= len(opened):
        return opened.startswith(said)
    number = said[len(opened) :]
    return said.startswith(opened) and bool(_BEGUN.fullmatch(number)) and sum(map(str.isdigit, number)) <= MAX_DIGITS


def _words(constraint: Constraint, opened: set[str]) -> dict[int, str]:
    """Tokens that can be part of a number, or of the template's words before it."""
    wanted = set("0123456789.-") | opened
    usual = ((token, constraint.spelled[token]) for token in constraint.words)
    return {token: word for token, own in usual if own.isascii() and set(word := own.decode()) <= wanted}


def _stops(constraint: Constraint, after: str) -> list[int]:
    """Tokens that can come right behind the field."""
    if not after:
        return list(constraint.ends)
    follow = after.encode()
    usual = ((token, constraint.spelled[token]) for token in constraint.words)
    return [token for token, own in usual if follow.startswith(own) or own.startswith(follow)]


def _normalised(found: Mapping[str, float]) -> Likely | None:
    covered = sum(found.values())
    return Likely({word: p / covered for word, p in found.items()}, covered) if covered > 0 else None


def _quantile(ordered: Sequence[tuple[float, float]], share: float) -> float:
    """The least value that at least this share of the probability does not exceed."""
    total = 0.0
    for value, p in ordered:
        total += p
        if total >= share - 1e-12:
            return value
    return ordered[-1][0]
