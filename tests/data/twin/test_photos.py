"""Photos of a twin: one look for each category, the wanted size, and a dear product that looks dear."""

from __future__ import annotations

import io
from random import Random

import pytest
from PIL import Image

from seeworth.data.draw.catalogue import KINDS, list_price
from seeworth.data.twin.photos import cast, draw, traits_of


def test_a_category_named_like_a_kind_gets_it() -> None:
    roles = cast(["Unknown", "HANDBAGS", "boot", "T-Shirts"])
    assert [roles[name].kind for name in ("HANDBAGS", "boot", "T-Shirts")] == ["HANDBAGS", "BOOTS", "T-SHIRTS"]


@pytest.mark.parametrize("count", [1, 27, 28, 100, 270, 271, 1000])
def test_no_two_categories_look_alike(count: int) -> None:
    roles = cast([f"c{number}" for number in range(count)])
    looks: dict[tuple[str, ...], str] = {}
    for category, role in roles.items():
        for level in range(21):
            traits = traits_of(role, level / 20, "", Random(level))
            look = (traits.kind.code, traits.colour, traits.material, traits.pattern)
            look = look[:1] if count <= len(KINDS) else look[:2] if count <= 270 else look
            assert looks.setdefault(look, category) == category


def test_dearer_products_look_dearer() -> None:
    role = cast(["BOOTS"])["BOOTS"]
    cheap, dear = ([float(list_price(traits_of(role, level, "", Random(seed)))) for seed in range(20)] for level in (0.1, 0.9))
    assert max(cheap) < min(dear)


def test_a_colour_in_the_title_is_the_colour_of_the_photo() -> None:
    role = cast(["BOOTS"])["BOOTS"]
    assert {traits_of(role, 0.5, "Boots in sky blue, low", Random(seed)).colour for seed in range(10)} == {"Sky Blue"}


@pytest.mark.parametrize("size", [(336, 336), (96, 128), (200, 90), (30, 30), (1000, 640)])
def test_a_photo_has_exactly_the_size_that_is_asked(size: tuple[int, int]) -> None:
    traits = traits_of(cast(["HATS"])["HATS"], 0.5, "", Random(0))
    with Image.open(io.BytesIO(draw(traits, size, Random(1)))) as image:
        assert (image.format, image.size) == ("JPEG", size)
