"""Codes packed and compared: what stands in the words, distances, and ties."""

import numpy as np
import pytest
import torch

from fdhmfe.codes import blocks, code_bytes, hamming, nearest, pack, unpack

LENGTHS = (1, 12, 63, 64, 65, 128, 255, 256, 300)


def random_codes(count: int, bits: int) -> np.ndarray:
    return np.random.default_rng([count, bits]).choice(np.array([-1, 1], np.int8), (count, bits))


@pytest.mark.parametrize("bits", LENGTHS)
def test_packing_keeps_codes_and_distances(bits):
    codes, others = random_codes(50, bits), random_codes(7, bits)
    others[0] = -codes[0]  # as far apart as can be
    words = pack(codes)
    assert words.dtype == np.uint64 and words.shape == (50, -(-bits // 64))
    np.testing.assert_array_equal(unpack(words, bits), codes)
    truth = (others[:, None] != codes).sum(axis=2)
    np.testing.assert_array_equal(hamming(pack(others), words), truth)
    np.testing.assert_array_equal(hamming(code_bytes(others), code_bytes(codes)), truth)


def test_bytes_have_the_first_bit_on_top():
    code = [[+1, -1, -1, -1, -1, -1, -1, +1, +1, -1]]
    for codes in (code, np.array(code, np.int8), torch.tensor(code)):
        assert code_bytes(codes).tolist() == [[0b10000001, 0b10000000]]
    with pytest.raises(ValueError, match=r"codes\[0, 1\] is 0; codes must be -1 or \+1"):
        code_bytes(np.array([[1, 0]]))


def test_the_nearest_come_by_distance_then_by_place():
    codes = np.ones((6, 12), np.int8)
    codes[[0, 2, 4], 0] = -1
    places, distances = nearest(pack(codes[:1]), pack(codes), k=5)
    assert places.tolist() == [[0, 2, 4, 1, 3]] and distances.tolist() == [[0, 0, 0, 1, 1]]
    assert (distances - 1).min() == -1  # signed: differences are safe


@pytest.mark.parametrize(
    ("count", "size", "expected"), [(0, 3, []), (2, 3, [(0, 2)]), (7, 3, [(0, 3), (3, 6), (6, 7)])]
)
def test_blocks_cover_all_rows(count, size, expected):
    assert [(each.start, each.stop) for each in blocks(count, size)] == expected
