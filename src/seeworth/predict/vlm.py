"""The vision-language model as a Predictor: records in, words out, by real generation with the key-value cache.

Batches are padded on the left; nothing is teacher-forced. `load_base` and `load_run` are the only places where weights are
read; the trainer starts from the first. Knows nothing of scores.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.utils import logging as library_logging

from ..encode import Encoder, collate
from ..errors import ModelError, SettingsError, told_as
from ..features import FeatureStore, features_folder
from ..memory import keep_freed_memory
from ..phi3v import Phi3VForCausalLM, Phi3VProcessor
from ..record import Prediction, Record
from ..run_folder import read_run
from ..task import Task


class VLM:
    """Answers the task's question for each record's photo.

    Args:
        model: Phi3VForCausalLM, or one wrapped by PEFT; put into eval mode while it answers.
        encoder: makes the prompts.
        batch_size: photos answered together.
        max_new_tokens: an answer is cut there.
        features: what its vision tower makes of photos, where that is kept; None opens and computes every photo each time.
    """

    def __init__(
        self,
        model: Any,
        encoder: Encoder,
        *,
        batch_size: int = 16,
        max_new_tokens: int = 160,
        name: str = "model",
        features: FeatureStore | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.encoder = encoder
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.features = features

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        """Predictions in the records' order. Raises PhotoError when a photo cannot be opened."""
        stream = iter(records)
        while batch := list(islice(stream, self.batch_size)):
            start = time.perf_counter()
            texts = self.answer(batch)
            seconds = (time.perf_counter() - start) / len(batch)
            for record, text in zip(batch, texts, strict=True):
                yield Prediction(record.id, text, round(seconds, 4))

    @torch.inference_mode()
    def answer(self, records: list[Record]) -> list[str]:
        """The model's words for one batch."""
        tokenizer = self.encoder.processor.tokenizer
        made = self.features.features(records, self.model) if self.features is not None else [None] * len(records)
        examples = [self.encoder.example(record, answer=False, tile_features=own) for record, own in zip(records, made, strict=True)]
        batch = collate(examples, pad_id=tokenizer.pad_token_id, side="left")
        del batch["labels"]
        batch = {key: value.to(self.model.device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        training = self.model.training
        self.model.eval()
        ids = self.model.generate(**batch, do_sample=False, max_new_tokens=self.max_new_tokens, use_cache=True)
        self.model.train(training)
        new = ids[:, batch["input_ids"].shape[1] :]
        return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def load_base(
    model: str, *, dtype: str = "auto", attn_implementation: str = "auto", num_crops: int | None = None, load_in_4bit: bool = False
) -> tuple[Any, Phi3VProcessor]:
    """A Hub id or folder -> model on this machine's device, and its processor. Raises ModelError in one line.

    With `load_in_4bit` the linear layers of the language model are 4-bit; raises SettingsError where bitsandbytes is not installed.
    """
    library_logging.disable_progress_bar()
    asked: dict[str, Any] = {} if attn_implementation == "auto" else {"attn_implementation": attn_implementation}
    if load_in_4bit:
        asked["quantization_config"] = _four_bits()
    with told_as(ModelError, OSError, ValueError, ImportError, RuntimeError, where=f"model {model}"):
        loaded = Phi3VForCausalLM.from_pretrained(model, dtype=pick_dtype(dtype), **asked)
        processor = Phi3VProcessor.from_pretrained(model, num_crops=num_crops)
    if load_in_4bit:
        _keep_differentiable(loaded)
        return loaded, processor  # on its device already
    return loaded.to(device()), processor


def _four_bits() -> BitsAndBytesConfig:
    """QLoRA's form (T. Dettmers et al., 2023): normal floats of 4 bits, their scales quantised once more, products in bfloat16."""
    if find_spec("bitsandbytes") is None:
        raise SettingsError("load_in_4bit needs bitsandbytes, which is not installed: pip install 'seeworth[quant]', or leave load_in_4bit")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head", "model.vision_embed_tokens"],  # the option's name is older than 4 bits
    )


def _keep_differentiable(model: Any) -> None:
    """Keep bitsandbytes from repacking the weights on a CPU when the model answers: no gradient goes through the packed ones, and
    a training that answers photos in between would go on with wrong gradients, without an error (bitsandbytes 0.50)."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def load_run(run: Path, *, batch_size: int = 16, max_new_tokens: int = 160, keep_features: bool = False) -> VLM:
    """The tuned model of a run folder, ready to answer. Raises RunError when the folder is no finished run.

    Features that the training kept are used; with `keep_features` those of further photos are kept beside them.
    """
    about = read_run(run)
    keep_freed_memory()
    if about["method"] == "lora":
        from peft import PeftModel

        four = bool(about.get("settings", {}).get("load_in_4bit", False))  # the adapter fits the rounded weights it was trained on
        base, _ = load_base(about["model"], dtype=about["dtype"], attn_implementation=about["attn_implementation"], load_in_4bit=four)
        with told_as(ModelError, OSError, ValueError, RuntimeError, where=f"adapter {run}"):
            model = PeftModel.from_pretrained(base, str(run))
            processor = Phi3VProcessor.from_pretrained(run)
    else:
        model, processor = load_base(str(run), dtype=about["dtype"], attn_implementation=about["attn_implementation"])
    task = Task.from_dict(about["task"], where=run / "run.json")
    encoder = Encoder(processor, task)
    features = _kept_features(about, model, encoder, keep_features)
    return VLM(model.eval(), encoder, batch_size=batch_size, max_new_tokens=max_new_tokens, name=run.name, features=features)


def _kept_features(about: dict[str, Any], model: Any, encoder: Encoder, keep: bool) -> FeatureStore | None:
    """The store that the run was trained from: None when there is none, or it holds nothing that this run's own tower has made."""
    named = about.get("settings", {}).get("vision_cache_dir")
    root = Path(named) if named else features_folder(Path(about["data"]))
    if not root.is_dir():
        return None
    try:
        store = FeatureStore.open(root, model, encoder, keep=keep)
    except ModelError:  # the tower was tuned by adapters
        return None
    return store if store.num_photos else None


def device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(name: str) -> torch.dtype:
    """ "auto": bfloat16 where a GPU computes in it, else float32."""
    if name == "auto":
        return torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else torch.float32
    return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[name]
