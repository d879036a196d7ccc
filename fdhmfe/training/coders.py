"""Coders turn a network's output for B images into relaxed codes, whose signs are the bits.

Some are fitted after the training, to what the network says of the M training images. Letters: C
channels of the pooled features, Y classes, K bits.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdhmfe.network import Output
from fdhmfe.proxies import class_means


class Coder(nn.Module):
    """Output of B images -> relaxed codes (B, K). `fitted`: whether it must be fitted first."""

    fitted: ClassVar[bool] = False

    def fit(self, features: Tensor, labels: Tensor, proxies: Tensor | None) -> None:
        """Fit to features (M, C), labels (M,) in 0..Y-1 and, if there are any, proxies (Y, K)."""

    def forward(self, output: Output) -> Tensor:
        raise NotImplementedError


def given(value: Tensor | None, name: str) -> Tensor:
    """The value, or a ValueError that names it if the network has none."""
    if value is None:
        raise ValueError(f"this coder needs a network with {name}")
    return value


def features_of(output: Output) -> Tensor:
    """The stages' means (B, sum of C_l), before any hashing; ValueError without."""
    return given(output.features, "features")


class Sign(Coder):
    """The plain coder: u (B, K) as it is. The bits are its signs."""

    def forward(self, output: Output) -> Tensor:
        return output.u


class ReadOut(Coder):
    """Class posterior (B, Y) times proxies (Y, K) -> (B, K).

    The posterior is the softmax of the network's class logits, or, where none are trained, of what
    the proxy loss compares: `scale` times the cosines of u and the proxies. It is ours, not the
    abstract's.
    """

    def __init__(self, scale: float = 8.0, teaches_classes: bool = True) -> None:
        """teaches_classes: of the objective; if False, class logits are left aside."""
        super().__init__()
        self.scale, self.reads_logits = scale, teaches_classes

    def forward(self, output: Output) -> Tensor:
        return self.posterior(output) @ given(output.proxies, "proxies")

    def posterior(self, output: Output) -> Tensor:
        """Probabilities (B, Y) of the classes."""
        if self.reads_logits and output.class_logits is not None:
            return output.class_logits.mean(0).softmax(1)
        proxies = F.normalize(given(output.proxies, "proxies"))
        return (self.scale * F.normalize(output.u) @ proxies.T).softmax(1)


class ClassMixture(Coder):
    """A code for classes seen and unseen: an image is a mixture of the seen classes.

    1. Whiten the standardised features: directions that vary within classes count less. (They are
       shrunk towards equal variance. Without this, training on the seen classes leaves few
       directions that tell other classes apart.)
    2. Posterior: softmax of the cosines with the class means over a high temperature, less its mean
       over the training images, to unit length. An unseen class mixes the seen ones it looks like.
    3. Rotate: the orthonormal map that brings the training images nearest to their classes' proxies
       (Procrustes), then rounds of ITQ (CVPR 2011), which bring them nearest to their own signs.

    Ours, not the abstract's. Shrinkage and temperature were chosen at 48 bits on classes held out
    of the train split.
    """

    fitted = True
    centre: Tensor
    whitening: Tensor
    means: Tensor
    prior: Tensor
    rotation: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        bits: int,
        *,
        shrinkage: float = 0.8,
        temperature: float = 0.2,
        rounds: int = 50,
    ) -> None:
        super().__init__()
        self.shrinkage, self.temperature, self.rounds = shrinkage, temperature, rounds
        width = sum(channels)
        shapes = {"centre": (width,), "whitening": (width, width), "means": (classes, width)}
        shapes |= {"prior": (classes,), "rotation": (classes, bits)}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def forward(self, output: Output) -> Tensor:
        return self.mixture(features_of(output)) @ self.rotation

    def mixture(self, features: Tensor) -> Tensor:
        """Features (B, C) -> centred posteriors of unit length (B, Y)."""
        return F.normalize(self.posterior(features) - self.prior)

    def posterior(self, features: Tensor) -> Tensor:
        """Probabilities (B, Y) of the seen classes."""
        cosine = self.whitened(features) @ self.means.T
        return (cosine / self.temperature).softmax(1)

    def whitened(self, features: Tensor) -> Tensor:
        return F.normalize((features - self.centre) @ self.whitening)

    def fit(self, features: Tensor, labels: Tensor, proxies: Tensor | None) -> None:
        """Fit to features (M, C), labels (M,) in 0..Y-1, and the class proxies (Y, K)."""
        targets = given(proxies, "proxies")[labels]
        self.centre.copy_(features.mean(0))
        self.whitening.copy_(whitening(features, labels, self.shrinkage))
        self.means.copy_(F.normalize(class_means(self.whitened(features), labels.numpy())))
        self.prior.copy_(self.posterior(features).mean(0))
        mixtures = self.mixture(features)
        for _ in range(self.rounds + 1):
            self.rotation.copy_(procrustes(mixtures, targets))
            targets = torch.where(mixtures @ self.rotation >= 0, 1.0, -1.0)


