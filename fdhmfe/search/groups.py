"""Distinct codes, each with the ids of the items that have it.

Hash codes repeat: at 12 bits there are 4,096 codes for millions of images. So an index compares
queries with the distinct codes only, and then hands out the ids of the nearest.

Letters: N items, M distinct codes, W words to a code, n codes found.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from fdhmfe.codes import WORD, pack

NAMES = ("codes.npy", "starts.npy", "ids.npy")  # what the arrays are saved in


class Groups(NamedTuple):
    """The ids of words[i] are ids[starts[i] : starts[i + 1]], ascending.

    The codes come in the order of their first ids. So of the codes at one distance, the first k
    hold the k lowest ids.
    """

    words: np.ndarray  # (M, W) uint64, distinct
    starts: np.ndarray  # (M + 1,) int64
    ids: np.ndarray  # (N,) int64

    @classmethod
    def none(cls, bits: int) -> "Groups":
        """No items yet."""
        words = np.zeros((0, -(-bits // WORD)), np.uint64)
        return cls(words, np.zeros(1, np.int64), np.zeros(0, np.int64))

    def added(self, ids: np.ndarray, words: np.ndarray) -> "Groups":
        """These and more items: ids (n,) ascending, above all others, and their words (n, W).

        Codes that were there keep their places.
        """
        held = len(self.words)
        words = np.concatenate([self.words, words])
        numbers = appearance(words)
        first = np.diff(np.maximum.accumulate(numbers), prepend=-1) > 0
        places = np.concatenate([np.repeat(np.arange(held), np.diff(self.starts)), numbers[held:]])
        order = places.argsort(kind="stable")
        starts = np.concatenate([[0], np.bincount(places).cumsum()])
        return Groups(words[first], starts, np.concatenate([self.ids, ids])[order])

    def items(self, places: np.ndarray, far: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest items by (distance, id), or fewer: ids and distances, each (<= k,).

        From one query's nearest codes: their places (n,) and distances (n,), ascending.
        """
        starts = self.starts[places]
        counts = self.starts[places + 1] - starts
        enough = counts.cumsum().searchsorted(k)  # the code with the k-th item
        kept = far.searchsorted(far[min(enough, len(far) - 1)], "right") if len(far) else 0
        counts = counts[:kept].clip(max=k)
        before = counts.cumsum() - counts
        at = np.arange(counts.sum()) + np.repeat(starts[:kept] - before, counts)
        ids, distances = self.ids[at], np.repeat(far[:kept], counts)
        order = np.lexsort((ids, distances))[:k]
        return ids[order], distances[order]

    def faults(self, bits: int) -> Iterator[tuple[str, str]]:
        """What is wrong with arrays that were read from files: (file's name, why).

        Take the first alone: the later checks rely on the earlier ones.
        """
        shapes = (np.uint64, 2), (np.int64, 1), (np.int64, 1)
        for name, array, (dtype, axes) in zip(NAMES, self, shapes, strict=True):
            if array.dtype != dtype or array.ndim != axes:
                yield name, f"holds {array.dtype} {array.shape}"
        codes, starts, ids = NAMES
        if not are_codes(self.words, bits):
            yield codes, f"holds no codes of {bits} bits"
        if np.any(np.diff(np.sort(keys(self.words))) == 0):
            yield codes, "holds a code twice"
        if len(self.starts) != len(self.words) + 1 or self.starts[0] != 0:
            yield starts, f"does not fit {len(self.words)} codes"
        if self.starts[-1] != len(self.ids) or np.any(self.starts[1:] <= self.starts[:-1]):
            yield starts, f"does not divide {len(self.ids)} ids"
        if np.any(self.ids < 0) or np.any(np.diff(np.sort(self.ids)) == 0):
            yield ids, "holds an id below 0, or one twice"
        first, ascends = self.ids[self.starts[:-1]], self.ids[1:] > self.ids[:-1]
        ascends[self.starts[1:-1] - 1] = True  # from one code to the next
        if not ascends.all() or np.any(first[1:] < first[:-1]):
            yield ids, "holds ids out of order"


def appearance(words: np.ndarray) -> np.ndarray:
    """Each row's number (N,) int64 when distinct rows (N, W) are counted as they first appear."""
    numbers, distinct = pd.factorize(words[:, 0])
    for column in words.T[1:]:
        second, others = pd.factorize(column)
        numbers, distinct = pd.factorize(numbers * len(others) + second)
    return numbers.astype(np.int64, copy=False)


def are_codes(words: np.ndarray, bits: int) -> bool:
    """Whether these words (M, W) are packed codes of so many bits: zeros fill the last word."""
    used = pack(np.ones((1, bits)))
    return words.shape[1:] == used.shape[1:] and not np.any(words & ~used)


def keys(words: np.ndarray) -> np.ndarray:
    """A number (M,) uint64 for each code (M, W): of one word, another for every code."""
    odd = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64) * 2 + 1
    return np.asarray((words * odd).sum(axis=1, dtype=np.uint64))
