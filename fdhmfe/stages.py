"""Multi-level features: stage maps -> fused tokens -> the selected tokens of each stage.

Letters: B images, L stages (shallow to deep), C_l channels of stage l, H_l x W_l size of its map,
S_l = H_l * W_l its tokens, D width, m nodes per stage (tokens that enter the graph), n of them
kept (they vote on the class), Y classes, K bits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Selection(NamedTuple):
    """The tokens that `Selector` chose: lists with one entry per stage."""

    nodes: list[Tensor]  # (B, m, D) tokens that enter the graph, best first
    node_index: list[Tensor]  # (B, m) their positions among the S_l tokens
    kept_index: list[Tensor]  # (B, n) positions of the kept tokens, which are the first n nodes
    logits: list[Tensor]  # (B, S_l, Y) class logits of every token, kept or not


def to_tokens(x: Tensor) -> Tensor:
    """A map (B, C, H, W) as tokens (B, S, C), row by row."""
    return x.flatten(2).transpose(1, 2)


def stage_means(maps: Sequence[Tensor]) -> Tensor:
    """The mean of each of L maps (B, C_l, H_l, W_l), side by side: (B, sum of C_l)."""
    return torch.cat([to_tokens(x).mean(1) for x in maps], dim=1)


def resize_tokens(tokens: Tensor, size: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Resize the map of tokens (B, S, D): average pooling to shrink it, else interpolation."""
    if size == target:
        return tokens
    x = tokens.transpose(1, 2).unflatten(2, size)  # (B, D, H, W)
    if target[0] <= size[0] and target[1] <= size[1]:
        x = F.adaptive_avg_pool2d(x, target)
    else:
        x = F.interpolate(x, size=target, mode="bilinear", align_corners=False)
    return to_tokens(x)


class Fusion(nn.Module):
    """1x1 laterals, then a top-down and a bottom-up pass over the pyramid.

    Input: L maps (B, C_l, H_l, W_l). Output: L tensors of tokens (B, S_l, D). exchange=False leaves
    the two passes out. Reconstruction: the abstract asks for features of several stages, shallow
    ones included; the passes follow feature pyramids (arXiv 1612.03144) and PANet (1803.01534).
    """

    def __init__(self, channels: Sequence[int], width: int, *, exchange: bool = True) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Linear(c, width), nn.LayerNorm(width)) for c in channels
        )
        links = len(channels) - 1 if exchange else 0
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(links))
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(links))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        sizes = [(x.shape[2], x.shape[3]) for x in maps]
        fused = [lateral(to_tokens(x)) for lateral, x in zip(self.lateral, maps, strict=True)]
        for level in reversed(range(len(self.down))):  # top-down: add deep features
            message = self.down[level](F.gelu(fused[level + 1]))
            message = resize_tokens(message, sizes[level + 1], sizes[level])
            fused[level] = fused[level] + message
        for level in range(len(self.up)):  # bottom-up: add shallow features
            detail = resize_tokens(F.gelu(fused[level]), sizes[level], sizes[level + 1])
            fused[level + 1] = fused[level + 1] + self.up[level](detail)
        return fused


class Selector(nn.Module):
    """Rank the tokens of each stage by a classifier; keep the best n, send the best m to the graph.

    In each stage, the class with the largest mean logit is taken as the image's class. A token's
    score is the log-probability that it gives to this class. Kept tokens are trained with the
    image's label and vote on its class; the other nodes give the graph context. `keep` is n,
    `nodes` is m; with None for both, every token is kept. Reconstruction after the weakly
    supervised selectors of PIM (arXiv 2202.03822) and HERBS (2303.06442), where n = m.
    """

    def __init__(
        self, stages: int, width: int, classes: int, keep: int | None, nodes: int | None
    ) -> None:
        super().__init__()
        self.keep, self.nodes = keep, nodes
        self.classifiers = nn.ModuleList(nn.Linear(width, classes) for _ in range(stages))

    def forward(self, tokens: list[Tensor]) -> Selection:
        logits = [classify(x) for classify, x in zip(self.classifiers, tokens, strict=True)]
        index = [best_tokens(z, self.nodes) for z in logits]
        nodes = [take(x, chosen) for x, chosen in zip(tokens, index, strict=True)]
        return Selection(nodes, index, [chosen[:, : self.keep] for chosen in index], logits)


@torch.no_grad()
def best_tokens(logits: Tensor, count: int | None) -> Tensor:
    """Positions (B, count) of the tokens that rate the image's class most probable, best first.

    logits (B, S, Y). With count None, or above S: all S. The image's class: see `Selector`.
    """
    image_class = logits.mean(1).argmax(-1)  # (B,)
    own = logits.gather(2, image_class[:, None, None].expand(-1, logits.shape[1], 1)).squeeze(-1)
    scores = own - logits.logsumexp(-1)  # (B, S) log-probability of that class
    return scores.argsort(dim=1, descending=True, stable=True)[:, :count]


def take(x: Tensor, index: Tensor) -> Tensor:
    """Tokens of each image by position: x (B, S, D), index (B, n) -> (B, n, D)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
