"""Approximate search with FAISS: it finds most neighbours with a fraction of the comparisons.

Both kinds have one knob, `effort`: a higher one finds more and takes longer. How much is found
depends on the codes, so compare with an exact index (`scale.recall`) before you trust it.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

import faiss
import numpy as np

from fdhmfe.codes import WORD, Identity, as_bytes
from fdhmfe.search import folders
from fdhmfe.search.groups import NAMES, keys
from fdhmfe.search.index import Found, LocalIndex, whole

PART = "faiss.index"
MOST_LISTS = 4096  # more lists need minutes of k-means; up to 10^7 codes these are enough
PER_LIST = 64  # training codes per list
NEIGHBOURS, CONSTRUCTION = 16, 40  # HNSW: edges per code, candidates while building


class FaissIndex(LocalIndex):
    """An index of FAISS, held in memory. FAISS knows a distinct code by its place, 0..M-1.

    Items at distance 0 are always found. If several are tied at the last place, those are returned
    that FAISS found first.
    """

    files = (*NAMES, PART)
    type: ClassVar[type[faiss.IndexBinary]]
    effort: int

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.faiss: Any = None  # None until there are codes, then a FAISS index
        self.sorted: tuple[np.ndarray, np.ndarray] | None = None  # keys (M,) and their places

    def _grow(self, words: np.ndarray) -> None:
        self.sorted = None
        if self.faiss is None:
            self.faiss = self._trained(words)
        self.faiss.add(as_bytes(words))

    def _codes(self, words: np.ndarray, k: int) -> Iterator[Found]:
        self._set_effort(whole("effort", self.effort))
        same = self._same(words)
        distances, places = self.faiss.search(as_bytes(words), k)
        for own, at, far in zip(same, places, distances, strict=True):
            at, far = at[at >= 0], far[at >= 0]
            if own >= 0 and own not in at[far == 0]:
                at, far = np.insert(at, 0, own), np.insert(far, 0, 0)
            yield at, far

    def _same(self, words: np.ndarray) -> np.ndarray:
        """The place (Q,) of the very code of each query, -1 if there is none."""
        held = self.groups.words
        if self.sorted is None:
            numbers = keys(held)
            order = numbers.argsort()
            self.sorted = numbers[order], order
        numbers, order = self.sorted
        places = order[numbers.searchsorted(keys(words)).clip(max=len(order) - 1)]
        return np.where((held[places] == words).all(axis=1), places, -1)

    def _parts(self) -> dict[str, Callable[[IO[bytes]], Any]]:
        return super()._parts() | {PART: self._write}

    def _write(self, file: IO[bytes]) -> None:
        if self.faiss is not None:  # an empty index has an empty file
            writer = faiss.PyCallbackIOWriter(file.write)  # type: ignore[attr-defined]  # not in its stubs
            faiss.write_index_binary(self.faiss, writer)

    def _open(self, folder: Path, header: Mapping[str, Any]) -> None:
        self.faiss = folders.read(folder, header, PART, self._read)

    def _read(self, path: Path) -> Any:
        """The FAISS index in a file, None for an empty one; ValueError if it has other codes."""
        held = as_bytes(self.groups.words)
        if not len(held):
            return None
        index = faiss.read_index_binary(str(path))
        if type(index) is not self.type or (index.ntotal, index.code_size) != held.shape:
            raise ValueError(f"{type(index).__name__} of {index.ntotal} codes, not of {len(held)}")
        if not np.array_equal(index.reconstruct_n(0, len(held)), held):
            raise ValueError("it holds other codes")
        return index

    @abstractmethod
    def _trained(self, words: np.ndarray) -> faiss.IndexBinary:
        """An empty FAISS index, fitted to the codes (N, W) that it will hold."""

    @abstractmethod
    def _set_effort(self, effort: int) -> None:
        """Hand `effort` to FAISS."""


class IVFIndex(FaissIndex):
    """Each code is in the list of its nearest centre; `effort` = lists searched per query.

    k-means learns the centres from the codes that are there at the first search or save: later
    ones should be like them.
    """

    kind = "ivf"
    type = faiss.IndexBinaryIVF
    effort = 32

    def _trained(self, words: np.ndarray) -> faiss.IndexBinary:
        # FAISS wants at least 39 codes per list.
        lists = max(1, min(MOST_LISTS, int(4 * len(words) ** 0.5), len(words) // 39))
        width = WORD * words.shape[1]
        index = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(width), width, lists)
        rng = np.random.default_rng(0)
        sample = rng.choice(len(words), min(len(words), PER_LIST * lists), replace=False)
        index.train(as_bytes(words[np.sort(sample)]))
        return index

    def _set_effort(self, effort: int) -> None:
        self.faiss.nprobe = effort


class HNSWIndex(FaissIndex):
    """A graph of neighbours. A search walks it towards the query; `effort` = candidates it keeps.

    Several threads may build another graph from the same codes: its answers differ a little.
    """

    kind = "hnsw"
    type = faiss.IndexBinaryHNSW
    effort = 256

    def _trained(self, words: np.ndarray) -> faiss.IndexBinary:
        index = faiss.IndexBinaryHNSW(WORD * words.shape[1], NEIGHBOURS)
        index.hnsw.efConstruction = CONSTRUCTION
        return index

    def _set_effort(self, effort: int) -> None:
        self.faiss.hnsw.efSearch = effort
