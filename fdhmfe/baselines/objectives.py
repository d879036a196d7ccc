"""The baselines' training losses: a few tensors of state around the functions of baseline_losses.

Each class says which weight `config.loss_weight` multiplies. Letters: B images of a batch, M
training images, K bits, Y classes.
"""

import math

import torch
from torch import Tensor

from fdhmfe import losses
from fdhmfe.baselines import formulas
from fdhmfe.baselines.networks import PartHash, PartOutput, features_of
from fdhmfe.config.settings import Config
from fdhmfe.losses import Batch, Criterion, ProxyCriterion
from fdhmfe.network import Output

Losses = tuple[Tensor, dict[str, Tensor]]


class OrthoHashLoss(ProxyCriterion):
    """Cosine-margin softmax to the network's proxies, nothing else (arXiv 2109.14449).

    loss_weight multiplies the margin.
    """

    def forward(self, output: Output, batch: Batch) -> Losses:
        c = self.config
        margin = c.margin * c.loss_weight
        loss = losses.proxy_loss(output.u, batch.labels, self.proxies, scale=c.scale, margin=margin)
        return loss, {"proxy": loss}


class CSQLoss(ProxyCriterion):
    """Each bit to its class's centre, and tanh outputs to ±1 (arXiv 1908.00347).

    loss_weight multiplies the weight of the latter, 0.1: at the 1e-4 of public versions the term
    is without effect beside a cross-entropy.
    """

    def forward(self, output: Output, batch: Batch) -> Losses:
        centre = formulas.central_similarity_loss(output.u, self.proxies[batch.labels])
        saturation = formulas.saturation_loss(output.u.tanh())
        total = centre + 0.1 * self.config.loss_weight * saturation
        return total, {"centre": centre, "quantisation": saturation}


class DPNLoss(ProxyCriterion):
    """Each bit past a margin on its class's side (IJCAI 2020). loss_weight multiplies margin 1."""

    def forward(self, output: Output, batch: Batch) -> Losses:
        target = self.proxies[batch.labels]
        loss = formulas.polarisation_loss(output.u, target, margin=self.config.loss_weight)
        return loss, {"polarisation": loss}


class DPSHLoss(Criterion):
    """Pairs of the batch with a memory of all training images (arXiv 1511.03855).

    `bank` (M, K) holds the last u of each image, zero where there is none yet. loss_weight
    multiplies the quantisation weight, 0.1.
    """

    def __init__(self, config: Config, labels: Tensor) -> None:
        super().__init__()
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("bank", torch.zeros(len(labels), config.bits))
        self.weight = 0.1 * config.loss_weight

    def forward(self, output: Output, batch: Batch) -> Losses:
        self.bank[batch.index] = output.u.detach()
        similar = batch.labels[:, None] == self.labels  # (B, M)
        pair = formulas.bank_pair_loss(output.u, self.bank, similar)
        quantisation = formulas.sign_distance(output.u)
        return pair + self.weight * quantisation, {"pair": pair, "quantisation": quantisation}


class HashNetLoss(Criterion):
    """Pairs of the batch on tanh(beta u), beta growing in steps (arXiv 1702.00758).

    beta = sqrt(1), sqrt(2), .. sqrt(8), an eighth of the training each, as DeepHash-pytorch does
    in 150 epochs. loss_weight multiplies the slope alpha, 10 / K as its authors advise.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.alpha = 10 / config.bits * config.loss_weight

    def forward(self, output: Output, batch: Batch) -> Losses:
        beta = math.sqrt(1 + math.floor(8 * batch.progress))
        h = (beta * output.u).tanh()
        loss = formulas.weighted_pair_loss(h, batch.labels, alpha=self.alpha)
        return loss, {"pair": loss}


class ADSHLoss(Criterion):
    """The batch against codes B solved for all training images; B again after each epoch.

    Buffers: `solved` B (M, K), random at first; `outputs` (M, K), the last tanh(u) of each image,
    zero where there is none yet. loss_weight multiplies gamma = 200, the quantisation weight.
    Source: ADSH (arXiv 1707.08325). B is no code of an image, since labels made it: the database
    is coded by the network like any image, and B only scored beside it, as `dcc`.
    """

    def __init__(self, config: Config, labels: Tensor) -> None:
        super().__init__()
        size = (len(labels), config.bits)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("solved", torch.where(torch.rand(size) < 0.5, -1.0, 1.0))
        self.register_buffer("outputs", torch.zeros(size))
        self.dissimilar = formulas.dissimilar_target(labels)
        self.gamma = 200 * config.loss_weight

    def forward(self, output: Output | PartOutput, batch: Batch) -> Losses:
        return self.asymmetric(output.u, batch)

    def asymmetric(self, u: Tensor, batch: Batch) -> Losses:
        """ADSH's loss of relaxed codes u (B, K), which it also notes in `outputs`."""
        f = u.tanh()
        self.outputs[batch.index] = f.detach()
        target = torch.where(batch.labels[:, None] == self.labels, 1.0, self.dissimilar)  # (B, M)
        pair = formulas.asymmetric_pair_loss(f, self.solved, target)
        own = self.solved[batch.index]
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

    def __init__(self, network: PartHash, config: Config, labels: Tensor) -> None:
        super().__init__(config, labels)
        size = (int(labels.max()) + 1, network.score.out_features, config.width)
        for name in ("anchors", "sums"):
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("counts", torch.zeros(size[0], 1, 1))
        self.encode = network.encode

    def forward(self, output: PartOutput, batch: Batch) -> Losses:
        u, parts = output.u, output.parts
        self.sums.index_add_(0, batch.labels, parts.detach())
        self.counts.index_add_(0, batch.labels, torch.ones_like(parts[:, :1, :1]))
        anchors = self.anchors[batch.labels]  # (B, P, D)
        exchanging = batch.progress >= 0.5 and bool(self.anchors.any())
        if exchanging:
            kept = torch.rand_like(parts[..., :1]) < 0.5
            u = self.encode(output.whole, torch.where(kept, parts, anchors))
        total, terms = self.asymmetric(u, batch)
        terms["diversity"] = formulas.part_diversity_loss(output.attention, parts)
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

    def __init__(self, network: PartHash, config: Config, labels: Tensor) -> None:
        super().__init__(config, labels)
        self.decode = network.decode

    def forward(self, output: PartOutput, batch: Batch) -> Losses:
        total, terms = self.asymmetric(output.u, batch)
        f = output.u.tanh()
        features = features_of(output.whole, output.parts)
        rebuilding = batch.progress >= 7 / 8
        terms["reconstruction"] = (self.decode(f) - features).square().mean() * rebuilding
        terms["correlation"] = formulas.code_correlation_loss(f) * rebuilding
        return total + terms["reconstruction"] + terms["correlation"], terms
