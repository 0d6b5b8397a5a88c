"""A stand-in for the Hugging Face Hub on loopback: accounts, repositories, uploads by git LFS and commits, as huggingface_hub 2.4 asks."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKENS = {"hf_writes": "write", "hf_reads": "read"}
LARGE = 20_000  # bytes from which a file goes to large storage


class Hub(ThreadingHTTPServer):
    """Attributes:
    repositories: name -> private, and the files' bytes by name. asked: every request line. fail_commits: how many are refused.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, Any]] = {}
        self.storage: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.fail_commits = 0
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        body = self._body()
        path = urlsplit(self.path).path
        self.server.asked.append(f"{method} {path}")
        role = TOKENS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if path.startswith("/storage/"):
            self.server.storage[path.rpartition("/")[2]] = body
            return self._say({})
        if role is None:
            return self._say({"error": "Invalid credentials in Authorization header"}, 401)
        if path == "/api/whoami-v2":
            return self._say({"name": "ada", "type": "user", "orgs": [{"name": "shop"}], "auth": {"accessToken": {"role": role}}})
        if path == "/api/validate-yaml":
            return self._say({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        return self._repository(path.removeprefix("/api/models/"), body)

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'ada'}/{asked['name']}"
        if name in self.server.repositories:
            return self._say({"error": "You already created this model repo", "url": f"{self.server.address}/{name}"}, 409)
        private = asked.get("private", asked.get("visibility") == "private")
        self.server.repositories[name] = {"private": bool(private), "files": {".gitattributes": b""}}
        return self._say({"url": f"{self.server.address}/{name}", "name": name})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**one, "authenticated": True, "actions": {"upload": {"href": f"{self.server.address}/storage/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self._say({"transfer": "basic", "objects": objects})

    def _repository(self, path: str, body: bytes) -> None:
        name, rest = "/".join(path.split("/")[:2]), path.split("/")[2:]
        found = self.server.repositories.get(name)
        if found is None:
            return self._say({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if rest[:1] == ["preupload"]:
            files = [
                {"path": one["path"], "uploadMode": "lfs" if one["size"] >= LARGE else "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self._say({"files": files})
        if rest[:1] == ["commit"]:
            return self._commit(name, found, body)
        siblings = [{"rfilename": one} for one in found["files"]]
        return self._say({"id": name, "private": found["private"], "sha": "0" * 40, "siblings": siblings})

    def _commit(self, name: str, found: dict[str, Any], body: bytes) -> None:
        if self.server.fail_commits:
            self.server.fail_commits -= 1
            return self._say({"error": "the disk is full"}, 507)
        for line in body.decode().splitlines():
            one = json.loads(line)
            value = one["value"]
            if one["key"] == "file":
                found["files"][value["path"]] = base64.b64decode(value["content"])
            elif one["key"] == "lfsFile":
                data = self.server.storage[value["oid"]]
                assert hashlib.sha256(data).hexdigest() == value["oid"]
                found["files"][value["path"]] = data
            elif one["key"] == "deletedFile":
                del found["files"][value["path"]]
        return self._say({"commitUrl": f"{self.server.address}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _say(self, content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)
