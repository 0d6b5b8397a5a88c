"""A catalogue over vLLM, for fleets of GPUs: a merged export and what `seeworth predict` reads -> the lines that it writes.

    seeworth export RUN OUT --merge
    python examples/vllm_batch.py OUT photos/ predictions.jsonl
    python examples/vllm_batch.py OUT photos/ predictions-3.jsonl --part 3/8      # the fourth of eight processes, a GPU each

**This was never run with vLLM**: it needs a GPU and is not installed where seeworth is made. It is written from vLLM's documentation and
source as they stood in 2026; its own functions are tested with a stand-in for vLLM, which shows that prompts and lines are right, not that
vLLM takes them. Compare some lines with those of `seeworth predict OUT ...` before you trust it.

What differs from `seeworth predict`: words are free (not held to the task), nothing tells how likely they were, and numbers are rounded as
vLLM's kernels round them. vLLM brings its own torch and transformers: nothing imported here needs ours, so
`pip install --no-deps seeworth && pip install pillow numpy pyarrow pyyaml rich` beside vLLM is enough.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from seeworth.data.photo.decode import open_photo
from seeworth.errors import DataError, PhotoError, SeeworthError, SettingsError, TaskError
from seeworth.intervals import NAME, Intervals, read_intervals
from seeworth.predict.inputs import Engine, Input, Inputs, open_inputs
from seeworth.predict.journal import Journal, part_of
from seeworth.predict.lines import answered, refused
from seeworth.record import Prediction, Record
from seeworth.run_folder import read_run
from seeworth.settings import PredictSettings
from seeworth.task import Task

CONTROL = re.compile(r"<\|\w+\|>|</?s>|<unk>")  # what vLLM's tokenizer would take for a control token
ENDS = [32000, 32007]  # <|endoftext|>, <|end|>
BATCH = 512  # prompts given to vLLM at once, which makes its own batches of them; their photos are in memory


def prompt_of(task: Task, record: Record) -> str:
    """The words that the model was trained on, token for token: no line's end after the photo, none before its turn.

    The chat template has both, so vLLM's own chat interface asks the model otherwise than its training did. Raises TaskError or DataError
    for a record that cannot be asked so.
    """
    if record.turns is not None or len(record.all_photos) != 1:
        raise DataError(f"record {record.id}: this example asks the task's question about one photo: take `seeworth predict`")
    question = task.prompt(record.values)
    if found := CONTROL.search(question):
        raise TaskError(f"record {record.id}: the question holds {found[0]!r}, which would steer the model: take `seeworth predict`")
    return f"<|user|>\n<|image_1|>{question}<|end|><|assistant|>"


def load(folder: Path, max_tokens: int) -> tuple[Any, Any]:
    """vLLM's engine for the export, and how it is to answer.

    max_model_len: one token more than the 4,096 that the model was first trained on, and vLLM takes the long rope factors for every prompt,
        where training took the short ones. num_crops it reads from the export's preprocessor_config.json.
    trust_remote_code: vLLM has the model, but takes the processor from the base's repository, which the export's auto_map names.
    mm_processor_cache_gb: no photo comes twice; and with the cache vLLM tokenizes the prompt apart from the photo, in a way of its own.
    """
    from vllm import LLM, SamplingParams

    longest = json.loads((folder / "config.json").read_text(encoding="utf-8"))["original_max_position_embeddings"]
    engine = LLM(
        model=str(folder), max_model_len=longest, trust_remote_code=True, limit_mm_per_prompt={"image": 1}, mm_processor_cache_gb=0, seed=0
    )
    return engine, SamplingParams(temperature=0.0, max_tokens=max_tokens, stop_token_ids=ENDS)


def over_vllm(engine: Any, sampling: Any, task: Task, intervals: Intervals | None) -> Engine:
    """vLLM as an engine of `predict`: inputs in, lines out; what cannot be asked is a line with its reason."""

    def answer(inputs: Iterator[Input]) -> Iterator[dict[str, Any]]:
        while batch := list(islice((item for item in inputs if not item.done), BATCH)):
            asked, prompts = [], []
            for item in batch:
                try:
                    prompts.append(_prompt(item, task))
                    asked.append(item)
                except PhotoError as problem:
                    yield refused(item, problem.code, str(problem))
                except (DataError, TaskError) as problem:
                    yield refused(item, "unfit", str(problem))
            start = time.perf_counter()
            found = engine.generate(prompts, sampling, use_tqdm=False) if prompts else []
            seconds = round((time.perf_counter() - start) / max(1, len(prompts)), 4)
            for item, one in zip(asked, found, strict=True):
                yield answered(item, Prediction(item.record.id, one.outputs[0].text.strip(), seconds), task, intervals)

    return answer


def _prompt(item: Input, task: Task) -> dict[str, Any]:
    """What vLLM takes. Photos go through the decoder that training had: upright, alpha on white, the first frame."""
    if item.refused is not None:
        raise PhotoError(*item.refused)
    prompt = prompt_of(task, item.record)
    (data,) = item.photo_bytes()
    return {"prompt": prompt, "multi_modal_data": {"image": open_photo(data)}}


def part_of_inputs(inputs: Inputs, number: int, parts: int) -> Inputs:
    """Every `parts`-th input, from `number` on."""
    about = {**inputs.about, "part": [number, parts]}
    total = len(range(number, inputs.total, parts))
    return replace(inputs, total=total, about=about, read=lambda: islice(inputs.read(), number, None, parts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer and write; give the same command again and it goes on where it was stopped."""
    parser = argparse.ArgumentParser(description="Answer photos with vLLM.")
    parser.add_argument("model", type=Path, help="folder made by `seeworth export RUN OUT --merge`")
    parser.add_argument("input", type=Path, help="what `seeworth predict` takes: photos, a table, a dataset folder")
    parser.add_argument("output", type=Path, help="predictions.jsonl")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test", "all"])
    parser.add_argument("--max_new_tokens", type=int, default=160)
    parser.add_argument("--part", default="0/1", help="K/N: every N-th input from the K-th on, counted from 0")
    given = parser.parse_args(arguments)
    if given.output.exists():
        raise SettingsError(f"output {given.output} is there already: name another file")
    if not (found := re.fullmatch(r"(\d+)/(\d+)", given.part)) or int(found[1]) >= int(found[2]):
        raise SettingsError(f"part {given.part}: expected K/N, as in 0/8 to 7/8")
    number, parts = int(found[1]), int(found[2])
    task = Task.from_dict(read_run(given.model)["task"], where=given.model)
    intervals = read_intervals(given.model) if (given.model / NAME).is_file() else None
    inputs = part_of_inputs(open_inputs(PredictSettings(str(given.model), given.input, split=given.split), task), number, parts)
    asked = {"engine": "vllm", "model": str(given.model), "input": dict(inputs.about), "max_new_tokens": given.max_new_tokens}
    with Journal.open(part_of(given.output), asked) as journal:
        answer = over_vllm(*load(given.model, given.max_new_tokens), task, intervals)
        for line in answer(journal.marked(inputs)):
            journal.add(line)
        journal.finish(given.output)
    print(f"answered {inputs.total} inputs: {given.output}")


if __name__ == "__main__":
    try:
        main()
    except SeeworthError as problem:
        sys.exit(str(problem))
