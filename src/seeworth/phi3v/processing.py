"""`Phi3VProcessor`: texts and photos -> ids, masks and tiles, as the model was trained to read them.

Two ways in, kept apart on purpose:
    processor(text, images)      a prompt that somebody trusted wrote: `<|user|>`, `<|end|>`, `<|image_1|>` are control words
    processor.plain_ids(text)    text from data: whatever it holds is encoded as characters, never as a control token
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import BatchFeature, PreTrainedTokenizerFast
from transformers.processing_utils import ProcessorMixin
from transformers.utils import cached_file

from .configuration import Phi3VError
from .image_processing import Phi3VImageProcessor

IMAGE_TOKEN = "<|image|>"  # noqa: S105 - a token of the vocabulary, no secret
CONTROL_TOKENS = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>", IMAGE_TOKEN)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{- '<|assistant|>\\n' -}}{% endif %}"
)
_TAG = re.compile(r"<\|image_(\d+)\|>")

Photos = Image.Image | Sequence[Any] | None


class Phi3VProcessor(ProcessorMixin):
    """The image processor and the tokenizer in one.

    Args:
        image_processor: cuts the photos.
        tokenizer: a fast tokenizer that holds the Phi-3 chat markers and `<|image|>`.
    Raises Phi3VError when the tokenizer lacks a marker or does not keep the white space after one.
    """

    def __init__(self, image_processor: Phi3VImageProcessor, tokenizer: PreTrainedTokenizerFast, chat_template: str | None = None) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template or tokenizer.chat_template or CHAT_TEMPLATE)
        missing = [token for token in CONTROL_TOKENS if tokenizer.convert_tokens_to_ids(token) in (None, tokenizer.unk_token_id)]
        if missing:
            raise Phi3VError(f"the tokenizer has no {', '.join(missing)}: it is not the one of a Phi-3-Vision")
        self.ids = {token: int(tokenizer.convert_tokens_to_ids(token)) for token in CONTROL_TOKENS}
        self.image_token = IMAGE_TOKEN
        self.image_token_id = self.ids[IMAGE_TOKEN]
        self._plain = _plain_tokenizer(tokenizer)
        plain = self.plain_ids("\nhi")
        known = tokenizer("<|user|>\nhi").input_ids == [tokenizer.bos_token_id, self.ids["<|user|>"], *plain]
        if not known or not tokenizer.convert_ids_to_tokens(plain)[0].startswith("▁"):
            raise Phi3VError("the tokenizer reads '<|user|>\\nhi' not as Phi-3-Vision does: load it from the model's tokenizer.json")

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "pixel_values", "image_sizes"]

    def plain_ids(self, text: str) -> list[int]:
        """Ids of text from data. Control words in it are plain characters; no bos in front."""
        return list(self._plain.encode(_texts(text)[0], add_special_tokens=False).ids) if text else []

    def photo_ids(self, num_tokens: int) -> list[int]:
        """Ids of one photo's place, and the bos that the models were trained to see after it."""
        return [self.image_token_id] * num_tokens + [int(self.tokenizer.bos_token_id)]

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        images: Photos = None,
        padding: bool | str | None = None,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: str | None = "pt",
        padding_side: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Encode one prompt or many.

        Args:
            text: one prompt or a list; `<|image_1|>`, `<|image_2|>`, ... stand where that text's photos go, each once.
            images: for one text a photo or a list of photos; for many a list of lists, or a flat list in the texts' order.
            padding: None pads when there are several texts; True or "longest", "max_length" (needs max_length), False.
            truncation, max_length: cut each text's end; Phi3VError when a photo would be cut.
            padding_side: "right" for training, "left" for generation; the tokenizer's own when None.

        Returns input_ids and attention_mask int64[text, length]; with photos also pixel_values float32[photo, slot, 3, tile, tile]
        and image_sizes int64[photo, 2], photos in order of appearance. Placeholders are `<|image|>`.
        Raises Phi3VError when photos and tags do not match, and for a keyword that is not listed here.
        """
        strange = sorted(key for key, value in kwargs.items() if value is not None)
        if strange:
            known = "text, images, padding, truncation, max_length, return_tensors and padding_side"
            raise Phi3VError(f"the processor does not know {', '.join(strange)}, only {known}; num_crops is set in image_processor")
        texts = _texts(text)
        groups = _photos_per_text(texts, images)
        ordered: list[Image.Image] = []
        rows = []
        for one, photos in zip(texts, groups, strict=True):
            tags = _tags(one, len(photos))
            mine = [photos[tag - 1] for tag in tags]
            rows.append(self._encode(one, [self.image_processor.plan(*photo.size).num_tokens for photo in mine]))
            ordered += mine
        if truncation:
            rows = [self._cut(row, max_length) for row in rows]
        data: dict[str, Any] = self._pad(rows, padding, max_length, padding_side or self.tokenizer.padding_side, return_tensors)
        if ordered:
            pixels = self.image_processor(ordered)
            data |= {"pixel_values": pixels["pixel_values"], "image_sizes": pixels["image_sizes"]}
        return BatchFeature(data)

    def _encode(self, text: str, lengths: list[int]) -> list[int]:
        """Pieces between the tags, each tokenized on its own with its bos, and the places of the photos between them."""
        if IMAGE_TOKEN in text:
            raise Phi3VError(f"the text holds {IMAGE_TOKEN}, which marks a photo's place: write <|image_1|> where the photo goes")
        pieces = _TAG.split(text)[::2]
        ids = list(self.tokenizer(pieces[0]).input_ids)
        for length, piece in zip(lengths, pieces[1:], strict=True):
            ids += [self.image_token_id] * length + list(self.tokenizer(piece).input_ids)
        return ids

    def _cut(self, row: list[int], max_length: int | None) -> list[int]:
        if max_length is None:
            raise Phi3VError("truncation needs max_length")
        if self.image_token_id in row[max_length:]:
            raise Phi3VError(f"max_length {max_length} would cut a photo's tokens (the text has {len(row)}): raise it or lower num_crops")
        return row[:max_length]

    def _pad(
        self, rows: list[list[int]], padding: bool | str | None, max_length: int | None, side: str, return_tensors: str | None
    ) -> dict[str, Any]:
        longest = max(map(len, rows))
        if padding is None:
            padding = len(rows) > 1
        width = max_length if padding == "max_length" and max_length else longest
        masks = [[1] * len(row) for row in rows]
        if padding in (True, "longest", "max_length"):
            pad = int(self.tokenizer.pad_token_id)
            rows = [_fill(row, width, pad, side) for row in rows]
            masks = [_fill(mask, width, 0, side) for mask in masks]
        if return_tensors == "pt":
            return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}
        return {"input_ids": rows, "attention_mask": masks}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Phi3VProcessor:
        """From a folder or Hub id. `num_crops` may be given here; other keywords go to the download (revision, token, ...).

        The tokenizer is built from tokenizer.json itself: transformers' own guess of its class reads the text differently.
        Raises Phi3VError when a file is missing.
        """
        num_crops = kwargs.pop("num_crops", None)
        for ours_not in ("trust_remote_code", "_from_auto", "code_revision", "use_fast", "backend"):
            kwargs.pop(ours_not, None)
        where = str(pretrained_model_name_or_path)
        settings = json.loads(_file(where, "preprocessor_config.json", **kwargs).read_text())
        if num_crops is not None:
            settings["num_crops"] = num_crops
        for key in ("auto_map", "processor_class", "image_processor_type"):
            settings.pop(key, None)
        return cls(Phi3VImageProcessor(**settings), _load_tokenizer(where, **kwargs))

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> list[str]:
        """Write preprocessor_config.json, processor_config.json and the tokenizer files, in a form that older readers know too."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.image_processor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text())
        config |= {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": self.chat_template}
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "processor_config.json").write_text(json.dumps({"processor_class": type(self).__name__}, indent=2) + "\n")
        return [str(one) for one in sorted(folder.iterdir())]


