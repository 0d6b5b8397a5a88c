"""Scarves, headwear, ties, gloves, socks, eyewear, watches, necklaces: traits -> parts. Knows nothing of pixels."""

from __future__ import annotations

import numpy as np

from .catalogue import Traits
from .geometry import Part, Points, Role, both, box, curve, ellipse, limb, mirror, path, placed, smooth

Random = np.random.Generator


def scarf(traits: Traits, rng: Random) -> list[Part]:
    """Folded over a loop, two ends with fringes hanging down; short or long."""
    length = {"Short": 0.85, "Long": 1.95}[traits.size]
    width, parts = 0.46, []
    lean = float(rng.uniform(0.02, 0.10))
    for side, cut in ((1, length * float(rng.uniform(0.84, 0.94))), (-1, length)):
        line = path((side * 0.08, 0.10), (side * 0.16, 0.3), (side * (0.19 + lean), cut))
        fringe = tuple(
            (path((side * (0.19 + lean) + x, cut - 0.02), (side * (0.19 + lean) + x * 1.1, cut + 0.14)),
                0.03) for x in np.linspace(-0.20, 0.20, 8)
        )
        parts.append(Part((), "trim", fringe, puff=0.02, shadow=0.3))
        folds = tuple((curve((x * 0.5, 0.1), (side * 0.16 + x, 0.5 * cut),
            (side * (0.19 + lean) + x, cut)), 0.05, -0.03) for x in rng.uniform(-0.15, 0.15, 2))
        parts.append(Part((limb(line, [width * 0.7, width, width * 0.98]),), folds=folds, grain=-side * lean / 2))
    loop = smooth(path((-0.30, 0.04), (-0.24, -0.20), (0.0, -0.28), (0.24, -0.20), (0.30, 0.04), (0.2, 0.24), (0.0, 0.29),
        (-0.2, 0.24)), 3)
    roll = curve((-0.26, -0.02), (0.0, 0.14), (0.26, -0.02))
    parts.append(Part((loop,), puff=0.16, grain=0.9, folds=((roll, 0.05, -0.04),)))
    parts.append(Part((ellipse(0, -0.13, 0.13, 0.055),), "lining", puff=0.03, shadow=0))
    return parts


def hat(traits: Traits, rng: Random) -> list[Part]:
    """A fedora from a little above: brim, crown with a dent, band; narrow or wide brim."""
    reach = {"Narrow-Brimmed": 0.60, "Wide-Brimmed": 1.05}[traits.size]
    depth = 0.13 + 0.14 * reach
    dip = float(rng.uniform(0.0, 0.06))
    brim = smooth(path((-reach, 0.36), (-0.7 * reach, 0.36 - depth), (0.7 * reach, 0.36 - depth), (reach, 0.36),
        (0.75 * reach, 0.42 + depth), (0, 0.48 + depth + dip), (-0.75 * reach, 0.42 + depth)), 3)
    crown = smooth(path((-0.44, 0.42), (-0.44, 0.2), (-0.36, -0.24), (-0.22, -0.34), (0.0, -0.27), (0.22, -0.34), (0.36, -0.24),
        (0.44, 0.2), (0.44, 0.42), (0.2, 0.52), (-0.2, 0.52)), 3)
    band = both(smooth(path((0, 0.35), (0.25, 0.32), (0.432, 0.22), (0.432, 0.22), (0.438, 0.38), (0.438, 0.38), (0.22, 0.50),
        (0, 0.525)), 2, closed=False))
    dent = curve((0.0, -0.26), (0.02, -0.05), (0.0, 0.08))
    return [
        Part((brim,), puff=0.05, shadow=0.5),
        Part((crown,), puff=0.28, folds=((dent, 0.10, -0.07),), shadow=0.8),
        Part((band,), "dark", puff=0.04, shadow=0.2),
    ]


