"""The metrics against hand-worked rankings, a brute-force oracle and scikit-learn."""

import tracemalloc
from itertools import permutations, product

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from fdhmfe.metrics import (
    average_precision,
    evaluate,
    hamming_distance,
    mean_average_precision,
    precision_at_k,
    precision_recall_curve,
)

TIES = ("expected", "index", "best", "worst")


def at_distances(distances, bits=8):
    """A query of ones and database items at the given distances from it."""
    database = np.ones((len(distances), bits), np.int8)
    for item, distance in zip(database, distances, strict=True):
        item[:distance] = -1
    return np.ones((1, bits), np.int8), database


def score(distances, relevant, function=mean_average_precision, **options):
    """A score of one query (label 1) whose items have the given distances and relevance."""
    return function(*at_distances(distances), [1], np.asarray(relevant, int), **options)


def random_case(seed, n_query=5, n_database=7, bits=3, classes=3):
    rng = np.random.default_rng(seed)
    codes = [rng.choice([-1, 1], (n, bits)).astype(np.int8) for n in (n_query, n_database)]
    labels = [rng.integers(0, classes, n) for n in (n_query, n_database)]
    return (*codes, *labels)


def centre_case(seed, n_query=60, n_database=300, bits=12, classes=10, flip=0.15):
    """Codes around class centres, database sorted by class, as in real datasets."""
    rng = np.random.default_rng(seed)
    centres = rng.choice([-1, 1], (classes, bits))
    labels = [rng.integers(0, classes, n_query), np.sort(rng.integers(0, classes, n_database))]
    codes = [centres[y] * rng.choice([-1, 1], (len(y), bits), p=[flip, 1 - flip]) for y in labels]
    return (*codes, *labels)


# The oracle: every order the ties allow, listed and scored one by one.


def oracle_orders(distances, ties, relevant):
    by_index = sorted(range(len(distances)), key=lambda i: distances[i])
    if ties == "index":
        return [by_index]
    if ties in ("best", "worst"):
        sign = -1 if ties == "best" else 1
        return [sorted(by_index, key=lambda i: (distances[i], sign * relevant[i]))]
    buckets = [[i for i in by_index if distances[i] == d] for d in sorted(set(distances))]
    return [sum(order, ()) for order in product(*(permutations(bucket) for bucket in buckets))]


def oracle_ap(relevance, k):
    hits, total = 0, 0.0
    for rank, is_relevant in enumerate(relevance[:k], start=1):
        hits += is_relevant
        total += is_relevant * hits / rank
    return total / min(k, sum(relevance)) if any(relevance) else 0.0


def oracle(case, k, ties):
    """(AP, precision at k) per query: means over the orders that `ties` allows."""
    query, database, query_labels, database_labels = case
    scores = []
    for code, label in zip(query, query_labels, strict=True):
        distances = [int((code != item).sum()) for item in database]
        relevant = [int(other == label) for other in database_labels]
        rankings = [
            [relevant[i] for i in order] for order in oracle_orders(distances, ties, relevant)
        ]
        scores.append(np.mean([(oracle_ap(r, k), sum(r[:k]) / k) for r in rankings], axis=0))
    return np.array(scores).T


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("seed", range(6))
def test_every_cut_matches_the_oracle(seed, ties):
    case = random_case(seed, n_query=3)
    for k in range(1, 8):
        ap, precision = oracle(case, k, ties)
        np.testing.assert_allclose(average_precision(*case, k=k, ties=ties), ap, atol=1e-12)
        assert precision_at_k(*case, k=k, ties=ties) == pytest.approx(precision.mean(), abs=1e-12)


@pytest.mark.parametrize("ties", TIES)
def test_all_items_tied_match_the_oracle_at_every_cut(ties):
    # One bucket of 6 items, 0..6 of them relevant: every cut falls inside the bucket.
    codes = np.ones((1, 4)), np.ones((6, 4))
    for relevant, k in product(range(7), range(1, 7)):
        case = (*codes, np.array([1]), np.array([1] * relevant + [0] * (6 - relevant)))
        ap, _ = oracle(case, k, ties)
        np.testing.assert_allclose(average_precision(*case, k=k, ties=ties), ap, atol=1e-12)


