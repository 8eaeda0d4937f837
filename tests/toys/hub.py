"""A server that speaks as much of the Hugging Face Hub's language as worlds need."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_good"
PATHS = re.compile(r"/(?:api/models/)?([\w.-]+/[\w.-]+)/(resolve|preupload|commit)/([^/]+)/?(.*)")


class ToyHub:
    """Repositories by name: what each revision holds, and who may see it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.requests: list[str] = []

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """Add a commit to `main`; returns its number."""
        revisions = self.repos.setdefault(repo, {"main": {}})
        merged = revisions["main"] | files
        name = hashlib.sha1(repr(sorted(merged.items())).encode()).hexdigest()
        revisions["main"] = revisions[name] = merged
        return name

    def answer(
        self, method: str, path: str, token: str | None, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return a status, headers and a body."""
        if path == "/api/repos/create":
            wish = json.loads(body)
            repo = f"{wish['organization']}/{wish['name']}" if "organization" in wish else ""
            if token != TOKEN:
                return 401, {}, b'{"error": "Invalid username or password."}'
            exists = repo in self.repos
            self.repos.setdefault(repo, {"main": {}})
            if not exists and (wish.get("private") or wish.get("visibility") == "private"):
                self.private.add(repo)
            url = {"url": f"{self.endpoint}/{repo}", "id": repo}
            return (409 if exists else 200), {}, json.dumps(url).encode()
        if path.removeprefix("/api/models/") in self.repos:
            repo = path.removeprefix("/api/models/")
            return 200, {}, json.dumps({"id": repo, "private": repo in self.private}).encode()
        if path == "/api/validate-yaml":  # of a README's head
            return 200, {}, b'{"errors": [], "warnings": []}'
        match = PATHS.fullmatch(path)
        if match is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        repo, route, revision, name = match.groups()
        if repo not in self.repos or (repo in self.private and token != TOKEN):
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        if repo in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if revision not in self.repos[repo]:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        files = self.repos[repo][revision]
        match route:
            case "preupload":
                sent = json.loads(body)["files"]
                answers = [
                    {**file, "uploadMode": "regular", "shouldIgnore": False} for file in sent
                ]
                return 200, {}, json.dumps({"files": answers}).encode()
            case "commit":
                lines = [json.loads(line) for line in body.splitlines()]
                sent = [line["value"] for line in lines if line["key"] == "file"]
                oid = self.commit(
                    repo, {file["path"]: base64.b64decode(file["content"]) for file in sent}
                )
                where = f"{self.endpoint}/{repo}/commit/{oid}"
                return 200, {}, json.dumps({"commitOid": oid, "commitUrl": where}).encode()
        if name not in files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        number = next(
            key for key, held in self.repos[repo].items() if held is files and key != "main"
        )
        headers = {"ETag": f'"{hashlib.sha1(files[name]).hexdigest()}"', "X-Repo-Commit": number}
        return 200, headers, files[name]


@contextmanager
def toy_hub() -> Iterator[ToyHub]:
    """Serve an empty Hub on this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b"".join(self.chunks())
            word = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            path = self.path.partition("?")[0]
            status, headers, answer = hub.answer(self.command, path, word, body)
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        def chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        do_GET = do_HEAD = do_POST = serve

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = ToyHub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
