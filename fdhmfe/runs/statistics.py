"""What mAP does not show: how evenly codes are spread, and where the kept tokens are."""

import math
from collections.abc import Sequence

import numpy as np

from fdhmfe.metrics import hamming_distance


def code_statistics(codes: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How evenly codes (M, K) in {-1, +1} with labels (M,) are spread. Distances are in bits.

    bit balance: mean over bits of |mean code|; 0 when each bit is +1 half the time.
    bit correlation: mean absolute correlation of two bits; bits that never change are left out.
    within, between: mean Hamming distance of two images of one class, of different classes.
    distinct codes: number of different codes, divided by M.
    """
    changing = codes[:, codes.min(0) < codes.max(0)].astype(float)
    bits = changing.shape[1]
    pairs = ~np.eye(bits, dtype=bool)
    correlation = np.corrcoef(changing, rowvar=False)[pairs] if bits > 1 else np.zeros(1)
    distance = hamming_distance(codes, codes)
    same = labels[:, None] == labels[None, :]
    other = ~np.eye(len(codes), dtype=bool)
    return {
        "bit balance": float(np.abs(codes.mean(0)).mean()),
        "bit correlation": float(np.abs(correlation).mean()),
        "within": float(distance[same & other].mean()),
        "between": float(distance[~same].mean()),
        "distinct codes": len(np.unique(codes, axis=0)) / len(codes),
    }


def coverages(masks: Sequence[np.ndarray], tokens: int, shift: float) -> np.ndarray:
    """`coverage` of each of M masks by the grid of a stage of S = side^2 tokens: (M, S)."""
    return np.stack([coverage(mask, math.isqrt(tokens), shift) for mask in masks])


def coverage(mask: np.ndarray, side: int, shift: float) -> np.ndarray:
    """Share of each cell of a side x side grid that the foreground mask (H, W) covers: (side^2,).

    A cell is the area that a token stands for; cells are in the order of the tokens, row by row.
    `shift` moves all cells, by a number of cells (`receptive_field.stage_views`). Area outside the
    image does not count.
    """
    rows, columns = (overlap(side, pixels, shift) for pixels in mask.shape)
    area = np.outer(rows.sum(1), columns.sum(1))
    return (rows @ mask @ columns.T / area).ravel()


def overlap(cells: int, pixels: int, shift: float) -> np.ndarray:
    """How much of each pixel lies in each of `cells` equal, shifted intervals: (cells, pixels)."""
    edges = (np.arange(cells + 1) + shift) * pixels / cells
    left, right = edges[:-1, None], edges[1:, None]
    start = np.arange(pixels)
    return np.clip(np.minimum(right, start + 1) - np.maximum(left, start), 0, None)


def share_on_object(kept_index: np.ndarray, covered: np.ndarray) -> float:
    """Mean share of the kept tokens' area that lies on the object.

    kept_index (M, n): positions among the S tokens of a stage; covered (M, S): the
    `coverages` of the images' masks. The mean of `covered` is what selection at random would reach.
    """
    return float(np.take_along_axis(covered, kept_index, axis=1).mean())
