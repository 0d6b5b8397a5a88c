"""The vision-language model as a Predictor: records in, words out, by real generation with the key-value cache.

Nothing is teacher-forced. How a batch is answered is told in `answer`, what holds its words to the task in `constrain`. `load_base` and
`load_run` are the only places where weights are read; the trainer starts from the first. Knows nothing of scores.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.utils import logging as library_logging

from ..data.dataset import Dataset
from ..encode import Encoder, Example, collate
from ..errors import DataError, ModelError, SettingsError, told_as
from ..features import FeatureStore, features_folder
from ..memory import keep_freed_memory
from ..phi3v import Phi3VForCausalLM, Phi3VProcessor
from ..record import Prediction, Record
from ..run_folder import read_run
from ..samples import told_by_samples
from ..task import Task
from .answer import Batch, ends_of, plain, rope_border
from .constrain import Constraint, Walk
from .likely import Likely, likely
from .samples import sample, source

AHEAD = 8  # batches whose records are put in order of their lengths


class VLM:
    """Answers the task's question for each record's photo.

    Args:
        model: Phi3VForCausalLM, or one wrapped by PEFT; put into eval mode while it answers.
        encoder: makes the prompts.
        batch_size: photos answered together.
        max_new_tokens: a free answer is cut there; a constrained one has at most as many tokens of free words in a field.
        features: what its vision tower makes of photos, where that is kept; None opens and computes every photo each time.
        constrained: the task whose words answers are held to, categories with choices to these; None leaves the words free. What a
            conversation's last question asks is always answered freely.
        distribution: tell how likely every choice and every number was, see `likely`; constrained answers only.
        samples: answers drawn for each record beside the likeliest, see `samples`; without `distribution` they tell it, see
            `told_by_samples`.
        temperature: of the samples, above 0. seed: of the samples; the same record and seed give the same ones, in any batch.

    Raises TaskError when the task cannot be held to, SettingsError for samples that cannot be.
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
        constrained: Task | None = None,
        distribution: bool = False,
        samples: int = 0,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        if samples < 0 or not 0 < temperature < math.inf:
            raise SettingsError(f"samples {samples} at temperature {temperature}: expected 0 or more, and a temperature above 0")
        self.name = name
        self.model = model
        self.encoder = encoder
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.features = features
        self.distribution = distribution
        self.samples = samples
        self.temperature = temperature
        self.seed = seed
        self.constraint = None if constrained is None else self._hold_to(constrained)

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        """Predictions in the records' order. Raises PhotoError when a photo cannot be opened."""
        stream = iter(records)
        while ahead := list(islice(stream, self.batch_size * AHEAD)):
            done: dict[int, Prediction] = {}
            told = 0
            for places in self.batches([self.length(record) for record in ahead]):
                done |= zip(places, self._timed([ahead[place] for place in places]), strict=True)
                while told in done:
                    yield done.pop(told)
                    told += 1

    def answer(self, records: list[Record]) -> list[str]:
        """The model's words for one batch."""
        return [one.text for one in self._timed(records)]

    def _timed(self, records: list[Record]) -> list[Prediction]:
        start = time.perf_counter()
        training = self.model.training
        self.model.eval()
        found = self._answers(records)
        self.model.train(training)
        seconds = round((time.perf_counter() - start) / len(records), 4)
        return [replace(one, seconds=seconds) for one in found]

    @torch.inference_mode()
    def _answers(self, records: list[Record]) -> list[Prediction]:
        made = self.features.features(records, self.model) if self.features is not None else [None] * len(records)
        examples = [self.encoder.example(record, answer=False, tile_features=own) for record, own in zip(records, made, strict=True)]
        return self.answer_examples(records, examples)

    @torch.inference_mode()
    def answer_examples(self, records: Sequence[Record], examples: Sequence[Example]) -> list[Prediction]:
        """Answer prompts that are made already, of photos that need lie in no file: one batch, `seconds` 0. The model is in eval mode."""
        held = self.constraint
        walks = [held.walk() if held and record.turns is None else None for record in records]
        if not any(walks) and not self.samples:
            return [Prediction(record.id, text, 0.0) for record, text in zip(records, self._freely(examples), strict=True)]
        pad_id = self.encoder.processor.tokenizer.pad_token_id
        batch = Batch(self.model, examples, walks, max_new_tokens=self.max_new_tokens, pad_id=pad_id)
        texts = self._texts(batch.answer(), walks)
        found = [Prediction(record.id, text, 0.0) for record, text in zip(records, texts, strict=True)]
        if self.distribution and held:
            values = likely(batch, held, [text if walk else None for text, walk in zip(texts, walks, strict=True)])
            found = [_with_values(one, own, held.task) for one, own in zip(found, values, strict=True)]
        return self._with_samples(batch, walks, found) if self.samples else found

    def _texts(self, said: Sequence[Sequence[int]], walks: Sequence[Walk | None]) -> list[str]:
        held = self.constraint
        free: list[str] = self.encoder.processor.tokenizer.batch_decode(said, skip_special_tokens=True)
        return [held.text(one) if held and walk else own.strip() for one, walk, own in zip(said, walks, free, strict=True)]

    def _with_samples(self, batch: Batch, walks: Sequence[Walk | None], found: Sequence[Prediction]) -> list[Prediction]:
        held, many = self.constraint, range(self.samples)
        new = [[held.walk() if held and walk else None for _ in many] for walk in walks]
        rngs = [[source(self.seed, one.record_id, number) for number in many] for one in found]
        said = sample(batch, new, rngs, self.temperature)
        told = [replace(one, samples=tuple(self._texts(own, ways))) for one, own, ways in zip(found, said, new, strict=True)]
        return [told_by_samples(self.encoder.task, one) for one in told]

    def _freely(self, examples: Sequence[Example]) -> list[str]:
        """The library's own loop, a tenth faster than ours on a CPU where nothing is forced."""
        tokenizer = self.encoder.processor.tokenizer
        batch = collate(examples, pad_id=tokenizer.pad_token_id, side="left")
        del batch["labels"]
        batch = {key: value.to(self.model.device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        ids = self.model.generate(**batch, do_sample=False, max_new_tokens=self.max_new_tokens, use_cache=True)
        new = ids[:, batch["input_ids"].shape[1] :]
        return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]

    def batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Places of prompts that are answered together, of like lengths; one whose rope factors may change is answered alone."""
        border = rope_border(self.model)
        batch: list[int] = []
        for place in sorted(range(len(lengths)), key=lengths.__getitem__):
            if border is not None and lengths[place] + self.max_new_tokens > border:
                yield [place]
                continue
            batch.append(place)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def length(self, record: Record) -> int:
        """Tokens of a record's prompt; no photo is opened where the sizes are known. Raises PhotoError."""
        return len(self.encoder.prompt_ids(record, [plan.num_tokens for plan in self.encoder.tilings(record)]))

    def _hold_to(self, task: Task) -> Constraint:
        return Constraint(
            task,
            self.encoder.processor,
            vocab_size=plain(self.model).config.vocab_size,
            ends=sorted(ends_of(self.model)),
            max_tokens=self.max_new_tokens,
        )


def _with_values(one: Prediction, values: Mapping[str, Likely], task: Task) -> Prediction:
    """With the probability of every value, and of the answer's own."""
    own = task.read(one.text).values
    confidence = {name: round(likelihood.of(own[name]), 6) for name, likelihood in values.items() if name in own}
    told = {field.name: values[field.name].told(field) for field in task.answer_fields if field.name in values}
    return replace(one, confidence=confidence, distribution=told)


def load_base(
    model: str, *, dtype: str = "auto", attn_implementation: str = "auto", num_crops: int | None = None, load_in_4bit: bool = False
) -> tuple[Any, Phi3VProcessor]:
    """A Hub id or folder -> model on this machine's device, and its processor. Raises ModelError in one line.

    With `load_in_4bit` the linear layers of the language model are 4-bit; raises SettingsError where bitsandbytes is not installed.
    """
    library_logging.disable_progress_bar()
    if model.startswith((".", "/", "~")) and not Path(model).is_dir():
        raise ModelError(f"model {model}: there is no such folder: give one with config.json and weights, or a Hub id such as owner/name")
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


def load_run(
    run: Path,
    *,
    batch_size: int = 16,
    max_new_tokens: int = 160,
    keep_features: bool = False,
    constrained: bool | Task = True,
    free_categories: bool = False,
    distribution: bool = False,
    samples: int = 0,
    seed: int = 0,
    dtype: str | None = None,
) -> VLM:
    """The tuned model of a run folder, ready to answer. Raises RunError when the folder is no finished run.

    Features that the training kept are used; with `keep_features` those of further photos are kept beside them. `constrained` holds
    answers to the task, and open categories to those of the train records unless there are `free_categories`; a task is taken as it is.
    `dtype`: the run's own when left out. The rest as in `VLM`.
    """
    about = read_run(run)
    about |= {} if dtype is None else {"dtype": dtype}
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
    if constrained is True:
        constrained = held_to(about, task, free_categories)
    encoder = Encoder(processor, task)
    return VLM(
        model.eval(),
        encoder,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        name=run.name,
        features=_kept_features(about, model, encoder, keep_features),
        constrained=constrained or None,
        distribution=distribution,
        samples=samples,
        seed=seed,
    )


def held_to(about: dict[str, Any], task: Task, free_categories: bool) -> Task:
    """The task with the categories that answers are held to: its own choices, else those of the records it was trained on."""
    if free_categories:
        return task.without_choices()
    if all(one.choices is not None for one in task.of_kind("category")):
        return task
    try:
        return task.with_choices(record.values for record in Dataset.open(Path(about["data"])).records("train"))
    except DataError as problem:
        print(f"categories stay free, the train records that have them are not there: {problem}", file=sys.stderr)
        return task


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
