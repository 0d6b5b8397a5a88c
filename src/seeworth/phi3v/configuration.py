"""`Phi3VConfig`: the published config.json of Phi-3-vision and Phi-3.5-vision, as transformers 5 understands it.

It reads what was published (rope type "su", no CLIP sizes, an attention choice for somebody else's machine) and writes the
published form back, so that the published code and other engines can read what we save. Knows nothing of weights.
"""

from __future__ import annotations

from typing import Any

from transformers import CLIPVisionConfig, Phi3Config, PreTrainedConfig

IMAGE_TOKEN_ID = 32044  # <|image|>: in the vocabulary, unused by the text model
END_TOKEN_ID = 32007  # <|end|>: ends a turn
ENDOFTEXT_TOKEN_ID = 32000  # <|endoftext|>: eos and pad of the chat models, although config.json says eos 2

# CLIP ViT-L/14-336, which the published configs imply without writing it down.
CLIP_VIT_L_14_336: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "num_channels": 3,
    "projection_dim": 768,
    "attention_dropout": 0.0,
}

_EMBD_LAYER = {
    "embedding_cls": "image",
    "hd_transform_order": "sub_glb",
    "projection_cls": "mlp",
    "use_hd_transform": True,
    "with_learnable_separator": True,
}
_IMG_PROCESSOR = {
    "image_dim_out": 1024,
    "model_name": "openai/clip-vit-large-patch14-336",
    "name": "clip_vision_model",
    "num_img_tokens": 144,
}


class Phi3VError(ValueError):
    """A checkpoint, a photo or token ids that this model cannot work with; the message is one line."""


class Phi3VConfig(Phi3Config):
    """Configuration of Phi-3-Vision.

    Args beyond those of Phi3Config:
        embd_layer: the published description of the photo embedding; only the published choices are implemented.
        img_processor: the published description of the CLIP tower. The key `clip_config` (sizes as in CLIPVisionConfig)
            is ours: without it the tower is CLIP ViT-L/14-336.
        image_token_id: the placeholder that stands once for each photo token in `input_ids`.
        max_position_embeddings, original_max_position_embeddings: 131,072 and 4,096; up to the latter the short rope factors
            are used, above it the long ones.

    Raises Phi3VError for another model_type or for an embedding that is not the published one.
    """

    model_type = "phi3_v"
    sub_configs_defaults = {"vision_config": CLIPVisionConfig}  # noqa: RUF012 - the library's own way

    max_position_embeddings: int = 131072
    sliding_window: int | None = None
    rope_parameters: dict[str, Any] | None = None
    embd_layer: dict[str, Any] | None = None
    img_processor: dict[str, Any] | None = None
    image_token_id: int = IMAGE_TOKEN_ID
    published_sliding_window: int | None = None
    vision_config: dict[str, Any] | PreTrainedConfig | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        kwargs.pop("_attn_implementation", None)  # a choice for the machine that saved the file
        self.embd_layer = _EMBD_LAYER | (self.embd_layer or {})
        self.img_processor = _IMG_PROCESSOR | (self.img_processor or {})
        _check_embedding(self.embd_layer, self.img_processor)
        if isinstance(self.vision_config, PreTrainedConfig):
            self.vision_config = {key: getattr(self.vision_config, key) for key in CLIP_VIT_L_14_336}
        if self.vision_config is not None:
            self.img_processor = self.img_processor | {"clip_config": dict(self.vision_config)}  # where it is saved
        sizes: dict[str, Any] = self.img_processor.get("clip_config") or {}  # type: ignore[assignment]
        self.vision_config = CLIPVisionConfig(**(CLIP_VIT_L_14_336 | sizes))
        if self.sliding_window is not None and self.sliding_window >= self.max_position_embeddings:
            # It never binds, but would send every call through other mask and cache code.
            self.published_sliding_window, self.sliding_window = self.sliding_window, None
        scaling = kwargs.pop("rope_scaling", None)
        if scaling and self.rope_parameters is None:
            self.rope_parameters = dict(scaling)
        if self.rope_parameters and self.rope_parameters.get("type", self.rope_parameters.get("rope_type")) in ("su", "longrope"):
            self.rope_parameters = self._longrope(self.rope_parameters, kwargs.get("rope_theta", 10000.0))
            kwargs.pop("rope_theta", None)
        super().__post_init__(**kwargs)

    def _longrope(self, rope: dict[str, Any], theta: float) -> dict[str, Any]:
        """The rope dict in the library's words. `factor` and `attention_factor` stay away: the library derives them rightly."""
        return {
            "rope_type": "longrope",
            "rope_theta": rope.get("rope_theta", theta),
            "short_factor": list(rope["short_factor"]),
            "long_factor": list(rope["long_factor"]),
            "original_max_position_embeddings": self.original_max_position_embeddings,
        }

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise Phi3VError(
                f"this checkpoint is a {found!r}, expected {cls.model_type!r}: "
                "give a folder or Hub id of Phi-3-vision-128k-instruct or Phi-3.5-vision-instruct"
            )
        return super().from_dict(dict(config_dict), **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """The published form: rope type "su", the sliding window that never binds, CLIP sizes under img_processor."""
        output: dict[str, Any] = super().to_dict()
        output.pop("vision_config", None)
        window = output.pop("published_sliding_window", None)
        output["sliding_window"] = output.get("sliding_window") or window
        rope = output.pop("rope_parameters", None) or {}
        output["rope_theta"] = rope.get("rope_theta", 10000.0)
        if rope.get("rope_type") == "longrope":
            output["rope_scaling"] = {"type": "su", "short_factor": rope["short_factor"], "long_factor": rope["long_factor"]}
        else:
            output["rope_scaling"] = None
        if output.get("dtype") is not None:
            output["torch_dtype"] = output["dtype"]  # the word that older readers know
        return output

    def to_diff_dict(self) -> dict[str, Any]:
        """All of `to_dict`: readers of other engines should not have to know our defaults."""
        output = self.to_dict()
        output.pop("_name_or_path", None)
        return output


def _check_embedding(embd_layer: dict[str, Any], img_processor: dict[str, Any]) -> None:
    for key, expected in _EMBD_LAYER.items():
        if embd_layer[key] != expected:
            raise Phi3VError(f"config embd_layer.{key} is {embd_layer[key]!r}, expected {expected!r}: no other photo embedding is known")
    kind = img_processor.get("type_feature", "patch")
    if img_processor["name"] != "clip_vision_model" or kind != "patch":
        name = img_processor["name"]
        raise Phi3VError(f"config img_processor is {name!r} with {kind!r} features, expected 'clip_vision_model' with 'patch'")
