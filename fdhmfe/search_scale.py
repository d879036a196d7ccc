"""Measuring search: made-up codes of any number, recall, time per query, a projection."""

import time
from typing import NamedTuple

import numpy as np

from fdhmfe.codes import blocks
from fdhmfe.search_index import CodeIndex, Hits


def clustered_codes(
    count: int, bits: int, *, seed: int, classes: int = 1000, flip: float = 0.1
) -> np.ndarray:
    """Codes (N, K) int8 round random class centres, each bit flipped with probability `flip`.

    The centres depend on `classes` and `bits` alone: other seeds give other images of the same
    classes. Trained codes look like this; uniformly random ones have no neighbours to find.
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


class Timing(NamedTuple):
    """Milliseconds per query, the least of several repeats: what the machine can do."""

    wall_ms: float
    cpu_ms: float


def time_search(index: CodeIndex, queries: np.ndarray, k: int, repeats: int = 3) -> Timing:
    """Time `index.search` of all the queries (Q, K) at once."""
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        index.search(queries, k)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return Timing(*(1000 * min(column) / len(queries) for column in zip(*times, strict=True)))


def linear_cost(sizes: np.ndarray, ms: np.ndarray) -> tuple[float, float]:
    """(a, b) of ms = a + b N, least squares in relative error, neither below zero.

    The model of a scan: a fixed cost per query, and one comparison per code. It knows nothing of
    caches or of memory that runs out: a projection far beyond the largest size is an estimate.
    """
    design = (
        np.stack([np.ones(len(sizes)), np.asarray(sizes, float)], axis=1) / np.array(ms)[:, None]
    )
    a, b = np.linalg.lstsq(design, np.ones(len(sizes)), rcond=None)[0]
    if a < 0:
        a, b = 0.0, float((design[:, 1].sum()) / (design[:, 1] ** 2).sum())
    return float(a), float(b)
