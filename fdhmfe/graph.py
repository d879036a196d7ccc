"""The graph network: the selected tokens of all stages are nodes that exchange messages.

Reconstruction: the abstract only asks for a graph neural network. Letters: B images, L stages, m
nodes per stage, N = L * m nodes, D width.
"""

import warnings

import torch
from torch import Tensor, nn

with warnings.catch_warnings():  # importing torch_geometric trips torch.jit's deprecation notice
    warnings.simplefilter("ignore", FutureWarning)
    from torch_geometric.nn import DenseGraphConv


class LearnedAdjacency(nn.Module):
    """Edge weights from node similarity: A = softmax(Q K^T / sqrt(D)); each row sums to one.

    nodes (B, N, D) -> (B, N, N). Every node is linked to every other, of its own stage and of other
    stages, so one message connects a shallow detail and a deep part.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)

    def forward(self, nodes: Tensor) -> Tensor:
        scores = self.query(nodes) @ self.key(nodes).transpose(1, 2)
        return (scores / nodes.shape[-1] ** 0.5).softmax(-1)


class GraphLayer(nn.Module):
    """One round of messages: x <- x + GELU(W1 A z + W2 z), z = LN(x); (B, N, D) -> (B, N, D).

    The graph convolution is that of arXiv 1810.02244, made for weighted edges.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.adjacency = LearnedAdjacency(width)
        self.convolution = DenseGraphConv(width, width)

    def forward(self, nodes: Tensor) -> Tensor:
        normed = self.norm(nodes)
        return nodes + nn.functional.gelu(self.convolution(normed, self.adjacency(normed)))


class AttentionReadout(nn.Module):
    """Nodes (B, N, D) -> one vector (B, D): a weighted mean with learned weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)

    def forward(self, nodes: Tensor) -> Tensor:
        normed = self.norm(nodes)
        return (self.score(normed).softmax(1) * normed).sum(1)


class TokenGraph(nn.Module):
    """Stage embeddings, `depth` graph layers, attention read-out.

    nodes: L tensors (B, m, D) -> image vector (B, D). With depth 0, nodes exchange no messages.
    """

    def __init__(self, stages: int, width: int, depth: int) -> None:
        super().__init__()
        self.stage_embedding = nn.Parameter(torch.zeros(stages, width))
        self.layers = nn.Sequential(*(GraphLayer(width) for _ in range(depth)))
        self.readout = AttentionReadout(width)

    def forward(self, nodes: list[Tensor]) -> Tensor:
        placed = [x + self.stage_embedding[level] for level, x in enumerate(nodes)]
        return self.readout(self.layers(torch.cat(placed, dim=1)))
