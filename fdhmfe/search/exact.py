"""Exact search: every code is compared. NumPy as the plain reading, FAISS as the fast one."""

from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np

from fdhmfe.codes import WORD, Identity, as_bytes, blocks, nearest
from fdhmfe.search.index import CodeIndex, Hits, mapped, read_part, write_index


class NumpyIndex(CodeIndex):
    """XOR, count the ones, sort stably: the oracle that the other indexes are tested against."""

    kind: ClassVar[str] = "numpy"

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.ids = np.zeros(0, np.int64)  # (N,) ascending
        self.words = np.zeros((0, -(-identity.bits // WORD)), np.uint64)  # (N, W)

    def __len__(self) -> int:
        return len(self.ids)

    def _add(self, ids: np.ndarray, words: np.ndarray) -> None:
        if not len(self):  # the usual case, and a copy of ten million codes takes its time
            self.ids, self.words = ids, words
            return
        new = only_new(self.ids, ids)
        self.ids = np.concatenate([self.ids, ids[new]])
        self.words = np.concatenate([self.words, words[new]])

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

    def save(self, folder: Path) -> None:
        write_index(folder, self, {"ids.npy": saver(self.ids), "codes.npy": saver(self.words)})

    @classmethod
    def load(cls, folder: Path, identity: Identity, header: dict[str, Any]) -> "NumpyIndex":
        """Open a saved index; codes and ids are memory-mapped, so this reads next to nothing."""
        index = cls(identity)
        index.ids = read_part(folder, header, "ids.npy", mapped)
        index.words = read_part(folder, header, "codes.npy", mapped)
        return index


class FlatIndex(NumpyIndex):
    """What FAISS's IndexBinaryFlat does, straight on our memory-mapped codes.

    Its counting variant keeps, per distance, the first k places in order: ties are cut by id.
    """

    kind: ClassVar[str] = "flat"

    def _rows(self, k: int) -> int:
        """FAISS keeps k places per query and distance: about 256 MB of them at once."""
        return max(1, 2**25 // (k * WORD * self.words.shape[1]))

    def _nearest(self, words: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        distances, places = faiss.knn_hamming(as_bytes(words), as_bytes(self.words), k, "mc")
        return places, distances


def only_new(held: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Which ids (M,) are not among `held`, both ascending: (M,) bool.

    Raises ValueError for a new id below the largest held: tied items are ordered by place.
    """
    if not len(held):
        return np.ones(len(ids), bool)
    places = np.searchsorted(held, ids).clip(max=len(held) - 1)
    new = held[places] != ids
    if new.any() and ids[new][0] < held[-1]:
        raise ValueError(
            f"id {ids[new][0]} is new, but the index already holds {held[-1]}: add codes in "
            "ascending order of their ids, or build the index anew from all of them"
        )
    return new


def saver(array: np.ndarray) -> Any:
    """What writes an array as a .npy file to the path it is given."""

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            np.save(file, array)

    return write
