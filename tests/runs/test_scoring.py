"""Protocols, controls and references, on codes small enough to rank by eye."""

import numpy as np
import pytest
import torch

from fdhmfe.config.settings import load
from fdhmfe.runs import scoring
from fdhmfe.runs.scoring import (
    Encoded,
    class_id_codes,
    metric_rows,
    nearest_proxy,
    unquantised_map,
)

PROXIES = torch.tensor([[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0]])
U = torch.tensor([[3.0, 0.1, 0.2], [-0.1, -5.0, 0.3]])


def test_nearest_proxy_is_by_cosine_and_skips_absent_classes():
    assert nearest_proxy(U, PROXIES).tolist() == [0, 1]
    absent = torch.full_like(PROXIES[:1], float("nan"))
    assert nearest_proxy(U, torch.cat([absent, PROXIES])).tolist() == [1, 2]


def test_class_id_codes_are_the_proxies_of_the_predicted_classes():
    posterior = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    codes = class_id_codes(posterior, PROXIES)
    assert codes.tolist() == [[1, 1, -1], [-1, 1, 1], [1, 1, -1]]


def test_unquantised_map_by_hand():
    # Angles 0 (query) and 10, 50, 30 degrees: right, wrong, right by cosine is 10, 30, 50.
    angles = torch.deg2rad(torch.tensor([10.0, 50.0, 30.0]))
    database = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[5.0], [1.0], [2.0]])
    query = torch.tensor([[2.0, 0.0]])
    value = unquantised_map(query, database, np.array([7]), np.array([7, 7, 3]))
    assert value == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_a_query_without_a_relevant_item_scores_zero():
    value = unquantised_map(U, U, np.array([0, 9]), np.array([0, 1]))
    assert value == pytest.approx(0.5)


@pytest.mark.parametrize("digits", [16, 1, 0])  # no ties, some, two values alone
def test_unquantised_map_is_the_precision_down_to_each_relevant_item(digits):
    rng = np.random.default_rng(0)
    query = torch.tensor([[1.0, 0.0]])
    for relevant in rng.random((20, 50)) < 0.2:
        angles = 0.2 + rng.random(50).round(digits)
        database = np.stack([np.cos(angles), np.sin(angles)], 1)
        expected = np.mean([relevant[angles <= own].mean() for own in angles[relevant]])
        value = unquantised_map(query, database, np.array([1]), relevant.astype(int))
        assert value == pytest.approx(expected, abs=1e-12)


def test_tied_items_count_together_whichever_comes_first():
    for labels in ([0, 1], [1, 0]):
        assert unquantised_map(U[:1], U[[0, 0]], np.array([1]), np.array(labels)) == 0.5


def test_a_code_that_is_not_a_number_has_no_rank():
    broken = U.clone()
    broken[1, 0] = float("nan")
    with pytest.raises(ValueError, match="must be finite"):
        unquantised_map(U, broken, np.array([0, 1]), np.array([0, 1]))


@pytest.mark.parametrize("at_once", [1, 2, 512])
def test_unquantised_map_leaves_each_image_out_of_its_own_ranking(monkeypatch, at_once):
    monkeypatch.setattr(scoring, "AT_ONCE", at_once)
    # At angles 0, 20, 50 degrees: 0 ranks 1, 2; 1 ranks 0, 2; 2 ranks 1, 0.
    angles = torch.deg2rad(torch.tensor([0.0, 20.0, 50.0]))
    u = torch.stack([angles.cos(), angles.sin()], 1)
    labels = np.array([0, 1, 0])
    value = unquantised_map(u, u, labels, labels, leave_one_out=True)
    assert value == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)


# Protocols. Labels 0 and 1 are trained on, 2 and 3 are not.


def of(*codes: str) -> torch.Tensor:
    """Relaxed codes, written as signs."""
    return torch.tensor([[0.5 if sign == "+" else -2.0 for sign in code] for code in codes])


