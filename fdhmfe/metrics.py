"""Scores of a Hamming ranking: average precision, precision at k, precision and recall by radius.

Many database items have the same Hamming distance: they are tied. `ties` says how to order them:

    expected  the exact mean over all orders of the tied items (the default)
    index     by distance, then by database index: what a stable argsort gives
    best      relevant items first among the tied ones: an upper bound
    worst     relevant items last among the tied ones: a lower bound

An item is relevant when its label is the query's. Codes are (rows, bits) of -1 and +1, labels 1-D
integers: NumPy arrays, nested lists or torch tensors on any device, which are never modified.

`evaluate`, and with it all scores, raises ValueError, naming the argument and the first offending
index, for codes other than -1/+1 (NaN, sign(0) = 0), shapes or lengths that do not fit, empty
codes, labels that are not 1-D integers, a k that is not an integer >= 1, unknown `ties`, and
`leave_one_out` with a database other than the queries.

Source of "expected": McSherry and Najork, "Computing information retrieval performance measures ...
tied scores", ECIR 2008.
"""

import math
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from fdhmfe.codes import blocks, hamming, pack, to_numpy

Array = np.ndarray
Ties = Literal["expected", "index", "best", "worst"]


class Scores(NamedTuple):
    """Scores per query, by (ties, k), and the precision-recall curve over all queries."""

    average_precision: dict[tuple[Ties, int | None], Array]  # AP@k, float64 (Q,)
    hits: dict[tuple[Ties, int | None], Array]  # relevant items in ranks 1..k, float64 (Q,)
    curve: tuple[Array, Array, Array]  # radius, precision, recall: `precision_recall_curve`


def evaluate(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    query_labels: ArrayLike,
    database_labels: ArrayLike,
    *,
    cuts: Sequence[int | None] = (None,),
    ties: Sequence[Ties] = ("expected",),
    leave_one_out: bool = False,
) -> Scores:
    """All scores from one pass over the distances: codes (Q, K) and (N, K), labels (Q,) and (N,).

    leave_one_out: queries and database are the same images, in the same order (Q = N), and each
    query is compared with all but itself. Errors: see the top of this file.

    AP@k = 1/min(k, m) * sum over ranks i <= k of rel_i * (relevant items in ranks 1..i) / i, with m
    the query's relevant items in the database; 0 where m = 0. k=None, or above N, ranks them all.
    """
    _check_wanted(cuts, ties)
    query, database, bits = _check_codes(query_codes=query_codes, database_codes=database_codes)
    queries, items = len(query), len(database)
    query_labels = _check_labels(query_labels, "query_labels", queries)
    database_labels = _check_labels(database_labels, "database_labels", items)
    if leave_one_out:
        _check_same((query, query_labels), (database, database_labels))
    ap, hits = ({(rule, k): np.zeros(queries) for rule in ties for k in cuts} for _ in range(2))
    curve = np.zeros((2, bits + 1))
    # Harmonic numbers 0..N, in extended precision: ranks multiply the errors of their differences.
    harmonic = np.append(0, (1 / np.arange(1, items + 1, dtype=np.longdouble)).cumsum())
    how = bits, "index" in ties, leave_one_out
    for block in _blocks(query, database, query_labels, database_labels, *how):
        for rule, k in ap:
            cut = items if k is None else min(k, items)
            sums = _by_index(block, cut) if rule == "index" else _tied(block, cut, rule, harmonic)
            ap[rule, k][block.rows] = sums[0] / np.maximum(np.minimum(cut, block.relevant), 1)
            hits[rule, k][block.rows] = sums[1]
        inside = block.hits_until
        curve[0] += (inside / np.maximum(block.items_until, 1)).sum(axis=0)
        curve[1] += (inside / np.maximum(block.relevant, 1)[:, None]).sum(axis=0)
    return Scores(ap, hits, (np.arange(bits + 1), *curve / queries))


def mean_average_precision(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    query_labels: ArrayLike,
    database_labels: ArrayLike,
    *,
    k: int | None = None,
    ties: Ties = "expected",
) -> float:
    """Mean over the queries of AP@k. Definition and errors: `evaluate`.

    >>> query, database = [[1, 1]], [[1, -1], [-1, 1]]  # both items at distance 1
    >>> mean_average_precision(query, database, [7], [3, 7])  # item 1 comes first or second
    0.75
    >>> mean_average_precision(query, database, [5], [3, 7])  # no relevant item: 0, and it counts
    0.0
    """
    codes = query_codes, database_codes
    return float(average_precision(*codes, query_labels, database_labels, k=k, ties=ties).mean())


