"""The graph on four nodes by hand, and what may not reach the image vector."""

import pytest
import torch
from torch import Tensor, nn

from fdhmfe.graph import AttentionReadout, GraphLayer, LearnedAdjacency, TokenGraph
from fdhmfe.stages import Selector


def set_linear(linear: nn.Linear, weight: Tensor, bias: float = 0.0) -> None:
    linear.weight.data = weight
    if linear.bias is not None:
        linear.bias.data.fill_(bias)


@pytest.fixture
def nodes() -> Tensor:
    return torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))


def test_graph_convolution_on_four_nodes_by_hand():
    # A path 0 - 1 - 2 - 3 with identity weights: out_i = x_i + the weighted sum of i's neighbours
    layer = GraphLayer(2).convolution
    set_linear(layer.lin_rel, torch.eye(2))
    set_linear(layer.lin_root, torch.eye(2))
    x = torch.tensor([[[1.0, 0], [2, 0], [4, 8], [0, 2]]])
    path = torch.tensor([[[0, 1, 0, 0], [0.25, 0, 0.75, 0], [0, 0.5, 0, 0.5], [0, 0, 2, 0]]])
    # messages: 0 <- (2, 0); 1 <- (0.25, 0) + (3, 6); 2 <- (1, 0) + (0, 1); 3 <- 2 (4, 8)
    assert layer(x, path).tolist() == [[[3, 0], [5.25, 6], [5, 9], [8, 18]]]


def test_adjacency_by_hand():
    adjacency = LearnedAdjacency(4)
    for linear in (adjacency.query, adjacency.key):
        set_linear(linear, torch.eye(4))
    x = torch.zeros(1, 2, 4)
    x[0, 1, 0] = 2.0
    # x x^T / sqrt(4) = [[0, 0], [0, 2]], softmax of each row
    high = torch.tensor(2.0).sigmoid().item()
    expected = torch.tensor([[[0.5, 0.5], [1 - high, high]]])
    torch.testing.assert_close(adjacency(x), expected)


def test_adjacency_rows_sum_to_one(nodes):
    rows = LearnedAdjacency(8)(nodes)
    assert rows.shape == (2, 6, 6)
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, 6))
    assert (rows > 0).all()


def test_graph_layer_by_hand():
    # With all edge weights equal, every node hears the mean of all nodes: with opposite nodes, 0.
    layer = GraphLayer(2)
    set_linear(layer.adjacency.query, torch.zeros(2, 2))
    set_linear(layer.convolution.lin_rel, torch.eye(2))
    set_linear(layer.convolution.lin_root, torch.zeros(2, 2))
    opposite = torch.tensor([[[3.0, 1.0], [1.0, 3.0]]])  # layer norm: (1, -1) and (-1, 1)
    torch.testing.assert_close(layer(opposite), opposite)
    alike = torch.tensor([[[3.0, 1.0], [5.0, 2.0]]])  # both (1, -1) after the norm
    message = torch.tensor([0.841345, -0.158655])  # gelu(1), gelu(-1)
    torch.testing.assert_close(layer(alike), alike + message, atol=1e-4, rtol=0)


def test_readout_is_a_weighted_mean_by_hand():
    readout = AttentionReadout(2)
    set_linear(readout.score, torch.tensor([[1.0, 0.0]]))
    x = torch.tensor([[[3.0, 1.0], [1.0, 3.0]]])  # normed (1, -1) and (-1, 1), scores 1 and -1
    weight = torch.tensor(2.0).sigmoid().item()  # softmax of (1, -1)
    mean = 2 * weight - 1
    expected = torch.tensor([[mean, -mean]])
    torch.testing.assert_close(readout(x), expected, atol=1e-4, rtol=0)


def test_order_of_the_nodes_does_not_matter(nodes):
    torch.manual_seed(0)
    graph = TokenGraph(stages=1, width=8, depth=2)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(graph([nodes]), graph([nodes[:, order]]))


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_shapes_and_inputs_left_alone(nodes, depth):
    kept = [nodes, nodes[:, :4] + 1, nodes[:, :1]]
    before = [x.clone() for x in kept]
    vector = TokenGraph(stages=3, width=8, depth=depth)(kept)
    assert vector.shape == (2, 8)
    assert all(torch.equal(a, b) for a, b in zip(kept, before, strict=True))


def test_images_of_a_batch_do_not_mix(nodes):
    graph = TokenGraph(stages=1, width=8, depth=2)
    torch.testing.assert_close(graph([nodes[:1]]), graph([nodes])[:1])


def heard(depth: int, nodes: Tensor) -> Tensor:
    """Which nodes each node hears from: (N, N) bool, by gradients."""
    torch.manual_seed(0)
    layers = TokenGraph(stages=1, width=8, depth=depth).layers
    x = nodes[:1].clone().requires_grad_()
    out = layers(x)
    rows = [torch.autograd.grad(out[0, i].sum(), x, retain_graph=True)[0] for i in range(6)]
    return torch.stack([row[0].abs().sum(-1) > 0 for row in rows])


def test_nodes_hear_each_other_only_through_layers(nodes):
    assert torch.equal(heard(0, nodes), torch.eye(6, dtype=torch.bool))
    assert heard(1, nodes).all()


def test_stage_embedding_tells_the_stages_apart(nodes):
    torch.manual_seed(0)
    graph = TokenGraph(stages=2, width=8, depth=1)
    nn.init.normal_(graph.stage_embedding)
    a, b = nodes[:, :3], nodes[:, 3:]
    assert not torch.allclose(graph([a, b]), graph([b, a]))


def test_tokens_that_are_no_nodes_cannot_change_the_image_vector():
    torch.manual_seed(0)
    selector, graph = Selector(2, 8, 5, keep=1, nodes=3), TokenGraph(2, 8, depth=2)
    tokens = [torch.randn(2, 16, 8), torch.randn(2, 4, 8)]
    plain = selector(tokens)
    moved = [x.clone() for x in tokens]
    for x, index in zip(moved, plain.node_index, strict=True):
        outside = torch.ones(x.shape[:2], dtype=torch.bool).scatter_(1, index, False)
        x[outside] *= 1 - 1e-4  # little enough to stay outside
    again = selector(moved)
    assert all(torch.equal(a, b) for a, b in zip(again.node_index, plain.node_index, strict=True))
    assert not torch.equal(again.logits[0], plain.logits[0])
    assert torch.equal(graph(again.nodes), graph(plain.nodes))
