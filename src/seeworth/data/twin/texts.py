"""Texts: titles and descriptions as a chain of words for each category, and new ones drawn from it.

    learn   a word that fewer than k groups have becomes its form; what follows what is counted, by category and in all
    draw    walk the chain, spell the forms with invented words, and draw again while the result is a real text

What a group's texts share is learnt too: all the same, or the same but for a span ("Scarf in | Sky Blue | Wool"). Knows
nothing of photos or prices.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from random import Random
from typing import Any

from .words import MARK, form, invent, is_address, key, tokens, words

_ATTEMPTS = 16
_PROSE = 80  # characters from which on a text is prose: sentences, which may follow one another
_LONGEST = 400  # pieces of a text; what is longer is a page


@dataclass(frozen=True)
class Weighted:
    """Things to draw from by weight, built once."""

    things: tuple[Any, ...]
    sums: tuple[float, ...]

    @classmethod
    def of(cls, counts: Mapping[Any, float]) -> Weighted:
        return cls(tuple(counts), tuple(accumulate(counts.values())))

    def draw(self, rng: Random) -> Any:
        return self.things[min(bisect_right(self.sums, rng.random() * self.sums[-1]), len(self.things) - 1)]


Chain = dict[str, Weighted]


@dataclass
class TextModel:
    """One column of texts.

    Attributes:
        chains: of each category, and of all under "": piece -> pieces that follow; "" starts and ends a text.
        lengths: of each category, and of all under "", how long its texts are, in characters.
        shared: of each category, texts that at least k groups have, as weights; the last weight is for a text of its own.
        same: share of the groups with several records whose texts are all the same.
        spans: what varies between the texts of a group, in pieces; None when they have little in common.
        follows: a column whose value decides this text.
        known: keys of the real texts. rare: real words of fewer than k groups. taken: all real words.
    """

    chains: dict[str, Chain]
    lengths: dict[str, tuple[int, ...]]
    shared: dict[str, Weighted]
    same: float
    spans: Weighted | None
    known: frozenset[str]
    taken: frozenset[str]
    follows: str = ""
    _span_lengths: tuple[int, ...] = field(init=False)
    _longest: int = field(init=False)

    def __post_init__(self) -> None:
        self._longest = max(self.lengths.get("", (0,)))
        self._span_lengths = tuple(sorted({len(span) for span in self.spans.things}, reverse=True)) if self.spans else ()

    def draw(self, rng: Random, category: str) -> str:
        """A text that is none of the real ones."""
        for _ in range(_ATTEMPTS):
            pieces = self._base(rng, category)
            text = "".join(self._spelt(piece, rng) for piece in pieces).strip()
            if text and key(text) not in self.known:
                return text
        return self._new(pieces, rng)

    def draw_group(self, rng: Random, category: str, size: int) -> list[str]:
        """The texts of a group's records."""
        if size == 1 or rng.random() < self.same:
            return [self.draw(rng, category)] * size
        if self.spans is None:
            return [self.draw(rng, category) for _ in range(size)]
        for _ in range(_ATTEMPTS):
            base = self._base(rng, category)
            if (place := self._span_in(base)) is not None:
                return self._variants(base, place, size, rng)
        return [self.draw(rng, category) for _ in range(size)]

    def _base(self, rng: Random, category: str) -> list[str]:
        """The best of three walks: the one that is nearest to a length drawn from the real ones."""
        lengths = self.lengths.get(category) or self.lengths[""]
        wanted = lengths[rng.randrange(len(lengths))]
        prose = wanted >= _PROSE
        walks = [self._walk(rng, category, wanted if prose else self._longest, prose) for _ in range(3)]
        return min(walks, key=lambda walk: abs(sum(map(len, walk)) - wanted))

    def _walk(self, rng: Random, category: str, longest: int, prose: bool) -> list[str]:
        """A walk of at most `longest` characters; one through prose starts another sentence while there is room for half as much."""
        own, everyone = self.chains.get(category, {}), self.chains[""]
        text: list[str] = []
        piece, length = "", 0
        while len(text) < _LONGEST:
            piece = (own.get(piece) or everyone[piece]).draw(rng)
            if not piece and prose and text and length < 0.7 * longest:
                text[-1] = text[-1].rstrip() + " "
                continue
            length += len(piece)
            if not piece or length > longest:
                break
            text.append(piece)
        return text or [MARK + "Aaaaaa"]

    def _new(self, pieces: list[str], rng: Random) -> str:
        """The pieces spelt out; while the text is a real one, one of its longer words is replaced by an invented one."""
        pieces = list(pieces)
        for _ in range(_ATTEMPTS):
            long = sorted(range(len(pieces)), key=lambda place: -len(pieces[place].strip()))[: (len(pieces) + 1) // 2]
            place = rng.choice(long)
            pieces[place] = MARK + form(pieces[place].removeprefix(MARK))
            text = "".join(self._spelt(piece, rng) for piece in pieces).strip()
            if text and key(text) not in self.known:
                return text
        return invent(form("".join(pieces).replace(MARK, "")).strip() + " Aaaaaa", rng, self.taken)

    def _spelt(self, piece: str, rng: Random) -> str:
        if not piece.startswith(MARK):
            return piece
        if is_address(piece):
            return f"{invent('aaaaaa', rng, self.taken)}.example" + " " * piece.endswith(" ")
        return invent(piece[1:], rng, self.taken)

    def _span_in(self, base: Sequence[str]) -> tuple[int, int] | None:
        assert self.spans is not None
        known = set(self.spans.things)
        for length in self._span_lengths:
            for start in range(len(base) - length + 1):
                if tuple(base[start : start + length]) in known:
                    return start, length
        return None

    def _variants(self, base: list[str], place: tuple[int, int], size: int, rng: Random) -> list[str]:
        assert self.spans is not None
        start, length = place
        before, after = ([self._spelt(piece, rng) for piece in part] for part in (base[:start], base[start + length :]))
        gap = base[start + length - 1][len(base[start + length - 1].rstrip()) :]
        made: dict[str, None] = {}
        for attempt in range(_ATTEMPTS * size):
            span = self.spans.draw(rng) if made or attempt else base[start : start + length]
            told = "".join(self._spelt(piece, rng) for piece in span).rstrip()
            text = "".join([*before, told + gap, *after]).strip()
            if key(text) not in self.known:
                made.setdefault(text)
            if len(made) == size:
                break
        texts = list(made) or [self._new(base, rng)]
        return [texts[number % len(texts)] for number in range(size)]


def learn_texts(texts: Sequence[str], groups: Sequence[str], categories: Sequence[str], k: int, taken: frozenset[str]) -> TextModel:
    """Learn one column; `texts` holds "" where there is none."""
    rows = [(text, group, category) for text, group, category in zip(texts, groups, categories, strict=True) if text]
    rare = _rare(rows, k)
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    lengths: dict[str, list[int]] = defaultdict(list)
    for text, _, category in rows:
        pieces = ["", *(_hidden(piece, rare) for piece in tokens(text)[:_LONGEST]), ""]
        for before, after in pairwise(pieces):
            counts[category][before][after] += 1
            if category:
                counts[""][before][after] += 1
        lengths[category].append(len(text))
        if category:
            lengths[""].append(len(text))
    chains = {category: {piece: Weighted.of(after) for piece, after in chain.items()} for category, chain in counts.items()}
    same, spans = _variation(rows, rare)
    return TextModel(chains, {name: tuple(found) for name, found in lengths.items()}, _shared(rows, k), same, spans,
                     frozenset(key(text) for text, _, _ in rows), taken)  # fmt: skip


def _rare(rows: Iterable[tuple[str, str, str]], k: int) -> set[str]:
    """The words that fewer than k groups have."""
    seen: dict[str, set[str]] = defaultdict(set)
    for text, group, _ in rows:
        for word in words(text):
            if len(seen[word]) < k:
                seen[word].add(group)
    return {word for word, found in seen.items() if len(found) < k}


def _hidden(piece: str, rare: set[str]) -> str:
    """The piece, or its form when one of its words is rare, or when it is an address."""
    if is_address(piece):
        return f"{MARK}@ "
    pictures = not words(piece) and not piece.isascii()
    return MARK + form(piece) if pictures or words(piece) & rare else piece


def _shared(rows: Iterable[tuple[str, str, str]], k: int) -> dict[str, Weighted]:
    """Of each category, how its groups spread over texts that k or more of them have; "" stands for all others."""
    having: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for text, group, category in rows:
        having[category][key(text)].add(group)
    shared = {}
    for category, found in having.items():
        common = sorted((len(members) for members in found.values() if len(members) >= k), reverse=True)
        if common:
            others = sum(len(members) for members in found.values() if len(members) < k)
            shared[category] = Weighted.of(dict(enumerate(common)) | ({-1: others} if others else {}))
    return shared


def _variation(rows: Iterable[tuple[str, str, str]], rare: set[str]) -> tuple[float, Weighted | None]:
    """The share of groups whose texts are all the same, and the spans that vary in the others."""
    by_group: dict[str, list[str]] = defaultdict(list)
    for text, group, _ in rows:
        by_group[group].append(text)
    several = [texts for texts in by_group.values() if len(texts) > 1]
    if not several:
        return 1.0, None
    differing = [texts for texts in several if len(set(texts)) > 1]
    spans: Counter[tuple[str, ...]] = Counter()
    alike = 0
    for texts in differing:
        cut = [tokens(text) for text in dict.fromkeys(texts)]
        before, after = _common(cut)
        alike += before + after >= max(map(len, cut)) / 2
        spans.update(tuple(_hidden(piece, rare) for piece in pieces[before : len(pieces) - after]) for pieces in cut)
    spans = Counter({span: count for span, count in spans.items() if span})
    usable = spans and alike >= len(differing) / 2
    return 1 - len(differing) / len(several), Weighted.of(dict(spans.most_common(500))) if usable else None


def _common(cut: Sequence[Sequence[str]]) -> tuple[int, int]:
    """How many pieces all texts have in common at the start, and at the end."""
    shortest = min(map(len, cut))
    before = next((place for place in range(shortest) if len({pieces[place] for pieces in cut}) > 1), shortest)
    room = shortest - before
    after = next((place for place in range(room) if len({pieces[-1 - place] for pieces in cut}) > 1), room)
    return before, after
