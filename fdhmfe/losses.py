"""The losses, one function each. Letters: B images, K bits, Y classes, S tokens."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdhmfe.config.settings import Config
from fdhmfe.network import Output
from fdhmfe.stages import take


def proxy_loss(
    u: Tensor, labels: Tensor, proxies: Tensor, *, scale: float, margin: float
) -> Tensor:
    """Cosine-margin softmax to fixed class proxies.

    CE(scale * (cos(u_i, p_c) - margin * [c = y_i]), y_i) for u (B, K), labels (B,),
    proxies (Y, K) in {-1, +1}. Source: OrthoHash (arXiv 2109.14449), eq. 8.
    """
    cosine = F.normalize(u) @ F.normalize(proxies).T  # (B, Y)
    penalty = margin * F.one_hot(labels, len(proxies))
    return F.cross_entropy(scale * (cosine - penalty), labels)


def balance_loss(u: Tensor) -> Tensor:
    """Bit balance: mean over bits of (batch mean of tanh u)^2; 0 when each bit is 50/50."""
    return u.tanh().mean(0).square().mean()


def decorrelation_loss(u: Tensor) -> Tensor:
    """Mean squared correlation between different bits of u (B, K) over the batch."""
    z = (u - u.mean(0)) / (u.std(0, unbiased=False) + 1e-6)
    correlation = z.T @ z / len(u)  # (K, K)
    off_diagonal = correlation - torch.diag(correlation.diagonal())
    bits = u.shape[1]
    return off_diagonal.square().sum() / max(1, bits * (bits - 1))


def token_loss(
    logits: list[Tensor], kept_index: list[Tensor], labels: Tensor, *, smoothing: float
) -> Tensor:
    """Cross-entropy of every kept token with its image's label, averaged over stages.

    logits: L tensors (B, S_l, Y); kept_index: L tensors (B, n). Teaches the selector what looks
    like the class (reconstruction, after PIM, arXiv 2202.03822). The labels are smoothed as those
    of `class_loss`: both kinds of evidence are added later, so neither may shout down the other.
    """
    kept = [take(z, index) for z, index in zip(logits, kept_index, strict=True)]
    parts = [
        class_loss(z.flatten(0, 1), labels.repeat_interleave(z.shape[1]), smoothing=smoothing)
        for z in kept
    ]
    return torch.stack(parts).mean()


def background_loss(logits: list[Tensor], kept_index: list[Tensor]) -> Tensor:
    """Push dropped tokens to "no class": KL(uniform || softmax z), averaged over stages.

    logits: L tensors (B, S_l, Y); kept_index: L tensors (B, n), every other token is dropped. 0
    where all classes are alike, and when nothing is dropped. Selection ranks tokens by the
    log-probability of a class, and this moves it; (tanh z + 1)^2 of HERBS (arXiv 2303.06442) sinks
    all logits of a token together, which no softmax sees. Reconstruction: dropped tokens as the
    outliers of outlier exposure (arXiv 1812.04606).
    """
    parts = []
    for z, index in zip(logits, kept_index, strict=True):
        dropped = torch.ones(z.shape[:2], device=z.device).scatter_(1, index, 0)  # (B, S_l)
        divergence = -z.log_softmax(-1).mean(-1) - math.log(z.shape[-1])
        parts.append((divergence * dropped).sum() / dropped.sum().clamp(min=1))
    return torch.stack(parts).mean()


def class_loss(logits: Tensor, labels: Tensor, *, smoothing: float) -> Tensor:
    """Cross-entropy of class logits (B, Y) with smoothed labels (B,).

    The target is (1 - s) * onehot + s / Y: overconfident logits would make the proxy read-out as
    hard as a class number (arXiv 1512.00567, section 7).
    """
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def batch_hard_triplet_loss(u: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """Batch-hard triplets on the relaxed Hamming distance d_ij = (1 - cos(u_i, u_j)) / 2.

    For each anchor: relu(hardest positive - hardest negative + margin), averaged over the anchors
    that have both. d lies in 0..1, so the margin is a share of the code length.
    Source: "In Defense of the Triplet Loss" (arXiv 1703.07737), eq. 5.
    """
    unit = F.normalize(u)
    distance = (1 - unit @ unit.T) / 2  # (B, B)
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(u), dtype=torch.bool, device=u.device)
    positive, negative = same & ~itself, ~same
    hardest_positive = distance.masked_fill(~positive, -1).amax(1)
    hardest_negative = distance.masked_fill(~negative, 2).amin(1)
    usable = positive.any(1) & negative.any(1)
    gaps = F.relu(hardest_positive - hardest_negative + margin)
    return (gaps * usable).sum() / usable.sum().clamp(min=1)


def quantisation_loss(u: Tensor) -> Tensor:
    """1 - cos(u, sign u), averaged over the batch: 0 when all |u_k| of an image are equal."""
    return (1 - F.cosine_similarity(u, u.detach().sign())).mean()


class Batch(NamedTuple):
    """What a criterion may know of a batch beside the network's output."""

    labels: Tensor  # (B,)
    index: Tensor  # (B,) places of the images among the M training images
    progress: float  # share of the training done, 0..1


class Criterion(nn.Module):
    """A training loss: forward(output, batch) -> (total, parts). Buffers are checkpointed.

    output: what the network returned, most often an `Output`.
    """

    def forward(self, output: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        raise NotImplementedError

    def end_epoch(self) -> None:
        """Called after each epoch; methods that alternate between two problems override it."""

    def database_codes(self) -> Tensor | None:
        """Codes (M, K) int8 of the training images that were solved from their labels, if any."""
        return None


class ProxyCriterion(Criterion):
    """A loss between images and the network's class codes `proxies` (Y, K)."""

    def __init__(self, network: nn.Module, config: Config) -> None:
        super().__init__()
        self.buffer_of_network = network.get_buffer  # the network itself is no part of its loss
        self.config = config

    @property
    def proxies(self) -> Tensor:
        """The network's own, wherever it was moved and whatever a checkpoint restored."""
        return self.buffer_of_network("proxies")


class FDHMFELoss(ProxyCriterion):
    """L = proxy + weighted sum of the other terms; a term of weight 0 is not computed.

    The terms are the abstract's; their weights and forms are a reconstruction.
    """

    def forward(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        (u, logits, kept, class_logits), labels, c = output, batch.labels, self.config
        terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "proxy": (
                1.0,
                lambda: proxy_loss(u, labels, self.proxies, scale=c.scale, margin=c.margin),
            ),
            "token": (
                c.token_weight,
                lambda: token_loss(logits, kept, labels, smoothing=c.label_smoothing),
            ),
            "class": (
                c.class_weight if c.proxy_readout else 0.0,
                lambda: class_loss(
                    class_logits.flatten(0, 1),
                    labels.repeat(len(class_logits)),
                    smoothing=c.label_smoothing,
                ),
            ),
            "background": (c.background_weight, lambda: background_loss(logits, kept)),
            "triplet": (
                c.triplet_weight * c.loss_weight,
                lambda: batch_hard_triplet_loss(u, labels, margin=c.triplet_margin),
            ),
            "balance": (c.balance_weight, lambda: balance_loss(u)),
            "decorrelation": (c.decorrelation_weight, lambda: decorrelation_loss(u)),
            "quantisation": (c.quantisation_weight, lambda: quantisation_loss(u)),
        }
        parts = {name: term() for name, (weight, term) in terms.items() if weight}
        total = sum((terms[name][0] * value for name, value in parts.items()), torch.zeros(()))
        return total, parts
