"""The hash layer, binarisation, and the class proxies."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


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


def class_means(u: Tensor, labels: np.ndarray) -> Tensor:
    """Mean of u (M, K), codes or features, per class: (Y, K); NaN where a class has no image."""
    own = F.one_hot(torch.from_numpy(labels)).to(u.dtype)  # (M, Y)
    return own.T @ u / own.sum(0)[:, None]


def class_similarity(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How alike the classes are: cosine (Y, Y) of their mean features about the mean of those.

    features (M, C) are standardised first; labels (M,) in 0..Y-1. A class without an image, and
    every class to itself, has 0.
    """
    standard = (features - features.mean(0)) / (features.std(0) + 1e-6)
    means = class_means(torch.from_numpy(standard).double(), labels)
    # A class without images is like none. So are features that are not finite: the loss names them.
    unit = F.normalize((means - means.nanmean(0)).nan_to_num())
    return (unit @ unit.T).fill_diagonal_(0).numpy()


def arrange(proxies: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """The same proxies (Y, K), given out so that classes which are alike get near ones.

    similarity (Y, Y): of class_similarity. The sum over pairs of classes of similarity times the
    proxies' inner product is made as large as exchanges of two proxies can make it: each class in
    turn makes the exchange that gains most, until none gains. The proxies themselves stay, and an
    image taken for a class like its own keeps more of its bits. Raises ValueError for a similarity
    that is not symmetric, or not 0 on the diagonal.

    Reconstruction: a quadratic assignment problem (Koopmans and Beckmann 1957) by local search.
    Semantic hash centres (arXiv 2507.08404) share the aim, but make new codes.
    """
    if not np.allclose(similarity, similarity.T, equal_nan=True) or similarity.diagonal().any():
        raise ValueError("similarity of classes must be symmetric, and 0 on the diagonal")
    words, settled = proxies.astype(float), False
    fit = (similarity * (words @ words.T)).sum(1)  # (Y,) each class's part of the sum
    while not settled:
        settled = True
        for i, alike in enumerate(similarity):
            agreement = words @ words[i]  # (Y,)
            exchanged = words @ (words.T @ alike) + similarity @ agreement
            gain = exchanged - fit - fit[i] - 2 * alike * (words.shape[1] - agreement)
            j = gain.argmax()
            if gain[j] > 1e-9:  # rounding is no gain
                words[[i, j]] = words[[j, i]]
                fit = (similarity * (words @ words.T)).sum(1)
                settled = False
    return words.astype(proxies.dtype)
