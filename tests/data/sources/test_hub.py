"""Hugging Face data sets by name, against a stand-in of the Hub on this machine; nothing of a set is ever run."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seeworth.data.sources import open_source
from seeworth.data.sources.hub import HubName, hub_name
from seeworth.errors import DataError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def parquet(**columns: list[object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


REPOSITORIES: dict[str, dict[str, bytes]] = {
    "DBQ/Burberry.Product.prices.United.States": {
        "README.md": b"---\nlicense: unknown\n---\n",
        "data/train-00000-of-00001.parquet": parquet(title=["Bag", "Hat"]), "x.bin": b"?", "../../evil.csv": b"a",
    },
    "me/csv": {"train.csv": b"title,photo\na,p/1.jpg\n", "test.csv": b"title,photo\nb,p/1.jpg\n", "p/1.jpg": b"photo", "load.py": b"raise"},
    "me/script": {"script.py": b"raise SystemExit", "dataset_infos.json": b"{}", "README.md": b""},
    "me/archive": {"photos.zip": b"PK"},
    "me/empty": {"README.md": b""},
    "me/two": {"a/1.jsonl": b'{"title": "a"}\n', "b/1.jsonl": b'{"title": "b"}\n'},
}  # fmt: skip


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """The four answers that a data set's files need."""

    asked: list[str]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(path)
        for name, files in REPOSITORIES.items():
            if path.startswith(f"/api/datasets/{name}/revision/"):
                if path.rpartition("/")[2] not in ("main", COMMIT):
                    return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
                about = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
                return self.answer(200, json.dumps(about).encode())
            if path.startswith(f"/api/datasets/{name}/tree/"):
                tree = [{"type": "file", "path": file, "size": len(data), "oid": sha1(data)} for file, data in files.items()]
                return self.answer(200, json.dumps(tree).encode())
            if path.startswith(f"/datasets/{name}/resolve/{COMMIT}/"):
                data = files[path.partition(f"{COMMIT}/")[2]]
                return self.answer(200, data, {"ETag": f'"{sha1(data)}"', "X-Repo-Commit": COMMIT})
        return self.answer(401 if "gated" not in path else 403, b"", {"X-Error-Code": "GatedRepo" if "gated" in path else "RepoNotFound"})

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths that the stand-in was asked for, while the library's endpoint and cache point at it and at a folder of the test."""
    paths: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"asked": paths}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "cache"))
    for name in ("constants", "hf_api", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{name}.ENDPOINT", endpoint, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    yield paths
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_set_is_read_by_its_name_and_fetched_once(asked: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        source = open_source("DBQ/Burberry.Product.prices.United.States")
        assert [row.cells["title"] for row in source] == ["Bag", "Hat"]
    assert source.notices == [f"the Hugging Face data set DBQ/Burberry.Product.prices.United.States was taken at commit {COMMIT}"]
    assert not any("x.bin" in path for path in asked)
    assert sum("resolve" in path and "parquet" in path for path in asked) <= 2, "one HEAD and one GET; the second import asks for neither"
    assert COMMIT in str(source.path)


def test_photos_beside_a_table_are_fetched_and_stay_in_the_folder(asked: list[str]) -> None:
    source = open_source("hf://datasets/me/csv@main")
    assert isinstance(source.path, Path)
    assert (source.photos / "p" / "1.jpg").read_bytes() == b"photo"
    assert not (source.photos / "p" / "1.jpg").is_symlink()
    assert not any("load.py" in path for path in asked)


def test_a_table_and_its_photos_are_read_as_the_hub_has_them(asked: list[str]) -> None:
    source = open_source("hf://datasets/me/csv")
    assert [(row.cells["title"], row.cells["split"]) for row in source] == [("b", "test"), ("a", "train")]


def test_a_folder_of_a_set_is_read_alone(asked: list[str]) -> None:
    assert [row.cells["title"] for row in open_source("hf://datasets/me/two/b")] == ["b"]
    assert [row.cells["title"] for row in open_source("hf://datasets/me/two/b/1.jsonl")] == ["b"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("me/script", "is made by a script, script.py, and no code of a data set is ever run here.*me/script@refs/convert/parquet"),
        ("me/archive", r"holds archives \(photos.zip\), which are not unpacked"),
        ("me/empty", "holds no table and no photo; its files are README.md"),
        ("me/nowhere", "there is no such set, or it is private.*and no such path on disk"),
        ("me/gated", "its owner asks for agreement first"),
        ("hf://datasets/me/csv@v9", "has no revision 'v9'"),
        ("hf://datasets/me/csv/lost", "holds no 'lost'; it holds load.py, p/1.jpg"),
    ],
)
def test_what_cannot_be_fetched_is_told_in_one_line(asked: list[str], name: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as problem:
        open_source(name)
    assert "\n" not in str(problem.value)


def test_no_network_is_told(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("constants", "hf_api", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{name}.ENDPOINT", "http://127.0.0.1:9", raising=False)
    with pytest.raises(DataError, match=r"cannot be fetched .*: try again, or give the path of a local clone"):
        open_source("me/csv")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        open_source("me/csv")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("me/set.v1", HubName("me/set.v1")),
        ("hf://datasets/me/set", HubName("me/set")),
        ("hf://datasets/me/set/data/x", HubName("me/set", "main", "data/x")),
        ("hf://datasets/me/set@v1/data", HubName("me/set", "v1", "data")),
        ("hf://datasets/me/set@refs/convert/parquet/default", HubName("me/set", "refs/convert/parquet", "default")),
        ("https://huggingface.co/datasets/me/set", HubName("me/set")),
        ("https://huggingface.co/datasets/me/set/tree/main/data", HubName("me/set", "main", "data")),
        (str(Path("hf://datasets/me/set")), HubName("me/set")),
        ("me", None),
        ("./me/set", None),
        ("me/set/more", None),
        ("data/products.csv", None),
        ("me/../set", None),
        ("hf://datasets/me", None),
        ("https://shop.example/a.csv", None),
    ],
)
def test_what_is_a_name_on_the_hub(text: str, name: HubName | None) -> None:
    assert hub_name(text) == name


def test_what_is_neither_path_nor_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for text in ("nothing", "photos/hat", "a\0b", "x" * 5000):
        with pytest.raises(DataError):
            open_source(text)
    with pytest.raises(DataError, match="photos/hat: expected a table, a folder, or a Hugging Face data set as owner/name, found nothing"):
        open_source("photos/hat")
