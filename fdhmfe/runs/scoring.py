"""From relaxed codes to the rows of metrics.csv, with two reference rows beside FDH-MFE.

The references say what a class number alone scores (`class-id`), and what binarisation costs
(`unquantised`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from fdhmfe.metrics import evaluate, mean_average_precision
from fdhmfe.network import binarise

CODE_ARRAYS = ("query_codes", "database_codes", "query_labels", "database_labels")


class Encoded(NamedTuple):
    """A network's relaxed codes of queries and database, with labels and class centres."""

    query: Tensor  # (Q, K) relaxed codes
    database: Tensor  # (N, K)
    query_labels: np.ndarray  # (Q,)
    database_labels: np.ndarray  # (N,)
    centres: Tensor  # (Y, K) one per class: proxies, or class means of the database

    @property
    def codes(self) -> dict[str, np.ndarray]:
        """The four arrays of codes.npz."""
        codes = (binarise(self.query).numpy(), binarise(self.database).numpy())
        arrays = (*codes, self.query_labels, self.database_labels)
        return dict(zip(CODE_ARRAYS, arrays, strict=True))

    @property
    def top1(self) -> float:
        """Share of the queries that are nearest to the centre of their own class."""
        return float((nearest_proxy(self.query, self.centres) == self.query_labels).mean())


def metric_rows(encoded: Encoded, method: str, solved: np.ndarray | None) -> list[dict[str, Any]]:
    """All rows of one run: the network's codes, codes solved from labels, references.

    solved (N, K): codes of the database that were solved from its labels; scored in rows of their
    own, as database_codes `dcc`.
    """
    rows = score(encoded.codes, encoded.top1)
    if solved is not None:
        beside = score({**encoded.codes, "database_codes": solved}, top1=None)
        rows += [{"database_codes": "dcc", **row} for row in beside]
    if method == "fdh-mfe":
        rows += references(encoded)
    sizes = {"n_query": len(encoded.query), "n_database": len(encoded.database)}
    return [{"database_codes": "network", **sizes, **row} for row in rows]


def references(encoded: Encoded) -> list[dict[str, Any]]:
    """mAP@all rows of `class-id` and `unquantised`, made from one network's relaxed codes."""
    labels = encoded.query_labels, encoded.database_labels
    relaxed = encoded.query, encoded.database
    query, database = (class_id_codes(u, encoded.centres) for u in relaxed)
    values = {
        "class-id": mean_average_precision(query, database, *labels),
        "unquantised": unquantised_map(encoded.query, encoded.database, *labels),
    }
    common = {"metric": "mAP", "k": "all", "ties": "expected"}
    return [{"method": name, **common, "value": value} for name, value in values.items()]


def score(codes: Mapping[str, np.ndarray], top1: float | None) -> list[dict[str, Any]]:
    """Metric rows of one run's codes, with the keys `metric, k, ties, value`.

    top1: the network's top-1 accuracy, which codes alone do not give; None: no row for it.
    """
    arrays = (codes[name] for name in CODE_ARRAYS)
    found = evaluate(*arrays, cuts=(None, 1, 10), ties=("expected", "index"))
    rows: list[dict[str, Any]] = [
        {"metric": "mAP", "k": "all", "ties": t, "value": found.average_precision[t, None].mean()}
        for t in ("expected", "index")
    ]
    for k in (1, 10):
        precision = found.hits["expected", k].mean() / k
        rows.append({"metric": f"P@{k}", "k": k, "ties": "expected", "value": precision})
    if top1 is not None:
        rows.append({"metric": "top1", "k": "", "ties": "", "value": top1})
    return rows


def nearest_proxy(u: Tensor, proxies: Tensor) -> np.ndarray:
    """Class of the most similar proxy (cosine): u (B, K), proxies (Y, K) -> (B,).

    A proxy that is NaN is no candidate.
    """
    cosine = F.normalize(u) @ F.normalize(proxies).T
    return cosine.nan_to_num(nan=-2.0).argmax(1).numpy()


def class_id_codes(u: Tensor, proxies: Tensor) -> np.ndarray:
    """The code of the predicted class in place of the image's own: (B, K) int8.

    Scored like any code, it shows the mAP of a plain classifier whose output is the class number
    ("How should we evaluate supervised hashing?", arXiv 1609.06753).
    """
    return proxies.sign().to(torch.int8).numpy()[nearest_proxy(u, proxies)]


def unquantised_map(
    u: ArrayLike, database: ArrayLike, query_labels: np.ndarray, database_labels: np.ndarray
) -> float:
    """mAP@all of the ranking by cosine of relaxed codes or other floats, u (Q, K), database (N, K).

    A query without a relevant item scores 0, as in fdhmfe.metrics. ValueError on NaN or infinity.
    """
    pair = (torch.as_tensor(x, dtype=torch.float32) for x in (u, database))
    unit, other = map(F.normalize, pair)
    cosine = (unit @ other.T).numpy()  # (Q, N)
    if not np.isfinite(cosine).all():
        raise ValueError("relaxed codes must be finite, for a NaN has no rank: training diverged")
    found = zip(query_labels[:, None] == database_labels, cosine, strict=True)
    return float(np.mean([ranked_precision(r, c) for r, c in found]))


def ranked_precision(relevant: np.ndarray, similarity: np.ndarray) -> float:
    """AP of one query: the mean precision down to each of its relevant items; 0 if it has none.

    relevant (N,) bool, similarity (N,). Equally similar items share the last of their ranks, so the
    order of the database plays no part. scikit-learn's average_precision_score says the same, but
    takes over ten times as long.
    """
    order = np.argsort(-similarity)
    hits, distance = relevant[order], -similarity[order]
    ranks = np.searchsorted(distance, distance, side="right")
    precision = hits.cumsum()[ranks - 1] / ranks
    return float(precision[hits].mean()) if hits.any() else 0.0
