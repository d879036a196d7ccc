"""Package indexes on loopback, with the packages of a lock or with small ones made here.

One is plain, in place of the default index. The other answers through a proxy for any host, with a
certificate of its own authority: uv takes torch for the CPU from an index whose address it knows.
"""

import io
import json
import os
import re
import ssl
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

PIN = re.compile(r"(?m)^([a-z0-9-]+)==(\S+)(?: ; (.*?))?(?: \\)?$")


@dataclass
class Wheel:
    """One wheel with a single empty module, or with the `code` of one that can be run."""

    name: str
    version: str
    requires: list[str] = field(default_factory=list)
    digest: str = ""  # the hash that the index gives for it; empty: its own
    sized: bool = True  # whether the index gives its size
    code: str = ""

    @property
    def file(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def metadata(self) -> str:
        lines = ["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {self.version}"]
        lines += [f"Requires-Dist: {each}" for each in self.requires]
        return "\n".join([*lines, "", ""])

    @property
    def content(self) -> bytes:
        module = self.name.replace("-", "_")
        info = f"{module}-{self.version}.dist-info"
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        names = {f"{module}/__init__.py": "", f"{module}/__main__.py": self.code}
        names |= {f"{info}/METADATA": self.metadata, f"{info}/WHEEL": tags, f"{info}/RECORD": ""}
        with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
            for name, text in names.items():
                archive.writestr(zipfile.ZipInfo(name), text)  # no time of day in it
        return packed.getvalue()


Wheels = dict[str, list[Wheel]]  # by the name of the package


def pinned(lock: Path) -> Wheels:
    """The wheels of each package that a lock pins; what requires what is in its "# via" lines."""
    text = lock.read_text(encoding="utf-8")
    found: dict[str, list[Wheel]] = {}
    markers: dict[str, list[str]] = {}
    needs: dict[str, set[str]] = {}
    for entry in re.split(r"(?m)^(?=[a-z0-9])", text)[1:]:
        name, version, marker = PIN.match(entry).groups()
        digest = re.search(r"sha256:(\w+)", entry)[1]
        found.setdefault(name, []).append(Wheel(name, version, digest=digest))
        markers.setdefault(name, []).append(marker or "")
        for user in re.findall(r"(?m)^    #(?: via|  ) +([a-z0-9-]+)$", entry):
            needs.setdefault(user, set()).add(name)
    for user, names in needs.items():
        for wheel in found[user]:
            for name in sorted(names):
                either = " or ".join(f"({m})" for m in markers[name])
                wheel.requires.append(name + (f" ; {either}" if all(markers[name]) else ""))
    return found


def without_cuda(wheels: Wheels) -> Wheels:
    """torch and torchvision as PyTorch's index has them for the CPU: other files, no sizes."""
    cuda = re.compile("(nvidia|cuda|triton)")
    return {
        name: [
            Wheel(
                name, f"{w.version}+cpu", [r for r in w.requires if not cuda.match(r)], sized=False
            )
            for w in wheels[name]
        ]
        for name in ("torch", "torchvision")
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments, wheels: Wheels, identity: Path | None):
        self.wheels, self.identity, self.answered = wheels, identity, False
        super().__init__(*arguments)

    def do_CONNECT(self) -> None:
        """Answer in the place of the host that the client wants to speak to."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*signed(self.identity, self.path.rpartition(":")[0]))
        self.send_response(200)
        self.end_headers()
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self) -> None:
        self.answered = False
        *_, name, file = unquote(self.path).rsplit("/", 2)
        if file == "" and name in self.wheels:
            self.answer(json.dumps(self.page(name)).encode())
        for wheel in self.wheels.get(name, []):
            if file == wheel.file:
                self.answer(wheel.content)
            elif file == f"{wheel.file}.metadata":
                self.answer(wheel.metadata.encode())
        if not self.answered:
            self.send_error(404)

    do_HEAD = do_GET

    def page(self, name: str) -> dict:
        """What an index says of a package (PEP 691), with metadata beside each wheel (PEP 714)."""
        files = []
        for wheel in self.wheels[name]:
            digest = wheel.digest or sha256(wheel.content).hexdigest()
            size = {"size": len(wheel.content)} if wheel.sized else {}
            about = {"hashes": {"sha256": digest}, "core-metadata": True, **size}
            files.append({"filename": wheel.file, "url": wheel.file, **about})
        return {"meta": {"api-version": "1.1"}, "name": name, "files": files}

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.answered = True
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Say nothing."""


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def authority(folder: Path) -> Path:
    """Make a certificate authority in a folder: ca.pem and ca.key."""
    make = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=loopback")
    openssl(*make, "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    return folder


def signed(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate for a host by the authority in a folder, and its key."""
    certificate, key = folder / f"{host}.pem", folder / f"{host}.key"
    if not certificate.exists():
        make = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=host")
        by = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key")
        name = ("-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=CA:FALSE")
        openssl(*make, *by, *name, "-keyout", key, "-out", certificate)
    return certificate, key


@contextmanager
def serving(wheels: Wheels, identity: Path | None = None) -> Iterator[str]:
    """Serve wheels on loopback; yields the address. With an `identity`: also as a proxy."""
    handler = partial(Handler, wheels=wheels, identity=identity)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def indexes(wheels: Wheels, scratch: Path) -> Iterator[dict[str, str]]:
    """Both indexes; yields the variables with which uv and pip use them, and an empty cache."""
    identity = authority(scratch)
    with serving(wheels) as plain, serving(without_cuda(wheels), identity) as proxy:
        yield {
            "UV_DEFAULT_INDEX": f"{plain}/simple/",
            "PIP_INDEX_URL": f"{plain}/simple/",
            "PIP_CONFIG_FILE": os.devnull,
            "HTTPS_PROXY": proxy,
            "NO_PROXY": "127.0.0.1",
            "SSL_CERT_FILE": str(scratch / "ca.pem"),
            "UV_CACHE_DIR": str(scratch / "cache"),
            "UV_NO_CONFIG": "1",
        }
