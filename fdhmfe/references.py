"""Two reference rows beside a method: what a class number alone scores, what binarisation costs."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor


def nearest_proxy(u: Tensor, proxies: Tensor) -> np.ndarray:
    """Class of the most similar proxy (cosine): u (B, K), proxies (Y, K) -> (B,).

    A proxy that is NaN is no candidate.
    """
    cosine = F.normalize(u) @ F.normalize(proxies).T
    return cosine.nan_to_num(nan=-2.0).argmax(1).numpy()


def class_id_codes(u: Tensor, proxies: Tensor) -> np.ndarray:
    """The code of the predicted class in place of the image's own: (B, K) int8.

    Scored like any code, it says what a classifier reaches that hands out class numbers
    ("How should we evaluate supervised hashing?", arXiv 1609.06753).
    """
    return proxies.sign().to(torch.int8).numpy()[nearest_proxy(u, proxies)]


def unquantised_map(
    u: Tensor, database: Tensor, query_labels: np.ndarray, database_labels: np.ndarray
) -> float:
    """mAP@all of the ranking by cosine of relaxed codes u (Q, K), database (N, K).

    A query without a relevant item scores 0, as in fdhmfe.metrics.
    """
    cosine = (F.normalize(u) @ F.normalize(database).T).numpy()  # (Q, N)
    relevant = query_labels[:, None] == database_labels
    scores = [
        average_precision_score(truth, score) if truth.any() else 0.0
        for truth, score in zip(relevant, cosine, strict=True)
    ]
    return float(np.mean(scores))
