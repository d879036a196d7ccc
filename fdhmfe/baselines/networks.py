"""The baselines' networks: pooled features, attended parts, closed-form projections.

ExchNet, A2-Net and SEMICON are built on the tokens that every network here gets. Their authors
refine each part by a copy of the backbone's last stage, which needs a backbone that is trained.
Letters: B images, M training images, S tokens of all stages together, C channels of the last stage,
D width, P parts, V features, K bits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fdhmfe.network import HashLayer, HashNetwork, Output
from fdhmfe.stages import Fusion, to_tokens


class PooledHash(HashNetwork):
    """The plain baseline: mean of the last stage's map -> hash layer."""

    def __init__(
        self, channels: Sequence[int], bits: int, *, proxies: np.ndarray | None = None
    ) -> None:
        super().__init__(proxies)
        self.hash = HashLayer(channels[-1], bits)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        return Output(self.hash(pooled(maps[-1])), self.proxies)


def pooled(x: Tensor) -> Tensor:
    """The mean of a map over its positions: (B, C, H, W) -> (B, C)."""
    return to_tokens(x).mean(1)


class Attended(NamedTuple):
    """The whole image and its parts, as `PartHash` returns them in `Output.own`."""

    whole: Tensor  # (B, C) mean of the last stage's map
    parts: Tensor  # (B, P, D) feature of each part
    attention: Tensor  # (B, P, S) weights of the tokens; they sum to one for each part

    @property
    def features(self) -> Tensor:
        """The whole and the parts side by side: (B, V), V = C + P D."""
        return torch.cat([self.whole, self.parts.flatten(1)], dim=1)


class PartHash(HashNetwork):
    """Network of ExchNet and A2-Net: the whole image and 4 attended parts -> one hash layer.

    4 parts as in ExchNet; the public A2-Net has as many parts as bits. Sources: ExchNet (arXiv
    2008.01369), A2-Net (NeurIPS 2021; arXiv 2311.12894).
    """

    def __init__(
        self,
        channels: Sequence[int],
        bits: int,
        *,
        width: int = 128,
        parts: int = 4,
        proxies: np.ndarray | None = None,
    ) -> None:
        super().__init__(proxies)
        self.tokens = Fusion(channels, width, exchange=False)
        self.score = nn.Linear(width, parts)
        self.refine = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.hash = HashLayer(channels[-1] + parts * width, bits)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        tokens = torch.cat(self.tokens(maps), dim=1)  # (B, S, D)
        attention = self.score(tokens).softmax(1).transpose(1, 2)  # (B, P, S)
        parts = self.refine(attention @ tokens)  # (B, P, D)
        whole = pooled(maps[-1])  # (B, C)
        attended = Attended(whole, parts, attention)
        return Output(self.encode(attended), self.proxies, own=attended)

    def encode(self, attended: Attended) -> Tensor:
        """The relaxed code u (B, K) of whole and parts."""
        return self.hash(attended.features)

    def decode(self, code: Tensor) -> Tensor:
        """Features (B, V) rebuilt from codes (B, K) by the transposed weights of the hash layer."""
        return code @ self.hash.linear.weight


