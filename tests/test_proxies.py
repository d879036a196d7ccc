"""Codes, and proxies that keep their distance."""

import numpy as np
import pytest
import torch

from fdhmfe.baselines.centres import balanced_codes, hash_centres
from fdhmfe.network import HashLayer, binarise
from fdhmfe.proxies import (
    arrange,
    class_similarity,
    maxmin_proxies,
    minimum_distance,
    random_proxies,
)

SIZES = [(10, 12), (12, 12), (48, 12), (100, 12), (200, 12), (12, 24), (100, 24)]
SIZES += [(200, 24), (100, 32), (48, 48), (200, 48)]


def test_hash_layer_centres_each_bit_in_training():
    torch.manual_seed(0)
    layer = HashLayer(6, 4)
    u = layer(torch.randn(32, 6) + 10)
    assert u.shape == (32, 4)
    torch.testing.assert_close(u.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(u.std(0, unbiased=False), torch.ones(4), atol=1e-3, rtol=0)


def test_hash_layer_codes_do_not_depend_on_the_batch_in_evaluation():
    torch.manual_seed(0)
    layer = HashLayer(6, 4)
    v = torch.randn(32, 6)
    layer(v)
    layer.eval()
    torch.testing.assert_close(layer(v)[:1], layer(v[:1]))


def test_binarise_by_hand_and_zero_becomes_plus_one():
    u = torch.tensor([[-2.0, -1e-30, -0.0, 0.0, 1e-30, 3.0]])
    before = u.clone()
    codes = binarise(u)
    assert codes.tolist() == [[-1, -1, 1, 1, 1, 1]]
    assert codes.dtype == torch.int8
    assert torch.equal(u, before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_binarise_refuses_what_is_not_finite_and_says_where(bad):
    u = torch.zeros(5, 3)
    u[3, 1] = bad
    with pytest.raises(ValueError, match="output 3 is not finite"):
        binarise(u)


def test_minimum_distance_by_hand():
    codes = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [-1, -1, -1, 1]], np.int8)
    assert minimum_distance(codes) == 2  # rows 0 and 1 differ in 2 bits, the other pairs in 3
    assert minimum_distance(np.ones((2, 5), np.int8)) == 0


@pytest.mark.parametrize(("classes", "bits"), SIZES)
def test_maxmin_proxies_are_codes_at_least_as_far_apart_as_random_ones(classes, bits):
    proxies = maxmin_proxies(classes, bits, seed=0)
    assert (proxies.shape, proxies.dtype) == ((classes, bits), np.int8)
    assert set(np.unique(proxies)) == {-1, 1}
    random = max(minimum_distance(random_proxies(classes, bits, seed)) for seed in range(20))
    assert minimum_distance(proxies) >= max(1, random)


@pytest.mark.parametrize(
    ("classes", "bits", "least"),
    # what a linear code with that many words is known to reach, less a little for the search
    [(200, 12, 2), (48, 12, 4), (200, 24, 7), (200, 32, 11), (200, 48, 18)],
)
def test_maxmin_proxies_come_near_the_best_known_codes(classes, bits, least):
    assert minimum_distance(maxmin_proxies(classes, bits, seed=1)) >= least


def test_every_class_gets_its_own_code_at_the_limit():
    proxies = maxmin_proxies(16, 4, seed=0)
    assert len(np.unique(proxies, axis=0)) == 16
    assert (proxies.sum(0) == 0).all()


@pytest.mark.parametrize(("classes", "bits"), [(17, 4), (200, 7), (4097, 12)])
def test_too_few_bits_are_refused(classes, bits):
    with pytest.raises(ValueError, match=rf"{bits} bits cannot tell {classes} classes apart"):
        maxmin_proxies(classes, bits, seed=0)


@pytest.mark.parametrize(("classes", "bits"), [(48, 12), (100, 24), (200, 12), (200, 48)])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_bit_of_maxmin_proxies_splits_the_classes_about_evenly(classes, bits, seed):
    mean = np.abs(maxmin_proxies(classes, bits, seed).mean(0))
    assert mean.max() <= 4 / np.sqrt(classes)  # four standard deviations of a fair coin
    assert mean.max() < 1


@pytest.mark.parametrize("draw", [maxmin_proxies, random_proxies, hash_centres, balanced_codes])
def test_proxies_follow_from_the_seed(draw):
    first = draw(48, 24, 3)
    np.random.seed(1)
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, draw(48, 24, 3))
    assert (first != draw(48, 24, 4)).any()


