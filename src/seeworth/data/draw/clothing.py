"""Clothes seen from the front, laid or hung: traits -> parts.

Drawn with the shoulders half a unit from the middle, so that lengths tell sizes by proportion. Knows nothing of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .catalogue import Traits
from .geometry import Part, Points, Role, both, box, curve, ellipse, limb, mirror, path, smooth

Random = np.random.Generator


@dataclass(frozen=True)
class Cut:
    """Measures of an upper garment: where the hem is, half widths, and the sleeves (length 0: none)."""

    length: float
    waist: float = 0.42
    hem: float = 0.46
    neck: float = 0.16
    drop: float = 0.14
    sleeve: float = 0.95
    cuff: float = 0.17
    spread: float = 0.20


def _torso(cut: Cut, rng: Random) -> Points:
    sway = float(rng.uniform(-0.015, 0.015))
    half = path(
        (0, cut.drop), (0.6 * cut.neck, 0.8 * cut.drop), (cut.neck, -0.03), (cut.neck, -0.03), (0.46, 0.07), (0.50, 0.13),
        (0.455, 0.34), (0.44, 0.42), (cut.waist + sway, 0.66 if cut.length > 0.8 else 0.5 * cut.length + 0.2),
        (cut.hem, cut.length - 0.02), (cut.hem, cut.length), (0, cut.length + 0.035),
    )  # fmt: skip
    return both(smooth(half, 2, closed=False))


def _sleeve(cut: Cut, rng: Random) -> tuple[Points, Points, float]:
    """The right sleeve, the cuff's strip, and the sleeve's direction."""
    angle = cut.spread + float(rng.uniform(-0.07, 0.09))
    bend = float(rng.uniform(-0.12, 0.06))
    start = np.array([0.40, 0.14])
    first = start + 0.5 * cut.sleeve * np.array([np.sin(angle), np.cos(angle)])
    last = first + 0.5 * cut.sleeve * np.array([np.sin(angle + bend), np.cos(angle + bend)])
    inside = start - 0.12 * np.array([np.sin(angle), np.cos(angle)])
    wide = 0.27
    outline = limb(np.stack([inside, (2 * start + first) / 3, first, last]), [0.16, wide, (wide + cut.cuff) / 2, cut.cuff])
    return outline, np.stack([last - 0.16 * (last - first), last]), -angle


def _garment(cut: Cut, rng: Random, seams: tuple[Points, ...] = (), ribbed: bool = False) -> list[Part]:
    """Back of the neck, sleeves, body; with ribbed cuffs and hem when asked."""
    parts = [Part((both(path((0, -0.07), (cut.neck, -0.03), (0.6 * cut.neck, 0.8 * cut.drop),
        (0, cut.drop + 0.02))),), "lining", shadow=0)]
    if cut.sleeve:
        for flip in (False, True):
            outline, cuff, angle = _sleeve(cut, rng)
            creases = tuple(
                (curve(*(tuple(p) for p in cuff[0] + np.array([[-0.09, -0.1], [0, -0.14], [0.08, -0.24]]) * [1, k])), 0.03, -0.02)
                for k in rng.uniform(0.3, 1.9, 2)
            )
            band = limb(cuff, [cut.cuff * 1.02, cut.cuff * 0.94], 0)
            if flip:
                outline, band, angle = mirror(outline), mirror(band), -angle
                creases = tuple((mirror(line), width, height) for line, width, height in creases)
            parts.append(Part((outline,), grain=angle, folds=creases))
            if ribbed:
                parts.append(Part((band,), "trim", puff=0.05, grain=angle, shadow=0.2))
    parts.append(Part((_torso(cut, rng),), folds=_drape(cut.length, cut.hem, rng), seams=seams))
    if ribbed:
        hem = box(-cut.hem * 0.97, cut.length - 0.10, cut.hem * 0.97, cut.length + 0.04, 0.02)
        parts.append(Part((hem,), "trim", puff=0.05, shadow=0.25))
    return parts


def _drape(length: float, hem: float, rng: Random, top: float = 0.45, count: int = 4) -> tuple[tuple[Points, float, float], ...]:
    """Soft folds that fall from the waist to the hem."""
    folds = []
    for x in rng.uniform(-0.85, 0.85, count):
        start = top + (length - top) * float(rng.uniform(0.0, 0.5))
        line = curve((x * 0.36, start), (x * 0.42, (start + length) / 2), (x * hem, length))
        folds.append((line, 0.05, float(rng.choice([-1, 1])) * float(rng.uniform(0.012, 0.028))))
    return tuple(folds)


def _buttons(*places: tuple[float, float], radius: float = 0.025) -> Part:
    return Part(tuple(ellipse(x, y, radius, radius) for x, y in places), "button", puff=0.02, shadow=0.3)


def _sides(shape: Points) -> tuple[Points, Points]:
    return shape, mirror(shape)


def coat(traits: Traits, rng: Random) -> list[Part]:
    """Single-breasted, broad lapels, three big buttons, flap pockets; three lengths."""
    length = {"Short": 1.05, "Mid-Length": 1.55, "Long": 2.15}[traits.size]
    cut = Cut(length, waist=0.44, hem=0.47 + 0.06 * length / 2, drop=0.42, sleeve=0.98, cuff=0.20)
    middle = curve((0.02, 0.44), (0.02, length))
    parts = _garment(cut, rng, (middle,))
    lapel = path((0.10, -0.09), (0.20, -0.06), (0.30, 0.16), (0.22, 0.19), (0.27, 0.25), (0.03, 0.56), (0.02, 0.44))
    parts.append(Part(_sides(lapel), "trim", puff=0.05))
    y = 0.86 if length > 1.2 else 0.76
    parts.append(Part(_sides(box(0.15, y, 0.36, y + 0.085, 0.02)), "trim", puff=0.03))
    parts.append(_buttons((0.02, 0.60), (0.02, 0.76), (0.02, 0.92), radius=0.04))
    return parts


def trench(traits: Traits, rng: Random) -> list[Part]:
    """Double-breasted with a tied belt, epaulettes, storm flap and a flared skirt; three lengths."""
    length = {"Short": 1.1, "Mid-Length": 1.6, "Long": 2.15}[traits.size]
    cut = Cut(length, waist=0.36, hem=0.50 + 0.10 * length / 2, drop=0.30, sleeve=0.98, cuff=0.19)
    parts = _garment(cut, rng, (curve((0.14, 0.42), (0.16, length)),))
    parts.append(Part((smooth(path((-0.46, 0.08), (-0.14, 0.02), (-0.05, 0.42), (-0.28, 0.46), (-0.44, 0.36)), 2),), puff=0.04))
    collar = path((0.06, -0.11), (0.19, -0.07), (0.34, 0.10), (0.25, 0.17), (0.30, 0.24), (0.05, 0.44), (0.02, 0.32))
    parts.append(Part(_sides(collar), "trim", puff=0.05))
    parts.append(Part(_sides(limb(path((0.25, 0.02), (0.47, 0.10)), [0.09, 0.10])), "trim", puff=0.03))
    parts.append(_buttons(*((x, y) for y in (0.36, 0.53, 0.88) for x in (-0.13, 0.17)), radius=0.033))
    belt: Role = "white" if traits.colour in ("Black", "Navy") else "dark"
    parts.append(Part((box(-0.40, 0.605, 0.40, 0.755, 0.02),), belt, puff=0.03))
    end = limb(path((0.02, 0.68), (0.07, 0.85), (0.03 + float(rng.uniform(-0.03, 0.05)), 1.06)), [0.09, 0.10, 0.10])
    parts.append(Part((end,), belt, puff=0.03))
    parts.append(Part((box(-0.09, 0.60, 0.07, 0.765, 0.03),), "metal", holes=(box(-0.055, 0.64, 0.035, 0.725),), puff=0.02))
    return parts


def jacket(traits: Traits, rng: Random) -> list[Part]:
    """A bomber: zip, stand collar, ribbed hem and cuffs, slanted pockets; two lengths."""
    length = {"Cropped": 0.78, "Long": 1.22}[traits.size]
    cut = Cut(length, waist=0.46, hem=0.45, drop=0.06, neck=0.18, sleeve=0.90, cuff=0.19, spread=0.32)
    parts = _garment(cut, rng, ribbed=True)
    parts.append(Part(_sides(path((0.015, 0.13), (0.0, 0.0), (0.10, -0.10), (0.20, -0.07), (0.19, 0.03))), "trim", puff=0.05))
    pocket = path((0.20, length - 0.42), (0.34, length - 0.20))
    parts.append(Part((), "metal", ((pocket, 0.045), (mirror(pocket), 0.045)), puff=0.01, shadow=0.3))
    parts.append(Part((), "metal", ((path((0, 0.06), (0, length + 0.02)), 0.07),), puff=0.01, shadow=0.5))
    parts.append(Part((box(-0.045, 0.10, 0.045, 0.22, 0.02),), "metal", puff=0.01))
    return parts


def shirt(traits: Traits, rng: Random) -> list[Part]:
    """Pointed collar, button band, chest pocket; short or long sleeves."""
    short = traits.size == "Short-Sleeved"
    cut = Cut(1.12, waist=0.40, hem=0.44, drop=0.12, sleeve=0.40 if short else 0.98, cuff=0.26 if short else 0.15,
        spread=0.42 if short else 0.22)
    parts = _garment(cut, rng, (curve((-0.05, 0.14), (-0.05, 1.15)), curve((0.05, 0.14), (0.05, 1.15))))
    parts.append(Part((box(0.15, 0.38, 0.34, 0.60, 0.02),), puff=0.02, shadow=0.4))
    parts.append(Part((box(-0.055, 0.14, 0.055, 1.10, 0.01),), "edge", puff=0.02, shadow=0.3))
    collar = path((0.0, 0.15), (0.05, -0.11), (0.17, -0.09), (0.22, 0.0), (0.19, 0.23))
    parts.append(Part(_sides(collar), "edge", puff=0.04))
    parts.append(_buttons(*((0.0, y) for y in np.linspace(0.2, 1.0, 6)), radius=0.026))
    return parts


def t_shirt(traits: Traits, rng: Random) -> list[Part]:
    """Crew neck, short sleeves held out; cropped or long."""
    length = {"Cropped": 0.72, "Long": 1.25}[traits.size]
    cut = Cut(length, waist=0.43, hem=0.45, drop=0.15, neck=0.19, sleeve=0.36, cuff=0.27, spread=0.62)
    parts = _garment(cut, rng)
    ring = curve((-0.20, -0.04), (-0.12, 0.125), (0, 0.17), (0.12, 0.125), (0.20, -0.04))
    parts.append(Part((), "trim", ((ring, 0.055),), puff=0.02, shadow=0.3))
    return parts


def sweater(traits: Traits, rng: Random) -> list[Part]:
    """Turtleneck, wide sleeves, ribbed hem and cuffs; cropped or long."""
    length = {"Cropped": 0.76, "Long": 1.26}[traits.size]
    cut = Cut(length, waist=0.46, hem=0.46, drop=0.05, neck=0.17, sleeve=0.94, cuff=0.20, spread=0.22)
    parts = _garment(cut, rng, ribbed=True)
    parts.append(Part((smooth(path((-0.15, -0.15), (0.15, -0.15), (0.19, 0.08), (0.0, 0.13), (-0.19, 0.08)), 2),), "trim", puff=0.07))
    return parts


def dress(traits: Traits, rng: Random) -> list[Part]:
    """Thin straps, a marked waist, a wide skirt; three lengths."""
    length = {"Mini": 1.15, "Midi": 1.65, "Maxi": 2.25}[traits.size]
    hem = 0.40 + 0.16 * length
    top = smooth(both(path((0, 0.14), (0.12, 0.12), (0.24, 0.04), (0.29, 0.18), (0.25, 0.42), (0.22, 0.60), (0, 0.62))), 2)
    skirt = both(smooth(path((0, 0.57), (0.22, 0.57), (0.22, 0.57), (0.33, 0.75), (hem, length), (hem, length),
        (0.5 * hem, length + 0.05), (0, length + 0.03)), 2, closed=False))
    straps = tuple((curve((s * 0.20, 0.10), (s * 0.17, -0.14), (s * 0.11, -0.20)), 0.035) for s in (-1, 1))
    return [
        Part((), "trim", straps, puff=0.02),
        Part((skirt,), folds=_drape(length, hem, rng, 0.62, 7)),
        Part((top,), puff=0.14),
        Part((box(-0.235, 0.55, 0.235, 0.62, 0.02),), "trim", puff=0.03),
    ]


def skirt(traits: Traits, rng: Random) -> list[Part]:
    """A waistband and a flare; mini or maxi."""
    length = {"Mini": 0.70, "Maxi": 1.65}[traits.size]
    hem = 0.62 + 0.06 * length
    outline = both(smooth(path((0, 0.06), (0.33, 0.04), (0.33, 0.04), (0.46, 0.28), (hem, length), (hem, length),
        (0.5 * hem, length + 0.06), (0, length + 0.03)), 2, closed=False))
    folds = _drape(length, hem, rng, 0.15, 8)
    band = smooth(both(path((0, 0.0), (0.33, -0.03), (0.34, 0.10), (0.2, 0.13), (0, 0.135))), 1)
    return [Part((outline,), folds=folds), Part((band,), "trim", puff=0.04), _buttons((0.0, 0.06), radius=0.035)]


def _legs(length: float, knee: float, foot: float, rng: Random) -> list[Part]:
    apart = float(rng.uniform(0.03, 0.11)) + max(0.0, foot - 0.45) * 0.5
    middle = 0.35 + 0.55 * (length - 0.35)
    line = path((0.20, 0.05), (0.215, 0.35), (0.22 + 0.5 * apart, middle), (0.22 + apart, length))
    leg = limb(line, [0.40, 0.44, knee, foot])
    inner = curve((0.0, 0.42), (0.22 + 0.5 * apart - knee / 2, middle), (0.22 + apart - foot / 2, length))
    crease = curve((0.22, 0.55), (0.22 + 0.5 * apart, middle), (0.22 + apart, length))
    whisker = curve((0.02, 0.44), (0.12, 0.36), (0.26, 0.33))
    hips = smooth(both(path((0, 0.0), (0.33, 0.0), (0.37, 0.12), (0.41, 0.34), (0.12, 0.48), (0, 0.49))), 2)
    folds = [(side, 0.035, height) for shape, height in ((crease, 0.022), (whisker, -0.02), (inner, -0.03)) for side in _sides(shape)]
    seams = (curve((0.0, 0.02), (0.0, 0.46)), *_sides(curve((0.20, 0.05), (0.25, 0.18), (0.38, 0.24))))
    band = smooth(both(path((0, -0.08), (0.30, -0.09), (0.33, -0.09), (0.345, 0.0), (0.33, 0.05), (0, 0.06))), 1)
    return [
        Part((leg, mirror(leg), hips), folds=tuple(folds), seams=seams),
        Part((band,), "trim", puff=0.03, shadow=0.3),
        _buttons((0.0, -0.01), radius=0.035),
    ]


def trousers(traits: Traits, rng: Random) -> list[Part]:
    """Two long legs, slim or wide."""
    knee, foot = {"Slim": (0.27, 0.19), "Wide-Leg": (0.50, 0.60)}[traits.size]
    return _legs(1.85, knee, foot, rng)


def shorts(traits: Traits, rng: Random) -> list[Part]:
    """Two short legs, mini or to the knee."""
    length, foot = {"Mini": (0.62, 0.47), "Bermuda": (1.08, 0.43)}[traits.size]
    return _legs(length, 0.45, foot, rng)