def whitening(features: Tensor, labels: Tensor, shrinkage: float) -> Tensor:
    """W (C, C) by which features (M, C) vary alike, within classes, in all directions.

    They are standardised first. The covariance S within classes is shrunk to (1 - s) S + s v I, v
    the mean variance. Source: regularised discriminant analysis (Friedman 1989).
    """
    scale = 1 / (features.std(0) + 1e-6)
    standard = ((features - features.mean(0)) * scale).double()
    within = standard - class_means(standard, labels.numpy())[labels]
    covariance = within.T @ within / len(within)
    spread = covariance.diagonal().mean() * torch.eye(len(covariance)).double()
    shrunk = (1 - shrinkage) * covariance + shrinkage * spread
    # Any root will do: the cosines that follow depend on the inverse alone.
    root = torch.linalg.inv(torch.linalg.cholesky(shrunk)).T
    return scale[:, None] * root.float()


def procrustes(x: Tensor, targets: Tensor) -> Tensor:
    """R with orthonormal columns or rows that brings x (M, Y) nearest to targets (M, K): (Y, K)."""
    u, _, vt = torch.linalg.svd(x.T @ targets, full_matrices=False)
    return u @ vt


class RandomProjection(Coder):
    """LSH: (x - mean) W for Gaussian W (C, K). A bit is the side of a random hyperplane.

    x: the mean of the last stage's map. Source: Charikar, "Similarity estimation techniques from
    rounding algorithms" (STOC 2002).
    """

    fitted = True
    mean: Tensor
    projection: Tensor

    def __init__(self, channels: Sequence[int], bits: int) -> None:
        super().__init__()
        self.width = channels[-1]
        self.register_buffer("mean", torch.zeros(channels[-1]))
        self.register_buffer("projection", torch.randn(channels[-1], bits))

    def forward(self, output: Output) -> Tensor:
        features = features_of(output)[:, -self.width :]
        return (features - self.mean) @ self.projection

    def fit(self, features: Tensor, labels: Tensor, proxies: Tensor | None) -> None:
        """Take the mean of the features (M, C)."""
        self.mean.copy_(features[:, -self.width :].mean(0))


class ITQ(RandomProjection):
    """Iterative quantisation: (x - mean) W R, principal directions W, learned rotation R.

    Source: Gong and Lazebnik, "Iterative quantization: a Procrustean approach to learning binary
    codes" (CVPR 2011). Raises ValueError if K > C.
    """

    def __init__(self, channels: Sequence[int], bits: int) -> None:
        super().__init__(channels, bits)
        if bits > channels[-1]:
            raise ValueError(
                f"ITQ needs bits <= channels: {bits} bits from {channels[-1]} channels"
            )

    def fit(self, features: Tensor, labels: Tensor, proxies: Tensor | None) -> None:
        """W: principal directions of the features (M, C). R: 50 rounds, as in the paper."""
        super().fit(features, labels, proxies)
        centred = (features[:, -self.width :] - self.mean).double()
        bits = self.projection.shape[1]
        _, directions = torch.linalg.eigh(centred.T @ centred)  # (C, C), smallest variance first
        principal = directions.flip(1)[:, :bits]  # (C, K)
        start = torch.linalg.qr(self.projection[:bits].double()).Q  # a random rotation
        rotation = learn_rotation(centred @ principal, start)
        self.projection.copy_(principal @ rotation)


def learn_rotation(x: Tensor, rotation: Tensor, rounds: int = 50) -> Tensor:
    """Rotation R (K, K) that brings x R near ±1: minimises |B - x R|^2 over B and R in turn.

    x (M, K). Each round: B = sign(x R), then R = U V^T where x^T B = U diag(s) V^T (orthogonal
    Procrustes). Source: ITQ (CVPR 2011), section 2.2.
    """
    for _ in range(rounds):
        codes = torch.where(x @ rotation >= 0, 1.0, -1.0).to(x.dtype)
        rotation = procrustes(x, codes)
    return rotation