def cap(traits: Traits, rng: Random) -> list[Part]:
    """A baseball cap from the side: dome with panels, button, peak; short or long peak."""
    reach = {"Short-Peaked": 0.38, "Long-Peaked": 0.86}[traits.size]
    tilt = float(rng.uniform(-0.04, 0.06))
    peak = smooth(path((0.32, 0.16), (0.50 + 0.5 * reach, 0.14 + tilt), (0.52 + reach, 0.28 + tilt), (0.46 + reach, 0.36 + tilt),
        (0.35 + 0.4 * reach, 0.30), (0.20, 0.36), (0.10, 0.34)), 3)
    under = smooth(path((0.12, 0.32), (0.35 + 0.4 * reach, 0.28), (0.50 + reach, 0.31 + tilt), (0.44 + reach, 0.40 + tilt),
        (0.3 + 0.4 * reach, 0.38), (0.10, 0.39)), 2)
    dome = smooth(path((-0.58, 0.34), (-0.60, 0.10), (-0.46, -0.30), (-0.10, -0.50), (0.26, -0.40), (0.47, -0.10), (0.50, 0.20),
        (0.46, 0.26), (0.1, 0.36), (-0.3, 0.39)), 3)
    seams = (curve((-0.08, -0.47), (0.18, -0.1), (0.17, 0.33)), curve((-0.10, -0.47), (-0.30, -0.1), (-0.34, 0.37)))
    return [
        Part((under,), "lining", puff=0.03),
        Part((dome,), puff=0.30, seams=seams),
        Part((peak,), puff=0.10, grain=0.25, shadow=0.7),
        Part((ellipse(-0.07, -0.485, 0.06, 0.035),), "trim", puff=0.04),
    ]


def tie(traits: Traits, rng: Random) -> list[Part]:
    """Knotted, hanging, the pointed blade in front; slim or wide."""
    wide = {"Slim": 0.20, "Wide": 0.46}[traits.size]
    sway = float(rng.uniform(-0.05, 0.05))
    loop = curve((-0.03, 0.03), (-0.26, -0.12), (-0.24, -0.30), (0.0, -0.36), (0.24, -0.30), (0.26, -0.12), (0.03, 0.03))
    tail = limb(path((0.03, 0.1), (0.07 + sway, 0.6), (0.10 + sway, 0.95)), [0.10, 0.6 * wide, 0.85 * wide])
    half = wide / 2 + 0.03
    blade = path((-0.06, 0.15), (0.06, 0.15), (half + sway, 1.12), (sway, 1.12 + 0.9 * half), (-half + sway, 1.12))
    knot = smooth(path((-0.15, -0.03), (0.15, -0.03), (0.15, -0.03), (0.075, 0.22), (-0.075, 0.22)), 2)
    return [
        Part((), "trim", ((loop, 0.10),), puff=0.04),
        Part((tail,), "edge", puff=0.03),
        Part((blade,), puff=0.06, grain=0.7, folds=((curve((0.0, 0.2), (0.02 + sway, 0.45)), 0.03, -0.02),)),
        Part((knot,), puff=0.08, grain=-0.5, shadow=0.7),
    ]


def _glove(cuff: float, rng: Random) -> list[Part]:
    spread = float(rng.uniform(0.8, 1.3))
    fingers, tips = [], []
    for x, lean, top in ((-0.21, -0.10, 0.46), (-0.075, -0.03, 0.58), (0.065, 0.03, 0.55), (0.20, 0.11, 0.42)):
        end = (x + lean * spread, -top)
        fingers.append(limb(path((x, 0.15), (x + 0.4 * lean * spread, -0.2), end), [0.155, 0.15, 0.12]))
        tips.append(ellipse(*end, 0.06, 0.06))
    thumb = limb(path((-0.14, 0.44), (-0.34, 0.20), (-0.45, -0.02)), [0.26, 0.18, 0.13])
    tips.append(ellipse(-0.45, -0.02, 0.065, 0.065))
    palm = smooth(path((-0.29, 0.0), (-0.29, 0.0), (0.28, 0.0), (0.28, 0.0), (0.29, 0.3), (0.23, 0.55), (0.23, 0.55 + cuff),
        (-0.23, 0.55 + cuff), (-0.23, 0.55), (-0.29, 0.3)), 2)
    rim = box(-0.24, 0.47 + cuff, 0.24, 0.56 + cuff, 0.02)
    lines = tuple(curve((x, 0.06), (x * 0.9, 0.32)) for x in (-0.13, 0.0, 0.13))
    return [
        Part((palm, thumb, *fingers, *tips), puff=0.08, seams=lines),
        Part((rim,), "trim", puff=0.04, shadow=0.4),
    ]