def explicit_expected_ap(distances, relevant, k):
    """The expected AP summed rank by rank, with no harmonic numbers."""
    total = 0.0
    for d in np.unique(distances):
        n, r = (distances == d).sum(), relevant[distances == d].sum()
        before, hits = (distances < d).sum(), relevant[distances < d].sum()
        i = np.arange(1, n + 1)
        terms = r / n * (hits + 1 + (i - 1) * (r - 1) / max(n - 1, 1)) / (before + i)
        total += terms[before + i <= k].sum()
    return total / max(min(k, relevant.sum()), 1)


@pytest.mark.parametrize("k", [10, 4_321, 20_000])
def test_closed_form_keeps_its_precision_in_a_large_database(k):
    query, database, query_labels, database_labels = centre_case(0, 4, 20_000, flip=0.3)
    ap = average_precision(query, database, query_labels, database_labels, k=k)
    distances = hamming_distance(query, database)
    expected = [
        explicit_expected_ap(row, database_labels == label, k)
        for row, label in zip(distances, query_labels, strict=True)
    ]
    np.testing.assert_allclose(ap, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bits", [1, 2, 3, 12, 48])
@pytest.mark.parametrize("n_query", [1, 61, 64])
def test_counting_several_queries_at_once_keeps_them_apart(bits, n_query):
    query, database, query_labels, database_labels = centre_case(bits, n_query, 700, bits)
    ap = average_precision(query, database, query_labels, database_labels)
    distances = hamming_distance(query, database)
    expected = [
        explicit_expected_ap(row, database_labels == label, 700)
        for row, label in zip(distances, query_labels, strict=True)
    ]
    np.testing.assert_allclose(ap, expected, rtol=0, atol=1e-12)


def test_one_pass_gives_every_score():
    case, cuts = centre_case(12), (1, 13, None)
    scores = evaluate(*case, cuts=cuts, ties=TIES)
    assert set(scores.average_precision) == set(scores.hits) == set(product(TIES, cuts))
    for ties, k in product(TIES, cuts):
        alone = average_precision(*case, k=k, ties=ties)
        np.testing.assert_array_equal(scores.average_precision[ties, k], alone)
        depth = k or len(case[1])
        precision = precision_at_k(*case, k=depth, ties=ties)
        assert scores.hits[ties, k].mean() / depth == precision
    for one, other in zip(scores.curve, precision_recall_curve(*case), strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_stays_bounded_at_the_size_of_cub():
    # 34.7 million distances; one byte each would be 33 MB, as float64 265.
    case = centre_case(13, 5_794, 5_994, 48, 200)
    tracemalloc.start()
    evaluate(*case, cuts=(None, 10), ties=TIES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 2**20


# Worked by hand.


@pytest.mark.parametrize(
    ("relevant", "k", "expected"),
    [
        ([1, 0, 1], None, (1 + 2 / 3) / 2),  # hits at ranks 1 and 3
        ([1, 0, 1], 2, 1 / 2),  # one hit, at rank 1, of min(2, 2)
        ([1, 0, 1], 1, 1 / 1),  # min(1, 2) = 1
        ([0, 1, 1], 2, (1 / 2) / 2),  # the hit at rank 3 is cut, but m = 2 still divides
        ([0, 0, 1], 2, 0),  # relevant, but never reached
        ([0, 0, 1], None, 1 / 3),
        ([1, 1, 0], None, (1 + 1) / 2),
        ([0, 0, 0], None, 0),  # no relevant item
    ],
)
@pytest.mark.parametrize("ties", TIES)
def test_ap_by_hand_without_ties(relevant, k, expected, ties):
    assert score([1, 2, 3], relevant, k=k, ties=ties) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("ties", "k", "expected"),
    [
        ("best", None, 1),  # + -
        ("worst", None, 1 / 2),  # - +
        ("index", None, 1 / 2),  # the database lists - before +
        ("expected", None, (1 + 1 / 2) / 2),
        ("best", 1, 1),
        ("worst", 1, 0),
        ("index", 1, 0),
        ("expected", 1, 1 / 2),  # the cut falls inside the tie
    ],
)
def test_two_tied_items_by_hand(ties, k, expected):
    assert score([2, 2], [0, 1], k=k, ties=ties) == pytest.approx(expected, abs=1e-15)


def test_three_tied_items_by_hand():
    # + + - in 3 equally likely orders: ++- 1, +-+ (1 + 2/3)/2 = 5/6, -++ (1/2 + 2/3)/2 = 7/12
    assert score([2, 2, 2], [1, 1, 0]) == pytest.approx((1 + 5 / 6 + 7 / 12) / 3, abs=1e-15)


def test_a_query_without_relevant_items_counts_as_zero():
    query, database = at_distances([1, 2])
    case = np.repeat(query, 2, axis=0), database, [1, 9], [1, 0]
    np.testing.assert_array_equal(average_precision(*case), [1, 0])
    assert mean_average_precision(*case) == 1 / 2
    assert precision_at_k(*case, k=1) == 1 / 2


def test_precision_at_k_by_hand():
    assert score([1, 2, 3], [1, 0, 1], precision_at_k, k=2) == 1 / 2
    # Distance 1: +. Distance 2, tied: - + +. One of the three takes rank 2.
    distances, relevant = [1, 2, 2, 2], [1, 0, 1, 1]
    values = [score(distances, relevant, precision_at_k, k=2, ties=ties) for ties in TIES]
    assert values == pytest.approx([(1 + 2 / 3) / 2, 1 / 2, 2 / 2, 1 / 2], abs=1e-15)


def test_precision_recall_curve_by_hand():
    query, database = at_distances([1, 1, 3], bits=4)
    queries, labels = np.repeat(query, 2, axis=0), [1, 9]  # the second has no relevant item
    radius, precision, recall = precision_recall_curve(queries, database, labels, [0, 1, 1])
    np.testing.assert_array_equal(radius, [0, 1, 2, 3, 4])
    # First query: empty ball, then 1 relevant of 2, and 2 of 3. Halved by the second query's 0.
    np.testing.assert_allclose(precision, np.array([0, 1 / 2, 1 / 2, 2 / 3, 2 / 3]) / 2)
    np.testing.assert_allclose(recall, np.array([0, 1 / 2, 1 / 2, 1, 1]) / 2)


@pytest.mark.parametrize("bits", [1, 12, 48, 64, 65, 255, 256, 1000])
def test_hamming_distance_counts_differing_bits(bits):
    a, b, _, _ = random_case(bits, 6, 9, bits)
    a[0], b[0] = 1, -1  # the largest distance
    distances = hamming_distance(a, b)
    assert np.issubdtype(distances.dtype, np.signedinteger)  # differences of distances are safe
    np.testing.assert_array_equal(distances, (a[:, None] != b).sum(axis=2))


def test_agrees_with_scikit_learn_where_nothing_is_tied():
    rng = np.random.default_rng(0)
    distances, relevant = rng.permutation(200), rng.integers(0, 2, 200)
    query, database = at_distances(distances, bits=200)
    for ties in TIES:
        ap = mean_average_precision(query, database, [1], relevant, ties=ties)
        assert ap == pytest.approx(average_precision_score(relevant, -distances), abs=1e-12)


# Properties.


def test_index_equals_a_stable_argsort_loop():
    query, database, query_labels, database_labels = case = centre_case(1, bits=300, flip=0.4)
    for k in (7, 300):
        expected = []
        for code, label in zip(query, query_labels, strict=True):
            order = np.argsort((code != database).sum(axis=1), kind="stable")
            expected.append(oracle_ap([int(x) for x in database_labels[order] == label], k))
        np.testing.assert_allclose(
            average_precision(*case, k=k, ties="index"), expected, atol=1e-12
        )


def test_expected_is_the_mean_over_random_tie_orders():
    query, database, query_labels, database_labels = case = centre_case(2)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(database)) for _ in range(300)]
    for k in (20, None):
        samples = [
            mean_average_precision(
                query, database[order], query_labels, database_labels[order], k=k, ties="index"
            )
            for order in orders
        ]
        error = np.std(samples) / np.sqrt(len(samples))
        assert error > 0
        assert abs(mean_average_precision(*case, k=k) - np.mean(samples)) < 4 * error


