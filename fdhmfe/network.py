"""FDH-MFE: stage maps in, relaxed hash code and class evidence out. Letters: see stages.py."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fdhmfe.graph import TokenGraph
from fdhmfe.proxies import arrange, class_similarity, maxmin_proxies
from fdhmfe.stages import Fusion, Selector, take, to_tokens

# A factor on features before fusion: there are many more of them than of fused ones, and at their
# full size they would drown those. Set by hand to a round number, never tuned.
RAW_SCALE = 0.3


class Output(NamedTuple):
    """What a network says of B images. The lists have an entry per stage; baselines leave them."""

    u: Tensor  # (B, K) relaxed code; its sign is the hash code
    proxies: Tensor | None = None  # (Y, K) one code per class, in {-1, +1}
    token_logits: Sequence[Tensor] = ()  # (B, S_l, Y)
    kept_index: Sequence[Tensor] = ()  # (B, n)
    class_logits: Tensor | None = None  # (E, B, Y), one per part of the image vector
    own: Any = None  # what only an objective made for this network reads


class HashNetwork(nn.Module):
    """What all networks share: one fixed proxy per class, or none. L maps (B, C_l, H_l, W_l) in."""

    proxies: Tensor | None

    def __init__(self, proxies: np.ndarray | None = None) -> None:
        super().__init__()
        codes = None if proxies is None else torch.from_numpy(proxies).float()
        self.register_buffer("proxies", codes)  # (Y, K)

    def arrange(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Exchange the proxies so that classes which look alike get near ones.

        features (M, C) of training images, before any training, and their labels (M,). Several
        processes that train one network must agree on the result: that is their affair.
        """
        if self.proxies is None:
            raise ValueError(f"{type(self).__name__} has no proxies to arrange")
        arranged = arrange(self.proxies.cpu().numpy(), class_similarity(features, labels))
        self.proxies.copy_(torch.from_numpy(arranged))

    @torch.no_grad()
    def codes(self, maps: Iterable[Tensor]) -> Tensor:
        """Hash codes (B, K) int8 in {-1, +1} of L maps, in evaluation mode: the signs of u."""
        return binarise(self.eval()(list(maps)).u)


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


def sign_coder(output: Output) -> Tensor:
    """The plain coder: bits are the signs of the relaxed code (B, K)."""
    return output.u


def read_out_coder(output: Output) -> Tensor:
    """Bits are the signs of the class posterior times the proxies: (B, K).

    The posterior is the softmax of the mean class logits. Raises ValueError for a network that
    names no classes, or has no proxies.
    """
    if output.class_logits is None or output.proxies is None:
        raise ValueError("the read-out needs a network with class logits and proxies")
    return output.class_logits.mean(0).softmax(1) @ output.proxies


class NodeMean(nn.Module):
    """Mean of each stage's node tokens before fusion, batch-normalised: -> (B, sum of C_l)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm1d(count) for count in channels)

    def forward(self, tokens: list[Tensor], node_index: list[Tensor]) -> Tensor:
        means = [take(x, index).mean(1) for x, index in zip(tokens, node_index, strict=True)]
        return torch.cat([norm(x) for norm, x in zip(self.norms, means, strict=True)], dim=1)


class ProxyReadout(nn.Module):
    """The class evidence of several experts, turned into a code by way of the proxies.

    Each part of the image vector has a classifier of its own, and each classifier learns from the
    labels by itself. (One classifier over all parts and votes learns to take back what the votes
    overstate.) With E logits of the parts and L votes of the kept tokens, p = softmax(t * mean of
    all E + L), and the code is scale * sum over classes of p(c) * proxy_c; t and the scale are
    learned. An image that may be one of several classes lands between their proxies and keeps the
    bits they share. Reconstruction (the abstract names only the proxies); logits of several levels
    are averaged as in PIM (arXiv 2202.03822).
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


class FDHMFE(HashNetwork):
    """Fusion -> selection -> graph -> hash layer, with one fixed proxy per class.

    The image vector v sees the nodes three times: through the graph, as the mean of the deepest
    stage's, and as the means before fusion. Beside them it sees the mean of all deepest tokens
    before fusion, so that a wrong choice of tokens does not lose the image. The code is u =
    BN(W v), plus the proxy read-out of the class logits and of the kept tokens' votes
    (reconstruction).
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        bits: int,
        *,
        width: int = 128,
        keep: int = 12,
        nodes: int = 40,
        graph_depth: int = 1,
        fusion: bool = True,
        selection: bool = True,
        proxy_readout: bool = True,
        dropout: float = 0.2,
        proxies: np.ndarray | None = None,
    ) -> None:
        """Channels C_l of each map, shallow to deep; Y classes; K bits.

        width: D, of tokens and nodes. keep, nodes: tokens per stage that vote on the class, and
        that go into the graph. graph_depth: rounds of messages; with 0 the nodes never talk.
        fusion, selection, proxy_readout: False leaves the part out. proxies (Y, K) in {-1, +1};
        None: max-min ones. Raises ValueError if K bits cannot tell Y classes apart.
        """
        super().__init__(maxmin_proxies(classes, bits, 0) if proxies is None else proxies)
        stages = len(channels)
        self.fusion = Fusion(channels, width, exchange=fusion)
        counts = (keep, nodes) if selection else (None, None)
        self.selector = Selector(stages, width, classes, *counts)
        self.graph = TokenGraph(stages, width, graph_depth)
        self.dropout = nn.Dropout(dropout)
        self.deep_norm = nn.LayerNorm(width)
        self.node_mean = NodeMean(channels)
        self.whole_norm = nn.BatchNorm1d(channels[-1])
        self.widths = [width, width, channels[-1], *channels]  # of v's parts, as they come
        self.hash = HashLayer(sum(self.widths), bits)
        self.readout = ProxyReadout(self.widths, classes) if proxy_readout else None

    def forward(self, maps: Sequence[Tensor]) -> Output:
        """L maps (B, C_l, H_l, W_l) of any size -> Output."""
        nodes, node_index, kept_index, token_logits = self.selector(self.fusion(maps))
        tokens = [to_tokens(x) for x in maps]  # (B, S_l, C_l)
        deep = self.deep_norm(nodes[-1].mean(1))  # (B, D)
        whole = RAW_SCALE * self.whole_norm(tokens[-1].mean(1))  # (B, C_L)
        parts = RAW_SCALE * self.node_mean(tokens, node_index)  # (B, sum of C_l)
        v = self.dropout(torch.cat([self.graph(nodes), deep, whole, parts], dim=1))
        u = self.hash(v)  # (B, K)
        if self.readout is None:
            return Output(u, self.proxies, token_logits, kept_index)
        votes = [take(z, index).mean(1) for z, index in zip(token_logits, kept_index, strict=True)]
        class_logits, spoken = self.readout(v.split(self.widths, dim=1), votes, self.proxies)
        return Output(u + spoken, self.proxies, token_logits, kept_index, class_logits)
