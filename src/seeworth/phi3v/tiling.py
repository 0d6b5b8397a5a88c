"""How a photo is cut into tiles, and how many tokens that makes. Pure geometry: no pixels, no torch.

The single source of the photo-token count. From the specification, section 4: the photo is scaled so that at most
`num_crops` tiles cover it, padded to whole tiles, and a global view of one tile goes in front.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TILE_SIZE = 336  # pixels a side
TILE_GRID = 12  # merged patches a side of one tile: 336 / 14 / 2


@dataclass(frozen=True)
class Tiling:
    """The plan for one photo.

    Attributes:
        rows, columns: tiles below each other and beside each other (the global view not counted).
        width, height: pixels of the padded photo, `columns * tile_size` and `rows * tile_size`.
        resized_width, resized_height: pixels of the scaled photo before padding.
        transposed: the photo is taller than wide and was planned lying on its side.
        tile_grid: merged patches along one side of a tile.
    """

    rows: int
    columns: int
    resized_width: int
    resized_height: int
    tile_size: int
    tile_grid: int
    transposed: bool

    @property
    def width(self) -> int:
        return self.columns * self.tile_size

    @property
    def height(self) -> int:
        return self.rows * self.tile_size

    @property
    def num_tiles(self) -> int:
        """Tiles that go through the vision tower, the global view included."""
        return self.rows * self.columns + 1

    @property
    def num_distinct(self) -> int:
        """Tiles that differ: the global view of a photo of one tile is that tile."""
        return 1 if self.num_tiles == 2 else self.num_tiles

    @property
    def num_tokens(self) -> int:
        """Photo tokens: every row of merged patches ends with a separator, one more stands before the global view."""
        return num_tokens(self.rows, self.columns, self.tile_grid)


def num_tokens(rows: int, columns: int, tile_grid: int = TILE_GRID) -> int:
    """Photo tokens of `rows` x `columns` tiles and the global view: (rows*columns + 1) * grid^2 + 1 + (rows + 1) * grid."""
    return (rows * columns + 1) * tile_grid**2 + 1 + (rows + 1) * tile_grid


def plan(width: int, height: int, *, num_crops: int, tile_size: int = TILE_SIZE, tile_grid: int = TILE_GRID) -> Tiling:
    """Plan a photo of `width` x `height` pixels, cut into at most `num_crops` tiles.

    Raises ValueError when a side or num_crops is below 1. A photo so thin that its short side would vanish keeps one
    pixel there (the published code raises).
    """
    if width < 1 or height < 1:
        raise ValueError(f"a photo has at least 1 x 1 pixels, found {width} x {height}")
    if num_crops < 1:
        raise ValueError(f"num_crops is at least 1, found {num_crops}")
    transposed = width < height
    if transposed:
        width, height = height, width
    # float64 division and truncation, as the model was trained: 24x17 at 4 crops gives 475 pixels, not the exact 476.
    ratio = width / height
    scale = 1
    while (scale + 1) * math.ceil((scale + 1) / ratio) <= num_crops:
        scale += 1
    resized_width = tile_size * scale
    resized_height = max(int(resized_width / ratio), 1)
    rows, columns = math.ceil(resized_height / tile_size), scale
    if transposed:
        return Tiling(columns, rows, resized_height, resized_width, tile_size, tile_grid, True)
    return Tiling(rows, columns, resized_width, resized_height, tile_size, tile_grid, False)
