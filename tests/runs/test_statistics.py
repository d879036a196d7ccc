"""Code statistics and the share of kept tokens on the object, by hand."""

import numpy as np
import pytest

from fdhmfe.runs.statistics import code_statistics, coverage, coverages, share_on_object


def test_code_statistics_by_hand():
    # Bits 1 and 2 agree always, bit 3 never changes; classes {0, 1} and {2, 3}.
    codes = np.array([[1, 1, 1], [1, 1, 1], [-1, -1, 1], [1, 1, 1]], np.int8)
    found = code_statistics(codes, np.array([0, 0, 1, 1]))
    assert found["bit balance"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found["bit correlation"] == pytest.approx(1)
    assert found["within"] == pytest.approx((0 + 2) / 2)
    assert found["between"] == pytest.approx((2 + 0 + 2 + 0) / 4)
    assert found["distinct codes"] == pytest.approx(2 / 4)


def test_independent_bits_are_balanced_and_uncorrelated():
    codes = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.int8)
    found = code_statistics(codes, np.array([0, 0, 1, 1]))
    assert (found["bit balance"], found["bit correlation"]) == (0, 0)


def test_constant_codes_have_statistics_too():
    found = code_statistics(np.ones((3, 4), np.int8), np.array([0, 0, 1]))
    assert (found["bit balance"], found["bit correlation"], found["within"]) == (1, 0, 0)


def test_coverage_by_hand():
    mask = np.zeros((4, 6), bool)
    mask[:2, :3] = True  # the upper left quarter
    assert coverage(mask, 2, 0.0).tolist() == [1, 0, 0, 0]
    # Three columns of cells of two pixels, three rows of 4/3 pixels: the second row is half in.
    np.testing.assert_allclose(coverage(mask, 3, 0.0), [1, 0.5, 0, 0.5, 0.25, 0, 0, 0, 0])


def test_a_shifted_grid_covers_other_pixels_and_what_is_outside_does_not_count():
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True
    # Cells of two pixels, half a cell up and left: pixel 0, then pixels 1 and 2, of each row.
    np.testing.assert_allclose(coverage(mask, 2, -0.5), [1, 0.5, 0.5, 0.25])
    np.testing.assert_allclose(coverage(mask, 2, 0.5), [0.25, 0, 0, 0])


def test_share_on_object_by_hand_and_chance():
    masks = [np.array([[1, 0], [0, 0]], bool), np.array([[1, 1], [1, 0]], bool)]
    covered = coverages(masks, 4, 0.0)
    assert share_on_object(np.array([[0, 1], [0, 3]]), covered) == pytest.approx(0.5)
    everything = np.tile(np.arange(4), (2, 1))
    assert share_on_object(everything, covered) == pytest.approx((0.25 + 0.75) / 2)
