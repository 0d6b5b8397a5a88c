"""Tiles -> rows of the language model's width: transformers' CLIP, the 2x2 merge, the separators and the projector.

Tensor names are the published ones. Knows nothing of words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPPreTrainedModel, CLIPVisionEmbeddings

from .configuration import Phi3VConfig, Phi3VError
from .tiling import num_tokens

PhotoFeatures = Sequence[Tensor]
TileFeatures = Sequence[Tensor | None]  # None: this photo's tiles are in pixel_values


class Phi3VVisionTower(CLIPPreTrainedModel):
    """CLIP's vision transformer up to the layer whose output the projector reads. The layers after it are kept, not computed."""

    config_class = CLIPVisionConfig
    main_input_name = "pixel_values"
    base_model_prefix = "vision_model"

    def __init__(self, config: CLIPVisionConfig, layer_idx: int = -2) -> None:
        super().__init__(config)
        self.num_computed = layer_idx if layer_idx >= 0 else config.num_hidden_layers + 1 + layer_idx
        self.embeddings = CLIPVisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Where `enable_input_require_grads` lets gradients start, so that adapters in a frozen tower see them."""
        first: nn.Module = self.embeddings.patch_embedding
        return first

    def forward(self, pixel_values: Tensor) -> Tensor:
        """float[tile, 3, side, side] -> float[tile, patch, hidden], patches row by row, the class token dropped."""
        hidden: Tensor = self.pre_layrnorm(self.embeddings(pixel_values))
        for layer in self.encoder.layers[: self.num_computed]:
            hidden = layer(hidden, None)
        return hidden[:, 1:]


class _PublishedLevel(nn.Module):
    """The one level `vision_model` that published tensor names have and transformers 5 has not."""

    def __init__(self, vision_model: Phi3VVisionTower) -> None:
        super().__init__()
        self.vision_model = vision_model


class Phi3VPhotoEmbedding(nn.Module):
    """Tiles -> rows of the language model's width: CLIP, 2x2 merge, separators, projector."""

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__()
        vision: Any = config.vision_config
        self.tile_grid = vision.image_size // vision.patch_size // 2
        self.tile_size = vision.image_size
        merged = 4 * vision.hidden_size
        layer_idx = (config.img_processor or {}).get("layer_idx", -2)
        self.img_processor = _PublishedLevel(Phi3VVisionTower(vision, layer_idx))
        self.glb_GN = nn.Parameter(torch.zeros(1, 1, merged))
        self.sub_GN = nn.Parameter(torch.zeros(1, 1, 1, merged))
        self.img_projection = nn.Sequential(
            nn.Linear(merged, config.hidden_size), nn.GELU(), nn.Linear(config.hidden_size, config.hidden_size)
        )

    def forward(self, pixel_values: Tensor | None, image_sizes: Tensor | None, tile_features: TileFeatures | None = None) -> list[Tensor]:
        """pixel_values float[photo, slot, 3, tile, tile], image_sizes int[photo, (height, width)] -> a float[token, hidden] a photo.

        With `tile_features` of the same photos the tower is left out; pixel_values then hold those photos whose entry is None.
        """
        seen = self._completed(pixel_values, image_sizes, tile_features)
        grids = self._grids_of_features(seen, image_sizes)
        lengths = [num_tokens(rows, columns, self.tile_grid) for rows, columns in grids]
        rows_in = torch.cat([self._in_order(own, *grid) for own, grid in zip(seen, grids, strict=True)])
        first: Any = self.img_projection[0].weight
        dtype = first.dtype if first.is_floating_point() else self.glb_GN.dtype  # quantised weights are whole numbers
        projected: Tensor = self.img_projection(rows_in.to(dtype))
        return list(torch.split(projected, lengths))

    def _completed(self, pixel_values: Tensor | None, image_sizes: Tensor | None, tile_features: TileFeatures | None) -> list[Tensor]:
        """The tile features of every photo, on the device: those given, the others computed."""
        if tile_features is None:
            if pixel_values is None or image_sizes is None:
                raise Phi3VError("photos are pixel_values or tile_features, each with image_sizes: one of them is missing")
            return self.tile_features(pixel_values, image_sizes)
        places = [place for place, own in enumerate(tile_features) if own is None]
        computed: Iterator[Tensor] = iter(())
        if places or (pixel_values is not None and len(pixel_values)):
            found = 0 if pixel_values is None else len(pixel_values)
            if pixel_values is None or image_sizes is None or found != len(places) or len(image_sizes) != len(tile_features):
                raise Phi3VError(
                    f"tile_features leave {len(places)} of {len(tile_features)} photos to pixel_values, which hold {found}: give the "
                    "pixels of just these, and image_sizes of all"
                )
            computed = iter(self.tile_features(pixel_values, image_sizes[places]))
        device = self.glb_GN.device
        return [next(computed) if own is None else own.to(device, non_blocking=True) for own in tile_features]

    def tile_features(self, pixel_values: Tensor, image_sizes: Tensor) -> list[Tensor]:
        """The tower's part: a float[distinct tile, grid, grid, 4C] a photo. Slots beyond a photo's own tiles are padding, not computed."""
        grids = self.grids(pixel_values, image_sizes)
        distinct = [distinct_tiles(pixel_values[i, : rows * columns + 1]) for i, (rows, columns) in enumerate(grids)]
        return list(torch.split(self.see(torch.cat(distinct)), [len(tiles) for tiles in distinct]))

    def see(self, tiles: Tensor) -> Tensor:
        """Tower and 2x2 merge: float[tile, 3, side, side], normalised -> float[tile, grid, grid, 4C].

        A frozen tower computes in its own dtype, under autocast too: whoever asks it, in training or not, gets the same.
        """
        tower: Any = self.img_processor.vision_model
        frozen = not any(weight.requires_grad for weight in tower.parameters())
        with torch.autocast(tiles.device.type, enabled=False) if frozen else nullcontext():
            return self._merge(tower(tiles.to(tower.embeddings.class_embedding.dtype)))

    def grids(self, pixel_values: Tensor, image_sizes: Tensor) -> list[tuple[int, int]]:
        """(rows, columns) of tiles for each photo. Raises Phi3VError when sizes and pixels do not belong together."""
        if pixel_values.ndim != 5 or image_sizes.ndim != 2 or len(pixel_values) != len(image_sizes):
            raise Phi3VError(
                f"expected pixel_values [photo, slot, 3, side, side] and image_sizes [photo, 2] of as many photos, "
                f"found {list(pixel_values.shape)} and {list(image_sizes.shape)}"
            )
        if tuple(pixel_values.shape[-2:]) != (self.tile_size, self.tile_size):
            raise Phi3VError(f"tiles are {pixel_values.shape[-1]} pixels wide, this model's are {self.tile_size}: use its own processor")
        grids = self._grids(image_sizes)
        for rows, columns in grids:
            if rows < 1 or columns < 1 or rows * columns + 1 > pixel_values.shape[1]:
                raise Phi3VError(
                    f"image_sizes names {rows} x {columns} tiles and a global view, pixel_values has {pixel_values.shape[1]} slots: "
                    "take both from the same processor call"
                )
        return grids

    def _grids(self, image_sizes: Tensor) -> list[tuple[int, int]]:
        return [(int(height) // self.tile_size, int(width) // self.tile_size) for height, width in image_sizes.tolist()]

    def _grids_of_features(self, tile_features: PhotoFeatures, image_sizes: Tensor | None) -> list[tuple[int, int]]:
        """(rows, columns) of tiles for each photo. Raises Phi3VError when sizes and tile features do not belong together."""
        if image_sizes is None or image_sizes.ndim != 2 or len(tile_features) != len(image_sizes):
            sizes = None if image_sizes is None else list(image_sizes.shape)
            raise Phi3VError(
                f"expected tile_features and image_sizes [photo, 2] of as many photos, found {len(tile_features)} tile features and "
                f"image_sizes {sizes}"
            )
        grids, form = self._grids(image_sizes), (self.tile_grid, self.tile_grid, self.glb_GN.shape[-1])
        for (rows, columns), own in zip(grids, tile_features, strict=True):
            expected = {rows * columns + 1} | ({1} if rows * columns == 1 else set())
            if rows < 1 or columns < 1 or len(own) not in expected or tuple(own.shape[1:]) != form:
                raise Phi3VError(
                    f"image_sizes names {rows} x {columns} tiles and a global view, tile_features are {list(own.shape)}, expected "
                    f"{[max(expected), *form]}: take both from the same photo, tiling and model"
                )
        return grids

    def _merge(self, patches: Tensor) -> Tensor:
        """[tile, patch, C] -> [tile, grid, grid, 4C]: each 2x2 square of patches side by side in the channels."""
        tiles, _, channels = patches.shape
        side = self.tile_grid
        squares = patches.reshape(tiles, side, 2, side, 2, channels).permute(0, 1, 3, 2, 4, 5)
        return squares.reshape(tiles, side, side, 4 * channels)

    def _in_order(self, tiles: Tensor, rows: int, columns: int) -> Tensor:
        """[distinct tile, grid, grid, 4C] -> [token, 4C]: the grid of tiles row by row, glb_GN, the global view row by row."""
        tiles = tiles if len(tiles) > 1 else tiles.expand(2, -1, -1, -1)
        side, width = tiles.shape[1], tiles.shape[-1]
        grid = tiles[1:].reshape(rows, columns, side, side, width).permute(0, 2, 1, 3, 4).reshape(rows * side, columns * side, width)
        return torch.cat([self._with_line_ends(grid), self.glb_GN[0].to(tiles.dtype), self._with_line_ends(tiles[0])])

    def _with_line_ends(self, grid: Tensor) -> Tensor:
        """[row, column, 4C] -> [row * (column + 1), 4C], each row ended by sub_GN."""
        ends = self.sub_GN[0].to(grid.dtype).expand(grid.shape[0], 1, -1)
        return torch.cat([grid, ends], dim=1).flatten(0, 1)


def distinct_tiles(tiles: Tensor) -> Tensor:
    """The tiles of one photo without repetition: the global view of a photo of one tile is that tile, so the tower sees it once."""
    return tiles[:1] if len(tiles) == 2 and torch.equal(tiles[0], tiles[1]) else tiles
