"""Training losses that pull images to codes of their classes, and the control's cross-entropy.

Letters: B images of a batch, K bits, Y classes, E classifiers; u (B, K) a network's output, t
(B, K) the ±1 codes of the images' classes.
"""

import torch.nn.functional as F
from torch import Tensor

from fdhmfe.baselines.centres import balanced_codes, hash_centres
from fdhmfe.losses import Losses, Objective, Step, class_loss, proxies_of, proxy_loss
from fdhmfe.network import Output
from fdhmfe.proxies import maxmin_proxies, random_proxies


class OrthoHashLoss(Objective):
    """Cosine-margin softmax to the network's proxies; scale and margin as in arXiv 2109.14449."""

    class_codes = staticmethod(random_proxies)
    tuned = "margin"

    def __init__(self, *, scale: float = 8.0, margin: float = 0.2) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        loss = proxy_loss(
            output.u, labels, proxies_of(output), scale=self.scale, margin=self.margin
        )
        return loss, {"proxy": loss}


class CSQLoss(Objective):
    """Pulls each bit to the centre of its class, and tanh outputs to ±1 (arXiv 1908.00347).

    Mean of BCE((tanh u + 1) / 2, (t + 1) / 2), plus weight times the mean of (|tanh u| - 1)^2.
    Public versions have a weight of 1e-4, too little for an effect; 0.1 was set by hand.
    """

    class_codes = staticmethod(hash_centres)
    tuned = "quantisation_weight"

    def __init__(self, *, quantisation_weight: float = 0.1) -> None:
        super().__init__()
        self.weight = quantisation_weight

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        target = (proxies_of(output)[labels] + 1) / 2
        # (tanh u + 1) / 2 = sigmoid(2 u)
        centre = F.binary_cross_entropy_with_logits(2 * output.u, target)
        saturation = (output.u.tanh().abs() - 1).square().mean()
        total = centre + self.weight * saturation
        return total, {"centre": centre, "quantisation": saturation}


class DPNLoss(Objective):
    """Pushes each bit past a margin on its class code's side: mean of relu(margin - u t).

    Source: DPN, "Deep Polarized Network for Supervised Learning of Accurate Binary Hashing Codes"
    (IJCAI 2020). The margin is that of DeepHash-pytorch.
    """

    class_codes = staticmethod(balanced_codes)
    tuned = "bit_margin"

    def __init__(self, *, bit_margin: float = 1.0) -> None:
        super().__init__()
        self.margin = bit_margin

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        loss = F.relu(self.margin - output.u * proxies_of(output)[labels]).mean()
        return loss, {"polarisation": loss}


class SoftmaxLoss(Objective):
    """The control: smoothed cross-entropy (`class_loss`) of the class logits, mean over E.

    Only the network's read-out uses the proxies. Raises ValueError for an output without class
    logits or without proxies. Source: label smoothing (arXiv 1512.00567, section 7).
    """

    class_codes = staticmethod(maxmin_proxies)
    teaches_classes = True
    arranges = True
    tuned = "label_smoothing"

    def __init__(self, *, label_smoothing: float = 0.1) -> None:
        super().__init__()
        self.smoothing = label_smoothing

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        proxies_of(output)  # the read-out needs them
        if output.class_logits is None:
            raise ValueError("this loss needs a network with class logits, like `classifier`")
        every = output.class_logits.flatten(0, 1)  # (E B, Y)
        repeated = labels.repeat(len(output.class_logits))
        loss = class_loss(every, repeated, smoothing=self.smoothing)
        return loss, {"class": loss}
