"""Exact search: NumPy is easy to read, FAISS and a table are fast."""

from collections.abc import Iterator

import faiss
import numpy as np

from fdhmfe.codes import WORD, as_bytes, blocks, nearest, pack
from fdhmfe.search.index import Found, LocalIndex

TABLE_BITS = 24  # longer codes have too many places for a table
SCAN = 170_000  # measured, at 24 bits: so few codes are scanned faster than looked up
MEMORY = 2**25  # places that FAISS keeps while it scans: 256 MB
RINGS = 6  # distances 0 to 5: 55,455 places at 24 bits


class NumpyIndex(LocalIndex):
    """XOR, count the ones, sort stably."""

    kind = "numpy"

    def _codes(self, words: np.ndarray, k: int) -> Iterator[Found]:
        for rows in blocks(len(words), max(1, 2**23 // len(self.groups.words))):  # about 64 MB
            yield from zip(*nearest(words[rows], self.groups.words, k), strict=True)


class FlatIndex(NumpyIndex):
    """The answers of FAISS's IndexBinaryFlat, ties by id. FAISS reads our mapped codes, uncopied.

    Many codes of up to 24 bits are not scanned: a table says which places round a query are taken.
    """

    kind = "flat"
    table: "Table | None" = None

    def _grow(self, words: np.ndarray) -> None:
        self.table = None

    def _codes(self, words: np.ndarray, k: int) -> Iterator[Found]:
        if self.identity.bits > TABLE_BITS or len(self.groups.words) <= SCAN:
            yield from self._scan(words, k)
            return
        if self.table is None:
            self.table = Table(self.groups.words, self.groups.starts, self.identity.bits)
        for word in words:
            found = self.table.nearest(word[0], k)
            yield found if found is not None else next(self._scan(word[None], k))

    def _scan(self, words: np.ndarray, k: int) -> Iterator[Found]:
        """FAISS's "mc" keeps the first k places of each distance."""
        held = self.groups.words
        size = MEMORY // (k * (WORD * held.shape[1] + 1))
        if size == 0:  # more neighbours than its memory is for
            yield from super()._codes(words, k)
            return
        for rows in blocks(len(words), size):
            far, places = faiss.knn_hamming(as_bytes(words[rows]), as_bytes(held), k, "mc")
            yield from zip(places, far, strict=True)


class Table:
    """Which code has which value, and the values at each distance from a query: rings round it."""

    def __init__(self, words: np.ndarray, starts: np.ndarray, bits: int) -> None:
        """words (M, 1) uint64, distinct; items of code i: starts[i + 1] - starts[i]."""
        used = pack(np.ones((1, bits)))[0, 0]
        values = np.arange(int(used) + 1, dtype=np.uint32)
        self.places = np.full(len(values), -1, np.int32)
        self.places[words[:, 0]] = np.arange(len(words))
        self.starts = starts
        ones = np.where(values & ~np.uint32(used), 255, np.bitwise_count(values))
        rings = (values[ones == distance] for distance in range(RINGS))
        # A ring of many places takes longer than a scan.
        self.rings = [ring for ring in rings if len(ring) <= len(words) // 16]

    def nearest(self, word: np.uint64, k: int) -> Found | None:
        """The nearest codes, ring by ring, that hold at least k items; None if they are too far."""
        found, left = [], k
        for ring in self.rings:
            places = self.places[ring ^ np.uint32(word)]
            places = places[places >= 0]
            found.append(places)
            left -= (self.starts[places + 1] - self.starts[places]).sum()
            if left <= 0:
                sizes = [len(places) for places in found]
                return np.concatenate(found), np.repeat(np.arange(len(found)), sizes)
        return None
