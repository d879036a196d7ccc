"""FDH-MFE: stage tokens in, relaxed hash code and token evidence out."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fdhmfe.config import Config
from fdhmfe.graph import TokenGraph
from fdhmfe.hashing import HashLayer, maxmin_proxies, random_proxies
from fdhmfe.stages import Fusion, Selector


class Output(NamedTuple):
    """What a model returns for a batch; the lists have one entry per stage (none for baselines)."""

    u: Tensor  # (B, K) relaxed code; its sign is the hash code
    token_logits: list[Tensor]  # (B, S_l, Y)
    kept_index: list[Tensor]  # (B, n)


class FDHMFE(nn.Module):
    """Fusion -> selection -> graph -> hash layer, with one fixed proxy per class.

    Input: L stage maps as tokens (B, S_l, C_l). Only kept tokens reach the image vector: through
    the graph, and as the plain mean of the deepest stage's (reconstruction).
    """

    def __init__(self, config: Config, channels: list[int], classes: int) -> None:
        super().__init__()
        stages, width = len(channels), config.width
        self.fusion = Fusion(channels, width, exchange=config.fusion)
        keep = config.keep if config.selection else config.grid**2
        self.selector = Selector(stages, width, classes, keep)
        self.graph = TokenGraph(stages, width, config.graph_depth)
        self.dropout = nn.Dropout(config.dropout)
        self.deep_norm = nn.LayerNorm(width)
        self.hash = HashLayer(2 * width, config.bits)
        draw = maxmin_proxies if config.proxies == "maxmin" else random_proxies
        proxies = torch.from_numpy(draw(classes, config.bits, config.seed)).float()
        self.register_buffer("proxies", proxies)  # (Y, K)

    def forward(self, stages: list[Tensor]) -> Output:
        selection = self.selector(self.fusion(stages))
        deep = self.deep_norm(selection.kept[-1].mean(1))  # (B, D)
        v = torch.cat([self.graph(selection.kept), deep], dim=1)  # (B, 2D)
        u = self.hash(self.dropout(v))  # (B, K)
        return Output(u, selection.logits, selection.kept_index)


class PooledHash(nn.Module):
    """The plain baseline: mean of the last stage's tokens -> hash layer, random proxies.

    Source: OrthoHash (arXiv 2109.14449), on the same frozen features as FDH-MFE.
    """

    def __init__(self, config: Config, channels: list[int], classes: int) -> None:
        super().__init__()
        self.hash = HashLayer(channels[-1], config.bits)
        proxies = torch.from_numpy(random_proxies(classes, config.bits, config.seed)).float()
        self.register_buffer("proxies", proxies)

    def forward(self, stages: list[Tensor]) -> Output:
        return Output(self.hash(stages[-1].mean(1)), [], [])
