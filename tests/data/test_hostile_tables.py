"""`seeworth import` over whole hostile tables: it ends, in one line, and every row is kept or refused with a reason."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus.bytes import encoded, noise, scene
from corpus.photos import refused
from corpus.tables import HEADER, Table, good, tables

from seeworth.cli import main
from seeworth.data.dataset import Dataset


@pytest.fixture
def folder(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for seed in range(10):
        (source / f"{seed}.jpg").write_bytes(photo_bytes(seed))
    return source


def take(source: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str, Path]:
    output = source.parents[1] / "out"
    status = main(["import", str(source), str(output), "--processes", "1", *words])
    printed = capsys.readouterr()
    return status, printed.out, printed.err, output


def refusals(output: Path) -> list[dict[str, object]]:
    data = (output / "rejected.jsonl").read_bytes()
    assert data.isascii()
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("case", list(tables()), ids=lambda case: case.name)
def test_a_table_is_imported_or_refused_in_one_line(case: Table, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / f"table{case.suffix}"
    path.write_bytes(case.data)
    status, out, err, output = take(path, capsys)
    assert "Traceback" not in out + err
    assert (out + err).replace("\n", "").isprintable()
    if case.rows is None:
        told = [line for line in err.splitlines() if not re.match(r"[a-z]+: [0-9]+ of [0-9]+", line)]
        assert status == 1
        assert out == ""
        assert len(told) == 1
        assert str(path) in told[0]
        return
    assert status == 0, err
    kept = Dataset.open(output).records()
    assert len(kept) + len(refusals(output)) == case.rows
    assert {one["code"] for one in refusals(output)}.issuperset({"row_shape"} if "shapes" in case.name or "open" in case.name else ())
    assert case.kept in (None, len(kept)), Counter(one["code"] for one in refusals(output))
    rows = [one["row"] for one in refusals(output)]
    assert rows == sorted(set(rows))
    assert set(rows) <= set(range(1, case.rows + 1))


def test_a_table_of_hostile_photos_keeps_the_good_ones(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each under several names that lie about what it is."""
    cases = [case for case in refused() if not case.name.startswith("cut") and "million" not in case.name][::2]
    names = [
        f"h{number}.{ending}"
        for number, ending in zip(range(len(cases)), ["jpg", "png", "eps", "psd", "jp2", "ico", "pdf"] * 99, strict=False)
    ]
    for name, case in zip(names, cases, strict=True):
        (folder / name).write_bytes(case.make())
    (folder / "photo.eps").write_bytes(encoded(scene(), "PNG"))
    (folder / "no ending").write_bytes(encoded(noise(), "WEBP"))
    lines = [*good(5), *(f"Bag,BAGS,10.00,{name}" for name in names), "Bag,BAGS,10.00,photo.eps", "Bag,BAGS,10.00,no ending"]
    (folder / "table.csv").write_text("\n".join([HEADER, *lines]))
    status, out, _, output = take(folder / "table.csv", capsys)
    assert status == 0
    assert f"7 of {len(lines)} rows kept" in out
    found = {one["photo"]: one["code"] for one in refusals(output)}
    for name, case in zip(names, cases, strict=True):
        assert found[name] in case.codes, case.name
    assert [one["row"] for one in refusals(output)] == list(range(6, 6 + len(cases)))


def test_a_folder_of_anything_but_photos_is_told_file_by_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], photo_bytes: Callable[..., bytes]
) -> None:
    source = tmp_path / "photos" / "set"
    names = ["a.jpg", "notes.txt", "weird\nname.jpg", "\udcff\udcfe.png", "=cmd|calc.jpg", "<b>.jpg", "x.eps", "empty.jpg", "-rf"]
    for number, name in enumerate(names):
        for kind in ("bags", "<script>"):
            path = source / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            good_one = number in (0, 2, 3, 4, 5)
            path.write_bytes(photo_bytes(number + 10 * len(kind)) if good_one else b"" if number == 7 else b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (source / "bags" / "link.jpg").symlink_to("/etc/passwd")
    (source / "bags" / "dangling.jpg").symlink_to(source / "nowhere.jpg")
    status, out, err, output = take(source, capsys)
    assert status == 0, err
    assert out.replace("\n", "").isprintable()
    kept = Dataset.open(output).records()
    codes = Counter(str(one["code"]) for one in refusals(output))
    assert len(kept) + sum(codes.values()) == 20
    assert (codes["not_a_photo"], codes["empty"], codes["outside"], codes["missing"]) == (6, 2, 1, 1)
