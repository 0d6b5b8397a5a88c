"""Belts, wallets, handbags, backpacks: traits -> parts. Knows nothing of pixels."""

from __future__ import annotations

import numpy as np

from .catalogue import Traits
from .geometry import Part, both, box, curve, ellipse, limb, mirror, path, smooth

Random = np.random.Generator


def belt(traits: Traits, rng: Random) -> list[Part]:
    """Rolled up and standing, seen from a little above, the buckle in front; slim or wide."""
    wide = {"Slim": 0.20, "Wide": 0.44}[traits.size]
    depth = 0.34 + float(rng.uniform(-0.04, 0.06))
    back = np.concatenate([ellipse(0, 0, 0.92, depth, 180, 360), ellipse(0, wide, 0.92, depth, 360, 180)])
    front = np.concatenate([ellipse(0, 0, 0.95, depth, 0, 180), ellipse(0, wide, 0.95, depth, 180, 0)])
    inner = np.concatenate([ellipse(0, -0.01, 0.74, 0.72 * depth, 180, 360), ellipse(0, wide * 0.9, 0.74, 0.72 * depth, 360, 180)])
    y, x = depth + wide / 2, float(rng.uniform(-0.15, 0.05))
    half = wide / 2 + 0.06
    frame = box(x - half * 1.1, y - half, x + half * 1.1, y + half, 0.06)
    hole = box(x - half * 1.1 + 0.09, y - half + 0.09, x + half * 1.1 - 0.09, y + half - 0.09, 0.03)
    tail = limb(path((x + half, y), (x + half + 0.3, y - 0.06), (x + half + 0.52, y - 0.13)), [wide * 0.92, wide * 0.9, wide * 0.55])
    return [
        Part((back,), "lining", puff=0.04),
        Part((inner,), "edge", puff=0.04, shadow=0.6),
        Part((front,), puff=0.06, shadow=0.7),
        Part((tail,), puff=0.05, shadow=0.7),
        Part((frame,), "metal", holes=(hole,), strokes=((path((x - half, y), (x + half, y)), 0.05),), puff=0.03, shadow=0.7),
    ]


def wallet(traits: Traits, rng: Random) -> list[Part]:
    """A flap wallet with cards peeking out: a compact square or a long one."""
    width, height = {"Compact": (0.62, 0.50), "Long": (1.05, 0.50)}[traits.size]
    lift = float(rng.uniform(0.08, 0.18))
    cards = [
        Part((box(-0.8 * width + 0.06, -height - lift - 0.05, 0.7 * width, 0.1, 0.05),), "paper", puff=0.02),
        Part((box(-0.7 * width, -height - 0.55 * lift, 0.8 * width, 0.1, 0.05),), "edge", puff=0.02),
    ]
    body = box(-width, -height, width, height, 0.09)
    inset = box(-width + 0.06, -height + 0.06, width - 0.06, height - 0.06, 0.06)
    flap = box(-width - 0.015, -0.16, width + 0.015, height + 0.02, 0.10)
    line = box(-width + 0.05, -0.10, width - 0.05, height - 0.05, 0.06)
    return [
        *cards,
        Part((body,), puff=0.06, seams=(inset,)),
        Part((flap,), puff=0.07, seams=(line,), shadow=0.8),
        Part((ellipse(0, -0.04, 0.075, 0.075),), "metal", puff=0.06, shadow=0.5),
    ]


