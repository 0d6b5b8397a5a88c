"""Numbers in another currency or unit: off by one and the same factor. How that is told from a model that is merely biased.

A factor alone says little: an honest model may be 8 % too low on the whole, and then that is its bias. Three signs are looked for, each
only where the 95 % interval of the median of answer / truth leaves out 1:

    large      the factor is 1.25 or more, and dividing by it more than halves the median error
    nothing    dividing by it takes four fifths of the median error away, over cheap and dear records alike: there is next to no
      else     error but the factor
    points     truths keep to price points (95, 120, 1750), answers do not, but do when they are divided by one factor: they are
               converted prices, however far off the model is. What chance gives is measured with other factors.

In simulation none of 500 honest models was told (noise of 10 to 60 %, a bias of up to 20 %, drawn to the middle, answers at price points or
anywhere, 5 to 300 records). With noise from 3 % on 5 of 500 were: models that are right to within 4 % but for a bias of 15 % and more. Of
100 models with a planted factor, noise of 25 % and prices at points, 93, 99 and 99 were told at 100, 300 and 700 records with
0.79, and 72, 99 and 100 with 0.92; with noise of 40 % at 300 records 98 and 78. Prices without points and noise of 25 % hide such a factor:
it looks as a bias does, and is told as one (FIELD_bias). Knows nothing of scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .estimate import Estimate, Floats, estimate, median

Sign: TypeAlias = Literal["large", "nothing else", "points"]

LARGE = 1.25  # the least factor that needs no other sign than that it explains half of the error
LEFT = 0.2  # of the median error, at most, where there is nothing else
CLOSE = 0.25  # of the factor's logarithm, by which it may differ between cheap and dear records there
HITS = 0.75  # times the share of truths that are price points: at least so many answers are, after division
ABOVE, SURE = 1.5, 5  # times, and standard errors: by so much more of them than before it, and than by any other factor
ANCHORS = 12  # answers, of the larger ones, whose quotient with a price point is tried as the factor
ELSEWHERE = (0.61, 0.73, 0.87, 1.13, 1.31, 1.57)  # times the median factor: where no factor is, to see what chance gives
NEAR = 0.06  # of a logarithm: an exchange rate of some year

# what one unit has been worth in US dollars in recent years, roughly: for a hint in words, nothing is decided by it
WORTH = {
    "USD": 1.0, "EUR": 1.09, "GBP": 1.27, "CHF": 1.13, "JPY": 0.0067, "CNY": 0.14, "CAD": 0.73, "AUD": 0.66, "INR": 0.012, "SEK": 0.095,
    "DKK": 0.146, "PLN": 0.25, "KRW": 0.00073, "BRL": 0.18, "MXN": 0.055, "TRY": 0.03,
}  # fmt: skip


@dataclass(frozen=True)
class Factor:
    """What answers are times the truth, the sign that says so, and the median error before and after division, as shares of the truth.

    `hits`: the share of answers that are price points, before and after; None but for the sign "points".
    """

    factor: Estimate
    sign: Sign
    error: float
    left: float
    hits: tuple[float, float] | None = None


def constant_factor(truth: Floats, answer: Floats, groups: Sequence[str]) -> Factor | None:
    """The factor by which answers are off, where one of the three signs is there; of numbers above 0."""
    ratio = answer / truth
    factor = estimate(ratio, groups, median)
    if math.isnan(factor.low) or factor.low <= 1 <= factor.high:
        return None
    error, left = (float(np.median(np.abs(one - 1))) for one in (ratio, ratio / factor.value))
    if (factor.low > LARGE or factor.high < 1 / LARGE) and left <= error / 2:
        return Factor(factor, "large", error, left)
    if left <= LEFT * error and _alike(truth, ratio):
        return Factor(factor, "nothing else", error, left)
    if (found := _points(truth, answer, factor)) is not None:
        by, before, after = found
        exact = Estimate(by, factor.low, factor.high, factor.n)
        return Factor(exact, "points", error, float(np.median(np.abs(ratio / by - 1))), (before, after))
    return None


def currency(factor: float, unit: str | None) -> str | None:
    """The currency whose prices are about so many times those in `unit`; None where there is none known."""
    if unit not in WORTH:
        return None
    off = {name: abs(math.log(factor * worth / WORTH[unit])) for name, worth in WORTH.items() if name != unit}
    nearest = min(off, key=off.__getitem__)
    return nearest if off[nearest] <= NEAR else None


def _alike(truth: Floats, ratio: Floats) -> bool:
    """Whether the factor is the same for the cheaper half and the dearer: a model that draws to the middle is too dear in one of them."""
    cheap = truth <= np.median(truth)
    if cheap.all():
        return False
    low, high, every = (math.log(float(np.median(one))) for one in (ratio[cheap], ratio[~cheap], ratio))
    return abs(low - high) <= CLOSE * abs(every)


def _points(truth: Floats, answer: Floats, factor: Estimate) -> tuple[float, float, float] | None:
    """(factor, share of answers that are price points, the same after division by it); None where that is no sign."""
    points, counts = np.unique(truth, return_counts=True)
    expected = float(counts[counts > 1].sum()) / len(truth)  # whoever answers price points meets one that is known as often as truths do
    unit = _last_place(answer)
    before = _hits(points, answer, 1.0, unit)
    after, by = _best(points, answer, factor.low, factor.high, unit)
    if after < HITS * expected or not _more(after, before, len(truth)):
        return None
    width = factor.high / factor.low
    others = [factor.value * one for one in ELSEWHERE if abs(math.log(factor.value * one)) > math.log(width)]
    chance = max((_best(points, answer, one / math.sqrt(width), one * math.sqrt(width), unit)[0] for one in others), default=1.0)
    return (by, before, after) if _more(after, chance, len(truth)) else None


def _more(share: float, than: float, n: int) -> bool:
    """Half as much again, and so many standard errors more, that chance does not do it."""
    than = max(than, 1 / n)
    return share >= ABOVE * than and share - than > SURE * math.sqrt(than * (1 - min(than, 0.99)) / n)


def _best(points: Floats, answer: Floats, low: float, high: float, unit: float) -> tuple[float, float]:
    """(share, factor) of the factor from low to high by which most answers become price points."""
    upper = np.unique(answer[answer >= np.quantile(answer, 0.7)])
    anchors = upper[np.linspace(0, len(upper) - 1, min(ANCHORS, len(upper))).astype(int)]
    tried = (anchors[:, None] / points).ravel()
    tried = np.unique(tried[(tried >= low) & (tried <= high)])
    return max(((_hits(points, answer, float(one), unit), float(one)) for one in tried), default=(0.0, 1.0))


def _hits(points: Floats, answer: Floats, factor: float, unit: float) -> float:
    """The share of answers that are a price point times the factor, rounded to the unit that answers have."""
    after = np.searchsorted(points, answer / factor).clip(1, len(points) - 1) if len(points) > 1 else np.zeros(len(answer), dtype=int)
    nearest = np.minimum(np.abs(points[after] * factor - answer), np.abs(points[after - 1] * factor - answer))
    return float(np.mean(nearest <= unit * (1 + 1e-9)))


def _last_place(answer: Floats) -> float:
    """The unit of the last place that answers have: 1, 0.1 or 0.01. Half of it is the rounding of an answer, half that of the anchor."""
    cents: NDArray[np.int64] = np.rint(answer * 100).astype(np.int64)
    return 1.0 if not (cents % 100).any() else 0.1 if not (cents % 10).any() else 0.01