def _plain_tokenizer(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """The same vocabulary and merges without any added token, so that no text can become one."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    return Tokenizer.from_str(json.dumps(data | {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}))


def _load_tokenizer(where: str, **kwargs: Any) -> PreTrainedTokenizerFast:
    config = json.loads(_file(where, "tokenizer_config.json", **kwargs).read_text(encoding="utf-8"))
    named = {key: _content(config.get(key)) for key in ("bos_token", "eos_token", "pad_token", "unk_token")}
    return PreTrainedTokenizerFast(
        tokenizer_file=str(_file(where, "tokenizer.json", **kwargs)),
        chat_template=config.get("chat_template") or CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=config.get("model_max_length", 131072),
        padding_side=config.get("padding_side", "right"),
        **named,
    )


def _content(token: str | Mapping[str, Any] | None) -> str | None:
    return str(token["content"]) if isinstance(token, Mapping) else token


def _file(where: str, name: str, **kwargs: Any) -> Path:
    try:
        found = cached_file(where, name, **kwargs)
    except OSError as problem:
        raise Phi3VError(f"{where}: {name} is not there: give a folder or Hub id of a Phi-3-Vision model") from problem
    return Path(str(found))


def _texts(text: Any) -> list[str]:
    """One text or many as a list. Raises Phi3VError for none, for anything but str, and for half a character (a lone surrogate)."""
    texts = [text] if isinstance(text, str) else list(text) if isinstance(text, list | tuple) else [] if text is None else [text]
    if not texts:
        raise Phi3VError("no text is given: the prompt says what to do with the photo")
    for one in texts:
        if not isinstance(one, str):
            raise Phi3VError(f"expected text as str, found {type(one).__name__}: the order is processor(text, images)")
        if any("\ud800" <= char <= "\udfff" for char in one):
            raise Phi3VError(f"the text holds half a character and is no valid Unicode: {one[:40]!r}")
    return texts


def _tags(text: str, photos: int) -> list[int]:
    """Tag numbers in order of appearance. Raises Phi3VError unless they are 1..photos, each once."""
    tags = [int(number) for number in _TAG.findall(text)]
    if sorted(tags) != list(range(1, photos + 1)):
        found = ", ".join(f"<|image_{tag}|>" for tag in tags) or "no photo tag"
        expected = ", ".join(f"<|image_{tag}|>" for tag in range(1, photos + 1)) or "no photo tag, for no photo is given"
        raise Phi3VError(f"the text holds {found}, expected {expected}, each once")
    return tags


def _photos_per_text(texts: list[str], images: Photos) -> list[list[Image.Image]]:
    if images is None:
        return [[] for _ in texts]
    photos = [images] if isinstance(images, Image.Image) else list(images)
    if any(isinstance(one, list | tuple) for one in photos):
        if len(photos) != len(texts):
            raise Phi3VError(f"{len(texts)} texts and {len(photos)} lists of photos are given: one list for each text is expected")
        groups = [list(one or []) if not isinstance(one, Image.Image) else [one] for one in photos]
    elif len(texts) == 1:
        groups = [photos]
    else:
        counts = [len(_TAG.findall(text)) for text in texts]
        if sum(counts) != len(photos):
            raise Phi3VError(f"the texts hold {sum(counts)} photo tags, {len(photos)} photos are given")
        groups = [photos[sum(counts[:i]) : sum(counts[: i + 1])] for i in range(len(texts))]
    for photo in (photo for group in groups for photo in group):
        if not isinstance(photo, Image.Image):
            raise Phi3VError(f"expected PIL photos, found {type(photo).__name__}: open it with PIL.Image.open first")
    return groups


def _fill(row: list[int], width: int, value: int, side: str) -> list[int]:
    gap = [value] * (width - len(row))
    return gap + row if side == "left" else row + gap