FOLD = Encoded(
    query=of("++", "++"),
    database=of("++", "+-", "++", "-+", "--"),
    query_labels=np.array([0, 2]),
    database_labels=np.array([0, 1, 2, 3, 0]),
    proxies=of("++", "--").sign(),
    trained=np.array([True, True, False, False, True]),
)


def value_of(rows: list[dict], **wanted) -> float:
    """The value of the one row with these fields."""
    wanted = {"metric": "mAP", "ties": "expected", **wanted}
    (found,) = (row for row in rows if all(row.get(k) == v for k, v in wanted.items()))
    return float(found["value"])


def test_a_fold_is_scored_three_ways_from_the_same_codes():
    rows = metric_rows(FOLD, load(protocol="folds", fold=3, method="dpsh"), None)
    # Query 0 of class 0 finds 0 at distance 0, 1 (wrong) at 1, 4 at 2.
    assert value_of(rows, protocol="seen@seen") == pytest.approx((1 + 2 / 3) / 2)
    # Query 1 of class 2 finds 2 at distance 0, 3 (wrong) at 1.
    assert value_of(rows, protocol="unseen@unseen") == pytest.approx(1)
    # The same among all: 0 (wrong) and 2 at distance 0.
    assert value_of(rows, protocol="unseen@all") == pytest.approx((1 + 1 / 2) / 2)
    sizes = {row["protocol"]: (row["n_query"], row["n_database"]) for row in rows}
    assert sizes == {"seen@seen": (1, 3), "unseen@unseen": (1, 2), "unseen@all": (1, 5)}
    assert {row["fold"] for row in rows} == {3}
    assert {row["database_codes"] for row in rows} == {"network"}
    assert len(rows) == 3 * 5


def test_settings_of_a_fold_are_chosen_by_rows_of_another_name():
    config = load(protocol="folds-validation", method="dpsh")
    names = {row["protocol"] for row in metric_rows(FOLD, config, None)}
    ways = ("seen@seen", "unseen@unseen", "unseen@all")
    assert names == {f"validation {name}" for name in ways}


def test_top1_is_by_the_classes_of_each_scoring():
    rows = metric_rows(FOLD, load(protocol="folds", method="dpsh"), None)
    tops = {row["protocol"]: row["value"] for row in rows if row["metric"] == "top1"}
    # By proxies; by the means of classes 2 and 3; by the means of all four: "++" is the mean of
    # class 2, that of class 0 lies between "++" and "--".
    assert tops == {"seen@seen": 1, "unseen@unseen": 1, "unseen@all": 1}


def test_codes_solved_from_labels_count_where_their_images_are_the_database():
    solved = binary("--", "++", "++")  # of items 0, 1, 4
    rows = metric_rows(FOLD, load(protocol="folds", method="adsh"), solved)
    dcc = [row for row in rows if row["database_codes"] == "dcc"]
    assert {row["protocol"] for row in dcc} == {"seen@seen"}
    # Query 0: 1 (wrong) and 4 at distance 0, 0 at 2: 4 is first or second, 0 third.
    expected = ((1 + 1 / 2) / 2 + 2 / 3) / 2
    assert value_of(dcc, database_codes="dcc") == pytest.approx(expected)


def binary(*codes: str) -> np.ndarray:
    return of(*codes).sign().to(torch.int8).numpy()


def half_of(**beside) -> Encoded:
    u, labels = of("++", "++", "+-", "--"), np.array([5, 6, 5, 6])
    return Encoded(u, u, labels, labels, of("++", "--").sign(), np.zeros(4, bool), beside)


def test_half_leaves_each_query_out_and_names_recall():
    rows = metric_rows(half_of(), load(protocol="half", method="dpsh"), None)
    # As in test_metrics: AP 1/2, 1/3, (1 + 1/2 + 1/3) / 3, (1/2 + 1/3) / 2.
    assert value_of(rows) == pytest.approx((1 / 2 + 1 / 3 + 11 / 18 + 5 / 12) / 4)
    assert value_of(rows, metric="R@1") == pytest.approx((0 + 0 + 1 / 3 + 0) / 4)
    assert value_of(rows, metric="R@1") == value_of(rows, metric="P@1")
    assert [row["metric"] for row in rows] == ["mAP", "mAP", "P@1", "P@10", "R@1"]
    assert {(row["protocol"], row["fold"]) for row in rows} == {("half", "")}
    assert {(row["n_query"], row["n_database"]) for row in rows} == {(4, 3)}