def test_class_similarity_by_hand():
    features = np.array([[5.0, 3], [5, -3], [1, 0], [5, 3], [5, -3], [1, 0], [1, 0], [1, 0]])
    labels = np.array([0, 1, 3, 0, 1, 3, 3, 3])  # none of class 2
    standard = (features - [3, 0]) / [2, 9 / np.sqrt(18)]
    means = {0: standard[0], 1: standard[1], 3: standard[2]}
    centred = {y: mean - sum(means.values()) / 3 for y, mean in means.items()}
    similarity = class_similarity(features, labels)
    np.testing.assert_allclose(similarity, similarity.T)
    assert (similarity.diagonal() == 0).all() and (similarity[2] == 0).all()
    for i, j in ((0, 1), (0, 3), (1, 3)):
        lengths = np.linalg.norm(centred[i]) * np.linalg.norm(centred[j])
        assert similarity[i, j] == pytest.approx(centred[i] @ centred[j] / lengths, abs=1e-5)


def test_classes_with_the_same_mean_are_alike_to_none():
    same = class_similarity(np.array([[1.0, 2], [3, 4], [1, 2], [3, 4]]), np.array([0, 0, 1, 1]))
    assert (same == 0).all()


def test_classes_that_are_alike_get_near_proxies():
    near, far = [[1, 1, 1, 1], [1, 1, 1, -1]], [[-1, -1, -1, -1], [-1, -1, -1, 1]]
    proxies = np.array([near[0], far[0], near[1], far[1]], np.int8)
    similarity = np.zeros((4, 4))
    similarity[[0, 1, 2, 3], [1, 0, 3, 2]] = 1.0  # 0 with 1, and 2 with 3
    arranged = arrange(proxies, similarity)
    assert arranged.dtype == np.int8
    assert sorted(arranged.tolist()) == sorted(proxies.tolist())
    assert [int(arranged[i] @ arranged[j]) for i, j in ((0, 1), (2, 3))] == [2, 2]


@pytest.mark.parametrize(("classes", "bits"), [(3, 12), (10, 12), (30, 48)])
def test_no_exchange_of_two_proxies_betters_the_arrangement(classes, bits):
    rng = np.random.default_rng(0)
    similarity = class_similarity(rng.normal(size=(4 * classes, 5)), np.arange(4 * classes) // 4)
    drawn = maxmin_proxies(classes, bits, seed=0)

    def worth(proxies):
        return (similarity * (proxies.astype(int) @ proxies.T)).sum()

    arranged = arrange(drawn, similarity)
    assert sorted(arranged.tolist()) == sorted(drawn.tolist())
    assert worth(arranged) >= worth(drawn)
    for i in range(classes):
        for j in range(i):
            exchanged = arranged.copy()
            exchanged[[i, j]] = exchanged[[j, i]]
            assert worth(exchanged) <= worth(arranged) + 1e-6


@pytest.mark.parametrize("wrong", [[[0.0, 0.5], [0.1, 0]], [[1.0, 0.5], [0.5, 1]]])
def test_arrangement_refuses_what_is_no_similarity_of_classes(wrong):
    with pytest.raises(ValueError, match="symmetric, and 0 on the diagonal"):
        arrange(random_proxies(2, 8, seed=0), np.array(wrong))


@pytest.mark.parametrize("alike", [0.0, np.nan])
def test_arrangement_leaves_proxies_where_no_classes_are_alike(alike):
    drawn = random_proxies(6, 8, seed=0)
    similarity = np.where(np.eye(6) == 1, 0.0, alike)
    np.testing.assert_array_equal(arrange(drawn, similarity), drawn)


def test_random_proxies_are_fair():
    proxies = random_proxies(200, 48, 0)
    assert set(np.unique(proxies)) == {-1, 1}
    assert abs(proxies.mean()) < 4 / np.sqrt(proxies.size)


def test_hash_centres_by_hand():
    assert sorted(hash_centres(2, 1, seed=0).tolist()) == [[-1], [1]]
    rows = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
    negative = [[-bit for bit in row] for row in rows]
    assert sorted(hash_centres(8, 4, seed=0).tolist()) == sorted(rows + negative)


@pytest.mark.parametrize(("classes", "bits"), [(48, 32), (64, 32), (100, 64), (2, 16)])
def test_hash_centres_are_hadamard_rows_where_there_are_enough(classes, bits):
    centres = hash_centres(classes, bits, seed=0)
    assert (centres.shape, centres.dtype) == ((classes, bits), np.int8)
    inner = centres.astype(int) @ centres.T
    assert set(np.unique(inner)) <= {-bits, 0, bits}
    assert minimum_distance(centres) >= bits // 2


@pytest.mark.parametrize("classes", [12, 48, 100, 200, 555])
@pytest.mark.parametrize("bits", [12, 16, 24, 32, 48, 64])
def test_hash_centres_never_fail(classes, bits):
    centres = hash_centres(classes, bits, seed=0)
    assert centres.shape == (classes, bits)
    assert set(np.unique(centres)) == {-1, 1}
    assert minimum_distance(centres) >= max(2, minimum_distance(balanced_codes(classes, bits, 0)))


def test_balanced_codes_are_balanced():
    assert (balanced_codes(50, 12, 0).sum(1) == 0).all()
    assert (balanced_codes(50, 7, 0).sum(1) == 1).all()
    assert abs(balanced_codes(2000, 12, 0).mean(0)).max() < 4 / np.sqrt(2000)
