"""Training losses on pairs: an image of the batch, and what is remembered of any training image.

Letters: B images of a batch, M training images, K bits; u (B, K) a network's output.
"""

import math

import torch
from torch import Tensor

from fdhmfe.baselines import formulas
from fdhmfe.losses import Losses, Objective, Step
from fdhmfe.network import Output, binarise


class BankLoss(Objective):
    """Base of objectives that pair the batch with all training images.

    labels (M,): of all training images. Buffer `bank` (M, K): the last codes of each, 0 at first.
    """

    labels: Tensor
    bank: Tensor

    def __init__(self, labels: Tensor, bits: int) -> None:
        super().__init__()
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("bank", torch.zeros(len(labels), bits))

    def remember(self, codes: Tensor, labels: Tensor, step: Step | None) -> Tensor:
        """Store the batch's codes (B, K); returns which images are similar to it: (B, M)."""
        self.bank[known(step).positions] = codes.detach()
        return labels[:, None] == self.labels


class DPSHLoss(BankLoss):
    """Pairs of an image of the batch and a stored code of any training image (arXiv 1511.03855).

    `bank_pair_loss`, plus weight times the mean of (u - sign u)^2, sign 0 = +1; 0.1 is the weight
    of DeepHash-pytorch. The bank holds u.
    """

    tuned = "quantisation_weight"

    def __init__(self, labels: Tensor, bits: int, *, quantisation_weight: float = 0.1) -> None:
        super().__init__(labels, bits)
        self.weight = quantisation_weight

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        similar = self.remember(output.u, labels, step)
        pair = formulas.bank_pair_loss(output.u, self.bank, similar)
        quantisation = (output.u - binarise(output.u.detach())).square().mean()
        return pair + self.weight * quantisation, {"pair": pair, "quantisation": quantisation}


class HashNetLoss(BankLoss):
    """Pairs as in DPSH, on h = tanh(beta u); beta grows in steps (arXiv 1702.00758).

    beta = sqrt(1), sqrt(2), .. sqrt(8), each for an eighth of the training, as in the 150 epochs of
    DeepHash-pytorch. The bank holds h, as in DeepHash-pytorch and DSH_Analysis; its authors' code
    pairs the images of a batch. Those two count images not seen yet as dissimilar, with h = 0; here
    they do not count. The slope of the sigmoid is alpha = slope / K: its authors advise 10 / K, the
    two have 0.1 for any K.
    """

    tuned = "slope"

    def __init__(self, labels: Tensor, bits: int, *, slope: float = 10.0) -> None:
        super().__init__(labels, bits)
        self.slope = slope

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        beta = math.sqrt(1 + math.floor(8 * known(step).progress))
        h = (beta * output.u).tanh()
        similar = self.remember(h, labels, step)
        alpha = self.slope / h.shape[1]
        loss = formulas.weighted_pair_loss(h, self.bank, similar, alpha=alpha)
        return loss, {"pair": loss}


def known(step: Step | None) -> Step:
    """The step; ValueError without one, for objectives that remember images or change with time."""
    if step is None:
        raise ValueError(
            "this objective must know the step: loss(output, labels, Step(index, 0.0))"
        )
    return step