def gloves(traits: Traits, rng: Random) -> list[Part]:
    """A pair side by side; to the wrist or to the elbow."""
    cuff = {"Short": 0.16, "Long": 0.95}[traits.size]
    gap = float(rng.uniform(0.40, 0.48))
    drop = float(rng.uniform(-0.12, 0.12))
    angle = float(rng.uniform(-0.05, 0.16))
    return placed(_glove(cuff, rng), (gap, drop), angle) + placed(_glove(cuff, rng), (-gap, 0.0), -angle, flip=True)


def _sock(leg: float) -> list[Part]:
    outline = smooth(path((-0.20, -leg), (0.20, -leg), (0.20, -leg), (0.21, 0.0), (0.30, 0.16), (0.72, 0.24), (0.86, 0.38),
        (0.78, 0.52), (0.3, 0.54), (-0.10, 0.53), (-0.25, 0.36), (-0.21, 0.1), (-0.20, -leg)), 3)
    heel = smooth(path((-0.23, 0.2), (-0.05, 0.24), (0.06, 0.53), (-0.10, 0.53), (-0.25, 0.40)), 2)
    toe = smooth(path((0.58, 0.22), (0.72, 0.24), (0.86, 0.38), (0.78, 0.52), (0.55, 0.535), (0.52, 0.38)), 2)
    return [
        Part((outline,), puff=0.12, folds=((curve((0.2, 0.02), (0.08, 0.14), (-0.12, 0.2)), 0.03, -0.03),)),
        Part((heel, toe), "trim", puff=0.04, shadow=0),
        Part((box(-0.215, -leg - 0.05, 0.215, -leg + 0.10, 0.03),), "trim", puff=0.05, shadow=0.3),
    ]


def socks(traits: Traits, rng: Random) -> list[Part]:
    """A pair from the side, one behind the other; to the ankle or to the knee."""
    leg = {"Ankle": 0.12, "Knee": 1.15}[traits.size]
    shift = float(rng.uniform(0.30, 0.42))
    return placed(_sock(leg), (-shift, -0.14), 0.04) + placed(_sock(leg), (0.4 * shift, 0.10), -0.03)


def _lens(shape: str, size: float) -> Points:
    if shape == "Round":
        return ellipse(0, 0, 0.36 * size, 0.36 * size)
    if shape == "Square":
        return box(-0.40 * size, -0.29 * size, 0.40 * size, 0.29 * size, 0.09 * size)
    return smooth(path((-0.32, -0.16), (0.0, -0.22), (0.34, -0.38), (0.50, -0.36), (0.42, 0.02), (0.22, 0.26), (-0.10, 0.28),
        (-0.34, 0.12)) * size, 3)


def sunglasses(traits: Traits, rng: Random) -> list[Part]:
    """From the front, temples folded back; lens shape is the pattern, small or oversized lenses."""
    size = {"Small": 0.72, "Oversized": 1.25}[traits.size]
    thick = 0.11 if traits.material == "Acetate" else 0.045
    lens = _lens(traits.pattern, size)
    apart = 0.14 + 0.40 * size
    aside = np.array([apart, 0.0])
    right, left = lens + aside, mirror(lens) - aside
    edge = 1 + thick / (0.36 * size)
    hinge = apart + 0.38 * size
    temple = curve((hinge, -0.14 * size), (hinge + 0.22, -0.30), (hinge + 0.24 + float(rng.uniform(-0.06, 0.06)), -0.62))
    bridge = curve((-0.2, -0.04), (0.0, -0.12), (0.2, -0.04))
    bars = ((temple, thick * 0.9), (mirror(temple), thick * 0.9), (bridge, thick))
    rims = (lens * edge + aside, mirror(lens * edge) - aside)
    return [
        Part((), "main", bars, puff=0.03),
        Part(rims, "main", holes=(right, left), puff=0.04),
        Part((right, left), "glass", puff=0.05, shadow=0.15),
    ]


