"""The FDH-MFE network: stage maps in, relaxed hash codes out. Letters: see stages.py."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fdhmfe.graph import TokenGraph
from fdhmfe.proxies import arrange, class_similarity, maxmin_proxies
from fdhmfe.stages import Fusion, Selector, stage_means, take, to_tokens

RAW_SCALE = 0.3  # of features from before fusion, which outnumber the fused; set by hand, not tuned


class Output(NamedTuple):
    """What a network returns for B images. Baselines leave the tokens and the logits empty."""

    u: Tensor  # (B, K) relaxed codes; their signs are the hash codes
    proxies: Tensor | None = None  # (Y, K) one code per class, in {-1, +1}
    token_logits: Sequence[Tensor] = ()  # per stage (B, S_l, Y): the class logits of all tokens
    kept_index: Sequence[Tensor] = ()  # per stage (B, n): the positions of the kept tokens
    class_logits: Tensor | None = None  # (E, B, Y) from E classifiers of the image
    features: Tensor | None = None  # (B, sum C_l) the stages' means: for coders fitted to them
    own: Any = None  # for an objective that is made for this network


class HashNetwork(nn.Module):
    """Base of all networks: L maps (B, C_l, H_l, W_l) -> Output. One proxy per class, or none."""

    proxies: Tensor | None
    refines: bool = False  # takes one more map, after the L: what the backbone's last block takes

    def __init__(self, proxies: np.ndarray | None = None) -> None:
        super().__init__()
        codes = None if proxies is None else torch.from_numpy(proxies).float()
        self.register_buffer("proxies", codes)  # (Y, K)

    def arrange(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Reassign the proxies: classes that look alike get similar ones (`proxies.arrange`).

        features (M, C): of the training images, before training; labels (M,) in 0..Y-1. A class
        without images is like no other. Raises ValueError without proxies. If several processes
        train, the caller makes them agree.
        """
        if self.proxies is None:
            raise ValueError(f"{type(self).__name__} has no proxies to arrange")
        similarity = class_similarity(features, labels, len(self.proxies))
        self.proxies.copy_(torch.from_numpy(arrange(self.proxies.cpu().numpy(), similarity)))

    @torch.no_grad()
    def codes(self, maps: Iterable[Tensor]) -> Tensor:
        """Hash codes (B, K) int8 in {-1, +1} of L maps, in evaluation mode: the signs of u."""
        return binarise(self.eval()(list(maps)).u)


class HashLayer(nn.Module):
    """u = BN(W v): (B, V) -> (B, K), as in OrthoHash (arXiv 2109.14449): BN centres each bit."""

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, bits, bias=False)
        self.norm = nn.BatchNorm1d(bits)

    def forward(self, v: Tensor) -> Tensor:
        return self.norm(self.linear(v))


