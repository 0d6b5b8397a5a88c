"""A stand-in for W&B's server on this machine: takes runs, artifacts and files as wandb 0.31 sends them, and keeps what it hears."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class StandIn(ThreadingHTTPServer):
    """What it heard, and how it behaves.

    Attributes:
        history, summary: rows and last figures. runs: ids. artifacts: (type, name). used: how many artifacts are inputs.
        uploaded: paths of files. ahead: what a resumed run is told of the summary beyond it.
        stuck: it takes no figures, as a server does that is overloaded.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.ahead: dict[str, Any] = {}
        self.runs: list[str] = []
        self.artifacts: list[tuple[str, str]] = []
        self.used = 0
        self.uploaded: set[str] = set()
        self.stuck = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, asked: str, given: dict[str, Any]) -> dict[str, Any]:
        """To one GraphQL operation."""
        place = {"name": "p", "entity": {"name": "e", "id": "e"}}
        if asked == "RunResumeStatus":
            tail = json.dumps([json.dumps(self.history[-1])] if self.history else [])
            bucket = {"id": "r", "name": given["name"], "summaryMetrics": json.dumps(self.summary | self.ahead), "config": "{}", "tags": [],
                      "historyTail": tail, "historyLineCount": len(self.history), "eventsTail": "[]", "eventsLineCount": 0,
                      "logLineCount": 0, "wandbConfig": '{"t": {}}'}  # fmt: skip
            return {"model": {"id": "m", **place, "bucket": bucket if given["name"] in self.runs else None}}
        if asked == "UpsertBucket":
            new = given["name"] not in self.runs
            self.runs += [given["name"]] if new else []
            bucket = {"id": "r", "name": given["name"], "displayName": "n", "config": "{}", "project": place}
            return {"upsertBucket": {"bucket": bucket, "inserted": new}}
        if asked == "CreateArtifact":
            self.artifacts.append((given["input"]["artifactTypeName"], given["input"]["artifactCollectionName"]))
            return {"createArtifact": {"artifact": {"id": "a", "state": "PENDING", "artifactSequence": {"id": "s"}}}}
        if asked in ("CreateArtifactManifest", "UpdateArtifactManifest"):
            file = {"id": "f", "uploadUrl": f"{self.url}/manifest", "uploadHeaders": []}
            return {asked[0].lower() + asked[1:]: {"artifactManifest": {"id": "m", "file": file}}}
        if asked == "CreateArtifactFiles":
            names = [one["name"] for one in given["input"]["artifactFiles"]]
            nodes = [{"name": name, "uploadUrl": f"{self.url}/{name}", "uploadHeaders": [], "artifact": {"id": "a"}} for name in names]
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        if asked == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if asked == "UseArtifact":
            self.used += 1
        other = {"Viewer": {"viewer": {"id": "u", "entity": "e", "flags": "{}", "teams": {"edges": []}}},
                 "ServerFeaturesQuery": {"serverInfo": {"features": []}}, "ArtifactType": {"project": {"artifact": None}},
                 "CommitArtifact": {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}},
                 "UseArtifact": {"useArtifact": {"artifact": {"id": "a", "digest": "d"}}},
                 "RunStoppedStatus": {"project": {"run": {"stopped": False}}}}  # fmt: skip
        return other.get(asked, {})

    def hear(self, files: dict[str, Any]) -> None:
        """Rows and the summary of a run."""
        for name, part in files.items():
            if "history" in name:
                self.history += map(json.loads, part["content"])
            elif "summary" in name:
                self.summary = json.loads(part["content"][-1])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_PUT(self) -> None:
        self._body()
        self.server.uploaded.add(self.path)
        self._say({})

    def do_GET(self) -> None:
        self._say({})

    def do_POST(self) -> None:
        body, server = self._body(), self.server
        if self.path.startswith("/graphql"):
            asked = json.loads(body)
            name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            self._say({"data": server.answer(name[1] if name else "", asked.get("variables") or {})})
        elif not self.path.endswith("/file_stream"):
            self._say({}, 404)  # W&B's telemetry of itself
        elif server.stuck:
            self._say({}, 503)
        else:
            server.hear(json.loads(body).get("files") or {})
            self._say({"limits": {}})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    def _say(self, what: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