# Beside a run's own rows


CLASSES = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])  # of three database images
ANGLES = torch.deg2rad(torch.tensor([0.0, 10.0, 55.0, 30.0]))
FEATURES = torch.stack([ANGLES.cos(), ANGLES.sin()], 1)  # of the query, then the database
BESIDE = Encoded(
    query=of("+-"),
    database=of("+-", "-+", "-+"),
    query_labels=np.array([0]),
    database_labels=np.array([0, 0, 1]),
    proxies=of("++", "--").sign(),
    trained=np.ones(3, bool),
    beside={
        "read-out": (of("++"), of("--", "++", "+-")),
        "posterior": (CLASSES[:1], CLASSES),
        "features": (FEATURES[:1], FEATURES[1:]),
    },
)


def test_controls_and_read_out_by_hand():
    rows = metric_rows(BESIDE, load(method="dpsh"), None)
    # Class-id: the query is of class 0, the database of 0, 1, 1: distances 0, 2, 2.
    tied = (2 / 2 + 2 / 3) / 2
    assert value_of(rows, method="class-id") == pytest.approx((1 + tied) / 2)
    # Cosine ranks 0 (right), 2 (wrong), 1 (right).
    assert value_of(rows, method="cosine") == pytest.approx((1 + 2 / 3) / 2)
    # Read-out: distances 2, 0, 1.
    assert value_of(rows, coder="read-out") == pytest.approx((1 + 2 / 3) / 2)
    names = [row["method"] for row in rows if "method" in row]
    assert names == ["dpsh, read-out", "class-id", "cosine"]
    assert {row["database_codes"] for row in rows} == {"network"}


@pytest.mark.parametrize("method", ["fdh-mfe", "fdh-mfe+", "dpsh"])
def test_unquantised_is_a_reference_of_ours_alone(method):
    rows = metric_rows(FOLD, load(method=method), None)
    assert any(row.get("method") == "unquantised" for row in rows) == (method != "dpsh")


def test_what_stands_beside_is_split_with_the_codes():
    features = FEATURES[:2], FEATURES[[0, 1, 2, 3, 0]]
    posterior = CLASSES[:2], CLASSES[[0, 1, 0, 2, 2]]
    beside = {"posterior": posterior, "features": features}
    rows = metric_rows(FOLD._replace(beside=beside), load(protocol="folds", method="dpsh"), None)
    found = [(row["protocol"], row["n_database"]) for row in rows if row.get("method") == "cosine"]
    assert found == [("seen@seen", 3), ("unseen@unseen", 2), ("unseen@all", 5)]
    # unseen@unseen, query of predicted class 1, items of 0 (right) and 1 (wrong): distances 2, 0.
    found = value_of(rows, method="class-id", protocol="unseen@unseen")
    assert found == pytest.approx(1 / 2)


def test_controls_leave_the_query_out_in_protocol_half():
    # All posteriors alike, so all codes are: the one relevant item is first, second or third.
    flat, features = torch.tensor([[0.6, 0.4]] * 4), FEATURES
    encoded = half_of(posterior=(flat, flat), features=(features, features))
    rows = metric_rows(encoded, load(protocol="half", method="dpsh"), None)
    tied = (1 + 1 / 2 + 1 / 3) / 3
    assert value_of(rows, method="class-id") == pytest.approx(tied)
    # At 0, 10, 55, 30 degrees, classes 5, 6, 5, 6: the right ones are third, second, third, first.
    expected = (1 / 3 + 1 / 2 + 1 / 3 + 1) / 4
    assert value_of(rows, method="cosine") == pytest.approx(expected)
