"""One photo: the product's parts, posed before a backdrop, lit, and taken with a camera that is not perfect.

    1 parts    2 pose    3 backdrop    4 shadow and parts    5 distractors    6 camera    7 JPEG

`draw` is a pure function of the traits and the random numbers. Knows nothing of prices or dataset folders.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from . import accessories, clothing, leather_goods, shoes
from .backdrop import backdrop
from .catalogue import Traits
from .geometry import Part, Points, box, curve, ellipse, extent, path
from .surface import Light, Look, Stage, blur
from .texture import MATERIALS, RGB, SECOND
from .texture import colour as colour_of

Photo: TypeAlias = NDArray[np.float32]
SHAPES: dict[str, Callable[[Traits, np.random.Generator], list[Part]]] = {
    "COATS": clothing.coat, "TRENCH COATS": clothing.trench, "JACKETS": clothing.jacket, "SHIRTS": clothing.shirt,
    "T-SHIRTS": clothing.t_shirt, "KNITWEAR": clothing.sweater, "DRESSES": clothing.dress, "SKIRTS": clothing.skirt,
    "TROUSERS": clothing.trousers, "SHORTS": clothing.shorts, "SCARVES": accessories.scarf, "HATS": accessories.hat,
    "CAPS": accessories.cap, "TIES": accessories.tie, "GLOVES": accessories.gloves, "SOCKS": accessories.socks,
    "SUNGLASSES": accessories.sunglasses, "WATCHES": accessories.watch, "JEWELLERY": accessories.necklace,
    "BELTS": leather_goods.belt, "WALLETS": leather_goods.wallet, "HANDBAGS": leather_goods.handbag,
    "BACKPACKS": leather_goods.backpack, "BOOTS": shoes.boots, "SNEAKERS": shoes.sneakers, "LOAFERS": shoes.loafers,
    "HEELS": shoes.heels,
}  # fmt: skip
"""The drawing of each category3_code."""
_HANGERS = {"COATS", "TRENCH COATS", "JACKETS", "SHIRTS", "DRESSES", "KNITWEAR"}
_METALS = ("Steel", "Gold")


def draw(traits: Traits, size: int, rng: np.random.Generator) -> bytes:
    """The product as a JPEG whose longer side is `size` pixels."""
    image = render(traits, size, rng)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(80, 94)), subsampling=0)
    return file.getvalue()


def render(traits: Traits, size: int, rng: np.random.Generator) -> Image.Image:
    """The product as an RGB image whose longer side is `size` pixels; portrait, square or landscape."""
    parts = SHAPES[traits.kind.code](traits, rng)
    if traits.kind.code in _HANGERS and rng.random() < 0.15:
        parts = [_hanger(), *parts]
    look = _look(traits, rng)
    width, height = _format(parts, size, rng)
    photo = backdrop(width, height, look.colour, rng)
    stage, parts = _pose(photo, parts, rng)
    _cast(stage, parts)
    for part in parts:
        stage.draw(part, look)
    if rng.random() < 0.04:
        _price_tag(stage, look)
    return _camera(photo, rng)


def _format(parts: Sequence[Part], size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Width and height: square, portrait 3:4 or landscape 4:3, as a photographer holds the camera for such a product."""
    low, high = extent(parts)
    tall = float((high - low)[1] / (high - low)[0])
    chances = (0.5, 0.5, 0.0) if tall > 1.3 else (0.5, 0.0, 0.5) if tall < 0.75 else (0.6, 0.25, 0.15)
    short = round(size * 3 / 4)
    return ((size, size), (short, size), (size, short))[int(rng.choice(3, p=chances))]


def _look(traits: Traits, rng: np.random.Generator) -> Look:
    def near(word: str) -> Photo:
        return np.clip(np.array(RGB[word]) + rng.normal(0, 0.012, 3), 0.02, 0.97).astype(np.float32)

    material = MATERIALS[traits.material]
    colour, second = near(traits.colour), near(SECOND[traits.colour])
    soles = ((0.12, 0.11, 0.11), (0.62, 0.45, 0.30), (0.36, 0.25, 0.18))
    # a watch on a leather strap has a steel case: gold must mean gold
    metal = MATERIALS["Steel" if traits.kind.code == "WATCHES" else str(rng.choice(_METALS))]
    return Look(colour, second, material, traits.pattern, colour_of(*soles[int(rng.integers(3))]), metal)


