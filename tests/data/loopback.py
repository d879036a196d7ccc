"""A web server on loopback that misbehaves as told: it truncates, stalls, dies, lies."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Site:
    """What is served, how, and what was asked for. `faults` are used up, one a request."""

    content: dict[str, bytes]
    faults: list[Callable] = field(default_factory=list)
    ranges: bool = True
    etag: str = '"1"'
    asked: list[tuple[str, str]] = field(default_factory=list)  # (path, Range header)
    port: int = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def __init__(self, *arguments, site: Site):
        self.site = site
        super().__init__(*arguments)

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.site.asked.append((self.path, wanted))
        fault = self.site.faults.pop(0) if self.site.faults else None
        body = self.site.content.get(self.path[1:])
        if body is None:
            self.send_error(404)
        elif fault:
            fault(self, body)
        else:
            self.answer(body)

    def answer(self, body: bytes, *, sent: int | None = None) -> None:
        """The whole file, or the rest of it; only `sent` bytes of that where given."""
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        fresh = self.headers.get("If-Range", self.site.etag) != self.site.etag
        if not self.site.ranges or fresh:
            start = 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        if self.site.etag:
            self.send_header("ETag", self.site.etag)
        self.end_headers()
        self.wfile.write(body[start:][:sent])

    def log_message(self, *arguments) -> None:
        pass


def truncate(handler: Handler, body: bytes, sent: int = 2**16) -> None:
    """Announce it all, send a part, hang up."""
    handler.answer(body, sent=sent)


def stall(handler: Handler, body: bytes) -> None:
    """Send a part, then nothing, with the line open."""
    handler.answer(body, sent=2**16)
    handler.wfile.flush()
    time.sleep(3)


def busy(handler: Handler, body: bytes) -> None:
    handler.send_error(503)


def lie(handler: Handler, body: bytes) -> None:
    """Other bytes of the same length."""
    handler.answer(bytes(len(body)))


@contextmanager
def served(site: Site) -> Iterator[Site]:
    """Serve until the block ends; on the site's port if it has one already."""
    server = ThreadingHTTPServer(("127.0.0.1", site.port), partial(Handler, site=site))
    server.daemon_threads = True
    site.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
