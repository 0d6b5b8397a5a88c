"""Phi-3-Vision as a native model: transformers' Phi-3 decoder over words, with the rows of photos (`vision`) in their places.

Module tree and tensor names are exactly the published ones, so published files load as they are and what is saved keeps the
names other tools know. Knows nothing of photos as files, of prompts, or of training.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.phi3.modeling_phi3 import Phi3ForCausalLM, Phi3Model
from transformers.utils import is_flash_attn_2_available

from .configuration import END_TOKEN_ID, ENDOFTEXT_TOKEN_ID, Phi3VConfig, Phi3VError
from .last_layer import Phi3VLastLayer
from .packing import SDPA_PACKED, borders_of
from .tiling import num_tokens
from .vision import Phi3VPhotoEmbedding, PhotoFeatures, TileFeatures

LOGITS_AT_ONCE = 1024  # labelled positions whose logits stand in memory at a time: 131 MB of float32 at 32,064 words
PHOTO_INPUTS = ("pixel_values", "image_sizes", "image_features", "tile_features")  # one entry a photo, not one a row


class Phi3VModel(Phi3Model):
    """The Phi-3 decoder over word embeddings with photo rows in their places."""

    config_class = Phi3VConfig
    config: Phi3VConfig

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__(config)
        self.layers[-1].__class__ = Phi3VLastLayer  # made by Phi3Model, which knows one kind
        self.vision_embed_tokens = Phi3VPhotoEmbedding(config)
        self.post_init()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """As nn.Module, but `.to(dtype)` and `.half()` leave the rotary frequencies in float32: rounded ones are wrong far out."""
        kept = dict(self.rotary_emb.named_buffers())
        super()._apply(fn, recurse)
        for name, now in list(self.rotary_emb.named_buffers()):
            if now.dtype != kept[name].dtype:
                setattr(self.rotary_emb, name, nn.Buffer(kept[name].to(now.device), persistent=False))
        return self

    def forward(  # type: ignore[no-untyped-def]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_features: PhotoFeatures | None = None,
        tile_features: TileFeatures | None = None,
        kept: Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """As Phi3Model, after steps 1 to 3 of `Phi3VForCausalLM.forward`.

        With kept, int[n] places of the rows laid end to end, last_hidden_state is float[n, hidden], of these places alone; without a cache.
        """
        if borders := borders_of(position_ids, attention_mask, past_key_values):
            if use_cache:
                raise Phi3VError("position_ids begin anew within a row: packed rows are trained, not cached; set use_cache=False")
            use_cache = False  # with a cache the library would not look for borders, and records would see their neighbours
            kwargs |= borders
            if self.config._attn_implementation == SDPA_PACKED:
                attention_mask = borders["cu_seq_lens_q"].view(1, 1, 1, -1)  # the library makes none where there is one; nobody reads it
        if inputs_embeds is None:
            if input_ids is None:
                raise Phi3VError("neither input_ids nor inputs_embeds is given")
            if image_features is None and (tile_features or (pixel_values is not None and len(pixel_values))):
                image_features = self.vision_embed_tokens(pixel_values, image_sizes, tile_features or None)
            prefill = past_key_values is None or past_key_values.get_seq_length() == 0
            inputs_embeds = self._embed(input_ids, image_features, prefill)
        elif pixel_values is not None or image_features is not None or tile_features is not None:
            raise Phi3VError("photos come with input_ids, which hold their places; found inputs_embeds")
        if kept is not None:
            return BaseModelOutputWithPast(last_hidden_state=self._states_at(kept, inputs_embeds, attention_mask, position_ids, kwargs))
        return super().forward(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )

    def _states_at(
        self, kept: Tensor, states: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None, kwargs: dict[str, Any]
    ) -> Tensor:
        """Phi3Model's forward pass without a cache, for the last hidden states at some places."""
        if position_ids is None:
            position_ids = torch.arange(states.shape[1], device=states.device)[None]
        make_mask = create_causal_mask if self.config.sliding_window is None else create_sliding_window_causal_mask
        mask = make_mask(self.config, states, attention_mask, past_key_values=None, position_ids=position_ids)
        shared = {"attention_mask": mask, "position_ids": position_ids, "position_embeddings": self.rotary_emb(states, position_ids)}
        for layer in self.layers[:-1]:
            states = layer(states, **shared, **kwargs)
        last: Tensor = self.norm(self.layers[-1](states, kept=kept, **shared, **kwargs))
        return last

    def _embed(self, input_ids: Tensor, features: PhotoFeatures | None, prefill: bool) -> Tensor:
        """int[batch, length] -> float[batch, length, hidden], photo rows in place of the placeholders, in order of appearance."""
        places = (input_ids < 0) | (input_ids == self.config.image_token_id)
        words: Tensor = self.embed_tokens(input_ids.masked_fill(places, 0))
        rows = torch.cat(list(features)) if features else None
        found, needed = int(places.sum()), 0 if rows is None else len(rows)
        if rows is None and not prefill and input_ids.shape[1] == 1:
            return words  # decoding one word after another: the photos are in the cache
        if found != needed:
            what = "no photo is given" if rows is None else f"the photos need {needed} tokens"
            raise Phi3VError(
                f"{what}, the text holds {found} placeholders: encode text and photos in one call of the same processor "
                "(same num_crops), and cut no text that holds placeholders"
            )
        if rows is None:
            return words
        return words.masked_scatter(places.unsqueeze(-1), rows.to(words.dtype))


