"""What exists in the invented shop: kinds, their traits, and title and price as known functions of the traits.

    list price = base[kind] * factor[material] * factor[pattern] * factor[size] * factor[colour]
    full price = list price * exp(SIGMA * z), z standard normal, cut at +-2, drawn once a product; both rounded as shops do

Every trait can be seen in the photo, so no reader of photos can know more than `list_price`: its mean absolute error
against the full price is the floor of the set. Knows nothing of how anything is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

SIGMA = 0.05
"""Spread of the full price around the list price, as a standard deviation of its logarithm."""
CUT = 2.0
"""The noise never goes further than this many standard deviations."""
COLOURS: dict[str, float] = {
    "Black": 1.0, "White": 1.0, "Grey": 1.0, "Navy": 1.0, "Camel": 1.05,
    "Red": 1.05, "Green": 1.0, "Sky Blue": 1.0, "Pink": 1.05, "Yellow": 1.0,
}  # fmt: skip
"""Colour words and their factors on the price."""


@dataclass(frozen=True)
class Kind:
    """One category3_code: its place in the tree, its base price in USD, and the factors of its traits.

    The words are those of the title; an empty word is left out of it. `weight` is its share of the rows.
    """

    code: str
    noun: str
    top: str
    middle: str
    base: float
    materials: Mapping[str, float]
    patterns: Mapping[str, float]
    sizes: Mapping[str, float]
    weight: float = 1.0


@dataclass(frozen=True)
class Traits:
    """All that decides title and list price, and all of it visible."""

    kind: Kind
    colour: str
    material: str
    pattern: str
    size: str


@dataclass(frozen=True)
class Product:
    """One row to be: its code is shared by its colour variants; `full_price` holds the noise."""

    code: str
    traits: Traits
    full_price: Decimal
    price: Decimal


PLAIN = ""
MOSTLY_PLAIN = 0.4  # share of products that are plain before a pattern is picked
_ALL = {PLAIN: 1.0, "Striped": 1.35, "Checked": 1.8, "Dotted": 2.4}
_WOVEN = {PLAIN: 1.0, "Striped": 1.4, "Checked": 2.0}
_CHECK = {PLAIN: 1.0, "Checked": 1.8}

KINDS: tuple[Kind, ...] = (
    Kind("COATS", "Coat", "CLOTHING", "OUTERWEAR", 1450,
         {"Quilted Nylon": 0.75, "Wool": 1.0, "Cashmere": 1.4, "Shearling": 1.95}, _CHECK, {"Short": 0.55, "Mid-Length": 1.0,
             "Long": 1.8}),
    Kind("TRENCH COATS", "Trench Coat", "CLOTHING", "OUTERWEAR", 1500,
         {"Cotton": 1.0, "Silk": 1.35, "Leather": 1.8}, _CHECK, {"Short": 0.55, "Mid-Length": 1.0, "Long": 1.8}, 1.2),
    Kind("JACKETS", "Jacket", "CLOTHING", "OUTERWEAR", 950,
         {"Denim": 0.85, "Quilted Nylon": 1.0, "Suede": 1.4, "Leather": 1.75}, _CHECK, {"Cropped": 0.65, "Long": 1.55}, 1.2),
    Kind("SHIRTS", "Shirt", "CLOTHING", "TOPS", 380,
         {"Cotton": 1.0, "Denim": 1.2, "Silk": 1.55}, _ALL, {"Short-Sleeved": 0.55, "Long-Sleeved": 1.2}, 1.2),
    Kind("T-SHIRTS", "T-Shirt", "CLOTHING", "TOPS", 220,
         {"Cotton": 1.0, "Silk": 1.4, "Cashmere": 1.8}, _ALL, {"Cropped": 0.55, "Long": 1.45}, 1.2),
    Kind("KNITWEAR", "Sweater", "CLOTHING", "KNITWEAR", 560,
         {"Ribbed Wool": 1.0, "Cable-Knit Wool": 1.25, "Cashmere": 1.6}, _WOVEN, {"Cropped": 0.55, "Long": 1.55}, 1.2),
    Kind("DRESSES", "Dress", "CLOTHING", "DRESSES AND SKIRTS", 850,
         {"Cotton": 1.0, "Silk": 1.4, "Sequinned": 2.05}, _ALL, {"Mini": 0.5, "Midi": 1.0, "Maxi": 1.95}, 1.2),
    Kind("SKIRTS", "Skirt", "CLOTHING", "DRESSES AND SKIRTS", 520,
         {"Cotton": 1.0, "Silk": 1.35, "Leather": 1.85}, _CHECK | {"Dotted": 2.4}, {"Mini": 0.55, "Maxi": 1.95}),
    Kind("TROUSERS", "Trousers", "CLOTHING", "TROUSERS AND SHORTS", 460,
         {"Cotton": 1.0, "Denim": 1.15, "Wool": 1.35, "Leather": 1.9}, _WOVEN, {"Slim": 0.65, "Wide-Leg": 1.7}),
    Kind("SHORTS", "Shorts", "CLOTHING", "TROUSERS AND SHORTS", 270,
         {"Cotton": 1.0, "Denim": 1.2, "Silk": 1.5, "Leather": 1.95}, _WOVEN, {"Mini": 0.65, "Bermuda": 1.7}, 0.8),
    Kind("SCARVES", "Scarf", "ACCESSORIES", "SOFT ACCESSORIES", 300,
         {"Ribbed Wool": 1.0, "Silk": 1.25, "Cashmere": 1.65}, _ALL, {"Short": 0.5, "Long": 1.95}, 1.2),
    Kind("HATS", "Hat", "ACCESSORIES", "SOFT ACCESSORIES", 310,
         {"Straw": 1.0, "Wool Felt": 1.25, "Leather": 1.65}, _CHECK, {"Narrow-Brimmed": 0.55, "Wide-Brimmed": 1.95}, 0.8),
    Kind("CAPS", "Cap", "ACCESSORIES", "SOFT ACCESSORIES", 170,
         {"Cotton": 1.0, "Denim": 1.2, "Leather": 1.8}, _WOVEN, {"Short-Peaked": 0.65, "Long-Peaked": 1.45}, 0.8),
    Kind("TIES", "Tie", "ACCESSORIES", "SOFT ACCESSORIES", 95,
         {"Cotton": 1.0, "Ribbed Wool": 1.2, "Silk": 1.55}, _ALL, {"Slim": 0.65, "Wide": 1.55}, 0.8),
    Kind("GLOVES", "Gloves", "ACCESSORIES", "SOFT ACCESSORIES", 210,
         {"Ribbed Wool": 1.0, "Suede": 1.4, "Leather": 1.7}, _CHECK, {"Short": 0.65, "Long": 2.25}, 0.8),
    Kind("SOCKS", "Socks", "ACCESSORIES", "SOFT ACCESSORIES", 72,
         {"Cotton": 1.0, "Ribbed Wool": 1.25, "Cashmere": 1.75}, _ALL, {"Ankle": 0.5, "Knee": 2.25}, 0.8),
    Kind("BELTS", "Belt", "ACCESSORIES", "LEATHER GOODS", 240,
         {"Canvas": 1.0, "Leather": 1.3, "Crocodile": 2.0}, _WOVEN, {"Slim": 0.65, "Wide": 1.7}, 0.8),
    Kind("WALLETS", "Wallet", "ACCESSORIES", "LEATHER GOODS", 300,
         {"Canvas": 0.9, "Leather": 1.2, "Crocodile": 2.0}, _WOVEN, {"Compact": 0.55, "Long": 1.95}),
    Kind("HANDBAGS", "Handbag", "ACCESSORIES", "BAGS", 1300,
         {"Canvas": 0.85, "Leather": 1.2, "Suede": 1.05, "Crocodile": 2.1}, _CHECK, {"Mini": 0.4, "Medium": 1.0, "Large": 2.25}, 1.4),
    Kind("BACKPACKS", "Backpack", "ACCESSORIES", "BAGS", 800,
         {"Quilted Nylon": 0.85, "Canvas": 1.0, "Leather": 1.55}, _WOVEN, {"Small": 0.55, "Large": 1.95}),
    Kind("SUNGLASSES", "Sunglasses", "ACCESSORIES", "EYEWEAR", 190,
         {"Acetate": 1.0, "Steel": 1.5, "Gold": 4.0}, {"Square": 1.0, "Round": 1.2, "Cat-Eye": 1.45}, {"Small": 0.65, "Oversized": 1.7}),
    Kind("WATCHES", "Watch", "ACCESSORIES", "WATCHES AND JEWELLERY", 2400,
         {"Leather": 0.7, "Steel": 1.2, "Gold": 8.0}, {PLAIN: 1.0, "Diamond-Set": 2.0}, {"Small": 0.6, "Large": 1.55}),
    Kind("JEWELLERY", "Necklace", "ACCESSORIES", "WATCHES AND JEWELLERY", 330,
         {"Silver": 1.0, "Gold": 4.5}, {PLAIN: 1.0, "Diamond-Set": 3.5}, {"Short": 0.65, "Long": 1.7}),
    Kind("BOOTS", "Boots", "SHOES", "BOOTS", 820,
         {"Rubber": 0.65, "Suede": 1.0, "Leather": 1.2, "Crocodile": 1.95}, _CHECK, {"Ankle": 0.55, "Knee": 1.95}, 1.1),
    Kind("SNEAKERS", "Sneakers", "SHOES", "SNEAKERS", 430,
         {"Canvas": 0.85, "Suede": 1.1, "Leather": 1.3}, _WOVEN, {"Low-Top": 0.65, "High-Top": 1.55}, 1.2),
    Kind("LOAFERS", "Loafers", "SHOES", "FLAT SHOES", 520,
         {"Suede": 1.0, "Patent": 1.25, "Crocodile": 1.95}, _CHECK, {"Flat": 0.7, "Platform": 1.7}),
    Kind("HEELS", "Pumps", "SHOES", "HEELS", 580,
         {"Suede": 1.0, "Silk": 1.2, "Patent": 1.4, "Crocodile": 1.95}, _CHECK, {"Low": 0.55, "High": 1.7}, 1.1),
)  # fmt: skip


def list_price(traits: Traits) -> Decimal:
    """The price in USD that the visible traits decide: noise-free, rounded as the shop rounds."""
    return shop_round(_list_price(traits))


def title(traits: Traits) -> str:
    """The title that the visible traits decide, e.g. "Scarf in Camel Checked Cashmere, Long".

    The noun stands first, so that it has to be told from the photo and not from the words before it.
    """
    words = (traits.colour, traits.pattern, traits.material)
    return f"{traits.kind.noun} in {' '.join(word for word in words if word)}, {traits.size}"


def shop_round(price: float) -> Decimal:
    """To the next 1 below 50, 5 below 200, 10 below 1,000, 50 below 5,000, 100 below 20,000, and 500 above (USD)."""
    steps = ((50, 1), (200, 5), (1000, 10), (5000, 50), (20000, 100), (math.inf, 500))
    step = next(step for limit, step in steps if price < limit)
    return Decimal(math.floor(price / step + 0.5) * step)


def floor(products: Iterable[Product]) -> float:
    """Mean absolute error, in USD, of `list_price` against the full price: what no reader of photos can go below."""
    errors = [abs(product.full_price - list_price(product.traits)) for product in products]
    return float(sum(errors) / len(errors)) if errors else 0.0


def plan(rows: int, seed: int) -> list[Product]:
    """`rows` products in a shuffled order, each category with its share of them.

    Colour variants (groups of 1 to 5 rows) share code, traits but the colour, and noise. Same arguments, same plan.
    """
    rng = plan_random(seed)
    products = [product for group in plan_groups(rows, rng) for product in group]
    return [products[index] for index in rng.permutation(len(products))]


def plan_random(seed: int) -> np.random.Generator:
    """The random numbers of a plan: first of its groups, then of the order of its rows."""
    return np.random.default_rng([seed, 0x5EE])


def plan_groups(rows: int, rng: np.random.Generator) -> Iterator[list[Product]]:
    """The groups of a plan one by one, kind by kind, for those who cannot hold them all."""
    made = 0
    for kind, count in zip(KINDS, _shares(rows), strict=True):
        while count:
            size = min(count, int(rng.choice(5, p=[0.3, 0.28, 0.22, 0.12, 0.08])) + 1)
            yield _group(kind, size, f"{8000000 + made * 7:07d}", rng)
            made += 1
            count -= size


def _shares(rows: int) -> list[int]:
    """Rows of each kind by its weight, by largest remainder."""
    weights = np.array([kind.weight for kind in KINDS])
    exact = rows * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: rows - int(counts.sum())]:
        counts[index] += 1
    return [int(count) for count in counts]


def _group(kind: Kind, size: int, code: str, rng: np.random.Generator) -> list[Product]:
    material, pattern = _pick(kind.materials, rng), _pick(kind.patterns, rng)
    if PLAIN in kind.patterns and rng.random() < MOSTLY_PLAIN:
        pattern = PLAIN
    length = str(rng.choice(list(kind.sizes)))
    noise = math.exp(SIGMA * float(np.clip(rng.standard_normal(), -CUT, CUT)))
    reduced = 0.3 if rng.random() < 0.3 else 0.0
    group = []
    for colour in rng.choice(list(COLOURS), size=size, replace=False):
        traits = Traits(kind, str(colour), material, pattern, length)
        full = shop_round(_list_price(traits) * noise)
        less = rng.random() < 0.34 and bool(reduced)
        group.append(Product(code, traits, full, shop_round(float(full) * (1 - reduced)) if less else full))
    return group


def _pick(factors: Mapping[str, float], rng: np.random.Generator) -> str:
    """One word; the dearer, the rarer, so that the tail of prices is thin."""
    weights = np.array(list(factors.values())) ** -0.35
    return str(rng.choice(list(factors), p=weights / weights.sum()))


def _list_price(traits: Traits) -> float:
    kind = traits.kind
    factor = kind.materials[traits.material] * kind.patterns[traits.pattern] * kind.sizes[traits.size]
    return kind.base * factor * COLOURS[traits.colour]
