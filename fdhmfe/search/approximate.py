"""Approximate search with FAISS: it finds most neighbours with a fraction of the comparisons.

Both kinds have one knob, `effort`: a higher one finds more and takes longer. How much is found
depends on the codes, so compare with an exact index (`scale.recall`) before you trust it.
"""

from abc import abstractmethod
from pathlib import Path
from typing import IO, Any

import faiss
import numpy as np

from fdhmfe.codes import WORD, Identity, as_bytes
from fdhmfe.search.index import Hits, LocalIndex

MOST_LISTS = 4096  # more lists need minutes of k-means; up to 10^7 codes these are enough
PER_LIST = 64  # training codes per list
NEIGHBOURS, CONSTRUCTION = 16, 40  # HNSW: edges per code, candidates while building


class FaissIndex(LocalIndex):
    """An index of FAISS, held in memory. FAISS knows a code by its place, 0..N-1.

    If several items are tied at the last place, those that FAISS found first are returned.
    """

    file = "faiss.index"
    effort: int

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.faiss: Any = None  # None until there are codes, then a FAISS index

    def _append(self, words: np.ndarray) -> None:
        if self.faiss is None:
            self.faiss = self._trained(words)
        self.faiss.add(as_bytes(words))

    def _search(self, words: np.ndarray, k: int) -> Hits:
        self._set_effort()
        distances, places = self.faiss.search(as_bytes(words), k)
        found = places >= 0
        ids = np.where(found, self.ids[np.maximum(places, 0)], -1)
        return Hits(ids, np.where(found, distances, self.identity.bits + 1)).sorted()

    def _write(self, file: IO[bytes]) -> None:
        writer = faiss.PyCallbackIOWriter(file.write)  # type: ignore[attr-defined]  # not in its stubs
        faiss.write_index_binary(self.faiss, writer)

    def _read(self, path: Path) -> None:
        self.faiss = faiss.read_index_binary(str(path))

    @abstractmethod
    def _trained(self, words: np.ndarray) -> faiss.IndexBinary:
        """An empty FAISS index, fitted to the codes (N, W) that it will hold."""

    @abstractmethod
    def _set_effort(self) -> None:
        """Hand `effort` to FAISS."""


class IVFIndex(FaissIndex):
    """Each code is in the list of its nearest centre; `effort` = lists searched per query.

    k-means learns the centres from the first codes added: these should be like the later ones.
    """

    kind = "ivf"
    effort = 8

    def _trained(self, words: np.ndarray) -> faiss.IndexBinary:
        # FAISS wants at least 39 codes per list.
        lists = max(1, min(MOST_LISTS, int(4 * len(words) ** 0.5), len(words) // 39))
        width = WORD * words.shape[1]
        index = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(width), width, lists)
        rng = np.random.default_rng(0)
        sample = rng.choice(len(words), min(len(words), PER_LIST * lists), replace=False)
        index.train(as_bytes(words[np.sort(sample)]))
        return index

    def _set_effort(self) -> None:
        self.faiss.nprobe = self.effort


class HNSWIndex(FaissIndex):
    """A graph of neighbours. A search walks it towards the query; `effort` = candidates it keeps.

    Several threads may build another graph from the same codes: its answers differ a little.
    """

    kind = "hnsw"
    effort = 128

    def _trained(self, words: np.ndarray) -> faiss.IndexBinary:
        index = faiss.IndexBinaryHNSW(WORD * words.shape[1], NEIGHBOURS)
        index.hnsw.efConstruction = CONSTRUCTION
        return index

    def _set_effort(self) -> None:
        self.faiss.hnsw.efSearch = self.effort
