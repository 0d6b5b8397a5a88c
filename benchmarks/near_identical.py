"""Claim: altered copies of a photo are found, photos of different products are not.

    python benchmarks/near_identical.py --groceries ../shared/data/groceries --drawn DATASET

Two sets: real photos (their title is the product) and drawn ones (their group is). Ours is the rule of `seeworth.data.photo.look`;
the naive way is the perceptual hash alone, at several distances. For each: pairs of different products that are linked, the
largest chain they make, and of every fourth photo the share of altered copies that is linked to it.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from seeworth.data.dataset import Dataset
from seeworth.data.photo.decode import glance, open_photo, read_photo
from seeworth.data.photo.look import FAR, Looks, seen
from seeworth.data.split.near import look_alikes

DISTANCES = (0, 4, 8, 12, 16)
Picture = Image.Image


def jpeg(image: Picture, quality: int) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def scaled(image: Picture, factor: float) -> Picture:
    return image.resize((max(8, round(image.width * factor)), max(8, round(image.height * factor))), Image.Resampling.LANCZOS)


def cropped(image: Picture, share: float, sides: int = 2) -> Picture:
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x * (sides - 1), image.height - y * (sides - 1)))


def marked(image: Picture, width: float, height: float) -> Picture:
    """A grey plate with words in the lower right corner."""
    image = image.copy()
    right, low = image.width * 0.98, image.height * 0.97
    left, high = right - image.width * width, low - image.height * height
    pen = ImageDraw.Draw(image)
    pen.rectangle((left, high, right, low), fill=(110, 110, 110))
    pen.text((left + 2, high), "(c) shop", fill="white", font_size=max(6, (low - high) * 0.8))
    return image


def framed(image: Picture, share: float) -> Picture:
    return ImageOps.expand(image, max(1, round(min(image.size) * share)), (128, 128, 128))


ALTERED: dict[str, Callable[[Picture], Picture]] = {
    "JPEG quality 60": lambda one: jpeg(one, 60),
    "JPEG quality 95": lambda one: jpeg(one, 95),
    "resized to 50 %": lambda one: scaled(one, 0.5),
    "resized to 150 %": lambda one: scaled(one, 1.5),
    "cropped 2 % on each side": lambda one: cropped(one, 0.02),
    "cropped 3 % on each side": lambda one: cropped(one, 0.03),
    "cropped 3 % on two sides": lambda one: cropped(one, 0.03, 1),
    "brightness +10 %": lambda one: ImageEnhance.Brightness(one).enhance(1.1),
    "brightness -10 %": lambda one: ImageEnhance.Brightness(one).enhance(0.9),
    "contrast +10 %": lambda one: ImageEnhance.Contrast(one).enhance(1.1),
    "contrast -10 %": lambda one: ImageEnhance.Contrast(one).enhance(0.9),
    "watermark, 17 x 4 % of the photo": lambda one: marked(one, 0.17, 0.04),
    "watermark, 30 x 7 % of the photo": lambda one: marked(one, 0.3, 0.07),
    "grey border of 2 %": lambda one: framed(one, 0.02),
    "grey border of 3 %": lambda one: framed(one, 0.03),
    "cropped 1.5 %, resized to 67 %, quality 70": lambda one: jpeg(scaled(cropped(one, 0.015), 0.67), 70),
}


def main(groceries: Path, drawn: Path) -> None:
    """Print the table of one set after the other."""
    with (groceries / "groceries.csv").open(encoding="utf-8") as file:
        measure("groceries", [(groceries / row["file_name"], row["title"]) for row in csv.DictReader(file)])
    measure("drawn", [(record.photo, record.group) for record in Dataset.open(drawn).records()])


def measure(name: str, photos: list[tuple[Path, str]]) -> None:
    rows = []
    for number, (path, _) in enumerate(photos):
        picture = open_photo(path)
        photo = glance(read_photo(path))  # as an import sees it; copies are seen as a PNG of theirs is
        kept = (photo.phash, photo.look, photo.width, photo.height)
        rows.append([kept, *(_seen(change(picture)) for change in ALTERED.values() if number % 4 == 0)])
    own = Looks.of(row[0] for row in rows)
    products = np.unique([product for _, product in photos], return_inverse=True)[1]
    later, earlier = np.tril_indices(len(own), -1)
    other = products[later] != products[earlier]
    print(f"\n{name}: {len(own)} photos of {products.max() + 1} products, {other.sum():,} pairs of different products")
    print(f"{'':44}{'ours':>8}" + "".join(f"{f'hash {far}':>9}" for far in DISTANCES))
    apart = np.bitwise_count(own.whole[later] ^ own.whole[earlier])
    ours = near(own, later, own, earlier)
    linked = [ours, *(apart <= far for far in DISTANCES)]
    print(f"{'pairs of different products linked':44}" + _line([int((one & other).sum()) for one in linked]))
    print(f"{'largest chain of photos':44}" + _line([_chain(len(own), later[one], earlier[one]) for one in linked]))
    first = np.arange(0, len(rows), 4)
    for place, words in enumerate(ALTERED, 1):
        copies = Looks.of(rows[number][place] for number in first)
        at = np.arange(len(first))
        apart = np.bitwise_count(copies.whole ^ own.whole[first])
        print(f"{words:44}" + _line([float(one.mean()) for one in (near(copies, at, own, first), *(apart <= far for far in DISTANCES))]))
    assert max(Counter(look_alikes(own)[0].tolist()).values()) == _chain(len(own), later[ours], earlier[ours])


def near(one: Looks, a: np.ndarray, two: Looks, b: np.ndarray) -> np.ndarray:
    """bool[pair], by the rule of `look`: the hashes, then the pictures."""
    both = Looks.of([*_rows(one), *_rows(two)])
    b = b + len(one)
    pairs = ((both.whole, both.whole), (both.whole, both.inner), (both.inner, both.whole))
    close = np.any([np.bitwise_count(x[a] ^ y[b]) <= FAR for x, y in pairs], axis=0)
    found = np.zeros(len(a), dtype=bool)
    found[close] = both.alike(a[close], b[close])
    return found


def _rows(looks: Looks) -> Iterator[tuple[str, str, int, int]]:
    for number in range(len(looks)):
        look = f"{looks.inner[number]:016x}" + looks.grey[number].tobytes().hex() + looks.colour[number].tobytes().hex()
        yield f"{looks.whole[number]:016x}", look, round(1e6 * float(np.exp(looks.shape[number]))), 10**6


def _seen(image: Picture) -> tuple[str, str, int, int]:
    return *seen(image), image.width, image.height


def _chain(count: int, a: np.ndarray, b: np.ndarray) -> int:
    label = np.arange(count)
    while True:
        before = label.copy()
        low = np.minimum(label[a], label[b])
        np.minimum.at(label, a, low)
        np.minimum.at(label, b, low)
        label = label[label]
        if np.array_equal(before, label):
            return int(np.bincount(label).max())


def _line(values: list[int] | list[float]) -> str:
    words = [f"{100 * one:.1f} %" if isinstance(one, float) else f"{one:,}" for one in values]
    return f"{words[0]:>8}" + "".join(f"{one:>9}" for one in words[1:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groceries", type=Path, default=Path("../shared/data/groceries"))
    parser.add_argument("--drawn", type=Path, required=True)
    arguments = parser.parse_args()
    main(arguments.groceries, arguments.drawn)
