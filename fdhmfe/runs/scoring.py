"""From the codes of a run to the rows of metrics.csv: its protocols, and the rows beside its own.

Beside a run's own rows stand what binarisation costs (`unquantised`), what its class evidence gives
in place of its hash layer (the read-out), and, from the run of the classifier, two controls: what
the class number alone scores (`class-id`), and the pooled features without hashing (`cosine`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from fdhmfe.codes import blocks
from fdhmfe.config.settings import Config
from fdhmfe.metrics import evaluate
from fdhmfe.network import binarise
from fdhmfe.proxies import class_means

CODE_ARRAYS = ("query_codes", "database_codes", "query_labels", "database_labels")
# Protocols with unseen classes, and what stands before the names of their three scorings: numbers
# that settings were chosen by must not be mistaken for results.
FOLDED: Mapping[str, str] = {"folds": "", "folds-validation": "validation "}
# Ends the name of the method in read-out rows. So no table that groups by method can average them
# with the method's own rows, whatever else it overlooks.
READ_OUT = ", read-out"
AT_ONCE = 512  # queries ranked by cosine at once: it bounds the memory


class Encoded(NamedTuple):
    """A network's relaxed codes of queries and database, their labels, and what stands beside."""

    query: Tensor  # (Q, K) relaxed codes
    database: Tensor  # (N, K)
    query_labels: np.ndarray  # (Q,)
    database_labels: np.ndarray  # (N,)
    proxies: Tensor | None  # (Y, K) of the Y classes trained on, if the network has them
    trained: np.ndarray  # (N,) bool: was the network trained on the item?
    # Of the same images, (Q, .) and (N, .): "read-out" codes, class "posterior", "features"
    beside: Mapping[str, tuple[Tensor, Tensor]] = {}

    @property
    def codes(self) -> dict[str, np.ndarray]:
        """The four arrays of codes.npz."""
        return self.arrays(self.query, self.database)

    def arrays(self, query: Tensor, database: Tensor) -> dict[str, np.ndarray]:
        """Other relaxed codes of the same images, (Q, .) and (N, .), as codes with their labels."""
        codes = (binarise(query).numpy(), binarise(database).numpy())
        arrays = (*codes, self.query_labels, self.database_labels)
        return dict(zip(CODE_ARRAYS, arrays, strict=True))

    def part(self, queries: np.ndarray, items: np.ndarray) -> "Encoded":
        """Some of the queries and of the database: boolean masks (Q,) and (N,)."""
        beside = {name: (q[queries], d[items]) for name, (q, d) in self.beside.items()}
        relaxed = self.query[queries], self.database[items]
        labels = self.query_labels[queries], self.database_labels[items]
        return Encoded(*relaxed, *labels, self.proxies, self.trained[items], beside)

    @property
    def centres(self) -> Tensor:
        """(Y, K) one per class: the proxies, or class means where the database has other classes.

        A class without images in the database has the mean NaN.
        """
        means = class_means(self.database, self.database_labels)
        return means if self.proxies is None or len(self.proxies) < len(means) else self.proxies

    @property
    def top1(self) -> float:
        """Share of the queries that are nearest to the centre of their own class."""
        return float((nearest_proxy(self.query, self.centres) == self.query_labels).mean())


def metric_rows(
    encoded: Encoded, config: Config, solved: np.ndarray | None
) -> list[dict[str, Any]]:
    """All rows of one run: for each protocol its own codes, codes solved from labels, the others.

    solved (M, K): codes of the M training images that were solved from their labels. Where these
    are the database, they are scored in rows of their own, as database_codes `dcc`.
    """
    rows = []
    alone = config.protocol == "half"
    for protocol, part in scorings(encoded, config.protocol):
        found = score(part.codes, None if alone else part.top1, leave_one_out=alone)
        if solved is not None and part.trained.all():
            beside = score({**part.codes, "database_codes": solved}, top1=None)
            found += [{"database_codes": "dcc", **row} for row in beside]
        found += others(part, config.composition.name, leave_one_out=alone)
        common = {
            "protocol": protocol,
            "fold": config.fold if config.protocol in FOLDED else "",
            "database_codes": "network",
            "n_query": len(part.query),
            "n_database": len(part.database) - alone,  # what each query is compared with
        }
        rows += [{**common, **row} for row in found]
    return rows


def scorings(encoded: Encoded, protocol: str) -> Iterator[tuple[str, Encoded]]:
    """Each protocol that a run of `protocol` is scored by, and its queries and database."""
    if protocol not in FOLDED:
        yield protocol, encoded
        return
    trained, all_items = encoded.trained, np.ones_like(encoded.trained)
    seen = np.isin(encoded.query_labels, encoded.database_labels[trained])
    yield f"{FOLDED[protocol]}seen@seen", encoded.part(seen, trained)
    yield f"{FOLDED[protocol]}unseen@unseen", encoded.part(~seen, ~trained)
    yield f"{FOLDED[protocol]}unseen@all", encoded.part(~seen, all_items)