@pytest.mark.parametrize("k", [1, 13, None])
def test_best_and_worst_bound_the_others(k):
    ap = {ties: average_precision(*centre_case(3), k=k, ties=ties) for ties in TIES}
    for ties in ("expected", "index"):
        assert (ap["best"] >= ap[ties] - 1e-12).all()
        assert (ap[ties] >= ap["worst"] - 1e-12).all()
    assert ap["best"].mean() > ap["expected"].mean() > ap["worst"].mean()


@pytest.mark.parametrize("ties", ["expected", "best", "worst"])
def test_database_order_is_irrelevant(ties):
    query, database, query_labels, database_labels = case = centre_case(4)
    order = np.random.default_rng(0).permutation(len(database))
    shuffled = query, database[order], query_labels, database_labels[order]
    for k in (17, None):
        np.testing.assert_allclose(
            average_precision(*shuffled, k=k, ties=ties),
            average_precision(*case, k=k, ties=ties),
            rtol=0,
            atol=1e-12,
        )


@pytest.mark.parametrize("ties", TIES)
def test_query_order_and_company_are_irrelevant(ties):
    # 3,000 queries: several blocks per label.
    query, database, query_labels, database_labels = case = centre_case(5, n_query=3_000)
    ap = average_precision(*case, ties=ties)
    order = np.random.default_rng(0).permutation(len(query))
    shuffled = average_precision(
        query[order], database, query_labels[order], database_labels, ties=ties
    )
    np.testing.assert_array_equal(shuffled, ap[order])
    alone = average_precision(query[-1:], database, query_labels[-1:], database_labels, ties=ties)
    np.testing.assert_allclose(alone, ap[-1:], atol=1e-15)


