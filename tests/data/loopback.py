"""A web server on loopback that misbehaves as told: it truncates, stalls, dies, lies."""

import gzip
import io
import ssl
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np


@dataclass
class Site:
    """What is served, how, and what was asked for. `faults` are used up, one a request."""

    content: dict[str, bytes]
    faults: list[Callable] = field(default_factory=list)
    ranges: bool = True
    etag: str = '"1"'
    asked: list[tuple[str, str]] = field(default_factory=list)  # (path, Range header)
    port: int = 0

    def url(self, name: str, start: str = "http://127.0.0.1") -> str:
        return f"{start}:{self.port}/{name}"


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


def reply(
    handler: Handler, body: bytes, status: int = 200, *, sent: bytes | None = None, **headers: str
) -> None:
    """A status, headers (`_` for `-`), and a body: what is sent in place of the file, if given."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body if sent is None else sent)


def hang_up(handler: Handler, body: bytes) -> None:
    """No answer at all."""


def endless(handler: Handler, body: bytes) -> None:
    """The file, and then more without end."""
    reply(handler, body)
    with suppress(ConnectionError):
        while True:
            handler.wfile.write(bytes(2**16))


def drip(handler: Handler, body: bytes) -> None:
    """A byte now and then, without end."""
    reply(handler, body, sent=body[: 2**13], Content_Length=str(len(body)))
    with suppress(ConnectionError):
        for number in range(2**13, len(body)):
            handler.wfile.write(body[number : number + 1])
            time.sleep(0.02)


def part(handler: Handler, body: bytes, *, length: int = 2**16, total: int = 0) -> None:
    """What was asked for, but at most `length` bytes of it, as if of a file of `total`."""
    start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
    piece = body[start : start + length]
    told = f"bytes {start}-{start + len(piece) - 1}/{total or len(body)}"
    reply(handler, body, 206, sent=piece, Content_Range=told, ETag=handler.site.etag)


def packed_again(handler: Handler, body: bytes) -> None:
    """Packed on the way, though the client asked for the file as it is."""
    packed = gzip.compress(body, 1)
    reply(handler, packed, Content_Encoding="gzip", Content_Length=str(len(packed)))


def archive(seed: int = 0, size: int = 3_000_000) -> bytes:
    """A .tgz of one file that does not shrink."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as opened:
        member = tarfile.TarInfo("birds/1.jpg")
        member.size = size
        opened.addfile(member, io.BytesIO(np.random.default_rng(seed).bytes(size)))
    return buffer.getvalue()


@contextmanager
def served(site: Site, certificate: Path | None = None) -> Iterator[Site]:
    """Serve until the block ends; on the site's port if it has one already.

    `certificate`: a file with certificate and key, for https.
    """
    server = ThreadingHTTPServer(("127.0.0.1", site.port), partial(Handler, site=site))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
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