def average_precision(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    query_labels: ArrayLike,
    database_labels: ArrayLike,
    *,
    k: int | None = None,
    ties: Ties = "expected",
) -> Array:
    """AP@k of each query, float64 (Q,). Definition and errors: `evaluate`."""
    arrays = query_codes, database_codes, query_labels, database_labels
    return evaluate(*arrays, cuts=(k,), ties=(ties,)).average_precision[ties, k]


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

    Errors as in `evaluate`, and a ValueError for k above the database size.
    """
    arrays = query_codes, database_codes, query_labels, database_labels
    hits = evaluate(*arrays, cuts=(k,), ties=(ties,)).hits[ties, k]
    most = len(to_numpy(database_labels, "database_labels"))
    if k is None or k > most:
        raise ValueError(f"k is {k}; it must be from 1 to the {most} items of database_codes")
    return float(hits.mean() / k)


def precision_recall_curve(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    query_labels: ArrayLike,
    database_labels: ArrayLike,
) -> tuple[Array, Array, Array]:
    """(radius, precision, recall), each (K + 1,): look-ups of all items within radius 0..K.

    For one query, precision = relevant items found / items found, 0 if none is found; recall =
    relevant items found / m, with m the query's relevant items, 0 if m = 0. Both are averaged over
    the queries. Tied items are found together, so `ties` plays no part. Errors: `evaluate`.
    """
    arrays = query_codes, database_codes, query_labels, database_labels
    return evaluate(*arrays, cuts=()).curve


def hamming_distance(a: ArrayLike, b: ArrayLike) -> Array:
    """Number of bits in which codes a (Q, K) and b (N, K) differ: int64 (Q, N)."""
    packed, other, _ = _check_codes(a=a, b=b)
    return hamming(packed, other).astype(np.int64)


class _Block(NamedTuple):
    """Counts for B queries, from one pass over their distances."""

    rows: slice  # which queries
    relevant: Array  # (B,) relevant items in the database
    items_until: Array  # (B, K + 1) items within each distance
    hits_until: Array  # (B, K + 1) relevant items within it
    ranks: Array  # with ties by index, of the relevant items, query by query; else empty

    # Groups of tied items, only those with a relevant item: (M,) each
    row: Array  # the query, as a row of this block
    n: Array  # items in the group
    r: Array  # relevant items in the group
    n_before: Array  # nearer items
    r_before: Array  # nearer relevant items


def _blocks(
    query: Array,
    database: Array,
    own: Array,
    others: Array,
    bits: int,
    by_index: bool,
    leave_one_out: bool,
) -> Iterator[_Block]:
    """One pass over all distances; own (Q,) and others (N,): labels of query and database."""
    by_label = others.argsort(kind="stable")
    labels = others[by_label]
    first, last = (np.searchsorted(labels, own, side) for side in ("left", "right"))
    at_once = max(len(labels), bits)  # large arrays are faster, but not for counting: `_count`
    for rows in blocks(len(query), max(1, 2**20 // at_once)):
        few = blocks(len(query[rows]), max(1, 2**17 // at_once))
        parts = [hamming(query[rows][part], database) for part in few]
        items = np.concatenate([_count(part, bits) for part in parts])
        distances, relevant = np.concatenate(parts), last[rows] - first[rows]
        row, nth = _ragged(relevant)
        near = distances[row, by_label[first[rows][row] + nth]]
        hits = np.bincount(row * items.shape[1] + near, minlength=items.size).reshape(items.shape)
        if leave_one_out:  # each query itself is at distance 0, and relevant
            items[:, 0] -= 1
            hits[:, 0] -= 1
            relevant = relevant - 1
        items_until, hits_until = items.cumsum(axis=1), hits.cumsum(axis=1)
        ranks = np.zeros(0, np.int64)
        if by_index:
            # The narrow integers of `hamming` make NumPy's stable sort a radix sort.
            order = distances.argsort(axis=1, kind="stable")
            if leave_one_out:
                itself = np.arange(len(query))[rows, None]
                order = order[order != itself].reshape(len(order), -1)
            found = others[order] == own[rows, None]
            ranks = np.flatnonzero(found) % max(1, order.shape[1]) + 1
        bucket = np.nonzero(hits)
        n, r = items[bucket], hits[bucket]
        before = items_until[bucket] - n, hits_until[bucket] - r
        yield _Block(rows, relevant, items_until, hits_until, ranks, bucket[0], n, r, *before)


def _ragged(lengths: Array) -> tuple[Array, Array]:
    """For rows of these lengths, end to end: the row of each element, and its place in the row."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - (lengths.cumsum() - lengths)[row]


