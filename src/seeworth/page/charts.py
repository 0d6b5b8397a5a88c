"""Charts as inline SVG: a few small shapes that take plain numbers and words and return safe markup.

Colours come from the page's style sheet by class, so that dark, light and print need no second drawing. Every mark
carries its words in a <title>, which browsers show on hover. Words are escaped here; nothing is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH = 380  # of a chart's own units: about the pixels of a phone, so that its 12-unit words stay readable there
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 42  # room for axes


@dataclass(frozen=True)
class Bar:
    """A row of an interval or bar chart: NaN ends draw no interval."""

    label: str
    value: float
    low: float
    high: float
    words: str
    kind: str = "model"


@dataclass(frozen=True)
class Line:
    """A named line through (x, y) points."""

    label: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """Values to places: linear or logarithmic, `start` and `end` are the places of `low` and `high`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        at, low, high = (math.log10(v) if self.log else v for v in (value, self.low, self.high))
        return self.start + (self.end - self.start) * (at - low) / ((high - low) or 1)

    def ticks(self) -> list[float]:
        """Round values for an axis: 1, 2, 5 times a power of ten."""
        if self.log:
            return _log_ticks(self.low, self.high)
        step = _round_step((self.high - self.low) / 4)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def intervals(bars: Sequence[Bar], *, title: str, axis: str, top: float | None = None) -> Markup:
    """One row a bar: a dot at the value, a line over its 95 % interval, the words at the right end above it. `top` fixes the axis' end."""
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high) if not math.isnan(end)]
    if not ends:
        return Markup()
    scale = Scale(0, top or max(ends) or 1.0, 12, WIDTH - 12)
    parts, y = [], TOP
    for bar in bars:
        parts.append(_text(12, y + 12, bar.label, "label"))
        parts.append(_text(WIDTH - 12, y + 12, bar.words, "value", "end"))
        parts.append(_interval(bar, scale, y + 26))
        y += 44
    return _svg(title, y + 34, [_x_axis(scale, y - 2, axis, TOP + 16), *parts])


def bars(rows: Sequence[Bar], *, title: str, axis: str) -> Markup:
    """Horizontal bars from 0 with their 95 % intervals, for shares from 0 to 100 %."""
    scale = Scale(0, 100, 12, WIDTH - 12)
    parts, y = [], TOP
    for row in rows:
        parts.append(_text(12, y + 12, row.label, "label"))
        parts.append(_text(WIDTH - 12, y + 12, row.words, "value", "end"))
        width = max(scale(row.value) - 12, 1)
        parts.append(Markup('<rect class="bar {}" x="12" y="{}" width="{}" height="16" rx="2"><title>{}: {}</title></rect>').format(
            row.kind, y + 18, _n(width), row.label, row.words))
        parts.append(_whisker(row, scale, y + 26))
        y += 46
    return _svg(title, y + 34, [_x_axis(scale, y - 2, axis, TOP + 16), *parts])


def lines(series: Sequence[Line], *, title: str, x_axis: str, y_axis: str, top: float | None = None) -> Markup:
    """Lines over a shared x axis, y from 0; the legend stands below. `top` fixes the upper end of y."""
    series = [one for one in series if one.points]
    if not series:
        return Markup()
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    height = 240
    x = Scale(0, max(xs) or 1, LEFT, WIDTH - RIGHT)
    y = Scale(min(0.0, *ys, 0.0), top or max(ys) or 1.0, height - BOTTOM, TOP)
    parts = [_x_axis(x, height - BOTTOM, x_axis, TOP), _y_axis(y, y_axis)]
    for index, one in enumerate(series):
        path = " ".join(f"{_n(x(a))},{_n(y(b))}" for a, b in one.points)
        parts.append(Markup('<polyline class="line s{}" points="{}"/>').format(index % 6, path))
        if len(one.points) <= 60:
            parts.extend(_dot(x(a), y(b), f"{one.label}: {b:.4g} at {a:g}", f"s{index % 6}", 2.6) for a, b in one.points)
    labels = [one.label for one in series]
    across = 1 if max(map(len, labels)) > 20 else 2
    return _svg(title, height + 18 * math.ceil(len(series) / across), [*parts, _legend(labels, height, across)])


