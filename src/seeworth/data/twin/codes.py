"""Codes, addresses of pages, emails and telephone numbers: their pattern is kept, their characters are fresh.

A code's pattern is the length of its runs of letters and digits and what stands between them. What all codes of a column begin and
end with is part of it, and so is what the first run of a pattern of k groups or more begins with; the rest is drawn, as it may be a
name. Numbers 0, 1, 2 ... become codes one to one, so that codes never collide, in any process, and none is a real one. Knows nothing
of tables.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from .texts import Weighted
from .words import MARK, form, invent

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
PHONE = re.compile(r"(?:\+|00|\()?\d[\d ()./-]{6,20}")
URL = re.compile(r"(?i)(https?)://([^/\s?#]+)(\S*)")

_CLASSES = ("0123456789", "abcdef", "ABCDEF", "ghijklmnopqrstuvwxyz", "GHIJKLMNOPQRSTUVWXYZ")
_CUT = re.compile(r"([/?&=#._+~:,;-])")
CODE = MARK + "code"  # in an address: where the row's code stands


@dataclass(frozen=True)
class Pattern:
    """One pattern of codes: of each place the characters that it may hold."""

    places: tuple[str, ...]

    @property
    def size(self) -> int:
        return math.prod(map(len, self.places))

    def write(self, number: int) -> str:
        made = []
        for alphabet in reversed(self.places):
            number, digit = divmod(number, len(alphabet))
            made.append(alphabet[digit])
        return "".join(reversed(made))


@dataclass(frozen=True)
class CodeModel:
    """One column of codes.

    Attributes:
        patterns: with their weights. known: the real codes. per: whether each group, each row, or neither has its own.
        share: of codes that nobody owns, how many there are for a group.
    """

    patterns: Weighted
    known: frozenset[str]
    per: str
    share: float

    def write(self, number: int, total: int, seed: str) -> str:
        """The code of `number`, one of `total`; other numbers have other codes, and none is a real one."""
        spot = int.from_bytes(hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=8).digest()) / 2**64
        sums = self.patterns.sums
        chosen: Pattern = self.patterns.things[next(place for place, one in enumerate(sums) if spot * sums[-1] <= one)]
        pattern = _wide_enough(chosen, 8 * (total + len(self.known)))
        offset, factor = _mixing(pattern.size, seed)
        for place in range(number, pattern.size, total):
            code = pattern.write((place * factor + offset) % pattern.size)
            if code not in self.known:
                return code
        raise AssertionError("a pattern has more codes than there are real ones")


@lru_cache(maxsize=4096)
def _wide_enough(pattern: Pattern, needed: int) -> Pattern:
    """The pattern with so many digits more that it has `needed` codes."""
    places = list(pattern.places)
    digits = [place for place, alphabet in enumerate(places) if alphabet.startswith(_CLASSES[0][1:])]
    last = max(digits or [place for place, alphabet in enumerate(places) if len(alphabet) > 1] or [len(places) - 1])
    while math.prod(map(len, places)) < needed:
        places.insert(last + 1, _CLASSES[0])
    return Pattern(tuple(places))


@lru_cache(maxsize=4096)
def _mixing(size: int, seed: str) -> tuple[int, int]:
    """Offset and factor of n -> (n factor + offset) mod size, which is one to one as the factor has no divisor of size."""
    rng = Random(f"{seed}/{size}")
    factor = rng.randrange(size // 3, size - size // 4) | 1
    while math.gcd(factor, size) != 1:
        factor += 2
    return rng.randrange(size), factor


def learn_codes(cells: Sequence[str], groups: Sequence[str], k: int) -> CodeModel:
    """Learn one column; "" where there is none."""
    rows = [(cell, group) for cell, group in zip(cells, groups, strict=True) if cell]
    members: dict[tuple[str, ...], list[str]] = defaultdict(list)
    owners: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for cell, group in dict.fromkeys(rows):
        skeleton = tuple(str(len(run)) if run.isalnum() else run for run in re.findall(r"[^\W_]+|[\W_]", cell))
        members[skeleton].append(cell)
        owners[skeleton].add(group)
    everyone = [cell for cell, _ in rows] if len({group for _, group in rows}) >= k else []
    ends = (_alike(everyone), _alike([cell[::-1] for cell in everyone]))
    patterns: Counter[Pattern] = Counter()
    for skeleton, found in members.items():
        first = int(skeleton[0]) if skeleton[0].isdigit() and len(owners[skeleton]) >= k else 0
        patterns[_pattern(found, (max(ends[0], first), ends[1]))] += len(found)
    distinct, by_group = len({cell for cell, _ in rows}), len(set(rows))
    all_groups = len({group for _, group in rows})
    per = "row" if distinct >= 0.95 * len(rows) > 1.05 * all_groups else ""
    if by_group <= 1.05 * all_groups and distinct >= 0.95 * all_groups:
        per = "group"
    return CodeModel(Weighted.of(patterns), frozenset(cell for cell, _ in rows), per, distinct / max(all_groups, 1))


def _alike(cells: Sequence[str]) -> int:
    """How many characters all cells begin with in common."""
    return next((place for place, seen in enumerate(zip(*cells, strict=False)) if len(set(seen)) > 1), min(map(len, cells), default=0))


def _pattern(cells: Sequence[str], ends: tuple[int, int]) -> Pattern:
    """What may stand in each place; one character only where none other was seen among the first and last `ends` places."""
    places = []
    for place, seen in enumerate(map(set, zip(*cells, strict=True))):
        outer = place < ends[0] or place >= len(cells[0]) - ends[1]
        if (len(seen) == 1 and outer) or not any(char.isalnum() for char in seen):
            places.append(min(seen))
            continue
        classes = "".join(some for some in _CLASSES if seen & set(some)) or _CLASSES[3]
        places.append(classes[1:] if classes == _CLASSES[0] and "0" not in seen and not places else classes)
    return Pattern(tuple(places))


@dataclass(frozen=True)
class UrlModel:
    """One column of page addresses, in templates whose pieces are words of k groups or more, forms, or CODE."""

    templates: Weighted
    code: str | None
    known: frozenset[str]

    def draw(self, rng: Random, code: str) -> str:
        """An address at a host that ends in .example, a name that belongs to nobody (RFC 2606)."""
        template: tuple[str, ...] = self.templates.draw(rng)
        for attempt in range(100):
            pieces = (code if one == CODE else invent(one[1:], rng) if one.startswith(MARK) else one for one in template)
            url = "".join(pieces) + (f"?v={rng.randrange(10**9)}" if attempt > 3 else "")
            if url not in self.known:
                return url
        raise AssertionError("a random number stands in every address of the real set")


def learn_urls(cells: Sequence[str], groups: Sequence[str], codes: dict[str, Sequence[str]], k: int) -> UrlModel:
    """Learn one column of addresses; `codes` are the columns of codes, one of which the addresses may hold."""
    numbered = enumerate(zip(cells, groups, strict=True))
    rows = [(number, match, group) for number, (cell, group) in numbered if (match := URL.fullmatch(cell))]
    inside = {name: sum(bool(column[number]) and column[number] in match[3] for number, match, _ in rows) for name, column in codes.items()}
    code = max(inside, key=lambda name: inside[name], default=None)
    if code is not None and inside[code] < 0.8 * len(rows):
        code = None
    hosts = [host for host, _ in Counter(match[2] for _, match, _ in rows).most_common()]
    cut: list[tuple[str, list[str], str]] = []
    owners: dict[str, set[str]] = defaultdict(set)
    for number, match, group in rows:
        pieces = list(_pieces(match[3], codes[code][number] if code else ""))
        cut.append((f"{match[1].lower()}://shop{hosts.index(match[2]) + 1}.example", pieces, group))
        for piece in pieces:
            owners[piece].add(group)
    templates = Counter((start, *(_hidden(piece, len(owners[piece]) >= k) for piece in pieces)) for start, pieces, _ in cut)
    return UrlModel(Weighted.of(dict(templates.most_common(2000))), code, frozenset(match[0] for _, match, _ in rows))


def _pieces(path: str, code: str) -> Iterable[str]:
    path = re.sub(r"%[0-9A-Fa-f]{2}", "a", path)
    for place, part in enumerate(path.split(code) if code else [path]):
        if place:
            yield CODE
        yield from filter(None, _CUT.split(part))


def _hidden(piece: str, common: bool) -> str:
    return piece if common or piece == CODE or _CUT.fullmatch(piece) else MARK + form(piece)


def fake_email(rng: Random, known: frozenset[str]) -> str:
    """An email address at mail.example."""
    while (made := f"{invent('aaaaaa', rng)}.{invent('aaaaaaaa', rng)}@mail.example") in known:
        pass
    return made


def fake_phone(shape: str, rng: Random, known: frozenset[str]) -> str:
    """A telephone number of the same form with fresh digits."""
    for attempt in range(100):
        made = invent(shape + "0" * (attempt // 20), rng)
        if made not in known:
            return made
    raise AssertionError("more telephone numbers than digits")
