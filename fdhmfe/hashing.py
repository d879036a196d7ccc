"""The hash layer, binarisation, and the class proxies."""

import numpy as np
import torch
from torch import Tensor, nn


class HashLayer(nn.Module):
    """u = BN(W v): (B, V) -> (B, K). Batch norm centres each bit, so its sign splits the data."""

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, bits, bias=False)
        self.norm = nn.BatchNorm1d(bits)

    def forward(self, v: Tensor) -> Tensor:
        return self.norm(self.linear(v))


def binarise(u: Tensor) -> Tensor:
    """Hash codes (B, K) int8 in {-1, +1}; zero becomes +1. Raises ValueError on NaN or infinity."""
    if not torch.isfinite(u).all():
        row = int((~torch.isfinite(u)).any(1).nonzero()[0])
        raise ValueError(f"hash layer output {row} is not finite: training diverged")
    return torch.where(u >= 0, 1, -1).to(torch.int8)


def minimum_distance(codes: np.ndarray) -> int:
    """Smallest Hamming distance between two rows of codes (Y, K) in {-1, +1}."""
    distances = (codes.shape[1] - codes.astype(np.int32) @ codes.T.astype(np.int32)) // 2
    return int(distances[~np.eye(len(codes), dtype=bool)].min())


def random_proxies(classes: int, bits: int, seed: int) -> np.ndarray:
    """Fair coin flips (Y, K), as OrthoHash draws them (arXiv 2109.14449)."""
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (classes, bits))


def maxmin_proxies(classes: int, bits: int, seed: int) -> np.ndarray:
    """Class proxies (Y, K) in {-1, +1}: words of a linear code with a large minimum distance.

    Tries the largest distance first, a few random starts each. Works for every K with 2^K >= Y;
    raises ValueError below. Reconstruction: the abstract asks for uniformly spread codes; linear
    codes come close to the best known minimum distances at these sizes.
    """
    needed = int(np.ceil(np.log2(classes)))
    if needed > bits:
        raise ValueError(f"{bits} bits cannot tell {classes} classes apart; use at least {needed}")
    rank = min(bits, max(needed, 6))  # with fewer generators, some bits would never change
    rng = np.random.default_rng(seed)
    starts = (distance for distance in range(bits, 0, -1) for _ in range(4))
    words = next(w for w in (linear_code(rank, bits, d, rng) for d in starts) if w is not None)
    chosen = words[rng.permutation(len(words))[:classes]]
    shift = rng.choice(np.array([-1, 1], np.int8), bits)  # keeps distances, spreads the bits
    return chosen * shift


def linear_code(
    rank: int, bits: int, distance: int, rng: np.random.Generator, candidates: int = 2000
) -> np.ndarray | None:
    """The 2^rank words (2^rank, K) of a linear code with the given minimum distance, or None.

    Words multiply as XOR does in +-1 form. Greedy: the next generator is the random candidate that
    is far enough from all words so far, but no further than needed (after lexicodes, Conway and
    Sloane 1986).
    """
    words = np.ones((1, bits), np.int8)
    for _ in range(rank):
        drawn = rng.choice(np.array([-1, 1], np.int8), (candidates, bits))
        agreement = drawn.astype(np.float32) @ words.T.astype(np.float32)  # (candidates, words)
        nearest = (bits - agreement.max(1)) / 2
        far_enough = np.flatnonzero(nearest >= distance)
        if not len(far_enough):
            return None
        generator = drawn[far_enough[nearest[far_enough].argmin()]]
        words = np.vstack([words, words * generator])
    return words