class HashMLP(nn.Sequential):
    """One hidden layer of 1,024 below a hash layer: (B, V) -> (B, K).

    For heads on pooled features, which need a layer to bend. Reconstruction: OrthoHash's public
    code trains layers below its hash layer, too; width and dropout were set by hand. No batch norm
    stands in front: FDH-MFE scales the parts of its image vector, which a norm would undo.
    """

    def __init__(self, width: int, bits: int) -> None:
        hidden = 1024
        super().__init__(
            nn.Linear(width, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(0.2),
            HashLayer(hidden, bits),
        )


def hash_layer(kind: str, width: int, bits: int) -> nn.Module:
    """The head (B, width) -> (B, bits) of a kind: linear or mlp; ValueError for another."""
    kinds: dict[str, type[HashLayer] | type[HashMLP]] = {"linear": HashLayer, "mlp": HashMLP}
    if kind not in kinds:
        raise ValueError(f"hash_head={kind!r} is not one of {', '.join(kinds)}")
    return kinds[kind](width, bits)


def binarise(u: Tensor) -> Tensor:
    """Hash codes (B, K) int8 in {-1, +1}; zero becomes +1. Raises ValueError on NaN or infinity."""
    if not torch.isfinite(u).all():
        row = int((~torch.isfinite(u)).any(1).nonzero()[0])
        raise ValueError(f"hash layer output {row} is not finite: training diverged")
    return torch.where(u >= 0, 1, -1).to(torch.int8)


class ForegroundMean(nn.Module):
    """Tokens before fusion, averaged over each stage by how much foreground they are: (B, sum C_l).

    A token weighs 1 - H(softmax z) / log Y: 1 if its logits z name one class, 0 if they name none.
    Suppression teaches dropped tokens to name none, so they add little to the image vector.
    Reconstruction; each mean is normalised over the batch.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm1d(count) for count in channels)

    def forward(self, tokens: list[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """L tokens (B, S_l, C_l) and their class logits (B, S_l, Y) -> (B, sum of C_l)."""
        means = []
        for norm, x, z in zip(self.norms, tokens, logits, strict=True):
            weight = foreground(z) + 1e-3  # where no token names a class: the plain mean
            means.append(norm((weight[:, None] @ x).squeeze(1) / weight.sum(1, keepdim=True)))
        return torch.cat(means, dim=1)


def foreground(logits: Tensor) -> Tensor:
    """1 - H(softmax z) / log Y of each token: logits (B, S, Y) -> (B, S), in 0..1."""
    log_p = logits.log_softmax(-1)
    return 1 + (log_p.exp() * log_p).sum(-1) / math.log(logits.shape[-1])


class ProxyReadout(nn.Module):
    """A code from the class posterior: the mean of the proxies, weighted by class probability.

    Each of the E parts of the image vector has its own classifier, with its own loss. (A single
    classifier, trained together with the votes, learns to cancel votes that are overconfident.)
    The mean of the E class logits and of the L votes (the kept tokens' mean logits) is z. Then p =
    softmax(t * z), and the code is scale * sum over classes c of p(c) * proxy_c; t and the scale
    are learned. If several classes are likely, the code keeps the bits that their proxies share.
    Reconstruction: the abstract names only the proxies. PIM (arXiv 2202.03822) averages logits so.
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
    """Fusion -> selection -> graph -> hash layer, with one proxy per class (reconstruction).

    The image vector v has these parts: the output of the graph (D), which has a class loss of its
    own in training, as PIM's graph has (arXiv 2202.03822); the mean of the deepest stage's nodes
    (D); the mean of all deepest tokens before fusion (C_L), which helps where selection chose the
    wrong tokens; and, for each stage, the foreground mean of its tokens before fusion (C_l). The
    relaxed code u is the hash head of v; with the proxy read-out, which is ours, plus its code.
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
        hash_head: str = "linear",
        proxy_readout: bool = False,
        dropout: float = 0.2,
        proxies: np.ndarray | None = None,
    ) -> None:
        """channels: C_l of each map, shallow to deep; classes: Y; bits: K.

        width: D of tokens and nodes. keep, nodes: n tokens per stage vote on the class, m enter the
        graph. graph_depth: rounds of messages, or 0. fusion, selection, proxy_readout: False leaves
        the part out. hash_head: see `hash_layer`. dropout: on v. proxies (Y, K) in {-1, +1}; None:
        max-min ones, which raise ValueError if 2^K < Y. Defaults: width was set by hand; for keep,
        nodes, graph_depth and dropout a few values were compared on validation splits.
        """
        super().__init__(maxmin_proxies(classes, bits, 0) if proxies is None else proxies)
        stages = len(channels)
        self.fusion = Fusion(channels, width, exchange=fusion)
        counts = (keep, nodes) if selection else (None, None)
        self.selector = Selector(stages, width, classes, *counts)
        self.graph = TokenGraph(stages, width, graph_depth)
        self.dropout = nn.Dropout(dropout)
        self.deep_norm = nn.LayerNorm(width)
        self.foreground_mean = ForegroundMean(channels)
        self.whole_norm = nn.BatchNorm1d(channels[-1])
        self.widths = [width, width, channels[-1], *channels]  # of v's parts, as they come
        self.hash = hash_layer(hash_head, sum(self.widths), bits)
        self.readout = ProxyReadout(self.widths, classes) if proxy_readout else None
        if not proxy_readout:
            self.graph_classifier = nn.Linear(width, classes)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        """L maps (B, C_l, H_l, W_l) of any size -> Output."""
        nodes, _, kept_index, token_logits = self.selector(self.fusion(maps))
        tokens = [to_tokens(x) for x in maps]  # (B, S_l, C_l)
        graph, deep = self.graph(nodes), self.deep_norm(nodes[-1].mean(1))  # (B, D) each
        features = stage_means(maps)  # (B, sum of C_l)
        whole = self.whole_norm(features[:, -tokens[-1].shape[2] :])
        raw = whole, self.foreground_mean(tokens, token_logits)
        v = self.dropout(torch.cat([graph, deep, *(RAW_SCALE * x for x in raw)], dim=1))
        u = self.hash(v)  # (B, K)
        if self.readout is None:
            class_logits = self.graph_classifier(graph)[None]
        else:
            kept = zip(token_logits, kept_index, strict=True)
            votes = [take(z, index).mean(1) for z, index in kept]
            class_logits, code = self.readout(v.split(self.widths, dim=1), votes, self.proxies)
            u = u + code
        found = (token_logits, kept_index, class_logits)
        return Output(u, self.proxies, *found, features)