def handbag(traits: Traits, rng: Random) -> list[Part]:
    """Handle, body, flap and clasp; the body grows from mini to large under the same handle and clasp."""
    width, height = {"Mini": (0.42, 0.42), "Medium": (0.68, 0.74), "Large": (1.05, 1.22)}[traits.size]
    flare = float(rng.uniform(0.02, 0.10))
    top, rise = 0.33, 0.62 + float(rng.uniform(-0.06, 0.06))
    handle = curve((-top, 0.10), (-top, -0.35 * rise), (-0.2, -rise), (0.2, -rise), (top, -0.35 * rise), (top, 0.10))
    body = smooth(path((-width, 0), (-width, 0), (width, 0), (width, 0), (width + flare, 0.8 * height), (width + 0.8 * flare, height),
        (0.9 * width, height + 0.05), (-0.9 * width, height + 0.05), (-width - 0.8 * flare, height), (-width - flare, 0.8 * height)), 2)
    drop = 0.52 * height
    flap = smooth(path((-width - 0.01, -0.05), (-width - 0.01, -0.05), (width + 0.01, -0.05), (width + 0.01, -0.05),
        (width + 0.03, 0.7 * drop), (0.75 * width, drop), (0, 1.12 * drop), (-0.75 * width, drop), (-width - 0.03, 0.7 * drop)), 2)
    rim = smooth(path((-width + 0.05, 0.0), (-width + 0.03, 0.66 * drop), (-0.72 * width, drop - 0.06), (0, 1.12 * drop - 0.06),
        (0.72 * width, drop - 0.06), (width - 0.03, 0.66 * drop), (width - 0.05, 0.0)), 2, closed=False)
    y = 1.05 * drop
    return [
        Part((), "strap", ((handle, 0.085),), puff=0.04),
        Part((body,), puff=0.14),
        Part((flap,), puff=0.08, seams=(rim,), shadow=0.9),
        Part((ellipse(-top, 0.03, 0.06, 0.06), ellipse(top, 0.03, 0.06, 0.06)), "metal", puff=0.04),
        Part((box(-0.11, y - 0.09, 0.11, y + 0.09, 0.03),), "metal", holes=(box(-0.045, y - 0.03, 0.045, y + 0.03),), puff=0.05,
            shadow=0.7),
    ]


def backpack(traits: Traits, rng: Random) -> list[Part]:
    """Rounded body, lid, front pocket, straps at the sides; small and round or large and tall."""
    width, height = {"Small": (0.55, 0.72), "Large": (0.68, 1.55)}[traits.size]
    bow = 0.15 + float(rng.uniform(0, 0.06))
    strap = curve((0.5 * width, 0.05), (width + 0.5 * bow, 0.2), (width + bow, 0.55 * height), (width + 0.5 * bow, 0.85 * height),
        (0.8 * width, 0.97 * height))
    grip = curve((-0.14, 0.02), (-0.13, -0.16), (0.13, -0.16), (0.14, 0.02))
    body = both(smooth(path((0, -0.06), (0.55 * width, -0.05), (0.95 * width, 0.12), (width, 0.45), (1.04 * width, 0.9 * height),
        (0.9 * width, height + 0.02), (0, height + 0.05)), 3, closed=False))
    lid = both(smooth(path((0, -0.09), (0.55 * width, -0.08), (width, 0.10), (1.03 * width, 0.26), (0.9 * width, 0.36),
        (0, 0.42)), 3, closed=False))
    pocket = box(-0.68 * width, height - 0.40 * height, 0.68 * width, height - 0.04, 0.12)
    zipper = path((-0.58 * width, height - 0.33 * height), (0.58 * width, height - 0.33 * height))
    buckles = tuple(box(s * 0.34 - 0.05, 0.34, s * 0.34 + 0.05, 0.48, 0.02) for s in (-1, 1))
    return [
        Part((), "edge", ((strap, 0.11), (mirror(strap), 0.11), (grip, 0.07)), puff=0.05),
        Part((body,), puff=0.18),
        Part((pocket,), puff=0.12, shadow=0.8),
        Part((), "metal", ((zipper, 0.035),), puff=0.01, shadow=0.3),
        Part((lid,), puff=0.14, shadow=0.9),
        Part(tuple(box(s * 0.34 - 0.035, 0.1, s * 0.34 + 0.035, 0.4) for s in (-1, 1)), "strap", puff=0.02, shadow=0.5),
        Part(buckles, "metal", puff=0.03, shadow=0.4),
    ]
