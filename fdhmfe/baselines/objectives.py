"""The training losses of the baselines, and the state they need.

Letters: B images of a batch, M training images, K bits, Y classes; u (B, K) a network's output,
t (B, K) the ±1 codes of the images' classes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdhmfe.baselines import formulas
from fdhmfe.baselines.centres import balanced_codes, hash_centres
from fdhmfe.baselines.networks import PartHash
from fdhmfe.losses import Losses, Objective, Step, proxies_of, proxy_loss
from fdhmfe.network import Output, binarise
from fdhmfe.proxies import random_proxies


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


class DPSHLoss(Objective):
    """Pairs of an image of the batch and a stored code of any training image (arXiv 1511.03855).

    `bank_pair_loss`, plus weight times the mean of (u - sign u)^2, sign 0 = +1; 0.1 is the weight
    of DeepHash-pytorch. labels (M,): of all training images. Buffer `bank` (M, K): the last u of
    each, 0 at first.
    """

    tuned = "quantisation_weight"
    labels: Tensor
    bank: Tensor

    def __init__(self, labels: Tensor, bits: int, *, quantisation_weight: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("bank", torch.zeros(len(labels), bits))
        self.weight = quantisation_weight

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        self.bank[known(step).positions] = output.u.detach()
        similar = labels[:, None] == self.labels  # (B, M)
        pair = formulas.bank_pair_loss(output.u, self.bank, similar)
        quantisation = (output.u - binarise(output.u.detach())).square().mean()
        return pair + self.weight * quantisation, {"pair": pair, "quantisation": quantisation}


class HashNetLoss(Objective):
    """Pairs of images of the batch, on tanh(beta u); beta grows in steps (arXiv 1702.00758).

    beta = sqrt(1), sqrt(2), .. sqrt(8), each for an eighth of the training, as in the 150 epochs of
    DeepHash-pytorch. The slope of the sigmoid is alpha = slope / K; its authors advise 10 / K.
    """

    tuned = "slope"

    def __init__(self, *, slope: float = 10.0) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        beta = math.sqrt(1 + math.floor(8 * known(step).progress))
        h = (beta * output.u).tanh()
        loss = formulas.weighted_pair_loss(h, labels, alpha=self.slope / h.shape[1])
        return loss, {"pair": loss}


class ADSHLoss(Objective):
    """Outputs of the batch against codes B of all training images, solved after each epoch.

    Buffers: `solved` B (M, K), random at first; `outputs` (M, K), the last tanh(u) of each image,
    0 at first. The pair term is 12 / K times the mean of (K S_ij - f_i . b_j)^2; S_ij is 1 for a
    similar pair, else `dissimilar_target`. The quantisation term is 12 / K / M times the mean over
    the batch of |f_i - b_i|^2; gamma is its weight; 200 is the authors'. B is made from labels, not
    from images. So the network codes the database, too, and B is scored apart, as `dcc`.
    Sources: ADSH (arXiv 1707.08325); the factor 12 / K: SEMICON (arXiv 2209.13833).
    """

    tuned = "gamma"
    labels: Tensor
    solved: Tensor
    outputs: Tensor

    def __init__(self, labels: Tensor, bits: int, *, gamma: float = 200.0) -> None:
        super().__init__()
        size = (len(labels), bits)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("solved", torch.where(torch.rand(size) < 0.5, -1.0, 1.0))
        self.register_buffer("outputs", torch.zeros(size))
        self.dissimilar = formulas.dissimilar_target(labels)
        self.gamma = gamma

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        index, f = known(step).positions, output.u.tanh()
        self.outputs[index] = f.detach()
        target = torch.where(labels[:, None] == self.labels, 1.0, self.dissimilar)  # (B, M)
        bits = f.shape[1]
        pair = 12 / bits * (bits * target - f @ self.solved.T).square().mean()
        apart = (f - self.solved[index]).square().sum(1).mean()
        quantisation = 12 / bits / len(self.labels) * apart
        return pair + self.gamma * quantisation, {"pair": pair, "quantisation": quantisation}

    @torch.no_grad()
    def end_epoch(self) -> None:
        codes = formulas.solve_codes(
            self.solved, self.outputs, self.labels, dissimilar=self.dissimilar, gamma=self.gamma
        )
        self.solved.copy_(codes)

    def database_codes(self) -> Tensor:
        return self.solved.to(torch.int8)


class ExchNetLoss(ADSHLoss):
    """ADSH's loss, plus a loss for different parts; in the second half, parts are exchanged.

    Each part is replaced, with probability 1/2, by its anchor: the mean of this part over the class
    in the last epoch. So part p must mean the same in all images of a class. In this half, the mean
    distance of the parts to their anchors is added, too. Half was set by hand; public versions
    begin at 7/8 or 5/12 of the training. Buffers: `anchors` (Y, P, D); `sums` and `counts` of this
    epoch. Source: ExchNet (arXiv 2008.01369).
    """

    anchors: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(
        self, network: PartHash, labels: Tensor, bits: int, *, gamma: float = 200.0
    ) -> None:
        super().__init__(labels, bits, gamma=gamma)
        need_parts(network)
        width, parts = network.score.in_features, network.score.out_features
        size = (int(labels.max()) + 1, parts, width)
        for name in ("anchors", "sums"):
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("counts", torch.zeros(size[0], 1, 1))
        self.encode = network.encode

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        parts = output.own.parts
        self.sums.index_add_(0, labels, parts.detach())
        self.counts.index_add_(0, labels, torch.ones_like(parts[:, :1, :1]))
        anchors = self.anchors[labels]  # (B, P, D)
        exchanging = known(step).progress >= 0.5 and bool(self.anchors.any())
        if exchanging:
            kept = torch.rand_like(parts[..., :1]) < 0.5
            exchanged = output.own._replace(parts=torch.where(kept, parts, anchors))
            output = output._replace(u=self.encode(exchanged))
        total, terms = super().forward(output, labels, step)
        terms["diversity"] = formulas.part_diversity_loss(output.own.attention, parts)
        terms["alignment"] = (parts - anchors).norm(dim=-1).mean() * exchanging
        return total + terms["diversity"] + terms["alignment"], terms

    @torch.no_grad()
    def end_epoch(self) -> None:
        super().end_epoch()
        means = self.sums / self.counts.clamp(min=1)
        self.anchors.copy_(torch.where(self.counts > 0, means, self.anchors))
        self.sums.zero_()
        self.counts.zero_()


class A2NetLoss(ADSHLoss):
    """ADSH's loss; in the last eighth of the training, codes must also rebuild the features.

    Encoder and decoder share a matrix. Bits are decorrelated, to stand for one attribute each. (The
    public code rebuilds from half-way on.) Source: A2-Net (NeurIPS 2021; arXiv 2311.12894).
    """

    def __init__(
        self, network: PartHash, labels: Tensor, bits: int, *, gamma: float = 200.0
    ) -> None:
        super().__init__(labels, bits, gamma=gamma)
        need_parts(network)
        self.decode = network.decode

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        total, terms = super().forward(output, labels, step)
        f, rebuilding = output.u.tanh(), known(step).progress >= 7 / 8
        error = (self.decode(f) - output.own.features).square().mean()
        terms["reconstruction"] = error * rebuilding
        terms["correlation"] = formulas.code_correlation_loss(f) * rebuilding
        return total + terms["reconstruction"] + terms["correlation"], terms


def known(step: Step | None) -> Step:
    """The step; ValueError without one, for objectives that remember images or change with time."""
    if step is None:
        raise ValueError(
            "this objective must know the step: loss(output, labels, Step(index, 0.0))"
        )
    return step


def need_parts(network: nn.Module) -> None:
    """Raises ValueError if the network is not a `PartHash`, whose parts the objective needs."""
    if not isinstance(network, PartHash):
        raise ValueError(f"this objective needs the network 'parts', not {type(network).__name__}")
