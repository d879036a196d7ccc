"""What every search index promises.

An index belongs to one identity: a code length, a model and a set of images. It cannot be opened
for another identity, or if a file is missing or damaged.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple, Self

import numpy as np

from fdhmfe.codes import Identity, pack
from fdhmfe.search import folders
from fdhmfe.search.groups import NAMES, Groups

Found = tuple[np.ndarray, np.ndarray]  # codes found for one query: places (n,), distances (n,)


class Hits(NamedTuple):
    """The items found for Q queries, nearest first; items at the same distance by id.

    An approximate search may find fewer than k. Then the last ids are -1, at distance K + 1.
    """

    ids: np.ndarray  # (Q, k) int64
    distances: np.ndarray  # (Q, k) int32, in bits

    def sorted(self) -> "Hits":
        """Each row by (distance, id)."""
        order = np.lexsort(self, axis=1)
        return Hits(*(np.take_along_axis(each, order, axis=1) for each in self))


class CodeIndex(ABC):
    """Codes (N, K) of -1/+1 under integer ids: add them, search them, save them."""

    kind: ClassVar[str]

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    @abstractmethod
    def __len__(self) -> int:
        """Number of items held."""

    def add(self, ids: np.ndarray, codes: np.ndarray) -> None:
        """Add codes (M, K) under ids (M,) in ascending order; ids that it holds are skipped.

        Raises ValueError, and adds nothing, if ids are not ascending integers >= 0, or if codes
        are not -1/+1 or of another length.
        """
        words = pack(codes, self.identity.bits)
        ids = np.asarray(ids)
        if not ids.size and not len(words):
            ids = np.zeros(0, np.int64)  # NumPy takes an empty list for floats
        if ids.ndim != 1 or len(ids) != len(words) or ids.dtype.kind not in "iu":
            raise ValueError(f"ids must be {len(words)} integers, not {ids.dtype} {ids.shape}")
        if len(ids) and (ids[0] < 0 or (ids[1:] <= ids[:-1]).any() or ids[-1] >= 2**63):
            raise ValueError("ids must ascend from 0 or more, each once: sort ids and codes by id")
        self._add(ids.astype(np.int64), words)

    def search(self, codes: np.ndarray, k: int) -> Hits:
        """The min(k, N) nearest items of each query (Q, K); Q may be 0.

        Raises ValueError for an empty index, codes of another length, or a k that is no whole
        number of 1 or more.
        """
        k, words = whole("k", k), pack(codes, self.identity.bits)
        k = self._at_most(min(k, 2**62))
        if k == 0:
            raise ValueError("the index is empty: add codes before you search")
        if not len(words):
            return Hits(np.zeros((0, k), np.int64), np.zeros((0, k), np.int32))
        return self._search(words, k)

    def _at_most(self, k: int) -> int:
        """min(k, N)."""
        return min(k, len(self))

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the index to a folder. An older one there stays usable until the new one is whole.

        Raises ValueError if the folder holds an index of another identity.
        """

    @abstractmethod
    def _add(self, ids: np.ndarray, words: np.ndarray) -> None:
        """Add packed codes (M, W) uint64."""

    @abstractmethod
    def _search(self, words: np.ndarray, k: int) -> Hits:
        """Search packed codes (Q, W) uint64, Q >= 1, 1 <= k <= N."""


class LocalIndex(CodeIndex):
    """An index in this process. It compares the distinct codes; `groups` says whose they are.

    What is added waits until the next search or save: then all of it is grouped at once. For ties
    to come by id, ids must ascend: `_add` raises ValueError for a new id below the largest.
    """

    files: ClassVar[tuple[str, ...]] = NAMES  # what a saved index consists of

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.groups = Groups.none(identity.bits)
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []  # ids (n,), words (n, W)
        self.last = -1  # the largest id

    def __len__(self) -> int:
        return len(self.groups.ids) + sum(len(ids) for ids, _ in self.waiting)

    def _add(self, ids: np.ndarray, words: np.ndarray) -> None:
        if len(ids) and ids[0] <= self.last:
            self.settle()
            new = ~np.isin(ids, self.groups.ids)
            ids, words = ids[new], words[new]
            if len(ids) and ids[0] < self.last:
                raise ValueError(
                    f"id {ids[0]} is new, but the index already holds {self.last}: add codes in "
                    "ascending order of their ids, or build the index anew from all of them"
                )
        if len(ids):
            self.waiting.append((ids, words))
            self.last = int(ids[-1])

    def settle(self) -> None:
        """Group what was added since the last search or save."""
        if self.waiting:
            ids, words = (np.concatenate(part) for part in zip(*self.waiting, strict=True))
            groups = self.groups.added(ids, words)
            self._grow(groups.words[len(self.groups.words) :])
            self.groups, self.waiting = groups, []

    def _search(self, words: np.ndarray, k: int) -> Hits:
        self.settle()
        hits = Hits(
            np.full((len(words), k), -1, np.int64),
            np.full((len(words), k), self.identity.bits + 1, np.int32),
        )
        for row, found in enumerate(self._codes(words, min(k, len(self.groups.words)))):
            ids, distances = self.groups.items(*found, k)
            hits.ids[row, : len(ids)], hits.distances[row, : len(ids)] = ids, distances
        return hits

    def save(self, folder: Path) -> None:
        self.settle()
        folders.save(folder, self.kind, self.identity, len(self), self._parts())

    @classmethod
    def load(cls, folder: Path, identity: Identity, header: Mapping[str, Any]) -> Self:
        """Open a saved index. Its arrays are memory-mapped."""
        index = cls(identity)
        index.groups = Groups(*(folders.read(folder, header, name, mapped) for name in NAMES))
        for name, wrong in index.groups.faults(identity.bits):
            raise folders.damaged(folder / header["files"][name]["file"], wrong)
        if len(index) != header["count"]:
            raise folders.damaged(folder / folders.HEADER, f"counts {header['count']} items")
        index.last = int(index.groups.ids.max(initial=-1))
        index._open(folder, header)
        return index

    def _parts(self) -> dict[str, Callable[[IO[bytes]], Any]]:
        """What writes each of `files` to an open file."""
        arrays = zip(NAMES, self.groups, strict=True)
        return {name: partial(np.save, arr=array) for name, array in arrays}

    def _open(self, folder: Path, header: Mapping[str, Any]) -> None:
        """Take what a kind has besides the groups from the folder."""

    def _grow(self, words: np.ndarray) -> None:
        """Distinct codes (n, W) have joined, at the end."""

    @abstractmethod
    def _codes(self, words: np.ndarray, k: int) -> Iterator[Found]:
        """For each query (Q, W) the k nearest codes, 1 <= k <= M, by (distance, place).

        Fewer will do if they hold the k nearest items and all that are tied with the last of them.
        """


def whole(name: str, value: Any) -> int:
    """A whole number of 1 or more; ValueError for anything else."""
    try:
        number = 0 if isinstance(value, bool | np.bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of 1 or more")
    return number


def mapped(path: Path) -> np.ndarray:
    """A stored array; each part is read from disk when it is used."""
    return np.lib.format.open_memmap(path, mode="r")
