"""Training losses against codes solved for all training images: ADSH and what builds on it.

Letters: B images of a batch, M training images, K bits, Y classes, P parts, E channels of a part.
"""

import torch
from torch import Tensor, nn

from fdhmfe.baselines import formulas
from fdhmfe.baselines.pairs import known
from fdhmfe.baselines.parts import PartHash
from fdhmfe.losses import Losses, Objective, Step
from fdhmfe.network import Output

SOLUTIONS = 3  # per epoch: 36 in a dozen epochs, where public code has 40


class ADSHLoss(Objective):
    """Outputs of the batch against codes B of all training images, solved three times per epoch.

    Buffers: `solved` B (M, K), random at first; `outputs` (M, K), the last tanh(u) of each image,
    0 at first. The pair term is 12 / K times the mean of (K S_ij - f_i . b_j)^2; S_ij is 1 for a
    similar pair, else `dissimilar_target`. The quantisation term is 12 / K / M times the mean over
    the batch of |f_i - b_i|^2; gamma is its weight; 200 is the authors'. B is made from labels, not
    from images. So the network codes the database, too, and B is scored apart, as `dcc`.
    Public code solves 40 times, each time after 30 epochs on 2,000 images drawn anew, where here
    a third of the images passes once. Its B starts from real numbers, ours from their signs.
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
        self.passed = 0  # images since B was solved; 0 after an epoch, so no checkpoint needs it

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        index, f = known(step).positions, output.u.tanh()
        if self.passed * SOLUTIONS >= len(self.labels):  # before B is used: backward needs it as is
            self.solve()
        self.passed += len(index)
        self.outputs[index] = f.detach()
        target = torch.where(labels[:, None] == self.labels, 1.0, self.dissimilar)  # (B, M)
        bits = f.shape[1]
        pair = 12 / bits * (bits * target - f @ self.solved.T).square().mean()
        apart = (f - self.solved[index]).square().sum(1).mean()
        quantisation = 12 / bits / len(self.labels) * apart
        return pair + self.gamma * quantisation, {"pair": pair, "quantisation": quantisation}

    @torch.no_grad()
    def solve(self) -> None:
        """Fit B to the last outputs: one round of `solve_codes`."""
        codes = formulas.solve_codes(
            self.solved, self.outputs, self.labels, dissimilar=self.dissimilar, gamma=self.gamma
        )
        self.solved.copy_(codes)
        self.passed = 0

    def end_epoch(self) -> None:
        self.solve()

    def database_codes(self) -> Tensor:
        return self.solved.to(torch.int8)


class ExchNetLoss(ADSHLoss):
    """ADSH's loss, plus a loss for different parts; in the last eighth, parts are exchanged.

    Each part is replaced, with probability 1/2, by its anchor: the mean of this part over the class
    in the last epoch. So part p must mean the same in all images of a class. From then on |X - A| /
    B is added, with parts X (B, P, E) after the exchange, anchors A, and the Frobenius norm. (Parts
    that were exchanged add nothing.) Buffers: `anchors` (Y, P, E); `sums`, `counts` of this epoch.
    The last eighth is from DSH_Analysis (35 of 40), which shares an account with SEMICON's code;
    two of SEMICON's authors are ExchNet's. (Another public version: 25 of 60.) There, anchors are
    made in evaluation mode after each iteration; places are compared on refined maps, not on
    attention; and ADSH's quantisation term is left out unless asked for.
    Source: ExchNet (arXiv 2008.01369).
    """

    anchors: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(
        self, network: PartHash, labels: Tensor, bits: int, *, gamma: float = 200.0
    ) -> None:
        super().__init__(labels, bits, gamma=gamma)
        need_parts(network)
        size = (int(labels.max()) + 1, network.score.out_features, network.part_width)
        for name in ("anchors", "sums"):
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("counts", torch.zeros(size[0], 1, 1))
        self.encode = network.encode

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        parts = output.own.parts
        self.sums.index_add_(0, labels, parts.detach())
        self.counts.index_add_(0, labels, torch.ones_like(parts[:, :1, :1]))
        alignment = parts.new_zeros(())
        if known(step).progress >= 7 / 8 and self.anchors.any():
            anchors = self.anchors[labels]  # (B, P, E)
            kept = torch.rand_like(parts[..., :1]) < 0.5
            exchanged = torch.where(kept, parts, anchors)
            alignment = (exchanged - anchors).norm() / len(parts)
            output = output._replace(u=self.encode(output.own._replace(parts=exchanged)))
        total, terms = super().forward(output, labels, step)
        terms["diversity"] = formulas.part_diversity_loss(output.own.attention, parts)
        terms["alignment"] = alignment
        return total + terms["diversity"] + alignment, terms

    @torch.no_grad()
    def end_epoch(self) -> None:
        super().end_epoch()
        means = self.sums / self.counts.clamp(min=1)
        self.anchors.copy_(torch.where(self.counts > 0, means, self.anchors))
        self.sums.zero_()
        self.counts.zero_()


class A2NetLoss(ADSHLoss):
    """ADSH's loss; in the second half of the training, codes must also rebuild the features.

    Encoder and decoder share a matrix. Bits are decorrelated, to stand for one attribute each. Half
    as in public code (DSH_Analysis); what deviates there is in `PartHash` and `ADSHLoss`.
    Source: A2-Net (NeurIPS 2021; arXiv 2311.12894).
    """

    def __init__(
        self, network: PartHash, labels: Tensor, bits: int, *, gamma: float = 200.0
    ) -> None:
        super().__init__(labels, bits, gamma=gamma)
        need_parts(network)
        self.decode = network.decode

    def forward(self, output: Output, labels: Tensor, step: Step | None = None) -> Losses:
        total, terms = super().forward(output, labels, step)
        f, rebuilding = output.u.tanh(), known(step).progress >= 0.5
        error = (self.decode(f) - output.own.features).square().mean()
        terms["reconstruction"] = error * rebuilding
        terms["correlation"] = formulas.code_correlation_loss(f) * rebuilding
        return total + terms["reconstruction"] + terms["correlation"], terms


def need_parts(network: nn.Module) -> None:
    """Raises ValueError if the network is not a `PartHash`, whose parts the objective needs."""
    if not isinstance(network, PartHash):
        raise ValueError(f"this objective needs the network 'parts', not {type(network).__name__}")
