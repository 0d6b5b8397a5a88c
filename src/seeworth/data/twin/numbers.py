"""Numbers and dates: how they spread in each category, how they are written and rounded, and new ones drawn from that.

    x = w q_category(u) + (1 - w) (m + q_rest(u)),  u uniform in 0..1,  w = n / (n + 8)

q are quantiles, of logarithms where all numbers are above 0; n is the number of groups of the category, m its median drawn to
that of all by w, q_rest the quantiles of what all categories have round their medians. So a large category has its own
distribution and a small one borrows. Knows nothing of texts or photos.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from statistics import median

from ..rows.cells import CellError, NumberFormat
from .texts import Weighted

BORROW = 8  # groups at which a category's own distribution counts as much as that of all
_POINTS = 4000  # of a distribution that are kept

_AFFIXED = re.compile(
    r"(?P<before>(?:[A-Z]{3}\s?|[^\w\s.,+-]{1,2}\s?)?)(?P<body>[+-]?\d(?:[\d.,'’\s]*\d)?|[+-]?\.\d+)(?P<after>(?:\s?[A-Za-z%€$£¥]{1,4}\.?)?)"
)
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Writing:
    """How a column writes its numbers."""

    before: str = ""
    after: str = ""
    mark: str = "."
    thousands: str = ""
    decimals: int = 0
    padded: bool = False

    def write(self, number: Decimal) -> str:
        """The number in the column's manner, with zeros at its end where the column has them."""
        plain = f"{number:,.{self.decimals}f}" if self.padded else f"{number:,f}"
        if not self.padded and "." in plain:
            plain = plain.rstrip("0").rstrip(".")
        return self.before + plain.replace(",", "\0").replace(".", self.mark).replace("\0", self.thousands) + self.after

    @classmethod
    def of(cls, cells: Sequence[str]) -> tuple[Writing, list[Decimal | None]] | None:
        """How the cells are written and what they say; None when fewer than 19 in 20 are numbers."""
        matches = [_AFFIXED.fullmatch(cell.strip()) for cell in cells]
        bodies = [match["body"].strip() if match else "" for match in matches]
        if sum(map(bool, bodies)) < 0.95 * len(cells) or any(re.match(r"[+-]?0\d", body) for body in bodies):
            return None
        form = NumberFormat.of(bodies)
        numbers = [_read(form, body) for body in bodies]
        if sum(number is not None for number in numbers) < 0.95 * len(cells):
            return None
        before, after = (Counter(match[part] for match in matches if match).most_common(1)[0][0] for part in ("before", "after"))
        places = Counter(-int(number.as_tuple().exponent) for number in numbers if number is not None)
        decimals = min(max(places), 6)
        padded = places[decimals] >= 0.9 * sum(places.values())
        signs = ("," if form.mark == "." else ".", "'", "’", " ")
        thousands = next((sign for sign in signs if any(re.search(rf"\d{re.escape(sign)}\d{{3}}", body) for body in bodies)), "")
        return cls(before, after, form.mark, thousands, decimals, padded), numbers


def _read(form: NumberFormat, body: str) -> Decimal | None:
    try:
        return form.read(body)
    except CellError:
        return None