class Phi3VForCausalLM(Phi3ForCausalLM):
    """Phi-3-vision-128k-instruct and Phi-3.5-vision-instruct.

    `from_pretrained` reads published folders and what `save_pretrained` wrote: safetensors only, no remote code, SDPA, or flash
    attention 2 where it is installed and a GPU is there. Raises Phi3VError for another model_type and for missing tensors.
    """

    config_class = Phi3VConfig
    config: Phi3VConfig
    _no_split_modules = ["Phi3DecoderLayer", "Phi3VLastLayer", "CLIPEncoderLayer"]  # noqa: RUF012 - the library's own way
    # Files saved by others: the word embedding's second name, and a buffer of old CLIP versions.
    _keys_to_ignore_on_load_unexpected = [r"vision_embed_tokens\.wte\.weight$", r"embeddings\.position_ids$"]  # noqa: RUF012

    def __init__(self, config: Phi3VConfig) -> None:
        super(Phi3ForCausalLM, self).__init__(config)
        self.model = Phi3VModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self._set_ends()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Phi3VPhotoEmbedding):
            for separator in (module.glb_GN, module.sub_GN):
                if not getattr(separator, "_is_hf_initialized", False):
                    nn.init.zeros_(separator)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """As PreTrainedModel.from_pretrained. Files that hold the word embedding only as `vision_embed_tokens.wte` load too."""
        if kwargs.setdefault("use_safetensors", True) is False:
            raise Phi3VError(f"{pretrained_model_name_or_path}: only safetensors are read, no pickle: drop use_safetensors=False")
        if "attn_implementation" not in kwargs and torch.cuda.is_available() and is_flash_attn_2_available():
            kwargs["attn_implementation"] = "flash_attention_2"
        told = kwargs.pop("output_loading_info", False)
        resized = kwargs.pop("ignore_mismatched_sizes", False)
        model, info = cls._load(pretrained_model_name_or_path, *model_args, **kwargs)
        if "model.embed_tokens.weight" in info["missing_keys"] and "key_mapping" not in kwargs:
            kwargs["key_mapping"] = {r"^model\.vision_embed_tokens\.wte\.": "model.embed_tokens."}
            model, info = cls._load(pretrained_model_name_or_path, *model_args, **kwargs)
            model._weight_conversions = None  # what is saved from here on has the published names
        if info["mismatched_keys"] and not resized:
            name, found, expected = sorted(info["mismatched_keys"])[0]
            raise Phi3VError(f"{pretrained_model_name_or_path}: {name} is {list(found)}, config.json says {list(expected)}: no fit")
        if info["missing_keys"]:
            names = sorted(info["missing_keys"])
            raise Phi3VError(f"{pretrained_model_name_or_path}: {len(names)} tensors are missing from the checkpoint, first {names[0]}")
        model._set_ends()
        return (model, info) if told else model

    @classmethod
    def _load(cls, where: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """The model as it is in the files, and what did not fit: the library's own complaint would not say which tensor."""
        try:
            model, info = super().from_pretrained(where, *args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs)
        except SafetensorError as problem:
            raise Phi3VError(f"{where}: a safetensors file is damaged ({problem}): get it again") from problem
        return model, info

    def _set_ends(self) -> None:
        """Stop at <|end|> or <|endoftext|>: config.json's eos 2 is not what these chat models end with. Never say a placeholder."""
        generation = self.generation_config
        if generation is None:
            return
        if generation.eos_token_id in (None, 2, [2]):
            ends = self.config.eos_token_id
            generation.eos_token_id = [ENDOFTEXT_TOKEN_ID, END_TOKEN_ID] if ends in (None, 2, [2]) else ends
        generation.pad_token_id = self.config.pad_token_id
        generation.suppress_tokens = sorted({self.config.image_token_id, *(generation.suppress_tokens or [])})

    def image_features(self, pixel_values: Tensor, image_sizes: Tensor) -> list[Tensor]:
        """The expensive half on its own: projected rows, one float[token, hidden] for each photo.

        pixel_values float[photo, slot, 3, tile, tile], normalised; image_sizes int[photo, (height, width)] in pixels of the
        padded photo. The result can be given to `forward` and `generate` as `image_features`.
        """
        features: list[Tensor] = self.model.vision_embed_tokens(pixel_values, image_sizes)
        return features

    def tile_features(self, pixel_values: Tensor, image_sizes: Tensor) -> list[Tensor]:
        """The frozen half alone: the CLIP tower's output merged 2x2, before separators and projector, which may train.

        Takes what `image_features` takes. One float[distinct tile, grid, grid, 4 * tower width] for each photo, in the tower's
        dtype, global view first; a photo of one tile, whose global view is that tile, has one. With the same image_sizes the
        result can be given to `forward` and `generate` as `tile_features`, in place of pixel_values: the same bits come out.
        """
        features: list[Tensor] = self.model.vision_embed_tokens.tile_features(pixel_values, image_sizes)
        return features

    def forward(  # type: ignore[no-untyped-def]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_features: PhotoFeatures | None = None,
        tile_features: TileFeatures | None = None,
        logits_at_labels: bool = False,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Words and photos -> logits, in five steps.

        1. Embed the words: input_ids int[batch, length]; placeholders are `config.image_token_id` or any negative id.
        2. Make the photo features from pixel_values float[photo, slot, 3, tile, tile] and image_sizes int[photo, 2], or from
           `tile_features` and image_sizes (where an entry is None, from pixel_values, which hold just these photos), or take
           `image_features`. Photos of all rows stand one after another, in order of appearance; a row may have none or several.
        3. Put them in place of the placeholders. Raises Phi3VError when the numbers differ.
        4. Decode: logits float[batch, length, vocabulary] (only the last `logits_to_keep` positions when above 0).
        5. With labels int[batch, length] (-100 = not trained): the mean cross-entropy of the next word.

        Packed rows: without attention_mask, and with position_ids int[batch, length] that begin at 0 with each record, no record sees
        another. flash_attention_2 and sdpa_packed (`packing`) skip what lies between records; sdpa and eager compute and mask it.

        `logits_at_labels` makes logits float[labelled, vocabulary], only where the next word is trained, row by row: the same
        loss without the [batch, length, vocabulary] tensor, most of which no loss would ever look at. Where more than
        LOGITS_AT_ONCE positions are trained, the logits are made and dropped in parts, and none are returned.
        """
        if logits_at_labels:
            if labels is None:
                raise Phi3VError("logits_at_labels is set, but there are no labels: give both, or neither")
            words = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids, "inputs_embeds": inputs_embeds}
            photos: dict[str, Any] = {"pixel_values": pixel_values, "image_sizes": image_sizes}
            photos |= {"image_features": image_features, "tile_features": tile_features}
            return self._at_labels(labels, words | photos, kwargs)
        output: CausalLMOutputWithPast = super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            pixel_values=pixel_values,
            image_sizes=image_sizes,
            image_features=image_features,
            tile_features=tile_features,
            **kwargs,
        )
        return output

    def _at_labels(self, labels: Tensor, inputs: dict[str, Any], kwargs: dict[str, Any]) -> CausalLMOutputWithPast:
        following = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=-100).flatten()
        places = (following != -100).nonzero().squeeze(-1)
        hidden, following = self.model(**inputs, use_cache=False, kept=places, **kwargs).last_hidden_state, following[places]
        if len(places) <= LOGITS_AT_ONCE or not torch.is_grad_enabled():
            logits = self.lm_head(hidden)
            loss = self.loss_function(logits, None, self.config.vocab_size, shift_labels=following, **kwargs)
            return CausalLMOutputWithPast(loss=loss, logits=logits)
        whole = kwargs.pop("num_items_in_batch", None)
        parts = [
            checkpoint(self._summed_loss, *part, use_reentrant=False)
            for part in zip(torch.split(hidden, LOGITS_AT_ONCE), torch.split(following, LOGITS_AT_ONCE), strict=True)
        ]
        return CausalLMOutputWithPast(loss=torch.stack(parts).sum() / (len(places) if whole is None else whole))

    def _summed_loss(self, hidden: Tensor, following: Tensor) -> Tensor:
        """Long answers: the logits of one part stand in memory at a time, and are made again for the backward pass."""
        return torch.nn.functional.cross_entropy(self.lm_head(hidden).float(), following, reduction="sum")

    def prepare_inputs_for_generation(  # type: ignore[no-untyped-def]
        self,
        input_ids: Tensor,
        past_key_values: Cache | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_features: PhotoFeatures | None = None,
        tile_features: TileFeatures | None = None,
        **kwargs,
    ) -> dict[str, Any]:
        """Inputs of the next decoding step. Where the sequence grows past the short rope factors, the cached keys no longer
        fit: the cache is dropped once and the whole sequence, photos included, is read again with the long factors."""
        if past_key_values is not None and self._crosses_rope_border(input_ids, past_key_values, attention_mask):
            past_key_values = None
            kwargs["next_sequence_length"] = None
        inputs: dict[str, Any] = GenerationMixin.prepare_inputs_for_generation(
            self, input_ids, past_key_values=past_key_values, attention_mask=attention_mask, **kwargs
        )
        if past_key_values is None or past_key_values.get_seq_length() == 0:
            inputs |= {"pixel_values": pixel_values, "image_sizes": image_sizes}
            inputs |= {"image_features": image_features, "tile_features": tile_features}
        return inputs

    def _crosses_rope_border(self, input_ids: Tensor, cache: Cache, attention_mask: Tensor | None) -> bool:
        """Whether this step is the first whose longest row is over original_max_position_embeddings, padding not counted."""
        cached = int(cache.get_seq_length())
        if cached == 0 or (self.config.rope_parameters or {}).get("rope_type") != "longrope":
            return False
        border: int = self.config.original_max_position_embeddings
        longest = int(attention_mask.sum(-1).max()) if attention_mask is not None else input_ids.shape[1]
        return longest > border >= longest - (input_ids.shape[1] - cached)

    def _expand_inputs_for_generation(  # type: ignore[no-untyped-def]
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Tensor | None = None, **model_kwargs
    ) -> tuple[Tensor | None, dict[str, Any]]:
        """For beams and several samples: each row's photos are repeated with their row, however many they are."""
        photos = {key: model_kwargs.pop(key, None) for key in PHOTO_INPUTS}
        if expand_size > 1 and input_ids is not None and photos["image_sizes"] is not None:
            order = self._photo_order(input_ids, photos["image_sizes"], expand_size)
            for key, value in photos.items():
                if value is not None:
                    photos[key] = _chosen(value, _among_pixels(order, photos["tile_features"]) if key == "pixel_values" else order)
        elif expand_size > 1 and (given := [key for key in ("image_features", "tile_features") if photos[key] is not None]):
            raise Phi3VError(f"several samples or beams from {given[0]} need image_sizes too")
        input_ids, model_kwargs = super()._expand_inputs_for_generation(expand_size, is_encoder_decoder, input_ids, **model_kwargs)
        return input_ids, model_kwargs | {key: value for key, value in photos.items() if value is not None}

    def _photo_order(self, input_ids: Tensor, image_sizes: Tensor, expand_size: int) -> list[int]:
        """Indices of photos when every row stands `expand_size` times."""
        embedding = self.model.vision_embed_tokens
        sizes = image_sizes.tolist()
        tokens = [num_tokens(h // embedding.tile_size, w // embedding.tile_size, embedding.tile_grid) for h, w in sizes]
        order, start = [], 0
        for open_places in ((input_ids < 0) | (input_ids == self.config.image_token_id)).sum(-1).tolist():
            stop = start
            while open_places > 0 and stop < len(tokens):
                open_places -= tokens[stop]
                stop += 1
            order += list(range(start, stop)) * expand_size
            start = stop
        return order


def _chosen(photos: Any, order: list[int]) -> Any:
    return photos[order] if isinstance(photos, Tensor) else [photos[place] for place in order]


def _among_pixels(order: list[int], tile_features: TileFeatures | None) -> list[int]:
    """Places of photos -> places in pixel_values, which hold only those photos that have no tile features."""
    if tile_features is None:
        return order
    without = [place for place, own in enumerate(tile_features) if own is None]
    return [without.index(place) for place in order if place in without]
