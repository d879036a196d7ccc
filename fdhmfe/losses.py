"""The loss terms of FDH-MFE, one function each, and `FDHMFELoss`, their weighted sum.

Letters: B images, K bits, Y classes, S tokens.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdhmfe.network import Output
from fdhmfe.proxies import maxmin_proxies
from fdhmfe.stages import take

Losses = tuple[Tensor, dict[str, Tensor]]  # the weighted sum, and each term before weighting


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
    """Bit balance: mean over bits of (batch mean of tanh u)^2, for u (B, K). Reconstruction."""
    return u.tanh().mean(0).square().mean()


def decorrelation_loss(u: Tensor) -> Tensor:
    """Mean squared correlation of two bits of u (B, K) over the batch. Reconstruction."""
    z = (u - u.mean(0)) / (u.std(0, unbiased=False) + 1e-6)
    correlation = z.T @ z / len(u)  # (K, K)
    off_diagonal = correlation - torch.diag(correlation.diagonal())
    bits = u.shape[1]
    return off_diagonal.square().sum() / max(1, bits * (bits - 1))


def token_loss(
    logits: Sequence[Tensor], kept_index: Sequence[Tensor], labels: Tensor, *, smoothing: float
) -> Tensor:
    """Cross-entropy of every kept token with its image's label, averaged over stages.

    logits: L tensors (B, S_l, Y); kept_index: L tensors (B, n). Teaches the selector what looks
    like the class. The read-out averages these logits with those of `class_loss`: both use smoothed
    labels, so that neither kind outweighs the other. Reconstruction, after PIM (arXiv 2202.03822).
    """
    kept = [take(z, index) for z, index in zip(logits, kept_index, strict=True)]
    parts = [
        class_loss(z.flatten(0, 1), labels.repeat_interleave(z.shape[1]), smoothing=smoothing)
        for z in kept
    ]
    return torch.stack(parts).mean()


def background_loss(logits: Sequence[Tensor], kept_index: Sequence[Tensor]) -> Tensor:
    """Push dropped tokens to "no class": mean of KL(uniform || softmax z), averaged over stages.

    logits: L tensors (B, S_l, Y); kept_index: L tensors (B, n); all other tokens are dropped. 0 if
    none is. The loss (tanh z + 1)^2 of HERBS (arXiv 2303.06442) lowers all logits of a token alike.
    That does not change its log-probabilities, by which selection ranks tokens; this loss does.
    Reconstruction: dropped tokens are the outliers of outlier exposure (arXiv 1812.04606).
    """
    parts = []
    for z, index in zip(logits, kept_index, strict=True):
        dropped = torch.ones(z.shape[:2], device=z.device).scatter_(1, index, 0)  # (B, S_l)
        divergence = -z.log_softmax(-1).mean(-1) - math.log(z.shape[-1])
        parts.append((divergence * dropped).sum() / dropped.sum().clamp(min=1))
    return torch.stack(parts).mean()


def class_loss(logits: Tensor, labels: Tensor, *, smoothing: float) -> Tensor:
    """Cross-entropy of class logits (B, Y) with labels (B,), smoothed by s: (1 - s) onehot + s / Y.

    Without smoothing the logits are overconfident, and the read-out is nearly always the proxy of
    one class. Source: label smoothing (arXiv 1512.00567, section 7).
    """
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def batch_hard_triplet_loss(u: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """Batch-hard triplets on the relaxed Hamming distance d_ij = (1 - cos(u_i, u_j)) / 2.

    u (B, K), labels (B,). For each anchor: relu(hardest positive - hardest negative + margin),
    averaged over the anchors that have both. As d is in 0..1, so is the margin.
    Source: "In Defense of the Triplet Loss" (arXiv 1703.07737), eq. 5.
    """
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(u), dtype=torch.bool, device=u.device)
    return hardest_gap(u, u, same & ~itself, ~same, margin=margin)


def memory_triplet_loss(
    u: Tensor, labels: Tensor, memory: Tensor, known: Tensor, step: "Step", *, margin: float
) -> Tensor:
    """As `batch_hard_triplet_loss`, but positives and negatives are any training images.

    memory (M, K): the last u of each, 0 if it has not been seen; known (M,): their labels. In a
    batch of 32 from 100 classes most images have no positive; in the memory all have.
    Source of the memory: XBM (arXiv 1912.06798).
    """
    same, seen = labels[:, None] == known[None, :], memory.any(1)
    positive = (same & seen).scatter(1, step.positions[:, None], False)  # not the image itself
    return hardest_gap(u, memory, positive, ~same & seen, margin=margin)


def hardest_gap(
    u: Tensor, others: Tensor, positive: Tensor, negative: Tensor, *, margin: float
) -> Tensor:
    """Mean of relu(hardest positive - hardest negative + margin) over anchors that have both.

    Anchors u (B, K), others (M, K); positive, negative (B, M): which of them are.
    """
    distance = (1 - F.normalize(u) @ F.normalize(others).T) / 2  # (B, M)
    hardest_positive = distance.masked_fill(~positive, -1).amax(1)
    hardest_negative = distance.masked_fill(~negative, 2).amin(1)
    usable = positive.any(1) & negative.any(1)
    gaps = F.relu(hardest_positive - hardest_negative + margin)
    return (gaps * usable).sum() / usable.sum().clamp(min=1)


def quantisation_loss(u: Tensor) -> Tensor:
    """Mean of 1 - cos(u, sign u), u (B, K); 0 if an image's abs(u) are equal. Reconstruction."""
    return (1 - F.cosine_similarity(u, u.detach().sign())).mean()


