"""`seeworth check DATASET`: proves that a dataset folder will train, before the hours are spent.

From the folder alone: `table` counts what the table says, `photos` opens every photo, and here both are judged, printed, and
drawn by `page`. Changes nothing in the folder. Each finding has a tone:

    bad      it would not train, or what is measured on it would be wrong: exit status 1
    mixed    it will train, but a person should know
    good     what was looked for and not found
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, SettingsError
from ...record import SPLITS
from ...settings import CheckSettings
from ..dataset import METADATA, UNASSIGNED, Dataset, read_manifest
from ..photo.look import Looks
from ..progress import watched
from ..rows.cells import shown
from ..split.deal import too_small
from ..split.groups import GIANT, MANY
from ..split.near import look_alikes
from .photos import Named, Seen, look_at_all
from .table import LONG, Table, never_trained, refused, token_costs

NEAR_LEAKS = 0.01  # of the validation and test records: so few in near-identical photos may be look-alikes, and are a warning
REFUSED = 0.05  # of the rows; more refused ones are a warning
CLUSTERS, MEMBERS = 6, 6  # shown of each kind, and photos of each


@dataclass(frozen=True)
class Check:
    """What was found in a dataset folder.

    Attributes:
        findings: (tone, sentence), the bad ones first.
        bad: photos that cannot be used, as (file_name, Seen). looked: how many were opened. blank: how many show nothing.
        copies, leaks: clusters of records that share a photo or a near-identical one, and those that stand in two splits.
    """

    folder: Path
    manifest: dict[str, Any]
    table: Table
    refused: dict[str, dict[str, Any]]
    tokens: list[dict[str, int]]
    looked: int
    blank: int
    bad: list[tuple[str, Seen]]
    copies: list[dict[str, Any]]
    leaks: list[dict[str, Any]]
    findings: list[tuple[str, str]]

    @property
    def problems(self) -> list[str]:
        """Why it would not train; empty when it would."""
        return [text for tone, text in self.findings if tone == "bad"]


def run(settings: CheckSettings) -> None:
    """Check a dataset folder, print what was found and write the page. Raises DataError when it would not train."""
    from .page import show, write_page

    if settings.photos < 0 or settings.processes < 0:
        raise SettingsError("--photos and --processes are 0 or more")
    page = settings.output or page_of(settings.target)
    if page.resolve().is_relative_to(settings.target.resolve()):
        raise SettingsError(f"--output {page}: lies in the dataset folder, which holds data alone: choose a place beside it")
    check = examine(settings.target, settings.photos, settings.processes)
    write_page(check, page)
    show(check, page)
    if problems := check.problems:
        more = f" (and {len(problems) - 1} more, see {page})" if len(problems) > 1 else f" (see {page})"
        raise DataError(f"{settings.target}: would not train well: {problems[0]}{more}")


def page_of(folder: Path) -> Path:
    """Beside the folder, not in it: what stands in a dataset folder is data."""
    home = folder.resolve()
    return (home.parent if folder.name in ("", "..") else folder.parent) / f"{home.name}-check.html"


def examine(folder: Path, photos: int = 0, processes: int = 0) -> Check:
    """Look at everything. `photos`: how many to open, 0 for all. Raises DataError when it is no dataset folder or has no table."""
    manifest = read_manifest(folder)
    dataset = Dataset(folder, manifest)
    table = Table.of(dataset.task, dataset.rows())
    names = list(table.photos)
    chosen = names if not 0 < photos < len(names) else [names[k] for k in np.linspace(0, len(names) - 1, photos).astype(int)]
    named = [Named(name, str(row.sha256), row.width, row.height) for name, row in ((name, table.photos[name]) for name in chosen)]
    seen = dict(zip(chosen, watched(look_at_all(folder, named, processes), len(named), "photos"), strict=True))
    bad = [(name, one) for name, one in seen.items() if one.code]
    alike, blank = _alike(table, {name: one for name, one in seen.items() if not one.code})
    copies = _clusters(table, alike)
    leaks = [one for one in (*_clusters(table, table.groups, "group"), *copies) if one["leak"]]
    tokens = token_costs((row.width, row.height) for row in table.photos.values())
    check = Check(folder, manifest, table, refused(folder), tokens, len(seen), blank, bad, copies, leaks, [])
    check.findings.extend(sorted(_findings(check, dataset), key=lambda one: ("bad", "mixed", "good").index(one[0])))
    return check


def _alike(table: Table, seen: dict[str, Seen]) -> tuple[list[str], int]:
    """For each record, the first photo that its own are near-identical to; and how many photos are blank."""
    names = list(seen)
    looks = Looks.of((one.phash, one.look, table.photos[name].width, table.photos[name].height) for name, one in seen.items())
    first, _ = look_alikes(looks)
    label = {name: names[one] for name, one in zip(names, first.tolist(), strict=True)}
    return _tied(table, label), int(looks.flat.sum())


def _tied(table: Table, label: dict[str, str]) -> list[str]:
    """A label for each record from those of its photos; records that share one of several photos have the same. Words alone have
    one of their own."""
    parent: dict[str, str] = {}

    def root(one: str) -> str:
        while (above := parent.get(one, one)) != one:
            one = above
        return one

    for name, further in zip(table.file_names, table.further, strict=True):
        for other in further:
            one, two = root(label.get(name, name)), root(label.get(other, other))
            if one != two:
                parent[two] = one
    return [root(label.get(name, name)) if name else f"words of row {number}" for number, name in enumerate(table.file_names)]


def _clusters(table: Table, labels: Sequence[str], kind: str = "") -> list[dict[str, Any]]:
    """Records that share a label, when there are several: the leaking ones first, then the largest."""
    members: dict[str, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        members[label].append(number)
    found = []
    for label, numbers in members.items():
        if len(numbers) > 1:
            photos = len({table.file_names[number] for number in numbers})
            splits = {table.splits[number] for number in numbers} - {UNASSIGNED}
            what = kind or ("near" if photos > 1 else "same")
            found.append({"kind": what, "label": label, "numbers": numbers, "photos": photos, "leak": len(splits) > 1})
    return sorted(found, key=lambda one: (not one["leak"], -len(one["numbers"])))


def _findings(check: Check, dataset: Dataset) -> Iterator[tuple[str, str]]:
    yield from _of_the_table(check, dataset)
    yield from _of_the_splits(check)
    yield from _of_the_leaks(check)
    yield from _of_the_photos(check)


def _of_the_table(check: Check, dataset: Dataset) -> Iterator[tuple[str, str]]:
    table, manifest = check.table, check.manifest
    if len(table.ids) != manifest["records"]:
        yield "bad", f"{METADATA} holds {len(table.ids)} records, dataset.json says {manifest['records']}: import again"
    if manifest.get("fingerprint") not in (None, dataset.fingerprint):
        yield "mixed", f"{METADATA} is not the one that was imported: it was changed since"
    if twice := table.twice():
        yield "bad", f"{len(twice)} ids stand twice, e.g. {shown(twice[0])}: an id names one record"
    if table.unwritable:
        yield "bad", f"{len(table.unwritable)} records have no answer that the task can write, the first: {table.unwritable[0]}"
    if table.long:
        yield "mixed", (
            f"{len(table.long)} answers are longer than {LONG} bytes, the longest {table.longest}, e.g. of record {shown(table.long[0])}: "
            "they may not fit the 160 tokens that predict writes: raise --max_new_tokens, or shorten them"
        )
    gone = sum(one["count"] for one in check.refused.values())
    if gone > REFUSED * (gone + len(table.ids)):
        code, one = next(iter(check.refused.items()))
        yield "mixed", f"{gone} of {gone + len(table.ids)} rows were refused at import, {one['count']} of them as {code}: see below"


def _of_the_splits(check: Check) -> Iterator[tuple[str, str]]:
    table, counts = check.table, Counter(check.table.splits)
    if strange := sorted(counts.keys() - {*SPLITS, UNASSIGNED}):
        yield "bad", f"{counts[strange[0]]} records stand in a split {shown(strange[0])}; expected {', '.join(SPLITS)}"
    if not counts["train"]:
        yield "bad", "no record is in the train split: there is nothing to train on"
    for split, use in (("validation", "the best checkpoint cannot be told"), ("test", "nothing can be measured")):
        if not counts[split]:
            yield "mixed", f"no record is in the {split} split: {use}"
    if small := too_small(table.groups, [next((split for split in SPLITS if split == own), None) for own in table.splits]):
        yield "mixed", small
    if counts[UNASSIGNED]:
        yield "mixed", f"{counts[UNASSIGNED]} records have no split, and are used by nothing"
    for name, values in table.categories.items():
        if lost := never_trained(values):
            yield "mixed", (
                f"{len(lost)} of {len(values)} values of {name} stand in validation or test and never in train, e.g. {shown(lost[0])}: "
                "the model cannot know them"
            )
    group, size = Counter(table.groups).most_common(1)[0] if table.groups else ("", 0)
    if size > MANY and size > GIANT * len(table.groups):
        yield "mixed", f"the group {shown(group)} holds {size} of {len(table.groups)} records: is it one article?"


def _of_the_leaks(check: Check) -> Iterator[tuple[str, str]]:
    table = check.table
    words = {
        "group": "groups stand in more than one split",
        "same": "photos stand in more than one split, byte for byte",
        "near": "clusters of near-identical photos stand in more than one split",
    }
    for kind, what in words.items():
        if found := [one for one in check.leaks if one["kind"] == kind]:
            held = [table.splits[number] for one in found for number in one["numbers"]]
            measured = sum(split in ("validation", "test") for split in held)
            few = kind == "near" and measured <= NEAR_LEAKS * sum(split in ("validation", "test") for split in table.splits)
            tone = "mixed" if few else "bad"
            advice = "they may be look-alikes, see the page" if few else "what is measured on them is too good"
            yield tone, f"leak: {len(found)} {what} ({measured} validation and test records): {advice}"
    if not check.leaks:
        yield "good", "no leak: no group, no photo and no near-identical photo stands in two splits"


def _of_the_photos(check: Check) -> Iterator[tuple[str, str]]:
    among = len(check.table.photos)
    looked = f"{check.looked} of {among} photos opened" if check.looked < among else f"all {among} photos opened"
    if check.bad:
        codes = ", ".join(f"{count} {code}" for code, count in Counter(one.code for _, one in check.bad).most_common())
        name, first = check.bad[0]
        yield "bad", f"{len(check.bad)} photos cannot be used ({codes}), the first {shown(name)}: {first.reason}: import again"
    else:
        yield "good", f"{looked}: each is whole, and the one that the table names"
    if check.blank:
        yield "mixed", f"{check.blank} photos are blank: they show nothing to learn from"
