"""The model card of an export: data, figures with intervals, baselines, grounding, limits, licence, how to use, and the proof.

What the evaluation does not say is said to be missing. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluate.estimate import Estimate
from ..evaluate.show import hardest
from ..evaluate.words import absent, interval, number
from ..train.card import LICENCE, block, front_matter, plain, table
from .evaluated import Evaluated
from .publish import PHI_35

METRICS = {"accuracy": "accuracy", "exact": "exact_match", "mae": "mae"}  # the Hub's words for the ends of figures' names
RELATION = {"adapter": "adapter", "merged": "finetune", "4 bits": "quantized"}


def export_card(about: Mapping[str, Any], content: Mapping[str, Any], evaluated: Evaluated) -> str:
    """The card's text.

    Args:
        about: run.json of the run. content: export.json but for the files. evaluated: the run's evaluation, or why there is none.
    """
    sections = [
        front_matter(head_of(about, content, evaluated)),
        f"# A Phi-3-Vision that answers: {plain(about['task']['question'])}",
        _opening(about, content),
        "## How to use",
        *_usage(about, content),
        "## Data",
        _data(about, evaluated),
        "## Figures",
        *_figures(evaluated),
        "## Does it look at the photo?",
        _grounding(evaluated),
        "## Limits",
        _limits(about, content),
        "## Licence",
        LICENCE,
        "## Proof of the export",
        *_proof(content),
    ]
    return "\n\n".join(sections) + "\n"


def head_of(about: Mapping[str, Any], content: Mapping[str, Any], evaluated: Evaluated) -> dict[str, Any]:
    """The front matter: only words of ours, names of models, and numbers."""
    adapter = content["kind"] == "adapter"
    head: dict[str, Any] = {"library_name": "peft" if adapter else "transformers", "pipeline_tag": "image-text-to-text", "license": "mit"}
    if content["base_model"] is not None:
        head |= {"base_model": content["base_model"], "base_model_relation": RELATION[content["kind"]]}
    head["tags"] = ["seeworth", "phi3_v", "image-text-to-text", *(["lora"] if adapter else [])]
    if evaluated.content is not None:
        head["model-index"] = [{"name": content["run"], "results": [_result(evaluated.content)]}]
    return head


def _result(found: Mapping[str, Any]) -> dict[str, Any]:
    data = found["data"]
    name = Path(data["folder"]).name
    figures = [(key, one) for key, one in found["figures"].items() if one["main"] and one["model"]["value"] is not None]
    metrics = [
        {"type": METRICS.get(key.rpartition("_")[2], key), "value": round(float(one["model"]["value"]), 4), "name": one["label"]}
        for key, one in figures
    ]
    return {
        "task": {"type": "image-text-to-text"},
        "dataset": {"name": name, "type": "private", "split": data["split"]},
        "metrics": metrics,
    }


def _opening(about: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    base = content["base_model"] or Path(about["model"]).name  # no path of this machine
    parts = ", ".join(f"{part} {how}" for part, how in about.get("parts", {}).items())
    what = {
        "adapter": "This is its PEFT adapter.",
        "merged": f"These are its whole weights in {content['dtype']}, under the published names.",
        "4 bits": "These are its whole weights, the language model's in 4 bits (bitsandbytes, nf4).",
    }[content["kind"]]
    return (
        f"Fine-tuned by seeworth from {plain(base)} ({about['method']}: {parts}; {about['steps']} steps). {what} "
        f"Given a photo, it answers in this form:\n\n{block(about['task']['answer'])}"
    )


def _usage(about: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[str]:
    yield "With seeworth, which reads the words as fields and holds them to known categories:"
    yield "    seeworth predict THIS_FOLDER photo.jpg"
    base = content["base_model"]
    if base is None:
        yield "No other engine can hold this model: its sizes are not those that the published code has written into it."
        return
    yield (
        "The prompt that training had, token for token; chat templates put a line's end after the photo and one before the answer, which "
        f"it had not:\n\n{block('<|user|>' + chr(10) + '<|image_1|>' + about['task']['question'] + '<|end|><|assistant|>')}"
    )
    if content["kind"] == "adapter":
        yield "With PEFT, over the published code on transformers 4.40 to 4.48 (or over seeworth's own model on transformers 5):"
        yield block(
            "from peft import PeftModel\n"
            "from transformers import AutoModelForCausalLM\n"
            f'model = AutoModelForCausalLM.from_pretrained("{base}", trust_remote_code=True, _attn_implementation="eager")\n'
            'model = PeftModel.from_pretrained(model, "THIS_FOLDER")'
        )
        yield " ".join(plain(note) for note in content["notes"])
        return
    yield "With the published code, on transformers 4.40 to 4.48 (`auto_map` points to the base's repository):"
    yield block(
        "from transformers import AutoModelForCausalLM, AutoProcessor\n"
        'model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER", trust_remote_code=True, torch_dtype="auto")\n'
        'processor = AutoProcessor.from_pretrained("THIS_FOLDER", trust_remote_code=True)'
    )
    yield (
        "With vLLM, `examples/vllm_batch.py` of seeworth gives it that prompt. Above 4,096 tokens vLLM takes the long rope factors for "
        "every prompt, where training took the short ones:"
    )
    yield block("vllm serve THIS_FOLDER --trust-remote-code --max-model-len 4096")


def _data(about: Mapping[str, Any], evaluated: Evaluated) -> str:
    name = plain(Path(about["data"]).name)
    told = f"Trained on the dataset folder {name} (fingerprint {about['data_fingerprint'][:12]})."
    if evaluated.content is None:
        return told
    data = evaluated.content["data"]
    other = "" if data["fingerprint"] == about["data_fingerprint"] else f" of another dataset folder, {plain(Path(data['folder']).name)}"
    return f"{told} Measured on {data['records']} {data['split']} records in {data['groups']} groups{other}; no group is in two splits."


def _figures(evaluated: Evaluated) -> Iterator[str]:
    found = evaluated.content
    if found is None:
        yield evaluated.why_not
        return
    for fault in found.get("faults", []):
        yield f"**Fault: {plain(fault['text'])}**"
    yield "Every answer was generated, none was given a word of the truth. In brackets 95 % intervals, resampled over groups."
    names = hardest(found)
    rows = []
    for key, one in found["figures"].items():
        cells = [_cell(one["model"], one["unit"])]
        cells += [_cell(own, one["unit"]) if (own := one["baselines"].get(who)) else absent(found["figures"], key, who) for who in names]
        rows.append((plain(one["label"]), *cells))
    yield table(("", "this model", *(plain(name) for name in names)), rows)
    skills = [_skill(found, name, one) for name, one in found["skill"].items() if one["best"]]
    if skills:
        yield "Skill is the share of the hardest baseline's error that is gone (1: none is left, 0: no better):"
        yield table(("", "hardest baseline", "skill"), skills)
    intervals = found.get("intervals") or {}
    if intervals.get("why_not"):
        yield plain(intervals["why_not"])
    elif intervals:
        yield " ".join(plain(one["text"]) for one in intervals["sentences"])
    yield " ".join(plain(one["text"]) for one in found["verdict"])


def _skill(found: Mapping[str, Any], name: str, one: Mapping[str, Any]) -> Sequence[str]:
    own = Estimate.from_dict(one["against"][one["best"]]["skill"])
    return plain(found["figures"][name]["label"]), plain(one["best"]), f"{number(own.value, 'similarity')} ({interval(own, 'similarity')})"


def _cell(found: Mapping[str, Any], unit: str) -> str:
    own = Estimate.from_dict(found)
    return plain(f"{number(own.value, unit)} ({interval(own, unit)}; n = {own.n})")


def _grounding(evaluated: Evaluated) -> str:
    found = evaluated.content
    if found is None:
        return "Not measured."
    if found.get("grounding") is None:
        return "It was not measured: grounding was left out of the evaluation."
    return plain(found["grounding"]["verdict"])


def _limits(about: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    lines = [
        "It was tuned to answer one question about photos like those of its dataset. Of other photos it says something in the same form, "
        "and nothing in its words tells that it should not have.",
        "Prices and categories are those of the dataset's time and shops.",
        "The answers of the base model to other questions may have changed.",
    ]
    if content["kind"] == "4 bits":
        lines.append("The figures above are those of the model before it went to 4 bits; the proof tells how many answers changed.")
    if content["base_model"] == PHI_35 and content["kind"] != "adapter":
        lines.append("Past 4,096 tokens, photo tokens included, the model takes other position factors.")
    return "\n".join(f"* {line}" for line in lines)


def _proof(content: Mapping[str, Any]) -> Iterator[str]:
    proof = content["proof"]
    yield (
        f"On {proof['records']} records ({plain(proof['source'])}) the run as it was trained is held against what came of it. Logits of "
        "the run's own answers are compared, in standard deviations of the run's logits: the largest difference and the root mean square."
    )
    rows = []
    for one in proof["agreements"]:
        apart = ("not asked", "") if one["largest"] is None else (f"{one['largest']:.2g}", f"{one['mean']:.2g}")
        allowed = f"{one['tolerance']:g}, {one['mean_tolerance']:g}" if one["held"] and one["largest"] is not None else "words alone"
        words = f"{one['same_words']} of {one['records']}"
        rows.append((one["who"], one["coarser"], *apart, allowed, f"{words} (all demanded)" if one["exact"] and one["held"] else words))
    yield table(("", "compared in", "largest", "mean", "allowed", "same answers"), rows)
    told = []
    if (worst := proof["tensors"].get("merging")) is not None:
        told.append(
            f"Every merged layer was computed a second time from the adapter's file; the largest difference is {worst:.1g} of the layer's "
            "largest weight."
        )
    if content["kind"] != "4 bits":
        told.append(f"{proof['tensors']['written']} tensors were read back from the files and are the same, bit by bit.")
    if (earlier := proof.get("evaluated")) is not None and earlier["records"]:
        told.append(f"Of {earlier['records']} of these records the evaluation has answers too: {earlier['same_words']} are the same words.")
    yield " ".join(told)
    if content["kind"] != "adapter" and content["notes"]:
        yield " ".join(plain(note) for note in content["notes"])