@pytest.mark.parametrize("ties", TIES)
def test_a_cut_beyond_the_database_ranks_all_of_it(ties):
    case = centre_case(6)
    everything = average_precision(*case, ties=ties)
    for k in (300, np.int64(300), 10**30):
        np.testing.assert_array_equal(average_precision(*case, k=k, ties=ties), everything)


def test_curve_ends_with_the_whole_database():
    query, database, query_labels, database_labels = case = centre_case(7)
    radius, precision, recall = precision_recall_curve(*case)
    assert radius[-1] == database.shape[1]
    assert recall[-1] == pytest.approx(1)
    assert (np.diff(recall) >= 0).all()
    assert precision[-1] == pytest.approx(precision_at_k(*case, k=len(database)))


# Inputs.


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float64),
        lambda x: np.repeat(x.astype(np.float32), 2, axis=1)[:, ::2],
        np.asfortranarray,
        lambda x: x.tolist(),
        torch.from_numpy,
        lambda x: torch.from_numpy(x).to(torch.bfloat16),
        lambda x: torch.from_numpy(x).double().requires_grad_(),
    ],
)
def test_code_types_agree(convert):
    query, database, *labels = random_case(8, 20, 40, 12)
    expected = average_precision(query, database, *labels)
    np.testing.assert_array_equal(
        average_precision(convert(query), convert(database), *labels), expected
    )


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y + 10**18,  # a float64 could not tell these labels apart
        lambda y: y - 5,
        lambda y: y.astype(np.uint8),
        lambda y: y.tolist(),
        torch.from_numpy,
    ],
)
def test_label_types_agree(convert):
    *codes, query_labels, database_labels = random_case(9, 20, 40, 12)
    expected = average_precision(*codes, query_labels, database_labels)
    np.testing.assert_array_equal(
        average_precision(*codes, convert(query_labels), convert(database_labels)), expected
    )


