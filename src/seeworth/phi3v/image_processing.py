"""`Phi3VImageProcessor`: a PIL photo -> normalised tiles. Pixel-exact with the published one; see the specification, section 4.

Every step keeps the order and kind of operation the model was trained with: PIL's own bilinear filter, white padding before
normalisation, and a global view made by bicubic interpolation of the normalised tensor without antialiasing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from .tiling import TILE_SIZE, Tiling, plan

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Phi3VImageProcessor(BaseImageProcessor):
    """Cuts photos into tiles.

    Args:
        num_crops: most tiles a photo is cut into, at least 1 (published: 16 for Phi-3, 4 for Phi-3.5).
        image_mean, image_std: of the three colour channels in 0..1.
        num_img_tokens: tokens of one tile, a square number (144 = 12 x 12).
        tile_size: pixels along a tile's side.
    """

    model_input_names = ("pixel_values", "image_sizes", "num_img_tokens")

    def __init__(
        self,
        num_crops: int = 1,
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
        do_convert_rgb: bool = True,
        num_img_tokens: int = 144,
        tile_size: int = TILE_SIZE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{key: value for key, value in kwargs.items() if key != "image_processor_type"})
        if not isinstance(num_crops, int) or num_crops < 1:
            raise ValueError(f"num_crops is a whole number of at least 1, found {num_crops!r}")
        self.num_crops = num_crops
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.do_convert_rgb = do_convert_rgb
        self.num_img_tokens = num_img_tokens
        self.tile_size = tile_size

    @property
    def tile_grid(self) -> int:
        """Merged patches along a tile's side."""
        return math.isqrt(self.num_img_tokens)

    def plan(self, width: int, height: int) -> Tiling:
        """The tiling of a photo of this size, without opening it."""
        return plan(width, height, num_crops=self.num_crops, tile_size=self.tile_size, tile_grid=self.tile_grid)

    def calc_num_image_tokens_from_image_size(self, width: int, height: int) -> int:
        """Photo tokens of a photo of this size; the published processor's name for it."""
        return self.plan(width, height).num_tokens

    def calc_num_image_tokens(self, images: Image.Image | Sequence[Image.Image]) -> list[int]:
        """Photo tokens of each photo."""
        return [self.plan(*image.size).num_tokens for image in _as_list(images)]

    def tiles(self, image: Image.Image) -> tuple[torch.Tensor, Tiling]:
        """One photo as float32[num_tiles, 3, tile, tile], normalised, global view first; and its tiling."""
        tiling = self.plan(*image.size)
        return self.cut(self.whole(image, tiling), tiling), tiling

    def whole(self, image: Image.Image, tiling: Tiling) -> torch.Tensor:
        """The photo scaled to its tiling and laid on white, not yet cut: float32[3, tiling.height, tiling.width], normalised."""
        return self._normalise(_fit(image.convert("RGB"), tiling))

    def cut(self, whole: torch.Tensor, tiling: Tiling) -> torch.Tensor:
        """What `whole` gave, as `tiles` has it."""
        tile = tiling.tile_size
        glance = whole[None]
        if whole.shape[1:] != (tile, tile):  # bicubic to its own size is the same, bit by bit
            glance = torch.nn.functional.interpolate(glance, size=(tile, tile), mode="bicubic", align_corners=False)
        grid = whole.reshape(3, tiling.rows, tile, tiling.columns, tile).permute(1, 3, 0, 2, 4)
        return torch.cat([glance, grid.reshape(-1, 3, tile, tile)])

    def preprocess(
        self, images: Image.Image | Sequence[Image.Image], return_tensors: str | None = "pt", pad_to: int | None = None
    ) -> BatchFeature:
        """Photos -> pixel_values float32[photo, slot, 3, tile, tile], image_sizes int64[photo, (height, width)] in pixels of the
        padded photo, num_img_tokens int64[photo].

        A photo with fewer tiles than slots is filled up with zeros. `pad_to` is the number of slots: num_crops + 1, as
        published, when None; 0 for just as many as the photo with most tiles needs.
        Raises ValueError for anything but PIL photos, and for a return_tensors other than "pt".
        """
        if return_tensors not in (None, "pt"):
            raise ValueError(f"return_tensors is {return_tensors!r}, expected 'pt'")
        photos = _as_list(images)
        cut = [self.tiles(photo) for photo in photos]
        slots = self.num_crops + 1 if pad_to is None else pad_to
        slots = max([slots, *(tiling.num_tiles for _, tiling in cut)])
        pixel_values = torch.zeros(len(cut), slots, 3, self.tile_size, self.tile_size)
        for row, (tiles, tiling) in enumerate(cut):
            pixel_values[row, : tiling.num_tiles] = tiles
        sizes = [(tiling.height, tiling.width) for _, tiling in cut]
        data = {
            "pixel_values": pixel_values,
            "image_sizes": torch.tensor(sizes, dtype=torch.long).reshape(-1, 2),
            "num_img_tokens": torch.tensor([tiling.num_tokens for _, tiling in cut], dtype=torch.long),
        }
        return BatchFeature(data)

    __call__ = preprocess

    def _normalise(self, image: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32).div(255)
        mean, std = torch.tensor(self.image_mean), torch.tensor(self.image_std)
        return (pixels - mean[:, None, None]) / std[:, None, None]


def _fit(image: Image.Image, tiling: Tiling) -> Image.Image:
    """Scale the photo to its tiling and lay it on white."""
    if tiling.transposed:
        image = image.transpose(Image.Transpose.TRANSPOSE)
    wide, high = tiling.resized_width, tiling.resized_height
    total = tiling.height
    if tiling.transposed:
        wide, high, total = high, wide, tiling.width
    image = image.resize((wide, high), Image.Resampling.BILINEAR)
    sheet = Image.new("RGB", (wide, total), (255, 255, 255))
    sheet.paste(image, (0, (total - high) // 2))
    return sheet.transpose(Image.Transpose.TRANSPOSE) if tiling.transposed else sheet


def _as_list(images: Image.Image | Sequence[Image.Image]) -> list[Image.Image]:
    photos = [images] if isinstance(images, Image.Image) else list(images)
    for photo in photos:
        if not isinstance(photo, Image.Image):
            raise ValueError(f"expected PIL photos, found {type(photo).__name__}: open it with PIL.Image.open first")
    return photos