class SEMICON(HashNetwork):
    """Three parts, found one after the other: each attends to what those before it left out.

    Half of the bits come from the whole image, the rest from the parts; if they do not divide
    evenly, the first parts get one more. (The public code has 14 bits for K = 16. Its mask depends
    on the batch; here the code of an image does not.) Source: SEMICON (arXiv 2209.13833).
    """

    def __init__(
        self,
        channels: Sequence[int],
        bits: int,
        *,
        width: int = 128,
        parts: int = 3,
        proxies: np.ndarray | None = None,
    ) -> None:
        super().__init__(proxies)
        narrow = width // 2  # its authors' attention has 64 channels
        self.tokens = Fusion(channels, narrow, exchange=False)
        self.scores = nn.ModuleList(nn.Linear(narrow, 1) for _ in range(parts))
        self.interaction = ChannelInteraction(narrow)
        self.whole_hash = HashLayer(channels[-1], bits - bits // 2)
        shares = np.array_split(range(bits // 2), parts)  # the larger ones come first
        self.part_hash = nn.ModuleList(HashLayer(narrow, len(share)) for share in shares)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        tokens = remaining = torch.cat(self.tokens(maps), dim=1)  # (B, S, D)
        codes = [self.whole_hash(pooled(maps[-1]))]
        for score, code in zip(self.scores, self.part_hash, strict=True):
            attention = score(remaining).softmax(1)  # (B, S, 1)
            codes.append(code(self.interaction(tokens * attention * tokens.shape[1])))
            remaining = remaining * (2 - suppression_mask(attention))
        return Output(torch.cat(codes, dim=1), self.proxies)


class ChannelInteraction(nn.Module):
    """Channels that respond together strengthen each other: x (B, S, D) -> mean of x + V A: (B, D).

    A (B, D, D) is a softmax over channels of the signed square root of Q^T K / S, per image. Q, K
    and V are linear in x, so V of the mean token is the mean of V. The paper takes two steps, on
    groups of its 2048 channels; D is small enough for one step.
    Source: SEMICON's ICON module (arXiv 2209.13833).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x).transpose(1, 2) @ self.key(x) / x.shape[1]  # (B, D, D)
        # the root of |x| has an infinite slope at 0; 1e-6 makes it finite
        signed_root = scores.sign() * ((scores.abs() + 1e-6).sqrt() - 1e-3)
        mean = x.mean(1)
        return mean + (self.value(mean)[:, None] @ signed_root.softmax(1)).squeeze(1)


@torch.no_grad()
def suppression_mask(attention: Tensor, power: float = 0.3) -> Tensor:
    """How strongly each token is suppressed for the next part: attention (B, S, 1) -> the same.

    clamp((a - mean a) / std(a)^power + 1, 0, 2) over the tokens of an image: 2 hides a token, 1
    leaves it as it is. Source: SEMICON (arXiv 2209.13833), alpha = 0.3 (its public code: 0.15).
    """
    centred = attention - attention.mean(1, keepdim=True)
    spread = attention.std(1, unbiased=False, keepdim=True).clamp(min=1e-6)
    return (centred / spread**power + 1).clamp(0, 2)


class RandomProjection(HashNetwork):
    """LSH: u = (x - mean) W for Gaussian W (C, K). A bit is the side of a random hyperplane.

    x: mean of the last stage's map. Source: Charikar, "Similarity estimation techniques from
    rounding algorithms" (STOC 2002).
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, channels: Sequence[int], bits: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels[-1]))
        self.register_buffer("projection", torch.randn(channels[-1], bits))

    def forward(self, maps: Sequence[Tensor]) -> Output:
        return Output((pooled(maps[-1]) - self.mean) @ self.projection)

    def fit(self, features: Tensor) -> None:
        """Take the mean of the pooled features (M, C) of the training images."""
        self.mean.copy_(features.mean(0))


class ITQ(RandomProjection):
    """Iterative quantisation: u = (x - mean) W R, principal directions W, learned rotation R.

    Source: Gong and Lazebnik, "Iterative quantization: a Procrustean approach to learning binary
    codes" (CVPR 2011). Raises ValueError if K > C.
    """

    def __init__(self, channels: Sequence[int], bits: int) -> None:
        super().__init__(channels, bits)
        if bits > channels[-1]:
            raise ValueError(
                f"ITQ needs bits <= channels: {bits} bits from {channels[-1]} channels"
            )

    def fit(self, features: Tensor) -> None:
        """W: principal directions of the features (M, C). R: 50 rounds, as in the paper."""
        super().fit(features)
        centred = (features - self.mean).double()
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
        u, _, vt = torch.linalg.svd(x.T @ codes)
        rotation = u @ vt
    return rotation
