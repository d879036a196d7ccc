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

from fdhmfe.search.engine import serve
from fdhmfe.search.kinds import KINDS, build, engine_installed, load

__all__ = ["KINDS", "build", "engine_installed", "load", "serve"]
