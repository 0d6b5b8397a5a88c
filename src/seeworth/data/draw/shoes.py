"""Shoes from the side, toe to the right; boots, sneakers and loafers with the second shoe behind. Knows nothing of pixels."""

from __future__ import annotations

import numpy as np

from .catalogue import Traits
from .geometry import Part, box, curve, ellipse, path, placed, smooth

Random = np.random.Generator


def _behind(parts: list[Part], rng: Random, rise: float = 0.16) -> list[Part]:
    """The other shoe, a little behind and above, then this one."""
    at = (float(rng.uniform(0.14, 0.26)) * float(rng.choice([-1, 1])), -rise)
    return placed(parts, at, float(rng.uniform(-0.03, 0.03))) + parts


def boots(traits: Traits, rng: Random) -> list[Part]:
    """Shaft, foot, block heel (none on rubber); to the ankle or to the knee."""
    top = {"Ankle": -0.38, "Knee": -1.55}[traits.size]
    rubber = traits.material == "Rubber"
    wide = 0.27 if traits.size == "Ankle" else 0.30
    upper = smooth(path((-0.30, top), (-0.30, top), (wide - 0.02, top), (wide - 0.02, top), (0.23, 0.0), (0.28, 0.18), (0.62, 0.30),
        (0.86, 0.42), (0.90, 0.58), (0.90, 0.62), (-0.36, 0.62), (-0.36, 0.62), (-0.37, 0.40), (-0.30, 0.10)), 3)
    sole = smooth(path((-0.39, 0.60), (0.92, 0.60), (0.95, 0.66), (0.86, 0.72), (0.2, 0.72), (-0.39, 0.72)), 2)
    crease = curve((0.24, 0.06), (0.08, 0.16), (-0.16, 0.14))
    back = [Part((sole,), "sole", puff=0.04)]
    if not rubber:
        back.append(Part((path((-0.39, 0.66), (0.0, 0.66), (-0.05, 0.92), (-0.36, 0.92)),), "dark", puff=0.04))
    shoe = [
        *back,
        Part((upper,), puff=0.18, folds=((crease, 0.05, -0.04),), seams=(() if rubber else (curve((0.30, 0.20), (0.22, 0.42),
            (0.30, 0.61)),))),
        Part((box(-0.31, top - 0.03, wide - 0.01, top + (0.14 if rubber else 0.06), 0.02),), "edge" if rubber else "trim", puff=0.04,
            shadow=0.3),
    ]
    if not rubber and traits.size == "Ankle":
        shoe.append(Part((smooth(path((-0.06, top + 0.08), (0.14, top + 0.08), (0.10, 0.22),
            (-0.02, 0.22)), 1),), "dark", puff=0.03, shadow=0.2))
    return _behind(shoe, rng, 0.12)


def sneakers(traits: Traits, rng: Random) -> list[Part]:
    """Thick pale sole, toe cap, laces; low or over the ankle."""
    high = traits.size == "High-Top"
    top = -0.66 if high else -0.06
    tongue = smooth(path((-0.05, top + 0.05), (0.06, top - 0.07), (0.20, top - 0.03), (0.36, 0.2), (0.2, 0.3)), 2)
    upper = smooth(path((-0.58, top + 0.02), (-0.3, top + 0.07), (0.04, top), (0.04, top), (0.14, 0.0 if high else 0.05),
        (0.40, 0.24), (0.72, 0.36), (0.90, 0.50), (0.92, 0.62), (-0.62, 0.62), (-0.62, 0.62), (-0.65, 0.35), (-0.57, 0.12)), 3)
    sole = smooth(path((-0.68, 0.54), (-0.68, 0.54), (0.4, 0.56), (0.92, 0.50), (1.0, 0.60), (0.94, 0.74), (-0.64, 0.75),
        (-0.70, 0.70)), 2)
    cap = smooth(path((0.60, 0.34), (0.78, 0.38), (0.93, 0.50), (0.95, 0.60), (0.58, 0.60), (0.54, 0.48)), 2)
    heel = smooth(path((-0.61, 0.0), (-0.44, 0.06), (-0.44, 0.56), (-0.65, 0.56)), 2)
    rows = np.linspace(0.04, 0.30, 4) if not high else np.linspace(-0.52, 0.30, 7)
    laces = tuple((curve((0.02 + 0.75 * max(0, y), y + 0.05), (0.10 + 0.75 * max(0, y), y - 0.01),
        (0.19 + 0.75 * max(0, y), y - 0.01)), 0.05) for y in rows)
    shoe = [
        Part((tongue,), "trim", puff=0.05),
        Part((upper,), puff=0.16, seams=(curve((0.0, top + 0.06), (0.03, 0.14), (0.34, 0.42), (0.5, 0.5)),)),
        Part((heel,), "edge", puff=0.03, shadow=0.2),
        Part((cap,), "white", puff=0.10, shadow=0.3),
        Part((sole,), "white", puff=0.06, shadow=0.4, seams=(curve((-0.68, 0.66), (0.4, 0.67), (0.97, 0.63)),)),
        Part((), "white", laces, puff=0.02, shadow=0.5),
    ]
    return _behind(shoe, rng)


