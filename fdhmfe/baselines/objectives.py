"""The baselines' training losses: a few tensors of state around the functions of formulas.py.

Letters: B images of a batch, M training images, K bits, Y classes.
"""

import math

import torch
from torch import Tensor, nn

from fdhmfe import losses
from fdhmfe.baselines import formulas
from fdhmfe.baselines.centres import balanced_codes, hash_centres
from fdhmfe.baselines.networks import PartHash
from fdhmfe.losses import Losses, Objective, Step
from fdhmfe.network import Output
from fdhmfe.proxies import random_proxies


class OrthoHashLoss(Objective):
    """Cosine-margin softmax to the network's proxies, nothing else (arXiv 2109.14449)."""

    class_codes = staticmethod(random_proxies)
    tuned = "margin"

    def __init__(self, *, scale: float = 8.0, margin: float = 0.2) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        sizes = {"scale": self.scale, "margin": self.margin}
        loss = losses.proxy_loss(output.u, labels, output.proxies, **sizes)
        return loss, {"proxy": loss}


class CSQLoss(Objective):
    """Each bit to its class's centre, and tanh outputs to ±1 (arXiv 1908.00347).

    Public versions weigh the latter with 1e-4, where it has no effect beside a cross-entropy.
    """

    class_codes = staticmethod(hash_centres)
    tuned = "quantisation_weight"

    def __init__(self, *, quantisation_weight: float = 0.1) -> None:
        super().__init__()
        self.weight = quantisation_weight

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        centre = formulas.central_similarity_loss(output.u, output.proxies[labels])
        saturation = formulas.saturation_loss(output.u.tanh())
        total = centre + self.weight * saturation
        return total, {"centre": centre, "quantisation": saturation}


class DPNLoss(Objective):
    """Each bit past a margin on its class's side (IJCAI 2020)."""

    class_codes = staticmethod(balanced_codes)
    tuned = "bit_margin"

    def __init__(self, *, bit_margin: float = 1.0) -> None:
        super().__init__()
        self.margin = bit_margin

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        target = output.proxies[labels]
        loss = formulas.polarisation_loss(output.u, target, margin=self.margin)
        return loss, {"polarisation": loss}


class DPSHLoss(Objective):
    """Pairs of the batch with a memory of all training images (arXiv 1511.03855).

    `labels` (M,) are those of all images; `bank` (M, K) holds the last u of each, zero where there
    is none yet.
    """

    tuned = "quantisation_weight"

    def __init__(self, labels: Tensor, bits: int, *, quantisation_weight: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("bank", torch.zeros(len(labels), bits))
        self.weight = quantisation_weight

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        self.bank[known(step).index] = output.u.detach()
        similar = labels[:, None] == self.labels  # (B, M)
        pair = formulas.bank_pair_loss(output.u, self.bank, similar)
        quantisation = formulas.sign_distance(output.u)
        return pair + self.weight * quantisation, {"pair": pair, "quantisation": quantisation}


class HashNetLoss(Objective):
    """Pairs of the batch on tanh(beta u), beta growing in steps (arXiv 1702.00758).

    beta = sqrt(1), sqrt(2), .. sqrt(8), an eighth of the training each, as DeepHash-pytorch does
    in 150 epochs. The slope of its sigmoid is alpha = slope / K, with 10 as its authors advise.
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
    """The batch against codes B solved for all training images; B again after each epoch.

    Buffers: `solved` B (M, K), random at first; `outputs` (M, K), the last tanh(u) of each image,
    zero where there is none yet. gamma: the quantisation weight. Source: ADSH (arXiv 1707.08325).
    B is no code of an image, since labels made it: the database is coded by the network like any
    image, and B is only scored beside it, as `dcc`.
    """

    tuned = "gamma"

    def __init__(self, labels: Tensor, bits: int, *, gamma: float = 200.0) -> None:
        super().__init__()
        size = (len(labels), bits)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("solved", torch.where(torch.rand(size) < 0.5, -1.0, 1.0))
        self.register_buffer("outputs", torch.zeros(size))
        self.dissimilar = formulas.dissimilar_target(labels)
        self.gamma = gamma

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        return self.asymmetric(output.u, labels, known(step))

    def asymmetric(self, u: Tensor, labels: Tensor, step: Step) -> Losses:
        """ADSH's loss of relaxed codes u (B, K), which it also notes in `outputs`."""
        f = u.tanh()
        self.outputs[step.index] = f.detach()
        target = torch.where(labels[:, None] == self.labels, 1.0, self.dissimilar)  # (B, M)
        pair = formulas.asymmetric_pair_loss(f, self.solved, target)
        own = self.solved[step.index]
        quantisation = formulas.asymmetric_quantisation_loss(f, own, len(self.labels))
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
    """ADSH's loss, diverse parts and, from half of the training on, parts exchanged in a class.

    Each part is replaced, with probability 1/2, by its class's mean over the epoch before, the
    anchor; then a code works only if part p of one image means what part p of another does.
    Buffers: `anchors` (Y, P, D); `sums` and `counts` of this epoch. Source: ExchNet (arXiv
    2008.01369).
    """

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
        u, attended = output.u, output.own
        parts = attended.parts
        self.sums.index_add_(0, labels, parts.detach())
        self.counts.index_add_(0, labels, torch.ones_like(parts[:, :1, :1]))
        anchors = self.anchors[labels]  # (B, P, D)
        step = known(step)
        exchanging = step.progress >= 0.5 and bool(self.anchors.any())
        if exchanging:
            kept = torch.rand_like(parts[..., :1]) < 0.5
            u = self.encode(attended._replace(parts=torch.where(kept, parts, anchors)))
        total, terms = self.asymmetric(u, labels, step)
        terms["diversity"] = formulas.part_diversity_loss(attended.attention, parts)
        terms["alignment"] = formulas.alignment_loss(parts, anchors) * exchanging
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

    That is A2-Net's encoder and decoder with one matrix, beside bits that do not repeat each
    other: each bit is to carry an attribute (NeurIPS 2021; arXiv 2311.12894).
    """

    def __init__(
        self, network: PartHash, labels: Tensor, bits: int, *, gamma: float = 200.0
    ) -> None:
        super().__init__(labels, bits, gamma=gamma)
        need_parts(network)
        self.decode = network.decode

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        step = known(step)
        total, terms = self.asymmetric(output.u, labels, step)
        f = output.u.tanh()
        rebuilding = step.progress >= 7 / 8
        terms["reconstruction"] = (
            self.decode(f) - output.own.features
        ).square().mean() * rebuilding
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
    """ValueError for a network without the parts that an objective exchanges or decodes."""
    if not isinstance(network, PartHash):
        raise ValueError(f"this objective needs the network 'parts', not {type(network).__name__}")
