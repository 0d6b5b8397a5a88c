"""A tiny Phi-3-Vision: the same classes at a size that learns on a CPU, used by the demo, the docs and the tests.

The tokenizer is byte-fallback BPE of the published form, trained on the task's own words, with the Phi-3 chat markers.
Weights are random: it knows nothing until it is trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, set_seed

from .configuration import Phi3VConfig
from .image_processing import Phi3VImageProcessor
from .modeling import Phi3VForCausalLM
from .processing import CHAT_TEMPLATE, Phi3VProcessor
from .tiny_start import start_tower

TILE_SIZE = 112  # pixels a side: 8 x 8 patches of 14 pixels, 4 x 4 tokens
_ADDED = ("<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>", "<|image|>")
_STRIP_RIGHT = ("<|assistant|>", "<|image|>")


def make_tiny(texts: Iterable[str], *, seed: int = 0, num_crops: int = 1) -> tuple[Phi3VForCausalLM, Phi3VProcessor]:
    """An untrained tiny model and its processor, with a vocabulary learnt from `texts`. Same texts and seed, same weights."""
    tokenizer = tiny_tokenizer(texts)
    processor = Phi3VProcessor(
        Phi3VImageProcessor(num_crops=num_crops, num_img_tokens=(TILE_SIZE // 28) ** 2, tile_size=TILE_SIZE), tokenizer
    )
    set_seed(seed)
    model = Phi3VForCausalLM(tiny_config(len(tokenizer), processor.ids))
    start_tower(model.model.vision_embed_tokens.img_processor.vision_model)
    return model.to(torch.float32), processor


def tiny_config(vocab_size: int, ids: dict[str, int]) -> Phi3VConfig:
    """About 3 million parameters; `ids` are the tokenizer's control tokens."""
    vision = {
        "hidden_size": 160,
        "intermediate_size": 480,
        "num_hidden_layers": 5,
        "num_attention_heads": 5,
        "image_size": TILE_SIZE,
        "patch_size": 14,
        "projection_dim": 160,
    }
    return Phi3VConfig(
        vocab_size=vocab_size,
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=3,
        num_attention_heads=5,
        max_position_embeddings=4096,
        initializer_range=0.07,  # about 1/sqrt(hidden): with the 0.02 of large models a narrow one learns to look far later
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=1,
        eos_token_id=[ids["<|endoftext|>"], ids["<|end|>"]],
        pad_token_id=ids["<|endoftext|>"],
        image_token_id=ids["<|image|>"],
        img_processor={"image_dim_out": vision["hidden_size"], "num_img_tokens": (TILE_SIZE // 28) ** 2, "clip_config": vision},
    )


def tiny_tokenizer(texts: Iterable[str], vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """Byte-fallback BPE over `texts`. Digits and punctuation never merge, so numbers are read digit by digit, as in Phi-3."""
    vocab, merges = _train_bpe(texts, vocab_size)
    first = len(vocab)
    added = [(0, "<unk>"), (1, "<s>"), (2, "</s>"), *((first + i, token) for i, token in enumerate(_ADDED))]
    data = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(number, token) for number, token in added],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(data)),
        bos_token="<s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        eos_token="<|endoftext|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )


def _train_bpe(texts: Iterable[str], vocab_size: int) -> tuple[dict[str, int], list[list[str]]]:
    """Vocabulary (three control words, 256 bytes, then what was learnt) and merges."""
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("▁", "merged_with_next"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    room = max(vocab_size - 3 - 256 - len(_ADDED), 64)
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=room, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    words = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    alphabet = [chr(code) for code in range(33, 127)] + ["▁"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *dict.fromkeys([*alphabet, *words])]
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in learnt["merges"]]
    return {name: number for number, name in enumerate(names)}, merges


def _added(number: int, token: str) -> dict[str, object]:
    return {
        "id": number,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": token in _STRIP_RIGHT,
        "normalized": False,
        "special": token != "</s>",  # noqa: S105
    }