class Step(NamedTuple):
    """Which images a batch holds, and when: for objectives that store codes or change over time."""

    positions: Tensor  # (B,) of the images among the M training images
    progress: float  # share of the training done, 0..1


class Objective(nn.Module):
    """A loss of the network's output: (output, labels (B,), step) -> (total, terms).

    Its buffers are saved in checkpoints.
    """

    # Whether `HashNetwork.arrange` reassigns the proxies before training.
    arranges: ClassVar[bool] = False
    # The constructor argument that is tuned, one per method: `loss_weight` multiplies it. "": none.
    tuned: ClassVar[str] = ""
    # Whether it trains class logits: those of a network that it leaves alone say nothing.
    teaches_classes: bool = False

    @staticmethod
    def class_codes(classes: int, bits: int, seed: int) -> np.ndarray | None:
        """Draws the proxies (Y, K) that the loss needs. None: it needs none."""
        return None

    def forward(self, output: Any, labels: Tensor, step: Step | None = None) -> Losses:
        raise NotImplementedError

    def end_epoch(self) -> None:
        """Called after each epoch. Methods that then solve for codes override it."""

    def database_codes(self) -> Tensor | None:
        """Codes (M, K) int8 of the training images, if the method solves them from the labels."""
        return None


def proxies_of(output: Output) -> Tensor:
    """The proxies (Y, K) of a network that has them, else ValueError."""
    if output.proxies is None:
        raise ValueError("this loss needs a network with proxies: give it `proxies`")
    return output.proxies


class FDHMFELoss(Objective):
    """Proxy loss + weighted sum of the other terms; a term of weight 0 is not computed.

    Terms on tokens or class logits are left out if the network returns none. Reconstruction: the
    abstract names proxy loss, background suppression and triplet loss, but no formula or weight.
    """

    class_codes = staticmethod(maxmin_proxies)
    arranges = True
    labels: Tensor | None
    memory: Tensor | None
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
        labels: Tensor | None = None,
        bits: int = 0,
        balance_weight: float = 0.1,
        decorrelation_weight: float = 0.1,
        quantisation_weight: float = 0.1,
    ) -> None:
        """scale, margin: as in OrthoHash. label_smoothing: of token and class terms.

        labels (M,), bits: with those of all training images, triplets come from a memory of them,
        and the loss must know the `Step`; without, from the batch. A few values of triplet_margin,
        label_smoothing and background_weight were tried; the rest is set by hand, or by `tune`.
        """
        super().__init__()
        memory = None if labels is None else torch.zeros(len(labels), bits)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("memory", memory)
        self.teaches_classes = class_weight > 0
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
        """The weighted sum, and each term before weighting; ValueError without proxies."""
        u, _, logits, kept, classes, *_ = output
        proxies = proxies_of(output)
        terms: dict[str, Callable[[], Tensor]] = {
            "proxy": partial(proxy_loss, u, labels, proxies, scale=self.scale, margin=self.margin),
            "triplet": partial(self.triplets, u, labels, step),
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
        parts = {n: terms[n]() for n, weight in self.weights.items() if weight and n in terms}
        total = sum((self.weights[name] * value for name, value in parts.items()), torch.zeros(()))
        return total, parts

    def triplets(self, u: Tensor, labels: Tensor, step: Step | None) -> Tensor:
        """The triplet term, from the memory if there is one; it then takes up this batch's u."""
        if self.memory is None or self.labels is None:
            return batch_hard_triplet_loss(u, labels, margin=self.triplet_margin)
        if step is None:
            raise ValueError("a loss with a memory must know the step: loss(output, labels, step)")
        self.memory[step.positions] = u.detach()
        known = self.memory.clone(), self.labels, step  # backward needs it as it is now
        return memory_triplet_loss(u, labels, *known, margin=self.triplet_margin)
