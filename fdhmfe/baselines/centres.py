"""Class codes of the baselines: balanced draws, Hadamard centres."""

import numpy as np
from scipy.linalg import hadamard


def balanced_codes(classes: int, bits: int, seed: int) -> np.ndarray:
    """Random codes (Y, K) with K // 2 bits at -1, as DPN draws its targets (IJCAI 2020)."""
    order = np.random.default_rng(seed).random((classes, bits)).argsort(axis=1)
    return np.where(order < bits // 2, -1, 1).astype(np.int8)


def hash_centres(classes: int, bits: int, seed: int) -> np.ndarray:
    """CSQ's class centres (Y, K) (arXiv 1908.00347).

    If K is a power of two and 2K >= Y: random rows of [H; -H], H the Hadamard matrix of order K;
    they are K/2 or K bits apart. Otherwise CSQ draws random bits. Here we then draw many balanced
    codes for each centre and take the one farthest from the centres before it. (Number: by hand.)
    """
    if bits & (bits - 1) == 0 and classes <= 2 * bits:
        rows = hadamard(bits, np.int8)
        order = np.random.default_rng(seed).permutation(2 * bits)
        return np.vstack([rows, -rows])[order[:classes]]
    drawn = balanced_codes(max(4000, 10 * classes), bits, seed)
    chosen = [0]
    similarity = np.full(len(drawn), -np.inf)  # of each draw to its nearest centre
    while len(chosen) < classes:
        newest = drawn.astype(np.float32) @ drawn[chosen[-1]]
        similarity = np.maximum(similarity, newest)
        chosen.append(int(similarity.argmin()))
    return drawn[chosen]
