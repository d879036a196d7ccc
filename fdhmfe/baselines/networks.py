"""The baselines' networks on pooled features: hash heads, and a classifier.

Letters: B images, M training images, L stages, C channels of the last stage, V features, Y classes,
K bits.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from fdhmfe.network import HashNetwork, Output, hash_layer
from fdhmfe.proxies import maxmin_proxies
from fdhmfe.stages import stage_means


def pooled_width(channels: Sequence[int], pooling: str) -> int:
    """How many of the stages' means a head takes, the deepest ones: those of `last`, or of `all`.

    ValueError for another name.
    """
    widths = {"last": channels[-1], "all": sum(channels)}
    if pooling not in widths:
        raise ValueError(f"pooling={pooling!r} is not one of {', '.join(widths)}")
    return widths[pooling]


class PooledHash(HashNetwork):
    """The plain baseline: pooled stage maps -> hash head."""

    def __init__(
        self,
        channels: Sequence[int],
        bits: int,
        *,
        hash_head: str = "linear",
        pooling: str = "last",
        proxies: np.ndarray | None = None,
    ) -> None:
        """channels: C_l of each map; bits: K.

        hash_head: see `hash_layer`; pooling: see `pooled_width`.
        """
        super().__init__(proxies)
        self.width = pooled_width(channels, pooling)
        self.hash = hash_layer(hash_head, self.width, bits)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        features = stage_means(maps)
        u = self.hash(features[:, -self.width :])
        return Output(u, self.proxies, features=features)


class ClassifiedHash(PooledHash):
    """The control `pooled-mlp`: a pooled hash head with a linear classifier beside it.

    With FDH-MFE's objective it has its proxies and losses, class loss included, but no tokens and
    no graph: what these add must be more than this.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        bits: int,
        *,
        hash_head: str = "mlp",
        pooling: str = "all",
        proxies: np.ndarray | None = None,
    ) -> None:
        """classes: Y; the rest as in `PooledHash`."""
        super().__init__(channels, bits, hash_head=hash_head, pooling=pooling, proxies=proxies)
        self.classify = nn.Linear(self.width, classes)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        features = stage_means(maps)
        seen = features[:, -self.width :]
        logits = self.classify(seen)[None]  # (1, B, Y)
        return Output(self.hash(seen), self.proxies, class_logits=logits, features=features)


class Classifier(HashNetwork):
    """The control: a linear classifier of the pooled stages, its posterior spoken in proxies.

    u = softmax(z) P for class logits z (B, Y) and proxies P (Y, K): a code without a hash layer.
    What hashing adds must be more than this. Reconstruction: the read-out is ours. No batch norm
    stands below the classifier: with one it fits so fast that a trained tail learns less.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        bits: int,
        *,
        pooling: str = "last",
        proxies: np.ndarray | None = None,
    ) -> None:
        """classes: Y. proxies (Y, K) in {-1, +1}; None: max-min ones (ValueError if 2^K < Y)."""
        super().__init__(maxmin_proxies(classes, bits, 0) if proxies is None else proxies)
        self.width = pooled_width(channels, pooling)
        self.classify = nn.Linear(self.width, classes)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        features = stage_means(maps)
        logits = self.classify(features[:, -self.width :])  # (B, Y)
        u = logits.softmax(1) @ self.proxies
        return Output(u, self.proxies, class_logits=logits[None], features=features)