def _count(distances: Array, bits: int) -> Array:
    """Items at each distance: (B, N) -> (B, bits + 1).

    Counting is the slowest step, so several queries are counted at once. Their distances to an item
    become the digits of one number, in base bits + 1. The number of digits is the largest for which
    there are fewer numbers than items. The counts of one query are sums over the other digits.
    """
    (rows, n), base = distances.shape, bits + 1
    digits = max(1, min(rows, int(math.log(n, base))))
    size = -(-rows // digits)
    starts = [min(digit * size, rows - size) for digit in range(digits)]  # the last may overlap
    numbers = np.arange(size, dtype=np.min_scalar_type(size * base**digits))[:, None]
    for start in starts:
        numbers = numbers * base + distances[start : start + size]
    counts = np.bincount(numbers.ravel(), minlength=size * base**digits)
    counts = counts.reshape(size, *[base] * digits)
    items = np.empty((rows, base), counts.dtype)
    for digit, start in enumerate(starts, start=1):
        items[start : start + size] = np.einsum(counts, [*range(digits + 1)], [0, digit])
    return items


def _tied(block: _Block, k: int, ties: Ties, harmonic: Array) -> tuple[Array, Array]:
    """The sum in AP@k and the hits in the first k, each (B,), from the counts alone.

    Take a group of n tied items, r relevant; N items are nearer, R relevant. `best`: relevant items
    come first, so for i = 1..r and s = N, rank s + i holds the (R + i)-th hit. `worst`: they come
    last, so s = N + n - r. `expected`: for i = 1..n and s = N, the item at rank s + i is relevant
    with probability w = r/n, and then each of the i - 1 before it with p = (r-1)/(n-1).

    So rank s + i adds w (R + 1 + (i - 1) p) / (s + i), where w = p = 1 for `best` and `worst`. With
    i - 1 = (s + i) - (s + 1), the sum over the t ranks inside the cut is
    w [p t + (R + 1 - p (s + 1)) (H_{s+t} - H_s)], H the harmonic numbers.
    """
    n, r, s = block.n, block.r, block.n_before
    if ties == "expected":
        w, p, length = r / n, (r - 1) / np.maximum(n - 1, 1), n
    else:
        w, p, length = 1.0, 1.0, r
        s = s if ties == "best" else s + n - r
    t = np.clip(k - s, 0, length)
    span = (harmonic[s + t] - harmonic[s]).astype(np.float64)
    precision = w * (p * t + (block.r_before + 1 - p * (s + 1)) * span)
    count = len(block.relevant)
    return np.bincount(block.row, precision, count), np.bincount(block.row, w * t, count)


def _by_index(block: _Block, k: int) -> tuple[Array, Array]:
    """The sum in AP@k and the hits in the first k, each (B,), from the ranks."""
    row, nth = _ragged(block.relevant)
    inside = block.ranks <= k
    precision = (nth + 1) / block.ranks * inside
    count = len(block.relevant)
    return np.bincount(row, precision, count), np.bincount(row, inside, count)


def _check_codes(**pair: ArrayLike) -> tuple[Array, Array, int]:
    """Two code arrays, packed, and their length in bits. Errors name them as the caller does."""
    arrays = {name: to_numpy(values, name) for name, values in pair.items()}
    a, b = (pack(codes, name=name) for name, codes in arrays.items())
    for name, codes in arrays.items():
        if not len(codes):
            raise ValueError(f"{name} must be numbers (rows, bits) and not empty; it has no rows")
    a_bits, b_bits = (codes.shape[1] for codes in arrays.values())
    if a_bits != b_bits:
        raise ValueError(f"{' and '.join(pair)} differ in length: {a_bits} and {b_bits} bits")
    return a, b, a_bits


def _check_same(queries: tuple[Array, Array], database: tuple[Array, Array]) -> None:
    """ValueError unless packed codes and labels of queries and database are equal."""
    for name, a, b in zip(("codes", "labels"), queries, database, strict=True):
        if not np.array_equal(a, b):
            raise ValueError(f"leave_one_out: database_{name} must be those of the queries")


def _check_labels(values: ArrayLike, name: str, n_codes: int) -> Array:
    labels = to_numpy(values, name)
    if labels.shape != (n_codes,) or labels.dtype.kind not in "iu":
        raise ValueError(f"{name} must be {n_codes} integers, not {labels.dtype} {labels.shape}")
    return labels.astype(np.int64, copy=False)


def _check_wanted(cuts: Sequence[int | None], ties: Sequence[Ties]) -> None:
    for rule in ties:
        if rule not in get_args(Ties):
            near = get_close_matches(str(rule), get_args(Ties), n=1, cutoff=0)[0]
            raise ValueError(
                f"ties is {rule!r}, not one of {get_args(Ties)}; did you mean {near!r}?"
            )
    for k in cuts:
        if k is not None and (isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1):
            raise ValueError(f"k must be an integer >= 1, or None for all; it is {k!r}")
