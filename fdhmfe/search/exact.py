"""Exact search: every code is compared. NumPy is easy to read, FAISS is fast."""

from pathlib import Path
from typing import IO

import faiss
import numpy as np

from fdhmfe.codes import WORD, Identity, as_bytes, blocks, nearest
from fdhmfe.search.index import Hits, LocalIndex, mapped


class NumpyIndex(LocalIndex):
    """XOR, count the ones, sort stably. Tests compare the other indexes with this one."""

    kind = "numpy"
    file = "codes.npy"

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.words = np.zeros((0, -(-identity.bits // WORD)), np.uint64)  # (N, W)

    def _append(self, words: np.ndarray) -> None:
        self.words = np.concatenate([self.words, words]) if len(self) else words

    def _search(self, words: np.ndarray, k: int) -> Hits:
        parts = [self._nearest(words[rows], k) for rows in blocks(len(words), self._rows(k))]
        places, distances = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Hits(self.ids[places], distances)

    def _rows(self, k: int) -> int:
        """How many queries are answered at once: sorting their distances takes about 64 MB."""
        return max(1, 2**23 // len(self))

    def _nearest(self, words: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of the k nearest and their distances, each (Q, k)."""
        return nearest(words, self.words, k)

    def _write(self, file: IO[bytes]) -> None:
        np.save(file, self.words)

    def _read(self, path: Path) -> None:
        self.words = mapped(path)


class FlatIndex(NumpyIndex):
    """Gives the answers of FAISS's IndexBinaryFlat, but reads our memory-mapped codes, uncopied.

    "mc" keeps the first k places of each distance: of tied items, the lowest ids are returned.
    """

    kind = "flat"

    def _rows(self, k: int) -> int:
        """How many queries at once: FAISS keeps k places per query and distance, here 256 MB."""
        return max(1, 2**25 // (k * WORD * self.words.shape[1]))

    def _nearest(self, words: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        distances, places = faiss.knn_hamming(as_bytes(words), as_bytes(self.words), k, "mc")
        return places, distances
