"""Photos' places, labels and answers: what the encoder makes of records, before any model learns from it."""

from __future__ import annotations

from collections import Counter

import torch

from ...data.photo.decode import photo_size
from ...encode import IGNORED, Encoder, Example
from ..step import to_device
from .case import Case, Finding, many, short, spread_over

LOOKED_AT = 20_000  # records whose answers are compared at most


def look_at_photos(case: Case) -> Finding:
    """Places in the text, rows from the model, and tokens by the photos' own sizes: three figures that must be one."""
    plan = case.encoder.processor.image_processor.plan
    place = case.encoder.processor.image_token_id
    for record, example in zip(case.records, case.examples, strict=True):
        expected = sum(plan(*photo_size(path)).num_tokens for path in record.all_photos)
        places, given = example.input_ids.count(place), len(example.tiles) or len(example.tile_features)
        if given != len(record.all_photos) or places != expected:
            return Finding(
                "photos",
                False,
                f"record {record.id} has {many(len(record.all_photos), 'photo')} of {expected} tokens, the encoder gives {given} "
                f"and {places} places: expected as many: the encoder loses photos or cuts the text",
            )
    photos = sum(len(record.all_photos) for record in case.records)
    rows, places = _rows(case), int((case.batch["input_ids"] == place).sum())
    if rows != places:
        words = f"the model makes {rows} rows of {many(photos, 'photo')}, the text has {places} places"
        return Finding("photos", False, f"{words}: expected as many: take processor and model from one folder")
    if not photos:
        return Finding("photos", True, "no record has a photo: words alone are trained")
    make = "makes" if photos == 1 else "make"
    return Finding("photos", True, f"{many(photos, 'photo')} {make} {rows} rows, and the text has {places} places for them")


def _rows(case: Case) -> int:
    if not case.batch.keys() & {"pixel_values", "tile_features"}:
        return 0
    photos = {key: case.batch.get(key) for key in ("pixel_values", "image_sizes", "tile_features")}
    moved = {key: value if key == "image_sizes" or value is None else to_device(value, case.device) for key, value in photos.items()}
    with torch.no_grad(), case.autocast():
        return sum(len(rows) for rows in case.base.model.vision_embed_tokens(**moved))


def look_at_labels(case: Case) -> Finding:
    """Every token that the assistant says is labelled with itself, the end of its last turn too, and nothing else is."""
    for record, example in zip(case.records, case.examples, strict=True):
        if fault := _fault_of_labels(example, case.encoder):
            return Finding("labels", False, f"record {record.id}: {fault}")
    first = case.examples[0]
    spoken = case.encoder.processor.tokenizer.decode([label for label in first.labels if label != IGNORED])
    trained = sum(len(one.labels) - one.labels.count(IGNORED) for one in case.examples)
    tokens = sum(len(one.labels) for one in case.examples)
    return Finding(
        "labels", True, f"{trained} of {tokens} tokens are trained ({trained / tokens:.1%}), of the first record: {short(spoken)}"
    )


def _fault_of_labels(example: Example, encoder: Encoder) -> str:
    """What is wrong with an example's labels; "" when nothing is."""
    ids, decode = encoder.processor.ids, encoder.processor.tokenizer.decode
    if all(label == IGNORED for label in example.labels):
        return "no token is labelled: expected the answer: nothing would be learnt"
    heads, end = {ids["<|user|>"], ids["<|system|>"], ids["<|assistant|>"]}, ids["<|end|>"]
    speaking, ended = False, False  # the assistant is; it has just come to its end
    for place, (token, label) in enumerate(zip(example.input_ids, example.labels, strict=True)):
        speaking = token == ids["<|assistant|>"] if token in heads else speaking
        expected = (speaking and token not in heads) or (ended and token == ids["<|endoftext|>"])
        if label not in (IGNORED, token):
            return f"token {place} is {decode([token])!r} and labelled {decode([label])!r}: expected itself: labels are shifted"
        if label != IGNORED and not expected:
            return f"token {place}, {decode([token])!r}, is labelled and not the assistant's: expected labels on its answers alone"
        if label == IGNORED and expected:
            return f"token {place}, {decode([token])!r}, is the assistant's and not labelled: expected the whole answer, its end included"
        ended = speaking and token == end
        speaking = speaking and not ended
    if example.labels[-1] not in (ids["<|end|>"], ids["<|endoftext|>"]):
        return f"the last label is {decode(example.labels[-1:])!r}: expected <|end|> or <|endoftext|>: it would never learn to stop"
    return ""


def look_at_answers(case: Case) -> Finding:
    """Where all answers are the same, they can be said without a look at the photo."""
    looked = spread_over(case.train, LOOKED_AT)
    counted = Counter(tuple(case.encoder.answer_ids(record)) for record in looked)
    answer, count = counted.most_common(1)[0]
    words = short(case.encoder.processor.tokenizer.decode(list(answer), skip_special_tokens=True))
    if len(counted) == 1 and len(looked) > 1:
        return Finding("answers", False, f"all {len(looked)} answers are {words}: it can be said without a photo: expected different ones")
    common = f", the most common ({count / len(looked):.1%}) {words}" if count > 1 else ""
    return Finding("answers", True, f"{len(counted):,} different answers in {len(looked):,} records{common}")
