"""The model card of a run folder: what it is, what it was trained on, how to ask it. Hugging Face's README.md form."""

from __future__ import annotations

from typing import Any

import yaml


def model_card(about: dict[str, Any]) -> str:
    """The card's text, from what run.json says."""
    lora = about["method"] == "lora"
    head: dict[str, Any] = {"library_name": "peft" if lora else "transformers", "pipeline_tag": "image-text-to-text", "license": "mit"}
    if lora:
        head["base_model"] = about["model"]
    figures = "\n".join(f"| {name.partition('/')[2]} | {value:.4g} |" for name, value in about["validation"].items())
    return f"""---
{yaml.safe_dump(head, sort_keys=False).strip()}
---

# A Phi-3-Vision that answers: {about["task"]["question"]}

Trained by seeworth on photos with the answer

    {about["task"]["answer"]}

Start: {about["model"]} · method: {about["method"]} · {about["steps"]} steps · {about["minutes"]} minutes.

Validation figures, answered by real generation (no interval is given here: `seeworth evaluate` measures the test split with
intervals, beside baselines, and without the photo):

| figure | value |
| --- | --- |
{figures}

    seeworth predict THIS_FOLDER photo.jpg
"""
