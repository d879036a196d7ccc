"""Approximate search with FAISS: most of the answer for a fraction of the comparisons.

Both kinds have one knob, `effort`. How much is found at which effort depends on the codes: measure
it against an exact index (`search_scale.recall`) before trusting it.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np

from fdhmfe.codes import WORD, Identity, as_bytes
from fdhmfe.search.exact import only_new, saver
from fdhmfe.search.index import CodeIndex, Hits, mapped, read_part, write_index

MOST_LISTS = 4096  # more cost minutes of k-means without being needed up to 10^7 codes
PER_LIST = 64  # training codes per list
NEIGHBOURS, CONSTRUCTION = 16, 40  # HNSW: edges per code, candidates while building


class FaissIndex(CodeIndex):
    """A FAISS index of places 0..N-1 beside the ids (N,) that stand there.

    Of tied items at the last place, those found first stay; the order of what is returned is by
    (distance, id).
    """

    effort: int

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.ids = np.zeros(0, np.int64)
        self.faiss: Any = None  # of one of FAISS's classes, once there are codes

    def __len__(self) -> int:
        return len(self.ids)

    def _add(self, ids: np.ndarray, words: np.ndarray) -> None:
        new = only_new(self.ids, ids)
        if not new.any():
            return
        if self.faiss is None:
            self.faiss = self._trained(words[new])
        self.faiss.add(as_bytes(words[new]))
        self.ids = np.concatenate([self.ids, ids[new]])

    def _search(self, words: np.ndarray, k: int) -> Hits:
        self._set_effort()
        distances, places = self.faiss.search(as_bytes(words), k)
        found = places >= 0
        ids = np.where(found, self.ids[np.maximum(places, 0)], -1)
        distances = np.where(found, distances, self.identity.bits + 1)
        order = np.lexsort((ids, distances), axis=1)
        return Hits(*(np.take_along_axis(each, order, axis=1) for each in (ids, distances)))

    @abstractmethod
    def _trained(self, words: np.ndarray) -> faiss.IndexBinary:
        """An empty FAISS index, fitted to the codes (N, W) that it will hold."""

    @abstractmethod
    def _set_effort(self) -> None:
        """Hand `effort` to FAISS."""

    def save(self, folder: Path) -> None:
        def write(path: Path) -> None:
            faiss.write_index_binary(self.faiss, str(path))

        write_index(folder, self, {"ids.npy": saver(self.ids), "faiss.index": write})

    @classmethod
    def load(cls, folder: Path, identity: Identity, header: dict[str, Any]) -> "FaissIndex":
        """Open a saved index: ids memory-mapped, the rest read (added codes change it in place)."""
        index = cls(identity)
        index.ids = read_part(folder, header, "ids.npy", mapped)
        index.faiss = read_part(
            folder, header, "faiss.index", lambda path: faiss.read_index_binary(str(path))
        )
        return index


class IVFIndex(FaissIndex):
    """Codes in lists round centres (k-means); `effort` = lists looked through per query.

    The centres are learned from the first codes added, which should be like the rest.
    """

    kind: ClassVar[str] = "ivf"
    effort = 8

    def _trained(self, words: np.ndarray) -> faiss.IndexBinary:
        # FAISS wants 39 codes per list at least.
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
    """A graph of neighbours, walked towards the query; `effort` = candidates kept on the way.

    Two threads may build two graphs from the same codes: answers then differ a little.
    """

    kind: ClassVar[str] = "hnsw"
    effort = 128

    def _trained(self, words: np.ndarray) -> faiss.IndexBinary:
        index = faiss.IndexBinaryHNSW(WORD * words.shape[1], NEIGHBOURS)
        index.hnsw.efConstruction = CONSTRUCTION
        return index

    def _set_effort(self) -> None:
        self.faiss.hnsw.efSearch = self.effort
