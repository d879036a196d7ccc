"""Class proxies: one hash code per class, and which class gets which code."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def minimum_distance(codes: np.ndarray) -> int:
    """Smallest Hamming distance between two rows of codes (Y, K) in {-1, +1}."""
    distances = (codes.shape[1] - codes.astype(np.int32) @ codes.T.astype(np.int32)) // 2
    return int(distances[~np.eye(len(codes), dtype=bool)].min())


def random_proxies(classes: int, bits: int, seed: int) -> np.ndarray:
    """Random class codes (Y, K) in {-1, +1}: coin flips, as in OrthoHash (arXiv 2109.14449)."""
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (classes, bits))


def maxmin_proxies(classes: int, bits: int, seed: int) -> np.ndarray:
    """Class proxies (Y, K) in {-1, +1}: words of a linear code with a large minimum distance.

    Tries distance K first, then K - 1 and so on, with 4 random starts each (set by hand). Raises
    ValueError if 2^K < Y. Reconstruction: the abstract asks for uniformly spread codes; linear
    codes come close to the best known minimum distances at these sizes.
    """
    needed = int(np.ceil(np.log2(classes)))
    if needed > bits:
        raise ValueError(f"{bits} bits cannot tell {classes} classes apart; use at least {needed}")
    rank = min(bits, max(needed, 6))  # 6: set by hand; with fewer, whole bits may be constant
    rng = np.random.default_rng(seed)
    starts = (distance for distance in range(bits, 0, -1) for _ in range(4))
    words = next(w for w in (linear_code(rank, bits, d, rng) for d in starts) if w is not None)
    chosen = words[rng.permutation(len(words))[:classes]]
    shift = rng.choice(np.array([-1, 1], np.int8), bits)  # flips whole bits, no distance
    return chosen * shift


def linear_code(
    rank: int, bits: int, distance: int, rng: np.random.Generator, candidates: int = 2000
) -> np.ndarray | None:
    """All words (2^rank, K) of a linear code with the given minimum distance, or None if not found.

    In {-1, +1} form, the XOR of two words is their product. Greedy: the next generator is the
    random candidate nearest to the words so far, but at least `distance` away from all of them
    (after lexicodes, Conway and Sloane 1986). The number of candidates was set by hand.
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


def class_means(u: Tensor, labels: np.ndarray, classes: int = -1) -> Tensor:
    """Mean per class of u (M, K), codes or features: (Y, K); NaN for a class without images.

    labels (M,) in 0..Y-1; classes: Y, or -1 for one more than the largest label.
    """
    own = F.one_hot(torch.from_numpy(labels), classes).to(u.dtype)  # (M, Y)
    return own.T @ u / own.sum(0)[:, None]


def class_similarity(features: np.ndarray, labels: np.ndarray, classes: int = -1) -> np.ndarray:
    """Cosine similarity (Y, Y) of the classes' mean features, which are centred over the classes.

    features (M, C), standardised first; labels and classes as in `class_means`. The diagonal is 0,
    and so are the row and column of a class without images.
    """
    standard = (features - features.mean(0)) / (features.std(0) + 1e-6)
    means = class_means(torch.from_numpy(standard).double(), labels, classes)
    # NaN becomes 0: classes without images, and features that are not finite (the loss names them).
    unit = F.normalize((means - means.nanmean(0)).nan_to_num())
    return (unit @ unit.T).fill_diagonal_(0).numpy()


def arrange(proxies: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Reorder the rows of proxies (Y, K) so that similar classes get similar proxies.

    An image mistaken for a similar class then keeps more of its bits. similarity (Y, Y): see
    `class_similarity`. Maximises the sum, over pairs of classes, of similarity times the inner
    product of the proxies. Local search: each class in turn makes the swap with another class that
    gains most, until no swap gains. Raises ValueError if `similarity` is not symmetric, or not 0
    on the diagonal.

    An addition to the abstract. The problem is quadratic assignment (Koopmans and Beckmann 1957).
    Semantic hash centres (arXiv 2507.08404) share the aim, but make new codes.
    """
    if not np.allclose(similarity, similarity.T, equal_nan=True) or similarity.diagonal().any():
        raise ValueError("similarity of classes must be symmetric, and 0 on the diagonal")
    words, settled = proxies.astype(float), False
    fit = (similarity * (words @ words.T)).sum(1)  # (Y,) the part of each class in the sum
    while not settled:
        settled = True
        for i, alike in enumerate(similarity):
            agreement = words @ words[i]  # (Y,)
            exchanged = words @ (words.T @ alike) + similarity @ agreement
            gain = exchanged - fit - fit[i] - 2 * alike * (words.shape[1] - agreement)
            j = gain.argmax()
            if gain[j] > 1e-9:  # more than rounding errors
                words[[i, j]] = words[[j, i]]
                fit = (similarity * (words @ words.T)).sum(1)
                settled = False
    return words.astype(proxies.dtype)
