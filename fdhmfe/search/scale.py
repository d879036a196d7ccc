"""How search is measured: any number of made-up codes, recall, time per query, a projection."""

import time
from collections.abc import Mapping
from typing import NamedTuple

import faiss
import numpy as np
from scipy.optimize import nnls

from fdhmfe.codes import blocks
from fdhmfe.search.index import CodeIndex, Hits

# Codes that notebook `search` searches, by profile; approximate search is tried on the middle one
SIZES: Mapping[str, tuple[int, ...]] = {
    "smoke": (1_000, 10_000, 100_000),
    "quick": (10_000, 100_000, 1_000_000),
    "laptop": (100_000, 1_000_000, 10_000_000),
    "paper": (100_000, 1_000_000, 10_000_000),
}


def clustered_codes(
    count: int, bits: int, *, seed: int, classes: int = 1000, flip: float = 0.1
) -> np.ndarray:
    """Codes (N, K) int8: each is a random class centre, its bits flipped with probability `flip`.

    The centres depend only on `classes` and `bits`: another seed gives other images of the same
    classes. Trained codes form such groups. Uniformly random codes do not: they have no neighbours.
    """
    centres = np.random.default_rng(classes).choice(np.array([-1, 1], np.int8), (classes, bits))
    rng = np.random.default_rng([seed, count])
    codes = np.empty((count, bits), np.int8)
    for rows in blocks(count, 2**17):
        chosen = centres[rng.integers(classes, size=rows.stop - rows.start)]
        flipped = rng.random(chosen.shape, dtype=np.float32) < flip
        codes[rows] = np.where(flipped, -chosen, chosen)
    return codes


def recall(found: Hits, exact: Hits) -> float:
    """Share of the exact k nearest that were found.

    Tied items are equally good: a hit counts if it is no farther than the last exact one.
    """
    return float((found.distances <= exact.distances[:, -1:]).mean())


def clustered_vectors(count: int, *, seed: int, width: int = 64, classes: int = 1000) -> np.ndarray:
    """Unit vectors (N, width) float32: a random class centre plus noise of about its length."""
    centres = np.random.default_rng(classes).standard_normal((classes, width), np.float32)
    rng = np.random.default_rng([seed, count])
    x = centres[rng.integers(classes, size=count)]
    x += rng.standard_normal((count, width), np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def half_space_codes(x: np.ndarray, bits: int) -> np.ndarray:
    """Which side of `bits` random hyperplanes each vector (N, D) lies on: codes (N, bits) int8.

    The hyperplanes are always the same, so a shorter code is the beginning of a longer one. Source:
    Charikar, "Similarity estimation techniques from rounding algorithms" (STOC 2002).
    """
    planes = np.random.default_rng(0).standard_normal((bits, x.shape[1]), np.float32)
    return np.where(x @ planes.T >= 0, 1, -1).astype(np.int8)


def nearest_by_cosine(queries: np.ndarray, database: np.ndarray, k: int) -> np.ndarray:
    """Ids (Q, k) of the k nearest unit vectors, exact: queries (Q, D), database (N, D)."""
    return faiss.knn(queries, database, k, metric=faiss.METRIC_INNER_PRODUCT)[1]


def share_found(wanted: np.ndarray, found: np.ndarray) -> float:
    """Share of the ids wanted (Q, k) that are among those found (Q, m), row by row."""
    return float((wanted[:, :, None] == found[:, None, :]).any(axis=2).mean())


class Timing(NamedTuple):
    """Milliseconds per query. The fastest of several repeats: what the machine can do."""

    wall_ms: float
    cpu_ms: float


def time_search(index: CodeIndex, queries: np.ndarray, k: int, repeats: int = 5) -> Timing:
    """Time `index.search` of all the queries (Q, K) at once, FAISS on one thread."""
    threads, times = faiss.omp_get_max_threads(), []
    faiss.omp_set_num_threads(1)
    try:
        for _ in range(repeats):
            wall, cpu = time.perf_counter(), time.process_time()
            index.search(queries, k)
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
    finally:
        faiss.omp_set_num_threads(threads)
    return Timing(*(1000 * min(column) / len(queries) for column in zip(*times, strict=True)))


def linear_cost(sizes: np.ndarray, ms: np.ndarray) -> tuple[float, float]:
    """(a, b) of ms = a + b N, both >= 0, fitted by least squares of the relative error.

    This is the model of a scan: a fixed cost per query, plus a cost per code. It does not know of
    caches or of full memory, so far beyond the largest size it is only an estimate.
    """
    sizes, ms = np.asarray(sizes, float), np.asarray(ms)
    (a, b), _ = nnls(np.stack([1 / ms, sizes / ms], axis=1), np.ones(len(sizes)))
    return float(a), float(b)
