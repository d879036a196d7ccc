"""Exact search: every code is compared. NumPy as the plain reading, FAISS as the fast one."""

from pathlib import Path
from typing import IO

import faiss
import numpy as np

from fdhmfe.codes import WORD, Identity, as_bytes, blocks, nearest
from fdhmfe.search.index import Hits, LocalIndex, mapped


class NumpyIndex(LocalIndex):
    """XOR, count the ones, sort stably: the oracle that the other indexes are tested against."""

    kind = "numpy"
    file = "codes.npy"

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.words = np.zeros((0, -(-identity.bits // WORD)), np.uint64)  # (N, W)

    def _append(self, words: np.ndarray) -> None:
        self.words = np.concatenate([self.words, words])

    def _search(self, words: np.ndarray, k: int) -> Hits:
        parts = [self._nearest(words[rows], k) for rows in blocks(len(words), self._rows(k))]
        places, distances = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Hits(self.ids[places], distances)

    def _rows(self, k: int) -> int:
        """Queries answered at once, so that their distances take about 64 MB."""
        return max(1, 2**23 // len(self))

    def _nearest(self, words: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of the k nearest and their distances, each (Q, k)."""
        return nearest(words, self.words, k)

    def _write(self, file: IO[bytes]) -> None:
        np.save(file, self.words)

    def _read(self, path: Path) -> None:
        self.words = mapped(path)


class FlatIndex(NumpyIndex):
    """The answers of FAISS's IndexBinaryFlat, from our memory-mapped codes without a copy.

    "mc" counts: it keeps the first k places of each distance, in order, so ties are cut by id.
    """

    kind = "flat"

    def _rows(self, k: int) -> int:
        """FAISS keeps k places per query and distance: about 256 MB of them at once."""
        return max(1, 2**25 // (k * WORD * self.words.shape[1]))

    def _nearest(self, words: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        distances, places = faiss.knn_hamming(as_bytes(words), as_bytes(self.words), k, "mc")
        return places, distances
