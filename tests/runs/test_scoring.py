"""The reference rows, on codes small enough to rank by eye."""

import numpy as np
import pytest
import torch

from fdhmfe.runs.scoring import class_id_codes, nearest_proxy, unquantised_map

PROXIES = torch.tensor([[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0]])
U = torch.tensor([[3.0, 0.1, 0.2], [-0.1, -5.0, 0.3]])


def test_nearest_proxy_is_by_cosine_and_skips_absent_classes():
    assert nearest_proxy(U, PROXIES).tolist() == [0, 1]
    absent = torch.full_like(PROXIES[:1], float("nan"))
    assert nearest_proxy(U, torch.cat([absent, PROXIES])).tolist() == [1, 2]


def test_class_id_codes_are_the_proxies_of_the_predicted_classes():
    codes = class_id_codes(U, PROXIES)
    assert codes.tolist() == [[1, 1, -1], [-1, 1, 1]]
    assert codes.dtype == np.int8


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
