"""Coders turn a network's output for B images into relaxed codes, whose signs are the bits.

Some are fitted after the training, to what the network says of the M training images. Letters: C
channels of the pooled features, Y classes, K bits.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdhmfe.network import Output


class Coder(nn.Module):
    """Output of B images -> relaxed codes (B, K).

    `needs` names the fields of `Output` that the coder is fitted to; empty: it is not fitted.
    `network_bits` is how many of the K bits the network's own u has.
    """

    def __init__(self, bits: int, needs: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network_bits = bits
        self.needs = needs

    def fit(self, labels: Tensor, **values: Tensor) -> None:
        """Fit to the training images: labels (M,), and for each name in `needs` values (M, ..)."""

    def forward(self, output: Output) -> Tensor:
        raise NotImplementedError


def evidence(output: Output, name: str) -> Tensor:
    """The features (B, C) or class logits (B, Y) of an output; ValueError if it has none."""
    value: Tensor | None = getattr(output, name)
    if value is None:
        raise ValueError(f"this coder needs a network with {name.replace('_', ' ')}")
    return value.mean(0) if name == "class_logits" else value


class Sign(Coder):
    """The plain coder: u (B, K) as it is. The bits are its signs."""

    def __init__(self, bits: int) -> None:
        super().__init__(bits)

    def forward(self, output: Output) -> Tensor:
        return output.u


class ReadOut(Coder):
    """Class posterior (B, Y) times proxies (Y, K) -> (B, K).

    The posterior is the softmax of the network's class logits, or, where it has none, of what the
    proxy loss compares: `scale` times the cosines of u and the proxies. Ours, not the abstract's.
    """

    def __init__(self, bits: int, scale: float = 8.0) -> None:
        super().__init__(bits)
        self.scale = scale

    def forward(self, output: Output) -> Tensor:
        if output.proxies is None:
            raise ValueError("the read-out needs a network with proxies")
        return class_posterior(output, self.scale) @ output.proxies


def class_posterior(output: Output, scale: float) -> Tensor:
    """Probabilities (B, Y) of the classes; see `ReadOut`."""
    if output.class_logits is not None:
        return output.class_logits.mean(0).softmax(1)
    assert output.proxies is not None
    return (scale * F.normalize(output.u) @ F.normalize(output.proxies).T).softmax(1)


class TwoPart(Coder):
    """A code in two parts: u for the classes seen, then ITQ of the features for any other.

    `feature_share` of the K bits are the second part's, and there is none if it is 0. Ours, not the
    abstract's.
    """

    def __init__(self, channels: Sequence[int], bits: int, feature_share: float) -> None:
        own = round(feature_share * bits)
        super().__init__(bits - own, needs=("features",) if own else ())
        self.second = ITQ(channels, own) if own else None

    def fit(self, labels: Tensor, **values: Tensor) -> None:
        if self.second is not None:
            self.second.fit(labels, **values)

    def forward(self, output: Output) -> Tensor:
        return output.u if self.second is None else torch.cat([output.u, self.second(output)], 1)


class RandomProjection(Coder):
    """LSH: (x - mean) W for Gaussian W (C, K). A bit is the side of a random hyperplane.

    x: the pooled features. Source: Charikar, "Similarity estimation techniques from rounding
    algorithms" (STOC 2002).
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, channels: Sequence[int], bits: int) -> None:
        super().__init__(bits, needs=("features",))
        self.register_buffer("mean", torch.zeros(channels[-1]))
        self.register_buffer("projection", torch.randn(channels[-1], bits))

    def forward(self, output: Output) -> Tensor:
        return (evidence(output, "features") - self.mean) @ self.projection

    def fit(self, labels: Tensor, **values: Tensor) -> None:
        """Take the mean of the features (M, C)."""
        self.mean.copy_(values["features"].mean(0))


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

    def fit(self, labels: Tensor, **values: Tensor) -> None:
        """W: principal directions of the features (M, C). R: 50 rounds, as in the paper."""
        super().fit(labels, **values)
        centred = (values["features"] - self.mean).double()
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