def histogram(values: Sequence[float], *, title: str, axis: str, unit: str = "", bins: int = 24) -> Markup:
    """How many values lie in each of `bins` equal steps; logarithmic steps where all are above 0 and span more than a factor of ten."""
    if not values:
        return Markup()
    low, high = min(values), max(values)
    log = low > 0 and high > 10 * low
    if low == high:
        low, high = low - 0.5, high + 0.5
    height = 240
    x = Scale(low, high, LEFT, WIDTH - RIGHT, log)
    width = (WIDTH - RIGHT - LEFT) / bins
    counts = [0] * bins
    for value in values:
        counts[min(int((x(value) - LEFT) / width), bins - 1)] += 1
    y = Scale(0, max(counts), height - BOTTOM, TOP)
    ends = [low * (high / low) ** (k / bins) if log else low + (high - low) * k / bins for k in range(bins + 1)]
    parts = [_x_axis(x, height - BOTTOM, f"{axis}, logarithmic" if log else axis, TOP), _y_axis(y, "records")]
    for k, count in enumerate(counts):
        words = f"{_tick(ends[k])} to {_tick(ends[k + 1])} {unit}".strip()
        place = Markup('x="{}" y="{}" width="{}" height="{}"').format(
            _n(LEFT + k * width), _n(y(count)), _n(width - 1), _n(height - BOTTOM - y(count)))
        parts.append(Markup('<rect class="bar own" {}><title>{}: {}</title></rect>').format(place, words, count))
    return _svg(title, height, parts)