@dataclass(frozen=True)
class Base:
    """How a column follows an earlier one: `exact` times it, or else ratios for "lower" and "higher"."""

    column: str
    exact: float | None
    ratios: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class NumberModel:
    """One column of numbers.

    Attributes:
        log: whether `own`, `rest` and `medians` are logarithms. low, high: of the real numbers.
        own: of each category, its sorted numbers and its weight w. rest: sorted, round the medians.
        endings: of each power of ten, what is left over its `_step`, in units of the last decimal; None leaves it open.
        same: share of the groups with several records that have one number. within: of the others, how records differ from the first.
    """

    writing: Writing
    log: bool
    low: float
    high: float
    own: Mapping[str, tuple[tuple[float, ...], float]]
    medians: Mapping[str, float]
    rest: tuple[float, ...]
    endings: Mapping[int, Weighted]
    same: float
    within: tuple[float, ...]
    base: Base | None = None

    def draw(self, rng: Random, category: str) -> float:
        """A number before rounding."""
        u = rng.random()
        own, weight = self.own.get(category, ((), 0.0))
        x = (1 - weight) * (self.medians.get(category, self.medians[""]) + _at(self.rest, u))
        if own:
            x += weight * _at(own, u)
        return math.exp(min(x, 700.0)) if self.log else x

    def vary(self, number: float, rng: Random) -> float:
        """The number of another record of the same group."""
        if not self.within:
            return number
        step = self.within[rng.randrange(len(self.within))]
        return number * math.exp(step) if self.log else number + step

    def follow(self, number: float, relation: str, rng: Random) -> float:
        """The number that goes with `number` of the base column; `relation` is equal, lower or higher."""
        assert self.base is not None
        if self.base.exact is not None:
            return number * self.base.exact
        ratios = self.base.ratios.get(relation)
        return number * (_at(ratios, rng.random()) if ratios else 1.0)

    def round(self, number: float, rng: Random, habit: bool = True) -> Decimal:
        """Within the real range, and with `habit` ending as the real numbers do."""
        scale = 10**self.writing.decimals
        low, high = round(self.low * scale), round(self.high * scale)
        value = min(max(round(number * scale), low), high)
        if habit and value > 0 and (ends := self.endings.get(_power(value))):
            ending = ends.draw(rng)
            if ending is not None:
                step = _step(value, self.writing.decimals)
                near = (value // step * step + ending + more for more in (-step, 0, step))
                value = min((one for one in near if low <= one <= high), key=lambda one: abs(one - value), default=value)
        return Decimal(value).scaleb(-self.writing.decimals)


def relation(number: float, base: float) -> str:
    """Whether a number is equal to its base, lower or higher."""
    return "equal" if number == base else "lower" if number < base else "higher"


def learn_numbers(numbers: Sequence[float | None], groups: Sequence[str], categories: Sequence[str], writing: Writing, k: int,
                  base: Base | None = None) -> NumberModel:  # fmt: skip
    """Learn one column; None where there is no number."""
    rows = [(number, group, category) for number, group, category in zip(numbers, groups, categories, strict=True) if number is not None]
    log = all(number > 0 for number, _, _ in rows)
    scaled = [(math.log(number) if log else number, group, category) for number, group, category in rows]
    by_category: dict[str, list[float]] = defaultdict(list)
    members: dict[str, set[str]] = defaultdict(set)
    for number, group, category in scaled:
        by_category[category].append(number)
        members[category].add(group)
    middle = median(number for number, _, _ in scaled)
    weights = {category: len(found) / (len(found) + BORROW) for category, found in members.items()}
    medians = {category: weights[category] * median(found) + (1 - weights[category]) * middle for category, found in by_category.items()}
    centres = {category: median(found) if len(by_category) < len(scaled) / 2 else middle for category, found in by_category.items()}
    rest = _thin(sorted(number - centres[category] for number, _, category in scaled))
    same, within = _variation(scaled)
    values = [number for number, _, _ in rows]
    own = {category: (_thin(sorted(found)), weights[category]) for category, found in by_category.items()}
    return NumberModel(writing, log, min(values), max(values), own, medians | {"": medians.get("", middle)}, rest,
                       _endings(rows, writing.decimals, k), same, within, base)  # fmt: skip


def learn_base(numbers: Mapping[str, Sequence[float | None]], column: str, k: int) -> Base | None:
    """The earlier column (all but `column` in `numbers`) that this one follows best, if it follows one at all."""
    best: tuple[float, Base] | None = None
    mine = numbers[column]
    spread = _spread([math.log(y) for y in mine if y is not None and y > 0])
    for other, theirs in numbers.items():
        if other == column:
            continue
        pairs = [(y, x) for y, x in zip(mine, theirs, strict=True) if y is not None and x is not None and x > 0 and y > 0]
        if len(pairs) < max(2 * k, 0.8 * sum(y is not None for y in mine)):
            continue
        logs = [math.log(y / x) for y, x in pairs]
        equal = sum(y == x for y, x in pairs) / len(pairs)
        if (noise := _spread(logs)) < 0.3 * spread or equal > 0.5:
            ratios: dict[str, list[float]] = defaultdict(list)
            for y, x in pairs:
                ratios[relation(y, x)].append(y / x)
            found = Base(other, _exact(pairs), {name: _thin(sorted(some)) for name, some in ratios.items()})
            if best is None or noise < best[0] - 1e-9:
                best = noise, found
    return best[1] if best else None


def _exact(pairs: Sequence[tuple[float, float]]) -> float | None:
    """The one factor between the columns, when there is one to within the rounding of the cells."""
    factor = float(f"{median(y / x for y, x in pairs):.4g}")
    return factor if sum(abs(y - factor * x) <= 0.006 for y, x in pairs) >= 0.98 * len(pairs) else None


def _spread(numbers: Sequence[float]) -> float:
    mean = sum(numbers) / max(len(numbers), 1)
    return math.sqrt(sum((one - mean) ** 2 for one in numbers) / max(len(numbers), 1))


def _variation(rows: Sequence[tuple[float, str, str]]) -> tuple[float, tuple[float, ...]]:
    by_group: dict[str, list[float]] = defaultdict(list)
    for number, group, _ in rows:
        by_group[group].append(number)
    several = [found for found in by_group.values() if len(found) > 1]
    differing = [found for found in several if len(set(found)) > 1]
    steps = sorted(number - found[0] for found in differing for number in found[1:])
    return (1 - len(differing) / len(several) if several else 1.0), _thin(steps)


def _endings(rows: Sequence[tuple[float, str, str]], decimals: int, k: int) -> dict[int, Weighted]:
    """Of each power of ten, how often numbers leave which rest over its step; rests of fewer than k groups stay open."""
    seen: dict[int, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for number, group, _ in rows:
        value = round(number * 10**decimals)
        if value > 0:
            seen[_power(value)][value % _step(value, decimals)].add(group)
    endings = {}
    for power, rests in seen.items():
        common: dict[int | None, float] = {rest: len(groups) for rest, groups in rests.items() if len(groups) >= k}
        if others := sum(len(groups) for groups in rests.values() if len(groups) < k):
            common[None] = others
        endings[power] = Weighted.of(common)
    return endings


def _power(value: int) -> int:
    return max(len(str(value)) - 1, 1)


def _step(value: int, decimals: int) -> int:
    """What numbers of this size are counted in, in units of the last decimal: tens below 1,000, hundreds below 10,000, at least 1."""
    return int(10 ** max(_power(value) - 1, decimals))


def _thin(numbers: Sequence[float]) -> tuple[float, ...]:
    if len(numbers) <= _POINTS:
        return tuple(numbers)
    return tuple(numbers[round(place * (len(numbers) - 1) / (_POINTS - 1))] for place in range(_POINTS))


def _at(numbers: Sequence[float], u: float) -> float:
    """The quantile u of sorted numbers, on the line between its neighbours."""
    place = u * (len(numbers) - 1)
    low = min(int(place), len(numbers) - 1)
    high = min(low + 1, len(numbers) - 1)
    return numbers[low] + (place - low) * (numbers[high] - numbers[low])


def share_below(numbers: Sequence[float], number: float) -> float:
    """Where a number stands among sorted ones, 0 to 1."""
    return bisect_left(numbers, number) / max(len(numbers), 1)


@dataclass(frozen=True)
class DateModel:
    """One column of dates: how they are written, and the real ones as sorted seconds; new ones lie between two of them."""

    form: str
    seconds: tuple[float, ...]

    def draw(self, rng: Random) -> str:
        moment = datetime(1970, 1, 1) + timedelta(seconds=round(_at(self.seconds, rng.random())))
        return moment.strftime(self.form)

    @classmethod
    def of(cls, cells: Sequence[str]) -> DateModel | None:
        """None when no one way of writing fits 19 cells in 20."""
        for form in _DATES:
            found = [moment for cell in cells if (moment := read_date(cell, form)) is not None]
            if cells and len(found) >= 0.95 * len(cells):
                return cls(form, _thin(sorted(found)))
        return None


def read_date(cell: str, form: str) -> float | None:
    """Seconds since 1970 of a date written in this form, else None."""
    try:
        return (datetime.strptime(cell.strip(), form) - datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        return None
