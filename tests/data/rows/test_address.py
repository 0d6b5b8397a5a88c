"""Where a photo is: files inside the source's folder, web addresses, and everything that is neither."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.data.rows.address import Home, LocalPhoto, RemotePhoto, address_of
from seeworth.errors import PhotoError


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_photo_paths_stay_in_their_folder(tmp_path: Path) -> None:
    home = tree(tmp_path / "home", "a.jpg", "sub/b.jpg")
    tree(tmp_path, "secret.jpg")
    (home / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (home / "up").symlink_to(tmp_path)
    (home / "inner.jpg").symlink_to("a.jpg")
    for cell in ("a.jpg", " a.jpg ", "sub/../a.jpg", "./a.jpg", str(home / "a.jpg"), "inner.jpg"):
        assert address_of(home, cell) == LocalPhoto((home / "a.jpg").resolve())
    assert address_of(home, r"sub\b.jpg") == LocalPhoto((home / "sub/b.jpg").resolve())
    outside = ("../secret.jpg", str(tmp_path / "secret.jpg"), "link.jpg", "up/secret.jpg", r"..\secret.jpg", "/etc/passwd", "/a.jpg")
    for cell in (*outside, "up/home/../secret.jpg"):
        with pytest.raises(PhotoError, match="leaves the folder") as problem:
            address_of(home, cell)
        assert problem.value.code == "outside"


PARTS = st.sampled_from(["a.jpg", "b.jpg", "sub", "deep", "link.jpg", "up", "across", "inner.jpg", "home", "lost", "..", ".", ""])


@given(names=st.lists(st.lists(PARTS, min_size=1, max_size=5).map("/".join), min_size=1, max_size=8))
def test_remembered_folders_change_no_answer(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "remembered"
    home = root / "home"
    if not root.exists():
        tree(root, "secret.jpg", "home/a.jpg", "home/sub/b.jpg", "home/sub/deep/b.jpg")
        for link, target in {"link.jpg": "../secret.jpg", "up": "..", "across": "sub/deep", "inner.jpg": "a.jpg"}.items():
            (home / link).symlink_to(target)
    places = Home(home)
    for name in names:
        plain = (home / name).resolve()
        try:
            found: object = places.address_of(name)
        except PhotoError as problem:
            found = problem.code
        if not name.startswith("//") and name not in ("", "."):
            assert found == (LocalPhoto(plain) if plain.is_relative_to(home.resolve()) else "outside"), name


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("", "photo_missing"),
        ("N.A.", "photo_missing"),
        ("//cdn.example/1.jpg", "bad_address"),
        ("file:///etc/passwd", "bad_address"),
        ("data:image/png;base64,AAAA", "bad_address"),
        ("s3://bucket/1.jpg", "bad_address"),
        ("a\0b.jpg", "missing"),
    ],
)
def test_what_is_no_path_has_its_code(tmp_path: Path, cell: str, code: str) -> None:
    with pytest.raises(PhotoError) as problem:
        address_of(tmp_path, cell)
    assert problem.value.code == code


@pytest.mark.parametrize("cell", ["https://shop.example/1.jpg", " HTTP://shop.example/1"])
def test_a_web_address_is_a_remote_photo(tmp_path: Path, cell: str) -> None:
    assert address_of(tmp_path, cell) == RemotePhoto(cell.strip())


def test_a_circle_of_links_is_no_photo(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("b.jpg")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    with pytest.raises(PhotoError) as problem:
        address_of(tmp_path, "a.jpg")
    assert problem.value.code == "missing"