def watch(traits: Traits, rng: Random) -> list[Part]:
    """From the front: strap up and down, round case, dial, hands; the case small or large beside the strap."""
    radius = {"Small": 0.27, "Large": 0.50}[traits.size]
    metal = traits.material != "Leather"
    half = path((0.15, -1.0), (0.15, -1.0), (0.20, -0.1), (0.20, 0.1), (0.15, 1.0), (0.15, 1.0))
    links = [path((-0.2, y), (0.2, y)) for y in np.arange(-0.98, 0.99, 0.115) if abs(y) > radius]
    stitches = [path((s * 0.12, -0.95), (s * 0.15, 0.0), (s * 0.12, 0.95)) for s in (-1, 1)]
    # each link's gap is drawn twice: it is to be dark
    parts = [Part((smooth(both(half), 1),), puff=0.06, seams=(*links, *links) if metal else tuple(stitches))]
    crown = box(radius - 0.03, -0.05, radius + 0.08, 0.05, 0.02)
    parts.append(Part((_disc(radius), crown), "main" if metal else "metal", puff=0.07, shadow=0.8))
    if traits.pattern:
        gems = tuple(ellipse(x, y, 0.06, 0.06) for x, y in _around(0.86 * radius, 12 if radius < 0.4 else 18))
        parts += [Part((_disc(0.98 * radius),), "dark", puff=0.02, shadow=0), Part(gems, "diamond", puff=0.03, shadow=0)]
    dial = radius * 0.76
    parts.append(Part((_disc(dial),), "dial", puff=0.02, shadow=0.2))
    marks = [(np.stack([0.8 * place, 0.94 * place]), 0.03) for place in _around(dial, 12)]
    hour, minute = (np.array([np.cos(angle), np.sin(angle)]) * dial for angle in rng.uniform(0, 2 * np.pi, 2))
    hands = [(np.stack([0 * hour, 0.5 * hour]), 0.035), (np.stack([0 * minute, 0.75 * minute]), 0.035)]
    ink: Role = "dark" if traits.colour in ("White", "Yellow", "Sky Blue", "Pink") else "white"
    parts.append(Part((_disc(0.03),), ink, (*marks, *hands), puff=0.01, shadow=0.2))
    return parts


def _disc(radius: float) -> Points:
    return ellipse(0, 0, radius, radius)


def _around(radius: float, count: int) -> Points:
    """Points evenly on a circle around the middle."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def necklace(traits: Traits, rng: Random) -> list[Part]:
    """A chain laid in a U with a stone at its lowest point; short or long."""
    length = {"Short": 0.62, "Long": 1.55}[traits.size]
    wide = 0.58 + float(rng.uniform(-0.04, 0.04))
    chain = curve((-0.20, -0.35), (-wide, -0.22), (-wide, 0.25 * length), (-0.18, 0.9 * length), (0, length), (0.18, 0.9 * length),
        (wide, 0.25 * length), (wide, -0.22), (0.20, -0.35), (-0.20, -0.35))
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(chain, axis=0), axis=1))])
    places = np.stack([np.interp(np.arange(0, along[-1], 0.085), along, chain[:, axis]) for axis in (0, 1)], axis=1)
    beads = tuple(ellipse(x, y, 0.05, 0.05) for x, y in places)
    y = length + 0.26
    gem = path((0, -0.23), (0.17, -0.11), (0.20, 0.06), (0, 0.29), (-0.20, 0.06), (-0.17, -0.11)) + np.array([0.0, y])
    parts = [Part(beads, "main", puff=0.04), Part((ellipse(0, y, 0.29, 0.34),), "main", puff=0.06)]
    if traits.pattern:
        ring = tuple(ellipse(0.33 * c, y + 0.37 * s, 0.072, 0.072) for c, s in _around(1.0, 15))
        upper = tuple(ellipse(x, y0, 0.062, 0.062) for x, y0 in places[::2] if y0 > 0.3 * length)
        parts.append(Part((*upper, *ring), "diamond", puff=0.03, shadow=0.2))
    facets = (path((-0.17, y - 0.11), (0, y), (0.17, y - 0.11)), path((0, y), (0, y + 0.27)))
    parts.append(Part((smooth(gem, 1),), "gem", puff=0.10, shadow=0.4, seams=facets))
    return parts
