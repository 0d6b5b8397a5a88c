"""The geometry of tiles, by properties and by the published code's counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.phi3v import plan

SIDES = st.one_of(st.integers(1, 40), st.integers(1, 6000))
CROPS = st.integers(1, 20)


@given(SIDES, SIDES, CROPS)
def test_a_photo_never_has_more_tiles_than_num_crops(width: int, height: int, num_crops: int) -> None:
    tiling = plan(width, height, num_crops=num_crops)
    assert 1 <= tiling.rows * tiling.columns <= num_crops
    assert tiling.num_tiles == tiling.rows * tiling.columns + 1


@given(SIDES, SIDES, CROPS, st.sampled_from([(336, 12), (112, 4)]))
def test_the_token_count_counts_every_row_with_its_line_end(width: int, height: int, num_crops: int, size: tuple[int, int]) -> None:
    tile, grid = size
    tiling = plan(width, height, num_crops=num_crops, tile_size=tile, tile_grid=grid)
    sub_rows, sub_columns = tiling.rows * grid, tiling.columns * grid
    assert tiling.num_tokens == sub_rows * (sub_columns + 1) + 1 + grid * (grid + 1)
    assert (tiling.width, tiling.height) == (tiling.columns * tile, tiling.rows * tile)


@given(SIDES, SIDES, CROPS)
def test_a_tall_photo_is_planned_as_its_wide_twin_lying_on_its_side(width: int, height: int, num_crops: int) -> None:
    one, other = plan(width, height, num_crops=num_crops), plan(height, width, num_crops=num_crops)
    assert (one.rows, one.columns) == (other.columns, other.rows)
    assert (one.resized_width, one.resized_height) == (other.resized_height, other.resized_width)
    assert one.transposed == (width < height)


@given(SIDES, SIDES, CROPS)
def test_the_photo_fills_its_long_side_and_is_padded_by_less_than_a_tile(width: int, height: int, num_crops: int) -> None:
    tiling = plan(width, height, num_crops=num_crops)
    gaps = (tiling.width - tiling.resized_width, tiling.height - tiling.resized_height)
    assert min(gaps) == 0
    assert 0 <= max(gaps) < 336
    assert min(tiling.resized_width, tiling.resized_height) >= 1


@given(SIDES, SIDES, CROPS)
def test_more_crops_never_give_fewer_tokens(width: int, height: int, num_crops: int) -> None:
    assert plan(width, height, num_crops=num_crops).num_tokens <= plan(width, height, num_crops=num_crops + 1).num_tokens


@pytest.mark.parametrize(
    ("width", "height", "num_crops", "rows", "columns", "tokens"),
    [
        (336, 336, 1, 1, 1, 313),
        (640, 480, 4, 2, 2, 757),
        (640, 480, 16, 3, 4, 1921),
        (480, 640, 16, 4, 3, 1933),
        (1000, 100, 4, 1, 4, 745),
        (100, 1000, 4, 4, 1, 781),
        (500, 500, 16, 4, 4, 2509),
    ],
)
def test_the_worked_examples_of_the_specification(
    width: int, height: int, num_crops: int, rows: int, columns: int, tokens: int
) -> None:
    tiling = plan(width, height, num_crops=num_crops)
    assert (tiling.rows, tiling.columns, tiling.num_tokens) == (rows, columns, tokens)


def test_the_height_is_cut_from_the_float_quotient_as_in_training() -> None:
    assert plan(24, 17, num_crops=4).resized_height == 475  # exact arithmetic gives 476


def test_a_hair_keeps_one_pixel_where_the_published_code_raises() -> None:
    assert plan(6000, 1, num_crops=1).resized_height == 1
    assert plan(1, 6000, num_crops=1).resized_width == 1


@pytest.mark.parametrize(("width", "height", "num_crops"), [(0, 5, 1), (5, 0, 1), (-1, 5, 1), (5, 5, 0)])
def test_an_impossible_size_is_told_with_its_numbers(width: int, height: int, num_crops: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        plan(width, height, num_crops=num_crops)


def test_plan_agrees_with_every_published_size_and_count(phi3v: Path) -> None:
    seen = 0
    for facts in json.loads((phi3v / "goldens" / "image_processor.json").read_text()):
        if "raises" in facts or "width" not in facts:
            continue
        tiling = plan(facts["width"], facts["height"], num_crops=facts["num_crops"])
        assert [[tiling.height, tiling.width]] == facts["image_sizes"]
        assert [tiling.num_tokens] == facts["num_img_tokens"] == [facts["calc_from_size"]]
        seen += 1
    assert seen > 60
