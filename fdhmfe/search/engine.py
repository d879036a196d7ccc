"""The same index in Milvus: embedded, on a server or on a cluster. The URI says which.

A path that ends in .db starts Milvus Lite, a child process, on that file; http://host:19530 asks a
server. Codes are stored as binary vectors, distances are Hamming, and the search is exact.
"""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_exponential, wait_fixed

from fdhmfe.codes import WORD, Identity, blocks
from fdhmfe.search import folders
from fdhmfe.search.index import CodeIndex, Hits
from fdhmfe.support.files import content_hash

BATCH = 10_000  # codes per message to the engine, well below its limit of 64 MB
QUERIES = 100  # per message; all their answers must fit into one message, too
TIMEOUT = 60.0  # seconds
CONNECT_FAILED = 2  # pymilvus's code for an engine that does not answer (yet)


class MilvusIndex(CodeIndex):
    """One collection per identity. `id` is its primary key: adding a code twice changes nothing.

    When `add` returns, its codes are stored. If a process is killed while it adds, run it again:
    it skips the ids that are there. If items are tied at the last place, the engine chooses.
    """

    kind = "milvus"
    largest_k = 16_384  # Milvus answers no more

    def __init__(self, identity: Identity, uri: str) -> None:
        """Connect, and create the collection if there is none.

        Raises ImportError if pymilvus is not installed, ConnectionError if nothing answers.
        """
        super().__init__(identity)
        self.uri = str(Path(uri).resolve()) if embedded(uri) else uri
        self.collection = f"codes_{content_hash(identity)}"
        self.client = connect(self.uri)
        if not self._ask("has_collection"):
            self._create()
        self._ask("load_collection")

    def __len__(self) -> int:
        rows = self._ask("query", filter="", output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    def _add(self, ids: np.ndarray, words: np.ndarray) -> None:
        for rows in blocks(len(ids), BATCH):
            some = ids[rows].tolist()
            held = {row["id"] for row in self._ask("get", ids=some, output_fields=["id"])}
            codes = zip(some, words[rows], strict=True)
            new = [{"id": i, "code": code.tobytes()} for i, code in codes if i not in held]
            if new:
                # Not insert: another process may be loading the same ids at this moment.
                self._ask("upsert", data=new)

    def _search(self, words: np.ndarray, k: int) -> Hits:
        found = []
        for rows in blocks(len(words), QUERIES):
            data = [code.tobytes() for code in words[rows]]
            found += self._ask("search", data=data, limit=k, anns_field="code")
        ids = np.array([[hit["id"] for hit in hits] for hits in found], np.int64)
        distances = np.array([[hit["distance"] for hit in hits] for hits in found], np.int32)
        return Hits(ids, distances).sorted()

    def save(self, folder: Path) -> None:
        """Make the engine write everything to its disk, and note its URI in the folder."""
        self._ask("flush")
        folders.save(folder, self.kind, self.identity, len(self), {}, uri=self.uri)

    @classmethod
    def load(cls, folder: Path, identity: Identity, header: dict[str, Any]) -> "MilvusIndex":
        """Connect to the engine that the saved index names.

        Raises ValueError if the engine holds fewer codes now than when the index was saved, or if
        the index names no engine.
        """
        uri = header.get("uri")
        if not uri or not isinstance(uri, str) or (embedded(uri) and not Path(uri).is_file()):
            raise folders.damaged(folder / folders.HEADER, f"names the engine {uri!r}: none there")
        index = cls(identity, uri)
        if len(index) < header["count"]:
            raise ValueError(
                f"{index.uri} holds {len(index)} of the {header['count']} codes that it held when "
                f"{folder} was saved: add all of them again; those that are there are skipped"
            )
        return index

    def close(self) -> None:
        """End the connection. An embedded engine stops, so that others can open its file."""
        self.client.close()
        if embedded(self.uri):
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.uri)

    def _create(self) -> None:
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(description=str(self.identity._asdict()))
        schema.add_field("id", DataType.INT64, is_primary=True)
        width = WORD * -(-self.identity.bits // WORD)
        schema.add_field("code", DataType.BINARY_VECTOR, dim=width)
        plan = MilvusClient.prepare_index_params()
        plan.add_index("code", index_type="BIN_FLAT", metric_type="HAMMING")
        # Strong: a search sees everything that was added before it, on a cluster too.
        self._ask("create_collection", schema=schema, index_params=plan, consistency_level="Strong")

    def _ask(self, request: str, **arguments: Any) -> Any:
        """One request to the engine, about this collection; ConnectionError if it fails."""
        from grpc import RpcError
        from pymilvus import MilvusException

        try:
            return getattr(self.client, request)(self.collection, timeout=TIMEOUT, **arguments)
        except (MilvusException, RpcError) as error:  # if an answer is late, it is grpc's
            raise ConnectionError(unreachable(self.uri, request, error)) from error


def embedded(uri: str) -> bool:
    """Whether a URI names a file of Milvus Lite."""
    return uri.endswith(".db")


def connect(uri: str) -> Any:
    """A pymilvus client of the engine at `uri`."""
    try:
        from pymilvus import MilvusClient, MilvusException
    except ImportError as error:
        raise ImportError("the engine needs pymilvus: pip install 'fdhmfe[engine]'") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs what it also raises
    # Share nothing with earlier connections: they still take an engine that was away for dead.
    own = {"dedicated": True, "grpc_options": {"grpc.use_local_subchannel_pool": 1}}
    # The first attempt starts an embedded engine; on a busy machine that takes a while.
    patient = Retrying(
        retry=retry_if_exception(lambda error: getattr(error, "code", 0) == CONNECT_FAILED),
        stop=stop_after_attempt(6 if embedded(uri) else 1),
        wait=wait_exponential(),
        reraise=True,
    )
    try:
        return patient(MilvusClient, uri, timeout=TIMEOUT, **own)
    except MilvusException as error:
        raise ConnectionError(unreachable(uri, "connect", error)) from error


@contextmanager
def serve(file: Path) -> Iterator[str]:
    """Serve a Milvus Lite file on a free port of this machine; yields the URI.

    This is for trials and tests: other machines cannot reach it and need a real Milvus server.
    Raises ImportError without Milvus Lite, ConnectionError if it does not start.
    """
    from milvus_lite.server import Server

    with socket.create_server(("127.0.0.1", 0)) as free:
        host, port = free.getsockname()
    address = f"{host}:{port}"
    server = Server(str(file), address)
    if not (server.init() and server.start()):
        raise ConnectionError(f"{file} cannot be served: another process may have it open")
    try:
        wait = Retrying(stop=stop_after_delay(30), wait=wait_fixed(0.1), reraise=True)
        wait(socket.create_connection, (host, port)).close()
        yield f"http://{address}"
    finally:
        server.stop()


def unreachable(uri: str, request: str, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "message", error)).split())[:200]
    return (
        f"the search engine at {uri} did not answer ({request}: {reason}). Start it, or give "
        "another uri; the codes that were added before are kept"
    )
