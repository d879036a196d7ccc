"""Fusion, selection and token grids, on numbers small enough to follow by hand."""

import pytest
import torch
from torch import Tensor

from fdhmfe.stages import (
    Fusion,
    Selector,
    best_tokens,
    resize_tokens,
    stage_means,
    take,
    to_tokens,
)

CHANNELS, SIZES = [3, 5, 7], [(4, 4), (3, 3), (2, 2)]
COUNTS = [16, 9, 4]


@pytest.fixture
def stages() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, channels, *size, generator=generator)
        for size, channels in zip(SIZES, CHANNELS, strict=True)
    ]


@pytest.fixture
def fusion() -> Fusion:
    torch.manual_seed(0)
    return Fusion(CHANNELS, 6)


def test_take_by_hand():
    x = torch.arange(12.0).reshape(2, 3, 2)
    assert take(x, torch.tensor([[2, 0], [1, 1]])).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def test_the_means_of_stages_stand_side_by_side_shallow_first():
    shallow = torch.arange(8.0).reshape(1, 2, 2, 2)  # channels 0..3 and 4..7
    deep = torch.tensor([[[[10.0]], [[20.0]], [[30.0]]]])
    assert stage_means([shallow, deep]).tolist() == [[1.5, 5.5, 10, 20, 30]]


def test_tokens_of_a_map_come_row_by_row():
    x = torch.arange(12.0).reshape(1, 2, 2, 3)  # two channels, two rows, three columns
    assert to_tokens(x).tolist() == [[[0, 6], [1, 7], [2, 8], [3, 9], [4, 10], [5, 11]]]


def test_resize_tokens_of_a_map_that_is_no_square_by_hand():
    # 2 x 4, numbered by row: the mean of each 2 x 2 block, then of each pair in a row
    tokens = torch.arange(8.0).reshape(1, 8, 1)
    assert resize_tokens(tokens, (2, 4), (1, 2)).flatten().tolist() == [2.5, 4.5]
    assert resize_tokens(tokens, (2, 4), (2, 2)).flatten().tolist() == [0.5, 2.5, 4.5, 6.5]
    assert resize_tokens(tokens, (2, 4), (4, 4)).shape == (1, 16, 1)