@pytest.mark.parametrize("as_input", [np.copy, torch.tensor])
def test_inputs_are_not_modified(as_input):
    case = [as_input(x) for x in centre_case(10)]
    before = [np.asarray(x).copy() for x in case]
    for ties in TIES:
        average_precision(*case, k=9, ties=ties)
        precision_at_k(*case, k=9, ties=ties)
    precision_recall_curve(*case)
    hamming_distance(*case[:2])
    for now, then in zip(case, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_read_only_inputs_are_accepted():
    case = centre_case(11)
    for array in case:
        array.flags.writeable = False
    assert 0 < mean_average_precision(*case) < 1


def with_value(array, index, value):
    changed = np.array(array, float)
    changed[index] = value
    return changed


QUERY, DATABASE = np.ones((2, 4)), np.ones((3, 4))
GOOD = {
    "query_codes": QUERY,
    "database_codes": DATABASE,
    "query_labels": [0, 1],
    "database_labels": [0, 1, 1],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_codes": with_value(QUERY, (1, 2), 0)}, r"query_codes\[1, 2\] is 0.0"),  # sign(0)
        (
            {"database_codes": with_value(DATABASE, (2, 0), np.nan)},
            r"database_codes\[2, 0\] is nan",
        ),
        ({"database_codes": with_value(DATABASE, ([1, 0], [0, 3]), 2)}, r"database_codes\[0, 3\]"),
        ({"query_codes": with_value(QUERY, (0, 0), np.inf)}, r"query_codes\[0, 0\] is inf"),
        ({"query_codes": torch.zeros(2, 4)}, r"query_codes\[0, 0\] is 0.0"),
        ({"query_codes": QUERY > 0}, "query_codes must be .* bool"),
        ({"query_codes": QUERY.astype(str)}, "query_codes must be numbers"),
        ({"query_codes": QUERY[0]}, r"query_codes must be .* \(4,\)"),
        ({"query_codes": [[1, 1], [1]]}, "query_codes is not an array"),
        ({"query_codes": QUERY[:, :3]}, "query_codes and database_codes .* 3 and 4 bits"),
        ({"query_codes": QUERY[:0], "query_labels": []}, "query_codes must be .* not empty"),
        ({"database_codes": DATABASE[:0]}, "database_codes must be .* not empty"),
        ({"query_codes": QUERY[:, :0]}, "query_codes must be .* not empty"),
        ({"query_labels": [0, 1, 1]}, r"query_labels must be 2 integers, .* \(3,\)"),
        ({"database_labels": [0, 1]}, r"database_labels must be 3 integers, .* \(2,\)"),
        ({"database_labels": np.eye(3, dtype=int)}, r"database_labels must be .* \(3, 3\)"),
        ({"query_labels": ["jay", "tit"]}, "query_labels must be 2 integers"),
        ({"query_labels": [0.0, 1.0]}, "query_labels must be 2 integers, not float64"),
        ({"k": 0}, "k must be an integer >= 1.* it is 0"),
        ({"k": -1}, "k must be an integer >= 1.* it is -1"),
        ({"k": 2.0}, "k must be an integer >= 1.* it is 2.0"),
        ({"k": True}, "k must be an integer >= 1.* it is True"),
        ({"k": "all"}, "k must be an integer >= 1.* it is 'all'"),
        ({"ties": "expectd"}, "ties is 'expectd'.* did you mean 'expected'"),
        ({"ties": "Index"}, "ties is 'Index'.* did you mean 'index'"),
        ({"ties": None}, "ties is None"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        mean_average_precision(**({"k": 1} | GOOD | change))


def test_precision_cut_must_lie_inside_the_database():
    for k in (4, None):
        with pytest.raises(ValueError, match="from 1 to the 3 items"):
            precision_at_k(**GOOD, k=k)


def test_other_functions_check_their_arguments_too():
    for function in (average_precision, precision_at_k):
        with pytest.raises(ValueError, match=r"query_codes\[0, 0\] is 0.0"):
            function(**GOOD | {"query_codes": QUERY * 0}, k=1)
        with pytest.raises(ValueError, match="k must be an integer"):
            function(**GOOD, k=0)
        with pytest.raises(ValueError, match="ties is 'expectd'"):
            function(**GOOD, k=1, ties="expectd")
    with pytest.raises(ValueError, match=r"b\[0, 1\] is 0"):
        hamming_distance([[1, 1]], [[1, 0]])
    with pytest.raises(ValueError, match="a and b differ in length: 2 and 3 bits"):
        hamming_distance([[1, 1]], [[1, 1, 1]])
    with pytest.raises(ValueError, match="database_labels"):
        precision_recall_curve(QUERY, DATABASE, [0, 1], [0])


# A database of the queries themselves


CODES_OF_FOUR = np.array([[1, 1], [1, 1], [1, -1], [-1, -1]], np.int8)
LABELS_OF_FOUR = np.array([0, 1, 0, 1])


def test_leave_one_out_by_hand():
    # 0: 1 at distance 0, 2 (right) at 1, 3 at 2.     1: 0 at 0, 2 at 1, 3 (right) at 2.
    # 2: 0 (right), 1 and 3 all at 1.                 3: 2 at 1, 0 and 1 (right) at 2.
    pair = CODES_OF_FOUR, CODES_OF_FOUR, LABELS_OF_FOUR, LABELS_OF_FOUR
    rules = ("expected", "index", "best", "worst")
    found = evaluate(*pair, cuts=(None, 1), ties=rules, leave_one_out=True)
    precision = {rule: found.average_precision[rule, None].tolist() for rule in rules}
    assert precision == {
        "expected": pytest.approx([1 / 2, 1 / 3, (1 + 1 / 2 + 1 / 3) / 3, (1 / 2 + 1 / 3) / 2]),
        "index": pytest.approx([1 / 2, 1 / 3, 1, 1 / 3]),
        "best": pytest.approx([1 / 2, 1 / 3, 1, 1 / 2]),
        "worst": pytest.approx([1 / 2, 1 / 3, 1 / 3, 1 / 3]),
    }
    assert found.hits["expected", 1].tolist() == pytest.approx([0, 0, 1 / 3, 0])


@pytest.mark.parametrize("classes", [1, 4, 60])  # 60: some images are the only ones of their class
def test_leave_one_out_is_the_database_without_the_query(classes):
    rng = np.random.default_rng(classes)
    codes = rng.choice(np.array([-1, 1], np.int8), (40, 5))
    labels = rng.integers(0, classes, 40)
    asked = dict(cuts=(None, 1, 7), ties=("expected", "index", "best", "worst"))
    found = evaluate(codes, codes, labels, labels, **asked, leave_one_out=True)
    curves = []
    for query in range(40):
        rest = np.delete(np.arange(40), query)
        one = evaluate(codes[[query]], codes[rest], labels[[query]], labels[rest], **asked)
        for key, value in one.average_precision.items():
            assert found.average_precision[key][query] == pytest.approx(value[0], abs=1e-12)
            assert found.hits[key][query] == pytest.approx(one.hits[key][0], abs=1e-12)
        curves.append(one.curve)
    for place in (1, 2):
        expected = np.mean([curve[place] for curve in curves], axis=0)
        np.testing.assert_allclose(found.curve[place], expected, atol=1e-12)


def test_leave_one_out_of_a_single_image_finds_nothing():
    one = [[1, -1]], [[1, -1]], [0], [0]
    found = evaluate(*one, ties=("expected", "index"), leave_one_out=True)
    assert [value.tolist() for value in found.average_precision.values()] == [[0], [0]]


@pytest.mark.parametrize("place", [1, 3])
def test_leave_one_out_of_another_database_is_refused(place):
    arrays = [CODES_OF_FOUR, CODES_OF_FOUR, LABELS_OF_FOUR, LABELS_OF_FOUR]
    arrays[place] = arrays[place][[1, 2, 3, 0]]
    name = ["codes", "labels"][place // 2]
    with pytest.raises(ValueError, match=f"database_{name} must be those of the queries"):
        evaluate(*arrays, leave_one_out=True)