def scatter(points: Sequence[tuple[float, float, str]], *, title: str, x_axis: str, y_axis: str, within: float = 0.25) -> Markup:
    """Truth (x) against reading (y), on logarithmic axes where all are above 0, with the diagonal and a band of +-25 %.

    Each point is (truth, reading, words).
    """
    if not points:
        return Markup()
    values = [value for a, b, _ in points for value in (a, b)]
    log = min(values) > 0 and max(values) > 10 * min(values)
    low, high = (min(values) / 1.15, max(values) * 1.15) if log else (min(0.0, *values), max(*values, 1e-9) * 1.05)
    height = 340
    x, y = Scale(low, high, LEFT, WIDTH - RIGHT, log), Scale(low, high, height - BOTTOM, TOP, log)
    parts = [_x_axis(x, height - BOTTOM, x_axis, TOP), _y_axis(y, y_axis), _band(x, y, low, high, within)]
    parts.append(Markup('<line class="diagonal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(*map(_n, (x(low), y(low), x(high), y(high)))))
    radius = 3.2 if len(points) < 600 else 2.0
    parts.extend(_dot(x(a), y(b), words, "point", radius) for a, b, words in sorted(points))  # from left to right, as keys step
    return _svg(title, height, parts)


def reliability(points: Sequence[tuple[float, Bar]], *, title: str, x_axis: str, y_axis: str) -> Markup:
    """How often (a bar's value, with its interval) by how sure (x), both 0 to 100 %; the diagonal is where they agree."""
    height = 340
    x, y = Scale(0, 100, LEFT, WIDTH - RIGHT), Scale(0, 100, height - BOTTOM, TOP)
    parts = [_x_axis(x, height - BOTTOM, x_axis, TOP), _y_axis(y, y_axis)]
    parts.append(Markup('<line class="diagonal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(*map(_n, (x(0), y(0), x(100), y(100)))))
    path = " ".join(f"{_n(x(at))},{_n(y(bar.value))}" for at, bar in points)
    parts.append(Markup('<polyline class="line s0" points="{}"/>').format(path))
    for at, bar in points:
        if not math.isnan(bar.low):
            ends = {"x": _n(x(at)), "low": _n(y(bar.low)), "high": _n(y(bar.high))}
            parts.append(Markup('<path class="whisker {}" d="M{x} {low}V{high}"/>').format(bar.kind, **ends))
        parts.append(_dot(x(at), y(bar.value), bar.words, bar.kind, 4.5))
    return _svg(title, height, parts)


def heatmap(rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]], *, title: str) -> Markup:
    """Counts in cells, shaded by their share of the row; row names left, column names slanted above."""
    cell = 24 if len(columns) > 12 else 34
    room = 9 + 6.6 * min(22, max(map(len, rows)))
    over = 14 + 4.9 * min(22, max(map(len, columns)))
    parts = []
    for i, column in enumerate(columns):
        at = f"translate({_n(room + cell * i + cell * 0.62)} {_n(over - 6)}) rotate(-50)"
        parts.append(Markup('<text class="tick" transform="{}">{}<title>{}</title></text>').format(at, _short(column), column))
    for j, (row, numbers) in enumerate(zip(rows, counts, strict=True)):
        y = over + cell * j
        parts.append(Markup('<text class="tick" text-anchor="end" x="{}" y="{}">{}<title>{}</title></text>').format(
            _n(room - 6), _n(y + cell * 0.66), _short(row), row))
        total = sum(numbers) or 1
        for i, count in enumerate(numbers):
            words = f"{isolated(row)} answered {isolated(columns[i])}: {count} of {total}"
            parts.append(_cell(room + cell * i, y, cell, count, count / total, words, row == columns[i]))
    return _svg(title, over + cell * len(rows) + 6, parts, width=room + cell * len(columns) + 40, times=1.35)


def isolated(words: str) -> str:
    """Words of data within a mark's words: whatever direction they are written in, the rest keeps its own (Unicode's isolates)."""
    return f"\u2068{words}\u2069"


def _cell(x: float, y: float, size: float, count: int, share: float, words: str, right: bool) -> Markup:
    place = Markup('x="{}" y="{}" width="{}" height="{}"').format(_n(x), _n(y), _n(size - 1), _n(size - 1))
    if not count:
        return Markup('<rect class="cell none" {}/>').format(place)
    kind, ink = "right" if right else "wrong", "strong" if share > 0.78 else "faint"  # where white and black are as easy to read
    return Markup(
        '<g><title>{}</title><rect class="cell" {}/><rect class="cell {}" {} fill-opacity="{}"/>'
        '<text class="count {}" text-anchor="middle" x="{}" y="{}">{}</text></g>'
    ).format(words, place, kind, place, _n(0.12 + 0.88 * share), ink, _n(x + (size - 1) / 2), _n(y + size / 2 + 4), count)


def _interval(bar: Bar, scale: Scale, y: float) -> Markup:
    if math.isnan(bar.value):
        return Markup()
    return _whisker(bar, scale, y) + _dot(scale(bar.value), y, f"{bar.label}: {bar.words}", bar.kind, 5)


def _whisker(bar: Bar, scale: Scale, y: float) -> Markup:
    if math.isnan(bar.low):
        return Markup()
    a, b = scale(bar.low), scale(bar.high)
    return Markup('<path class="whisker {}" d="M{a} {y}H{b}M{a} {up}v8M{b} {up}v8"/>').format(
        bar.kind, a=_n(a), b=_n(b), y=_n(y), up=_n(y - 4))


def _dot(x: float, y: float, words: str, kind: str, radius: float) -> Markup:
    return Markup('<circle class="dot {}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(kind, _n(x), _n(y), radius, words)


def _band(x: Scale, y: Scale, low: float, high: float, within: float) -> Markup:
    """The area where the reading is within +-25 % of the truth, cut at the frame."""
    upper = [(v, min(v * (1 + within), high)) for v in _walk(low, high, x.log)]
    lower = [(v, max(v * (1 - within), low)) for v in _walk(low, high, x.log)]
    path = " ".join(f"{_n(x(a))},{_n(y(b))}" for a, b in [*upper, *reversed(lower)])
    return Markup('<polygon class="band" points="{}"><title>within {} % of the truth</title></polygon>').format(path, f"{100 * within:.0f}")


def _walk(low: float, high: float, log: bool) -> list[float]:
    steps = [step / 40 for step in range(41)]
    return [low * (high / low) ** s if log else low + (high - low) * s for s in steps]


def _x_axis(scale: Scale, y: float, label: str, top: float) -> Markup:
    parts = [Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(_n(scale.start), _n(scale.end), y=_n(y))]
    for tick in scale.ticks():
        x = _n(scale(tick))
        parts.append(Markup('<line class="grid" x1="{x}" x2="{x}" y1="{}" y2="{}"/>').format(_n(top), _n(y), x=x))
        parts.append(_text(scale(tick), y + 15, _tick(tick), "tick", "middle"))
    parts.append(_text((scale.start + scale.end) / 2, y + 32, label, "axis-label", "middle"))
    return Markup("").join(parts)


def _y_axis(scale: Scale, label: str) -> Markup:
    parts = []
    for tick in scale.ticks():
        y = _n(scale(tick))
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(LEFT, WIDTH - RIGHT, y=y))
        parts.append(_text(LEFT - 6, scale(tick) + 4, _tick(tick), "tick", "end"))
    middle = (scale.start + scale.end) / 2
    turned = Markup('<text class="axis-label" text-anchor="middle" transform="translate(11 {}) rotate(-90)">{}</text>')
    parts.append(turned.format(_n(middle), label))
    return Markup("").join(parts)


def _legend(labels: Sequence[str], y: float, across: int) -> Markup:
    parts = []
    for index, label in enumerate(labels):
        x, row = 12 + (WIDTH // 2 - 6) * (index % across), y + 4 + 18 * (index // across)
        parts.append(Markup('<line class="line s{}" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(index % 6, x, x + 18, y=row))
        parts.append(_text(x + 24, row + 4, label, "label"))
    return Markup("").join(parts)


def _text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> Markup:
    return Markup('<text class="{}" text-anchor="{}" x="{}" y="{}">{}</text>').format(kind, anchor, _n(x), _n(y), words)


def _svg(title: str, height: float, parts: Sequence[Markup], width: float = WIDTH, times: float | None = None) -> Markup:
    """`times`: pixels a unit where there is room; a chart without it is as wide as its place."""
    own = Markup() if times is None else Markup(' width="{}"').format(_n(width * times))
    head = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}"{}>').format(title, _n(width), _n(height), own)
    return head + Markup("").join(parts) + Markup("</svg>")


def _short(words: str, many: int = 22) -> str:
    return words if len(words) <= many else words[: many - 1] + "…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _tick(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:,.4g}k" if abs(value) < 1e6 else f"{value / 1e6:,.4g}M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _round_step(raw: float) -> float:
    if raw <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    return [factor * 10.0**decade for decade in decades for factor in factors if low <= factor * 10.0**decade <= high]

