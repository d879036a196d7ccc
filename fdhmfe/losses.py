"""The losses, one function each, and FDHMFELoss, which sums them.

Letters: B images, K bits, Y classes, S tokens.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdhmfe.network import Output
from fdhmfe.proxies import maxmin_proxies
from fdhmfe.stages import take

Losses = tuple[Tensor, dict[str, Tensor]]  # their weighted sum, and each by itself


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


class Step(NamedTuple):
    """Where in its training a batch stands: what an objective with a memory must know."""

    index: Tensor  # (B,) places of the images among the M training images
    progress: float  # share of the training done, 0..1


class Objective(nn.Module):
    """A training loss with its state: forward(output, labels, step) -> (total, terms).

    output: what the network returned; labels (B,). Buffers are checkpointed.
    """

    class_codes: ClassVar[Callable[[int, int, int], np.ndarray] | None] = None
    """How the proxies it wants are drawn: (classes, bits, seed) -> (Y, K). None: it wants none."""
    arranges: ClassVar[bool] = False
    """Whether its proxies are arranged by the likeness of the classes."""
    tuned: ClassVar[str] = ""
    """The one argument that the setting loss_weight multiplies: each method has one to tune."""

    def forward(self, output: Any, labels: Tensor, step: Step | None = None) -> Losses:
        raise NotImplementedError

    def end_epoch(self) -> None:
        """Called after each epoch; methods that solve for codes in between override it."""

    def database_codes(self) -> Tensor | None:
        """Codes (M, K) int8 of the training images that were solved from their labels, if any."""
        return None


class FDHMFELoss(Objective):
    """L = proxy loss + a weighted sum of the other terms; a term of weight 0 is not computed.

    A term whose evidence a network does not give (tokens, class logits) is left out. The terms are
    the abstract's; their weights and forms are a reconstruction.
    """

    class_codes = staticmethod(maxmin_proxies)
    arranges = True
    tuned = "triplet_weight"

    def __init__(
        self,
        *,
        scale: float = 8.0,
        margin: float = 0.2,
        token_weight: float = 1.0,
        class_weight: float = 1.0,
        label_smoothing: float = 0.1,
        background_weight: float = 1.0,
        triplet_weight: float = 0.5,
        triplet_margin: float = 0.25,
        balance_weight: float = 0.1,
        decorrelation_weight: float = 0.1,
        quantisation_weight: float = 0.1,
    ) -> None:
        """scale, margin: of `proxy_loss`. label_smoothing: of the token and class terms.

        triplet_margin: of `batch_hard_triplet_loss`, a share of the code length.
        """
        super().__init__()
        self.scale, self.margin = scale, margin
        self.smoothing, self.triplet_margin = label_smoothing, triplet_margin
        self.weights = {
            "proxy": 1.0,
            "token": token_weight,
            "class": class_weight,
            "background": background_weight,
            "triplet": triplet_weight,
            "balance": balance_weight,
            "decorrelation": decorrelation_weight,
            "quantisation": quantisation_weight,
        }

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        """The sum, and each term before its weight. Needs the output's proxies."""
        terms = self.terms(output, labels)
        parts = {n: terms[n]() for n, weight in self.weights.items() if weight and n in terms}
        total = sum((self.weights[name] * value for name, value in parts.items()), torch.zeros(()))
        return total, parts

    def terms(self, output: Output, labels: Tensor) -> dict[str, Callable[[], Tensor]]:
        """What computes each term that the output allows."""
        u, proxies, logits, kept, classes, _ = output
        terms = {
            "proxy": partial(proxy_loss, u, labels, proxies, scale=self.scale, margin=self.margin),
            "triplet": partial(batch_hard_triplet_loss, u, labels, margin=self.triplet_margin),
            "balance": partial(balance_loss, u),
            "decorrelation": partial(decorrelation_loss, u),
            "quantisation": partial(quantisation_loss, u),
        }
        if len(logits):
            terms["token"] = partial(token_loss, logits, kept, labels, smoothing=self.smoothing)
            terms["background"] = partial(background_loss, logits, kept)
        if classes is not None:
            every = classes.flatten(0, 1), labels.repeat(len(classes))
            terms["class"] = partial(class_loss, *every, smoothing=self.smoothing)
        return terms