def _pose(photo: Photo, parts: Sequence[Part], rng: np.random.Generator) -> tuple[Stage, list[Part]]:
    """Mirror, turn, stretch a little, and fit: the product fills 80 to 94 % of the photo whatever its size.

    Returns the stage, and the parts in the stage's unit: half the product's longer side.
    """
    low, high = extent(parts)
    middle, unit = (low + high) / 2, float((high - low).max()) / 2
    parts = [_normal(part, middle, unit) for part in parts]
    angle = float(np.clip(rng.normal(0, 0.07), -0.16, 0.16))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.array([[rng.uniform(0.97, 1.03), rng.uniform(-0.04, 0.04)], [0.0, rng.uniform(0.97, 1.03)]])
    matrix = turn @ stretch @ np.diag([float(rng.choice([-1.0, 1.0])), 1.0])
    low, high = extent([part.moved(lambda points: points @ matrix.T) for part in parts])
    size = np.array([photo.shape[1], photo.shape[0]])
    scale = float(rng.uniform(0.80, 0.94)) * float((size / (high - low)).min())
    room = size - (high - low) * scale
    offset = room * (0.5 + rng.uniform(-0.25, 0.25, 2)) - low * scale
    return Stage(photo, matrix * scale, offset, scale, _light(rng), rng), parts


def _light(rng: np.random.Generator) -> Light:
    """A lamp above, to the left or right, and more or less light from everywhere."""
    direction = np.array([rng.uniform(-0.55, 0.55), -rng.uniform(0.25, 0.65), 0.9])
    x, y, z = direction / np.linalg.norm(direction)
    return Light((float(x), float(y), float(z)), float(rng.uniform(0.38, 0.58)))


def _normal(part: Part, middle: Points, unit: float) -> Part:
    """The part in units of half the product's longer side, around its middle; so are its strokes, and about so its puff."""
    part = part.moved(lambda points: (points - middle) / unit)
    return replace(part, strokes=tuple((line, width / unit) for line, width in part.strokes), puff=part.puff / max(unit, 0.7))


def _cast(stage: Stage, parts: list[Part]) -> None:
    """The soft shadow of the whole product on the backdrop, at a quarter of the size."""
    height, width = stage.rgb.shape[:2]
    image = Image.new("F", (width // 4, height // 4))
    pen = ImageDraw.Draw(image)
    distance = float(stage.rng.uniform(0.05, 0.16)) * stage.unit
    shift = -np.array(stage.light.direction[:2]) * distance
    for part in parts:
        for shape in part.shapes:
            pen.polygon([float(x) for x in ((stage.to_pixels(shape) + shift) / 4).ravel()], fill=1.0)
        for line, wide in part.strokes:
            pen.line([float(x) for x in ((stage.to_pixels(line) + shift) / 4).ravel()], fill=1.0, width=max(1,
                round(wide * stage.unit / 4)))
    soft = blur(np.asarray(image), max(1, round(distance / 6 + stage.unit / 60)))
    large = np.asarray(Image.fromarray(soft).resize((width, height), Image.Resampling.BILINEAR))
    stage.rgb *= (1 - np.float32(stage.rng.uniform(0.3, 0.6)) * large)[..., None]


def _hanger() -> Part:
    """A hanger behind the neck."""
    hook = np.concatenate([ellipse(0, -0.30, 0.07, 0.07, 200, 420), path((0, -0.2), (0, -0.06))])
    return Part((), "metal", ((hook, 0.03), (curve((-0.42, 0.12), (0, -0.08), (0.42, 0.12)), 0.05)), puff=0.02)


def _price_tag(stage: Stage, look: Look) -> None:
    """An unwritten paper tag on a thread."""
    x, y = float(stage.rng.uniform(-0.35, 0.35)), float(stage.rng.uniform(-0.5, 0.2))
    stage.draw(Part((), "white", ((curve((x, y), (x + 0.05, y + 0.12), (x, y + 0.22)), 0.012),), shadow=0.2), look)
    stage.draw(Part((box(x - 0.055, y + 0.21, x + 0.055, y + 0.38, 0.02),), "paper", puff=0.01, shadow=0.6), look)


def _camera(photo: Photo, rng: np.random.Generator) -> Image.Image:
    """Warmth, exposure, vignette, a touch of blur, sensor noise."""
    height, width = photo.shape[:2]
    warmth = float(rng.uniform(-0.05, 0.05))
    gain = colour_of(1 + warmth, 1, 1 - warmth) * np.float32(rng.uniform(0.90, 1.08))
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    vignette = 1 - np.float32(rng.uniform(0, 0.12)) * (x * x + y * y)
    noise = rng.standard_normal((height, width), dtype=np.float32) * np.float32(rng.uniform(0.003, 0.010))
    photo = photo * (vignette[..., None] * gain) + noise[..., None]
    image = Image.fromarray((np.clip(photo, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8), "RGB")
    radius = float(rng.uniform(0, 0.7))
    return image.filter(ImageFilter.BoxBlur(radius)) if radius > 0.35 else image