def test_resize_tokens_down_by_hand():
    # 4x4 grid 0..15, one channel: the mean of each 2x2 block
    tokens = torch.arange(16.0).reshape(1, 16, 1)
    assert resize_tokens(tokens, (4, 4), (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert resize_tokens(tokens, (4, 4), (1, 1)).flatten().tolist() == [7.5]


def test_resize_tokens_down_to_a_side_that_does_not_divide_by_hand():
    # 3x3 -> 2x2 averages overlapping 2x2 windows
    tokens = torch.arange(9.0).reshape(1, 9, 1)
    assert resize_tokens(tokens, (3, 3), (2, 2)).flatten().tolist() == [2, 3, 5, 6]


def test_resize_tokens_up_by_hand():
    # 1x2 doubled along a row is a, 3a/4 + b/4, a/4 + 3b/4, b; here rows differ by 8, columns by 4
    tokens = torch.tensor([0.0, 4.0, 8.0, 12.0]).reshape(1, 4, 1)
    up = resize_tokens(tokens, (2, 2), (4, 4)).reshape(4, 4)
    assert up[0].tolist() == [0, 1, 3, 4]
    assert up[:, 0].tolist() == [0, 2, 6, 8]
    torch.testing.assert_close(up, up[:1] + up[:, :1])


def test_resize_tokens_keeps_channels_and_images_apart():
    tokens = torch.zeros(2, 4, 3)
    tokens[1, :, 2] = 5
    for side in (1, 3, 4):
        count, resized = side**2, resize_tokens(tokens, (2, 2), (side, side))
        assert resized.shape == (2, count, 3)
        torch.testing.assert_close(resized[1, :, 2], torch.full((count,), 5.0))
        assert resized.sum() == pytest.approx(5 * count)


def test_fusion_shapes_and_inputs_left_alone(fusion, stages):
    before = [x.clone() for x in stages]
    fused = fusion(stages)
    assert [x.shape for x in fused] == [(2, count, 6) for count in COUNTS]
    assert len(stages) == 3
    assert all(torch.equal(a, b) for a, b in zip(stages, before, strict=True))


def reach(fusion: Fusion, stages: list[Tensor]) -> list[list[bool]]:
    """Entry [i][j]: does a change of stage i change fused stage j?"""
    plain = fusion(stages)
    table = []
    for i in range(len(stages)):
        moved = [x + (level == i) * torch.randn(x.shape) for level, x in enumerate(stages)]
        pairs = zip(fusion(moved), plain, strict=True)
        table.append([not torch.equal(a, b) for a, b in pairs])
    return table


def test_with_fusion_every_stage_reaches_every_other(fusion, stages):
    assert reach(fusion, stages) == [[True] * 3] * 3


def test_without_fusion_no_stage_reaches_another(stages):
    torch.manual_seed(0)
    alone = Fusion(CHANNELS, 6, exchange=False)
    assert reach(alone, stages) == [[i == j for j in range(3)] for i in range(3)]
    assert sum(p.numel() for p in alone.parameters()) == sum(6 * c + 18 for c in CHANNELS)


def test_images_of_a_batch_do_not_mix(fusion, stages):
    alone = fusion([x[:1] for x in stages])
    both = fusion(stages)
    for a, b in zip(alone, both, strict=True):
        torch.testing.assert_close(a, b[:1])


def test_fusion_by_hand():
    # Two stages of one token and width 2 with identity links: f = lateral + gelu(...) each way
    fusion = Fusion([2, 2], 2)
    for linear in (*fusion.down, *fusion.up, *(lateral[0] for lateral in fusion.lateral)):
        linear.weight.data, linear.bias.data = torch.eye(2), torch.zeros(2)
    shallow, deep = torch.tensor([1.0, 3.0]), torch.tensor([5.0, 1.0])
    # layer norm of two numbers gives -1 and +1; gelu(1) = 0.841345, gelu(-1) = -0.158655
    expected = torch.tensor([-1 + 0.841345, 1 - 0.158655])  # (-1, 1) + gelu(1, -1)
    fused = fusion([x.reshape(1, 2, 1, 1) for x in (shallow, deep)])
    torch.testing.assert_close(fused[0][0, 0], expected, atol=1e-4, rtol=0)
    back = torch.tensor([1.0, -1.0]) + torch.nn.functional.gelu(expected)
    torch.testing.assert_close(fused[1][0, 0], back, atol=1e-4, rtol=0)


# Selection


def test_best_tokens_by_hand():
    # Class sums over the 4 tokens: 6, 4, 1, so the image's class is 0. Against its other classes,
    # token 3 (3 - 0) is surest of 0, then token 1 (2 - 1), then 0 (1 - 1), then 2 (0 - 2).
    logits = torch.tensor([[[1.0, 1, 0], [2, 1, 0], [0, 2, 1], [3, 0, 0]]])
    assert best_tokens(logits, 4).tolist() == [[3, 1, 0, 2]]
    assert best_tokens(logits, 2).tolist() == [[3, 1]]


def test_best_tokens_are_sure_of_the_images_class_not_of_any():
    # token 2 is very sure of class 1, but the image as a whole is of class 0
    logits = torch.tensor([[[5.0, 0], [4, 0], [0, 8]]])
    assert best_tokens(logits, 2).tolist() == [[0, 1]]


def test_best_tokens_keeps_all_where_there_are_fewer():
    assert best_tokens(torch.randn(2, 3, 4), 10).sort(1).values.tolist() == [[0, 1, 2]] * 2


def test_best_tokens_keeps_all_where_none_is_left_out():
    assert best_tokens(torch.randn(2, 70, 4), None).sort(1).values.tolist() == [[*range(70)]] * 2


def test_best_tokens_breaks_ties_by_position():
    assert best_tokens(torch.zeros(1, 50, 3), 5).tolist() == [[0, 1, 2, 3, 4]]


def test_selector_returns_what_it_says():
    torch.manual_seed(0)
    tokens = [torch.randn(2, count, 6) for count in COUNTS]
    before = [x.clone() for x in tokens]
    selector = Selector(stages=3, width=6, classes=5, keep=2, nodes=5)
    nodes, index, kept_index, logits = selector(tokens)
    assert [x.shape for x in nodes] == [(2, 5, 6), (2, 5, 6), (2, 4, 6)]
    assert [x.shape for x in index] == [(2, 5), (2, 5), (2, 4)]
    assert [x.shape for x in logits] == [(2, count, 5) for count in COUNTS]
    for level in range(3):
        torch.testing.assert_close(logits[level], selector.classifiers[level](tokens[level]))
        assert torch.equal(nodes[level], take(tokens[level], index[level]))
        assert torch.equal(kept_index[level], best_tokens(logits[level], 2))
        assert torch.equal(kept_index[level], index[level][:, :2])
        assert all(len(set(row)) == len(row) for row in index[level].tolist())
    assert all(torch.equal(a, b) for a, b in zip(tokens, before, strict=True))


def test_nodes_carry_gradients_and_choosing_does_not():
    tokens = torch.randn(1, 9, 6, requires_grad=True)
    nodes, index, _, logits = Selector(1, 6, 5, keep=1, nodes=2)([tokens])
    nodes[0].sum().backward()
    chosen = torch.zeros(9, dtype=torch.bool)
    chosen[index[0][0]] = True
    assert (tokens.grad[0, chosen] == 1).all()
    assert (tokens.grad[0, ~chosen] == 0).all()
    assert logits[0].requires_grad
