"""Closed-form baselines: linear projections of pooled features, fitted once, without labels.

Letters: M training images, C channels of the last stage, K bits.
"""

import torch
from torch import Tensor, nn

from fdhmfe.model import Output


class RandomProjection(nn.Module):
    """LSH: u = (x - mean) W for Gaussian W (C, K); the sign of a bit is a random half-space.

    x: mean of the last stage's tokens. Source: Charikar, "Similarity estimation techniques from
    rounding algorithms" (STOC 2002).
    """

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.register_buffer("proxies", None)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("projection", torch.randn(channels, bits))

    def forward(self, stages: list[Tensor]) -> Output:
        return Output((stages[-1].mean(1) - self.mean) @ self.projection, [], [])

    def fit(self, features: Tensor) -> None:
        """Centre on the pooled features (M, C) of the training images."""
        self.mean.copy_(features.mean(0))


class ITQ(RandomProjection):
    """Iterative quantisation: u = (x - mean) W R, principal directions W, learned rotation R.

    Source: Gong and Lazebnik, "Iterative quantization: a Procrustean approach to learning binary
    codes" (CVPR 2011). Needs K <= C.
    """

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__(channels, bits)
        if bits > channels:
            raise ValueError(f"ITQ needs bits <= channels: {bits} bits from {channels} channels")

    def fit(self, features: Tensor) -> None:
        """Principal directions (C, K) of the features (M, C), then 50 rounds of rotation."""
        super().fit(features)
        centred = (features - self.mean).double()
        bits = self.projection.shape[1]
        _, directions = torch.linalg.eigh(centred.T @ centred)  # (C, C), by rising variance
        principal = directions.flip(1)[:, :bits]  # (C, K)
        start = torch.linalg.qr(self.projection[:bits].double()).Q  # it was drawn at random
        rotation = learn_rotation(centred @ principal, start)
        self.projection.copy_(principal @ rotation)


def learn_rotation(x: Tensor, rotation: Tensor, rounds: int = 50) -> Tensor:
    """Rotation R (K, K) that brings x R near ±1: minimises |B - x R|^2 over B and R in turn.

    x (M, K). Each round: B = sign(x R), then R = U V^T where x^T B = U diag(s) V^T (orthogonal
    Procrustes). Source: ITQ (CVPR 2011), section 2.2.
    """
    for _ in range(rounds):
        codes = torch.where(x @ rotation >= 0, 1.0, -1.0).to(x.dtype)
        u, _, vt = torch.linalg.svd(x.T @ codes)
        rotation = u @ vt
    return rotation
