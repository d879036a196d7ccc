"""Search in hash codes, one interface for every size: build, add, search, save, load.

index = build("flat", identity, ids, codes)      # codes (N, K) int8 of -1/+1, ids ascending
ids, distances = index.search(queries, k=10)     # each (Q, 10)
index.save(folder)
index = load(folder, identity)                   # refuses codes of another model or data set

kind    back end                  answers      codes in memory
numpy   bit counts, a stable sort exact        mapped from disk; the oracle of the tests
flat    FAISS                     exact        mapped from disk
ivf     FAISS, inverted lists     approximate  yes
hnsw    FAISS, neighbour graph    approximate  yes, and the graph: 17 times as much
milvus  a Milvus file or server   exact        the engine's
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fdhmfe.codes import Identity
from fdhmfe.search.approximate import HNSWIndex, IVFIndex
from fdhmfe.search.engine import MilvusIndex, embedded, serve
from fdhmfe.search.exact import FlatIndex, NumpyIndex
from fdhmfe.search.index import CodeIndex, read_header
from fdhmfe.support.places import suggest

LOCAL = {each.kind: each for each in (NumpyIndex, FlatIndex, IVFIndex, HNSWIndex)}
KINDS = (*LOCAL, MilvusIndex.kind)
__all__ = ["KINDS", "build", "engine_installed", "load", "serve"]


def build(
    kind: str, identity: Identity, ids: np.ndarray, codes: np.ndarray, *, uri: str = ""
) -> CodeIndex:
    """An index of `kind` that holds codes (N, K) under ids (N,); `add` takes more of them.

    `uri` names the engine for milvus: a .db file, or http://host:port. Raises ValueError for an
    unknown kind, and what CodeIndex.add raises.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not known{suggest(kind, KINDS)}")
    if (kind == MilvusIndex.kind) != bool(uri):
        raise ValueError(f"kind={kind!r}, uri={uri!r}: milvus needs a uri, the others take none")
    if embedded(uri):  # Milvus Lite makes the file only
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
    index = LOCAL[kind](identity) if kind in LOCAL else MilvusIndex(identity, uri)
    index.add(ids, codes)
    return index


def load(folder: Path, identity: Identity) -> CodeIndex:
    """Open the index that was saved in a folder, to answer for `identity` only.

    Raises FileNotFoundError where there is none; ValueError for an index of another code length,
    model or data set, or a damaged one; ConnectionError for an engine that does not answer.
    """
    folder = Path(folder)
    header = read_header(folder, identity)
    return LOCAL.get(header["kind"], MilvusIndex).load(folder, identity, header)


def engine_installed() -> bool:
    """Whether the embedded engine can be used here: the extra `engine`, pkg_resources included."""
    return all(find_spec(name) for name in ("pymilvus", "milvus_lite", "pkg_resources"))