def others(encoded: Encoded, method: str, *, leave_one_out: bool) -> list[dict[str, Any]]:
    """mAP@all rows beside a run's own: those that `encoded.beside` and the method's name allow."""

    def of_codes(query: Tensor, database: Tensor) -> float:
        arrays = (encoded.arrays(query, database)[name] for name in CODE_ARRAYS)
        found = evaluate(*arrays, leave_one_out=leave_one_out)
        return float(found.average_precision["expected", None].mean())

    def of_floats(query: Tensor, database: Tensor) -> float:
        labels = encoded.query_labels, encoded.database_labels
        return unquantised_map(query, database, *labels, leave_one_out)

    rows: list[dict[str, Any]] = []
    if "read-out" in encoded.beside:
        value = of_codes(*encoded.beside["read-out"])
        rows.append({"method": method + READ_OUT, "coder": "read-out", "value": value})
    if "posterior" in encoded.beside:
        assert encoded.proxies is not None
        query, database = encoded.beside["posterior"]
        spelled = (class_id_codes(p, encoded.proxies) for p in (query, database))
        rows.append({"method": "class-id", "value": of_codes(*spelled)})
    if "features" in encoded.beside:
        rows.append({"method": "cosine", "value": of_floats(*encoded.beside["features"])})
    if method in ("fdh-mfe", "fdh-mfe+"):
        value = of_floats(encoded.query, encoded.database)
        rows.append({"method": "unquantised", "value": value})
    return [{"metric": "mAP", "k": "all", "ties": "expected", **row} for row in rows]


def score(
    codes: Mapping[str, np.ndarray], top1: float | None, *, leave_one_out: bool = False
) -> list[dict[str, Any]]:
    """Metric rows of one run's codes, with the keys `metric, k, ties, value`.

    top1: the network's top-1 accuracy, which codes alone do not give; None: no row for it. With
    `leave_one_out` (see `metrics.evaluate`), P@1 stands there as R@1, too: the literature of metric
    learning calls it so.
    """
    arrays = (codes[name] for name in CODE_ARRAYS)
    asked: dict[str, Any] = {"cuts": (None, 1, 10), "ties": ("expected", "index")}
    found = evaluate(*arrays, **asked, leave_one_out=leave_one_out)
    rows: list[dict[str, Any]] = [
        {"metric": "mAP", "k": "all", "ties": t, "value": found.average_precision[t, None].mean()}
        for t in ("expected", "index")
    ]
    for name, k in (("P@1", 1), ("P@10", 10), *([("R@1", 1)] if leave_one_out else [])):
        precision = found.hits["expected", k].mean() / k
        rows.append({"metric": name, "k": k, "ties": "expected", "value": precision})
    if top1 is not None:
        rows.append({"metric": "top1", "k": "", "ties": "", "value": top1})
    return rows


def nearest_proxy(u: Tensor, proxies: Tensor) -> np.ndarray:
    """Class of the most similar proxy (cosine): u (B, K), proxies (Y, K) -> (B,).

    A proxy that is NaN is no candidate.
    """
    cosine = F.normalize(u) @ F.normalize(proxies).T
    return cosine.nan_to_num(nan=-2.0).argmax(1).numpy()


def class_id_codes(posterior: Tensor, proxies: Tensor) -> Tensor:
    """The code of the predicted class in place of the image's own: (B, Y), (Y, K) -> (B, K).

    Scored like any code, it shows the mAP of a plain classifier whose output is the class number
    ("How should we evaluate supervised hashing?", arXiv 1609.06753).
    """
    return proxies[posterior.argmax(1)]


def unquantised_map(
    u: ArrayLike,
    database: ArrayLike,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    leave_one_out: bool = False,
) -> float:
    """mAP@all of the ranking by cosine of relaxed codes or other floats, u (Q, K), database (N, K).

    A query without a relevant item scores 0, as in fdhmfe.metrics. leave_one_out: queries and
    database are the same images, each compared with all but itself. ValueError on NaN or infinity.
    """
    pair = (torch.as_tensor(x, dtype=torch.float32) for x in (u, database))
    unit, other = map(F.normalize, pair)
    precision = []
    for rows in blocks(len(unit), AT_ONCE):
        cosine = (unit[rows] @ other.T).numpy()  # (B, N)
        if not np.isfinite(cosine).all():
            raise ValueError("relaxed codes must be finite: a NaN has no rank; training diverged")
        for query, similarity in enumerate(cosine, start=rows.start):
            relevant = database_labels == query_labels[query]
            if leave_one_out:
                relevant, similarity = (np.delete(x, query) for x in (relevant, similarity))
            precision.append(ranked_precision(relevant, similarity))
    return float(np.mean(precision))


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
