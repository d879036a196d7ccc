"""Search among hash codes. Every kind of index has the same methods: add, search, save.

index = build("flat", identity, ids, codes)      # codes (N, K) int8 of -1/+1, ids ascending
ids, distances = index.search(queries, k=10)     # each (Q, 10)
index.save(folder)
index = load(folder, identity)                   # refuses codes of another model or data set

An id is a whole number from 0 on that names an item for good; whoever adds codes chooses it. Codes
repeat: an index compares distinct codes, then gives each item that has one.

kind      back end                  answers      distinct codes in memory
numpy     bit counts, a stable sort exact        mapped from disk
flat      FAISS; a table to 24 bits exact        mapped from disk
ivf       FAISS, inverted lists     approximate  yes
hnsw      FAISS, neighbour graph    approximate  yes; with the graph 17 times as much
postgres  a PostgreSQL server       exact        in the server, not here
"""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fdhmfe.codes import Identity
from fdhmfe.search.approximate import HNSWIndex, IVFIndex
from fdhmfe.search.engine import PostgresIndex
from fdhmfe.search.exact import FlatIndex, NumpyIndex
from fdhmfe.search.folders import read_header
from fdhmfe.search.index import CodeIndex
from fdhmfe.search.server import WHEEL, serve
from fdhmfe.support.places import suggest

LOCAL = {each.kind: each for each in (NumpyIndex, FlatIndex, IVFIndex, HNSWIndex)}
KINDS = (*LOCAL, PostgresIndex.kind)
FILES = {kind: index.files for kind, index in LOCAL.items()} | {PostgresIndex.kind: ()}
__all__ = ["KINDS", "build", "engine_installed", "load", "serve"]


def build(
    kind: str, identity: Identity, ids: np.ndarray, codes: np.ndarray, *, uri: str = ""
) -> CodeIndex:
    """A new index of `kind` that holds codes (N, K) under ids (N,). Its method `add` takes more.

    `uri`, for postgres only, names the server: postgresql://user@host/database. Raises ValueError
    for an unknown kind or a uri out of place, and what CodeIndex.add and PostgresIndex raise.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not known{suggest(kind, KINDS)}")
    if (kind == PostgresIndex.kind) != bool(uri):
        raise ValueError(f"kind={kind!r}: postgres needs a uri, the others take none")
    index = LOCAL[kind](identity) if kind in LOCAL else PostgresIndex(identity, uri)
    index.add(ids, codes)
    return index


def load(folder: Path, identity: Identity) -> CodeIndex:
    """Open the index that was saved in a folder, if it is of this `identity`.

    Raises FileNotFoundError if there is none; ValueError if it is damaged, or of another code
    length, model or data set; what PostgresIndex raises if its engine cannot be reached.
    """
    folder = Path(folder)
    header = read_header(folder, identity, FILES)
    return LOCAL.get(header["kind"], PostgresIndex).load(folder, identity, header)


def engine_installed() -> bool:
    """Whether `serve` can be used here: the extra `engine` is installed, and it is not Windows."""
    return os.name == "posix" and all(find_spec(name) for name in ("psycopg", WHEEL))
