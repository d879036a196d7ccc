"""A Hub on loopback: it answers for the files of models as huggingface.co does."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


class Handler(BaseHTTPRequestHandler):
    """Knows `models`: OWNER/NAME -> a folder; each has one commit, named by its files."""

    def __init__(self, *arguments, models: dict[str, Path]):
        self.models = models
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name, revision = (api[1], api[3]) if api else (file[1], file[2]) if file else ("", "")
        if name not in self.models:
            return self.refuse("RepoNotFound", 401)  # the Hub does not say which are private
        files = {each.name: each.read_bytes() for each in self.models[name].iterdir()}
        commit = commit_of(files)
        if revision not in ("main", commit):
            return self.refuse("RevisionNotFound", 404)
        if api and api[2] == "revision":
            return self.answer(json.dumps({"id": name, "sha": commit}).encode())
        if api:
            entries = [
                {"type": "file", "path": k, "size": len(v), "oid": oid(v)} for k, v in files.items()
            ]
            return self.answer(json.dumps(entries).encode())
        if file[3] not in files:
            return self.refuse("EntryNotFound", 404)
        body = files[file[3]]
        return self.answer(body, **{"X-Repo-Commit": commit, "ETag": f'"{oid(body)}"'})

    do_HEAD = do_GET

    def answer(self, body: bytes, **headers: str) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, code: str, status: int) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments) -> None:
        pass


def oid(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


def commit_of(files: dict[str, bytes]) -> str:
    return oid(b"".join(files[name] for name in sorted(files)))


@contextmanager
def served(models: dict[str, Path]) -> Iterator[str]:
    """The address of a Hub that serves these models until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, models=models))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
