"""FDH-MFE: stage tokens in, relaxed hash code and token evidence out."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fdhmfe.config.settings import Config
from fdhmfe.graph import TokenGraph
from fdhmfe.proxies import maxmin_proxies, random_proxies
from fdhmfe.stages import Fusion, Selector, take

RAW_SCALE = 0.3  # of features before fusion: there are many more of them than of fused ones


class Output(NamedTuple):
    """What a model returns for a batch; the lists have one entry per stage (none for baselines)."""

    u: Tensor  # (B, K) relaxed code; its sign is the hash code
    token_logits: list[Tensor]  # (B, S_l, Y)
    kept_index: list[Tensor]  # (B, n)
    class_logits: Tensor | None = None  # (E, B, Y), one per part of the image vector, if any


class NodeMean(nn.Module):
    """Mean of each stage's node tokens before fusion, batch-normalised: -> (B, sum of C_l)."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm1d(count) for count in channels)

    def forward(self, stages: list[Tensor], node_index: list[Tensor]) -> Tensor:
        means = [take(x, index).mean(1) for x, index in zip(stages, node_index, strict=True)]
        return torch.cat([norm(x) for norm, x in zip(self.norms, means, strict=True)], dim=1)


class ProxyReadout(nn.Module):
    """The mean class evidence of several experts, spoken in proxies.

    Each part of the image vector has a classifier of its own, supervised by itself: one classifier
    over all parts and votes learns to take back what the votes overstate. With E logits of the
    parts and L votes of the kept tokens, p = softmax(t * mean of all E + L), and the code is
    scale * sum over classes of p(c) * proxy_c; t and the scale are learned. An image that may be
    one of several classes lands between their proxies and keeps the bits they share.
    Reconstruction (the abstract names only the proxies); logits of several levels are averaged as
    in PIM (arXiv 2202.03822).
    """

    def __init__(self, widths: list[int], classes: int) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(nn.Linear(width, classes) for width in widths)
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(
        self, parts: Sequence[Tensor], votes: list[Tensor], proxies: Tensor
    ) -> tuple[Tensor, Tensor]:
        """E parts (B, V_e), L votes (B, Y), proxies (Y, K) -> logits (E, B, Y), code (B, K)."""
        experts = zip(self.classifiers, parts, strict=True)
        logits = torch.stack([classify(part) for classify, part in experts])
        evidence = torch.cat([logits, torch.stack(votes)]).mean(0)
        posterior = (self.log_temperature.exp() * evidence).softmax(1)
        return logits, self.scale * posterior @ proxies


class FDHMFE(nn.Module):
    """Fusion -> selection -> graph -> hash layer, with one fixed proxy per class.

    Input: L stage maps as tokens (B, S_l, C_l). The image vector v sees the nodes three times:
    through the graph, as the mean of the deepest stage's, and as the means before fusion. Beside
    them it sees the mean of all deepest tokens before fusion: a wrong choice of tokens then does
    not lose the image. The code is u = BN(W v), plus the proxy read-out of the class logits and of
    the kept tokens' votes (reconstruction).
    """

    def __init__(self, config: Config, channels: list[int], classes: int) -> None:
        super().__init__()
        stages, width = len(channels), config.width
        self.fusion = Fusion(channels, width, exchange=config.fusion)
        every = config.grid**2
        keep, nodes = (config.keep, config.nodes) if config.selection else (every, every)
        self.selector = Selector(stages, width, classes, keep, nodes)
        self.graph = TokenGraph(stages, width, config.graph_depth)
        self.dropout = nn.Dropout(config.dropout)
        self.deep_norm = nn.LayerNorm(width)
        self.node_mean = NodeMean(channels)
        self.whole_norm = nn.BatchNorm1d(channels[-1])
        self.widths = [width, width, channels[-1], *channels]  # of v's parts, as they come
        self.hash = HashLayer(sum(self.widths), config.bits)
        self.readout = ProxyReadout(self.widths, classes) if config.proxy_readout else None
        draw = maxmin_proxies if config.proxies == "maxmin" else random_proxies
        proxies = torch.from_numpy(draw(classes, config.bits, config.seed)).float()
        self.register_buffer("proxies", proxies)  # (Y, K)

    def forward(self, stages: list[Tensor]) -> Output:
        nodes, node_index, kept_index, token_logits = self.selector(self.fusion(stages))
        deep = self.deep_norm(nodes[-1].mean(1))  # (B, D)
        whole = RAW_SCALE * self.whole_norm(stages[-1].mean(1))  # (B, C_L)
        parts = RAW_SCALE * self.node_mean(stages, node_index)  # (B, sum of C_l)
        v = self.dropout(torch.cat([self.graph(nodes), deep, whole, parts], dim=1))
        u = self.hash(v)  # (B, K)
        if self.readout is None:
            return Output(u, token_logits, kept_index)
        votes = [take(z, index).mean(1) for z, index in zip(token_logits, kept_index, strict=True)]
        class_logits, spoken = self.readout(v.split(self.widths, dim=1), votes, self.proxies)
        return Output(u + spoken, token_logits, kept_index, class_logits)


class HashLayer(nn.Module):
    """u = BN(W v): (B, V) -> (B, K). Batch norm centres each bit, so its sign splits the data."""

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, bits, bias=False)
        self.norm = nn.BatchNorm1d(bits)

    def forward(self, v: Tensor) -> Tensor:
        return self.norm(self.linear(v))


def binarise(u: Tensor) -> Tensor:
    """Hash codes (B, K) int8 in {-1, +1}; zero becomes +1. Raises ValueError on NaN or infinity."""
    if not torch.isfinite(u).all():
        row = int((~torch.isfinite(u)).any(1).nonzero()[0])
        raise ValueError(f"hash layer output {row} is not finite: training diverged")
    return torch.where(u >= 0, 1, -1).to(torch.int8)
