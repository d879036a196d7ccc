"""Multi-level features: stage tokens -> fused tokens -> nodes of the graph, kept tokens first.

Letters used from here on: B images, L stages (shallow to deep), S_l tokens of stage l
(S_l = H_l * W_l), C_l channels of stage l, D width, m nodes per stage, n of them kept, Y classes,
K bits.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Selection(NamedTuple):
    """What selection says of each stage: lists of length L, one entry per stage."""

    nodes: list[Tensor]  # (B, m, D) tokens that go on to the graph: the kept ones, the next best
    node_index: list[Tensor]  # (B, m) their positions among the S_l tokens
    kept_index: list[Tensor]  # (B, n) the first n of them: the kept ones
    logits: list[Tensor]  # (B, S_l, Y) class evidence of every token, kept or dropped


def resize_tokens(tokens: Tensor, count: int) -> Tensor:
    """Resample a square token grid: (B, S, D) -> (B, count, D), bilinear or area-averaged."""
    batch, size, width = tokens.shape
    if size == count:
        return tokens
    side, target = math.isqrt(size), math.isqrt(count)
    grid = tokens.transpose(1, 2).reshape(batch, width, side, side)
    if target < side:
        grid = F.adaptive_avg_pool2d(grid, target)
    else:
        grid = F.interpolate(grid, size=(target, target), mode="bilinear", align_corners=False)
    return grid.flatten(2).transpose(1, 2)


class Fusion(nn.Module):
    """1x1 laterals, then a top-down and a bottom-up pass over the pyramid.

    Reconstruction: the paper's abstract asks for features of several stages, shallow ones
    included; the two passes follow feature pyramids (arXiv 1612.03144) and PANet (1803.01534).
    Input: L stage maps as tokens (B, S_l, C_l). Output: L tensors (B, S_l, D).
    """

    def __init__(self, channels: list[int], width: int, *, exchange: bool = True) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Linear(c, width), nn.LayerNorm(width)) for c in channels
        )
        links = len(channels) - 1 if exchange else 0
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(links))
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(links))

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        fused = [lateral(x) for lateral, x in zip(self.lateral, stages, strict=True)]
        for level in reversed(range(len(self.down))):  # deep meaning flows to shallow detail
            message = self.down[level](F.gelu(fused[level + 1]))
            fused[level] = fused[level] + resize_tokens(message, fused[level].shape[1])
        for level in range(len(self.up)):  # and refined detail flows back up
            detail = resize_tokens(F.gelu(fused[level]), fused[level + 1].shape[1])
            fused[level + 1] = fused[level + 1] + self.up[level](detail)
        return fused


class Selector(nn.Module):
    """Per-stage token classifiers; the n most class-like tokens of each stage are kept.

    A token's score is the log-probability it gives to the class that the whole image (mean logit of
    its stage) predicts. Kept tokens stand for the class: they learn its label and vote on it. The
    graph wants more than that: the next best join them as context, m nodes in all, and only what is
    least like the class stays out of it. Reconstruction after the weakly supervised selectors of
    PIM (arXiv 2202.03822) and HERBS (2303.06442), whose graph and combiner see the kept ones alone.
    """

    def __init__(self, stages: int, width: int, classes: int, keep: int, nodes: int) -> None:
        super().__init__()
        self.keep, self.nodes = keep, nodes
        self.classifiers = nn.ModuleList(nn.Linear(width, classes) for _ in range(stages))

    def forward(self, tokens: list[Tensor]) -> Selection:
        logits = [classify(x) for classify, x in zip(self.classifiers, tokens, strict=True)]
        index = [best_tokens(z, self.nodes) for z in logits]
        nodes = [take(x, chosen) for x, chosen in zip(tokens, index, strict=True)]
        return Selection(nodes, index, [chosen[:, : self.keep] for chosen in index], logits)


@torch.no_grad()
def best_tokens(logits: Tensor, count: int) -> Tensor:
    """Positions (B, n) of the n = min(count, S) tokens most sure of the image's class, best first.

    logits (B, S, Y). The image's class is the argmax of the mean logit over its tokens.
    """
    image_class = logits.mean(1).argmax(-1)  # (B,)
    own = logits.gather(2, image_class[:, None, None].expand(-1, logits.shape[1], 1)).squeeze(-1)
    scores = own - logits.logsumexp(-1)  # (B, S) log-probability of that class
    return scores.argsort(dim=1, descending=True, stable=True)[:, :count]


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows of each image: x (B, S, D), index (B, n) -> (B, n, D)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
