"""Scores of a Hamming ranking: average precision, precision at k, precision and recall by radius.

Distances are integers, so many database items are tied; `ties` says which ranking is scored:

    expected  the exact mean over all orders of the tied items (the default; no order matters)
    index     by distance, then by database index: what a stable argsort gives
    best      relevant items first among the tied ones: an upper bound
    worst     relevant items last among the tied ones: a lower bound

An item is relevant when its label is the query's. Codes are (rows, bits) of -1 and +1, labels 1-D
integers: NumPy arrays, nested lists or torch tensors on any device, which are never modified.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray
Ties = Literal["expected", "index", "best", "worst"]


def mean_average_precision(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    query_labels: ArrayLike,
    database_labels: ArrayLike,
    *,
    k: int | None = None,
    ties: Ties = "expected",
) -> float:
    """Mean over the queries of `average_precision`: same arguments, same errors.

    >>> query, database = [[1, 1]], [[1, -1], [-1, 1]]  # both items at distance 1
    >>> mean_average_precision(query, database, [7], [3, 7])  # item 1 comes first or second
    0.75
    >>> mean_average_precision(query, database, [5], [3, 7])  # no relevant item: 0, and it counts
    0.0
    """
    task = _check((query_codes, database_codes), (query_labels, database_labels), k, ties)
    return float(_score(task)[0].mean())


def average_precision(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    query_labels: ArrayLike,
    database_labels: ArrayLike,
    *,
    k: int | None = None,
    ties: Ties = "expected",
) -> Array:
    """AP@k of each query: codes (Q, K) and (N, K), labels (Q,) and (N,) -> float64 (Q,).

    AP@k = 1/min(k, m) * sum over ranks i <= k of rel_i * (relevant items in ranks 1..i) / i, with m
    the query's relevant items in the database; 0 where m = 0. k=None, or above N, ranks them all.

    Raises ValueError, naming the argument and the first offending index, for codes other than
    -1/+1 (NaN, sign(0) = 0), shapes or lengths that do not fit, empty codes, labels that are not
    1-D integers, a k that is not an integer >= 1, unknown `ties`. Source of "expected": McSherry
    and Najork, "Computing information retrieval performance measures ... tied scores", ECIR 2008.
    """
    task = _check((query_codes, database_codes), (query_labels, database_labels), k, ties)
    return _score(task)[0]


def precision_at_k(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    query_labels: ArrayLike,
    database_labels: ArrayLike,
    *,
    k: int,
    ties: Ties = "expected",
) -> float:
    """Mean over the queries of (relevant items in ranks 1..k) / k.

    Arguments and errors as in `average_precision`, and a ValueError for k above the database size.
    """
    task = _check((query_codes, database_codes), (query_labels, database_labels), k, ties)
    if k is None or k > task.k:
        raise ValueError(f"k is {k}; it must be from 1 to the {task.k} items of database_codes")
    return float(_score(task)[1].mean() / k)


def precision_recall_curve(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    query_labels: ArrayLike,
    database_labels: ArrayLike,
) -> tuple[Array, Array, Array]:
    """(radius, precision, recall), each (K + 1,), of the balls of radius 0..K round the queries.

    Precision = relevant items in the ball / items in it, 0 for an empty ball (a failed look-up);
    recall = relevant items in the ball / m, 0 where m = 0. Macro averages: per query, then over all
    queries. A ball takes tied items together, so ties play no part. Errors: `average_precision`.
    """
    task = _check((query_codes, database_codes), (query_labels, database_labels))
    precision, recall = np.zeros(task.bits + 1), np.zeros(task.bits + 1)
    for _, distances, relevant in _blocks(task):
        items = _count(distances, task.bits).cumsum(axis=1)
        hits = _count(distances[:, relevant], task.bits).cumsum(axis=1)
        precision += (hits / np.maximum(items, 1)).sum(axis=0)
        recall += (hits / relevant.sum()).sum(axis=0)
    return np.arange(task.bits + 1), precision / len(task.query), recall / len(task.query)


def hamming_distance(a: ArrayLike, b: ArrayLike) -> Array:
    """Number of bits in which codes a (Q, K) and b (N, K) differ: int64 (Q, N)."""
    return _distances(*_check_codes(a=a, b=b)).astype(np.int64)


class _Task(NamedTuple):  # the checked arguments: packed codes, k at most the database size
    query: Array
    database: Array
    bits: int
    query_labels: Array
    database_labels: Array
    k: int
    ties: Ties


def _distances(a: Array, b: Array, bits: int) -> Array:
    """XOR and count the ones, a word at a time: faster than a matrix product, and always exact."""
    total = np.zeros((len(a), len(b)), np.min_scalar_type(bits))
    for a_word, b_word in zip(a.T, b.T, strict=True):
        total += np.bitwise_count(a_word[:, None] ^ b_word)
    return total


def _blocks(task: _Task) -> Iterator[tuple[Array, Array, Array]]:
    """Queries of one label at a time: their indices (B,), distances (B, N), relevant items (N,)."""
    # About 2**18 distances at once stay in a processor's cache, where counting is fastest.
    rows_at_once = max(1, 2**18 // max(len(task.database), task.bits))
    for label in np.unique(task.query_labels):
        relevant = task.database_labels == label
        if not relevant.any():
            continue  # every score of these queries is 0
        queries = np.flatnonzero(task.query_labels == label)
        for block in np.split(queries, range(rows_at_once, len(queries), rows_at_once)):
            yield block, _distances(task.query[block], task.database, task.bits), relevant


def _score(task: _Task) -> Array:
    """AP@k and the relevant items in the first k, of each query: (2, Q)."""
    scores = np.zeros((2, len(task.query)))
    # Harmonic numbers 0..N, in extended precision: their differences get multiplied by ranks.
    ranks = np.arange(1, len(task.database) + 1, dtype=np.longdouble)
    harmonic = np.append(0, (1 / ranks).cumsum())
    for block, distances, relevant in _blocks(task):
        if task.ties == "expected":
            scores[:, block] = _expected(distances, relevant, task, harmonic)
        else:
            scores[:, block] = _ranked(distances, relevant, task)
        scores[0, block] /= min(task.k, relevant.sum())
    return scores


def _count(distances: Array, bits: int) -> Array:
    """Items at each distance: (B, N) -> (B, bits + 1), by one bincount over all the rows."""
    rows, bins = len(distances), bits + 1
    flat = distances + np.arange(rows)[:, None] * bins
    return np.bincount(flat.ravel(), minlength=rows * bins).reshape(rows, bins)


def _expected(distances: Array, relevant: Array, task: _Task, harmonic: Array) -> tuple:
    """Means over all orders of the tied items, of the sum in AP@k and of the hits in the first k.

    Take n tied items, r relevant, after N nearer items, R relevant. The i-th of them is relevant
    with probability r/n; then each of the i - 1 before it is, with p = (r-1)/(n-1). So rank N + i
    adds r/n * (R + 1 + (i-1) p) / (N + i). With i - 1 = (N + i) - (N + 1), the sum over the t ranks
    inside the cut is r/n * [p t + (R + 1 - p (N + 1)) (H_{N+t} - H_N)], H the harmonic numbers.
    """
    n, r = _count(distances, task.bits), _count(distances[:, relevant], task.bits)
    n_before, r_before = n.cumsum(axis=1) - n, r.cumsum(axis=1) - r
    t = np.clip(task.k - n_before, 0, n)
    p = (r - 1) / np.maximum(n - 1, 1)
    span = (harmonic[n_before + t] - harmonic[n_before]).astype(np.float64)
    share = r / np.maximum(n, 1)
    precision = share * (p * t + (r_before + 1 - p * (n_before + 1)) * span)
    return precision.sum(axis=1), (share * t).sum(axis=1)


def _ranked(distances: Array, relevant: Array, task: _Task) -> tuple:
    """The sum in AP@k and the hits in the first k, from the ranks of the relevant items."""
    hits = np.arange(1, relevant.sum() + 1)
    if task.ties == "index":
        # The narrow integers of `_distances` make NumPy's stable sort a radix sort, linear in N.
        order = distances.argsort(axis=1, kind="stable")
        ranks = np.nonzero(relevant[order])[1].reshape(-1, len(hits)) + 1
    else:
        nearest = np.sort(distances[:, relevant], axis=1)
        others = _count(distances, task.bits) - _count(distances[:, relevant], task.bits)
        ahead = others.cumsum(axis=1) - (others if task.ties == "best" else 0)
        ranks = np.take_along_axis(ahead, nearest, axis=1) + hits
    inside = ranks <= task.k
    return (hits / ranks * inside).sum(axis=1), inside.sum(axis=1)


def _to_numpy(values: ArrayLike, name: str) -> Array:
    if hasattr(values, "detach"):  # a torch tensor; NumPy lacks some of its floating types
        values = (values.double() if values.is_floating_point() else values).detach().cpu()
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not an array: {error}") from error


def _pack(values: ArrayLike, name: str) -> tuple[Array, int]:
    """Checked codes as 64-bit words, zeros at the end: (rows, bits) -> (rows, words), and bits."""
    codes = _to_numpy(values, name)
    if codes.ndim != 2 or codes.size == 0 or codes.dtype.kind not in "iuf":
        found = f"{codes.dtype} {codes.shape}"
        raise ValueError(f"{name} must be numbers (rows, bits) and not empty; it is {found}")
    wrong = (codes != 1) & (codes != -1)
    if wrong.any():
        row, bit = np.unravel_index(wrong.argmax(), wrong.shape)
        raise ValueError(f"{name}[{row}, {bit}] is {codes[row, bit]}; codes must be -1 or +1")
    packed = np.packbits(np.pad(codes > 0, ((0, 0), (0, -codes.shape[1] % 64))), axis=1)
    return np.ascontiguousarray(packed).view(np.uint64), codes.shape[1]


def _check_codes(**pair: ArrayLike) -> tuple[Array, Array, int]:
    """Two code arrays, passed by the names that errors should show, packed; and their bits."""
    (a_words, a_bits), (b_words, b_bits) = (_pack(values, name) for name, values in pair.items())
    if a_bits != b_bits:
        raise ValueError(f"{' and '.join(pair)} differ in length: {a_bits} and {b_bits} bits")
    return a_words, b_words, a_bits


def _check_labels(values: ArrayLike, name: str, n_codes: int) -> Array:
    labels = _to_numpy(values, name)
    if labels.shape != (n_codes,) or labels.dtype.kind not in "iu":
        raise ValueError(f"{name} must be {n_codes} integers, not {labels.dtype} {labels.shape}")
    return labels


def _check(codes: tuple, labels: tuple, k: int | None = None, ties: Ties = "expected") -> _Task:
    if ties not in get_args(Ties):
        near = get_close_matches(str(ties), get_args(Ties), n=1, cutoff=0)[0]
        raise ValueError(f"ties is {ties!r}, not one of {get_args(Ties)}; did you mean {near!r}?")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1):
        raise ValueError(f"k must be an integer >= 1, or None for all; it is {k!r}")
    query, database, bits = _check_codes(query_codes=codes[0], database_codes=codes[1])
    query_labels = _check_labels(labels[0], "query_labels", len(query))
    database_labels = _check_labels(labels[1], "database_labels", len(database))
    k = len(database) if k is None else min(k, len(database))
    return _Task(query, database, bits, query_labels, database_labels, k, ties)