def loafers(traits: Traits, rng: Random) -> list[Part]:
    """A low slip-on with a strap and a metal bit; flat or on a platform."""
    thick = {"Flat": 0.08, "Platform": 0.36}[traits.size]
    upper = smooth(path((-0.72, -0.06), (-0.60, -0.02), (-0.2, 0.12), (0.02, 0.06), (0.14, -0.10), (0.24, -0.10), (0.62, 0.10),
        (0.86, 0.22), (0.92, 0.38), (0.90, 0.44), (-0.76, 0.44), (-0.80, 0.30), (-0.76, 0.06)), 3)
    inside = smooth(path((-0.70, -0.06), (-0.3, -0.08), (0.12, -0.10), (0.02, 0.10), (-0.2, 0.14), (-0.58, 0.02)), 2)
    sole = smooth(path((-0.79, 0.42), (-0.79, 0.42), (0.92, 0.42), (0.96, 0.46), (0.92, 0.44 + thick), (0.88, 0.46 + thick),
        (-0.79, 0.46 + thick), (-0.79, 0.46 + thick)), 1)
    heel = path((-0.79, 0.42 + thick), (-0.36, 0.42 + thick), (-0.38, 0.56 + thick), (-0.78, 0.56 + thick))
    strap = smooth(path((0.10, -0.10), (0.32, -0.04), (0.26, 0.42), (0.02, 0.42)), 1)
    vamp = curve((0.34, 0.0), (0.62, 0.18), (0.88, 0.26))
    shoe = [
        Part((heel,), "dark", puff=0.03),
        Part((inside,), "lining", puff=0.04),
        Part((upper,), puff=0.16, seams=(vamp,)),
        Part((strap,), "trim", puff=0.04, shadow=0.5),
        Part((sole,), "sole", puff=0.04, shadow=0.4),
        Part((ellipse(0.19, 0.08, 0.075, 0.055), ellipse(0.14, 0.24, 0.075, 0.055)), "metal", puff=0.03),
    ]
    return _behind(shoe, rng)


def heels(traits: Traits, rng: Random) -> list[Part]:
    """A pump with a pointed toe; the heel low or high."""
    rise = {"Low": 0.30, "High": 1.02}[traits.size]
    back = 0.62 - rise
    upper = smooth(path((-0.72, back - 0.34), (-0.58, back - 0.26), (-0.36, back - 0.02 + 0.12 * rise), (0.10, 0.38 - 0.10 * rise),
        (0.34, 0.26), (0.44, 0.24), (0.80, 0.46), (1.02, 0.58), (1.02, 0.58), (1.0, 0.64), (0.25, 0.66), (0.0, 0.60),
        (-0.42, back + 0.16 + 0.1 * rise), (-0.72, back + 0.10), (-0.79, back - 0.1)), 3)
    inside = smooth(path((-0.70, back - 0.33), (-0.30, back - 0.12), (0.15, 0.20 - 0.05 * rise), (0.42, 0.24),
        (0.10, 0.40 - 0.10 * rise), (-0.36, back + 0.12 * rise), (-0.58, back - 0.24)), 2)
    sole = smooth(path((1.02, 0.60), (0.98, 0.67), (0.25, 0.69), (0.0, 0.64), (-0.42, back + 0.20 + 0.1 * rise), (-0.6, back + 0.16),
        (-0.42, back + 0.12 + 0.1 * rise), (0.0, 0.58), (0.25, 0.64)), 2)
    thin = 0.11 if rise > 0.6 else 0.17
    spike = smooth(path((-0.78, back - 0.02), (-0.44, back + 0.12), (-0.58, back + 0.24), (-0.68 + thin, 0.68), (-0.68 + thin, 0.68),
        (-0.70, 0.68), (-0.70, 0.68), (-0.74, back + 0.3)), 2)
    shoe = [
        Part((sole,), "sole", puff=0.03),
        Part((spike,), "trim", puff=0.06),
        Part((inside,), "lining", puff=0.04, shadow=0.2),
        Part((upper,), puff=0.16),
    ]
    return _behind(shoe, rng, 0.20)
