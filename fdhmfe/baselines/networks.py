"""The baselines' networks on pooled features: hash heads, and a classifier.

Letters: B images, M training images, L stages, C channels of the last stage, V features, Y classes,
K bits.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from fdhmfe.network import HashNetwork, Output, hash_layer
from fdhmfe.proxies import maxmin_proxies
from fdhmfe.stages import stage_means, to_tokens


def pooled(x: Tensor) -> Tensor:
    """The mean of a map over its positions: (B, C, H, W) -> (B, C)."""
    return to_tokens(x).mean(1)


class Pooling(nn.Module):
    """L maps (B, C_l, H_l, W_l) -> (B, V): the mean of the last one, or of all, side by side.

    kind: last (V = C) or all (V = sum of C_l); ValueError for another.
    """

    def __init__(self, channels: Sequence[int], kind: str) -> None:
        super().__init__()
        if kind not in ("last", "all"):
            raise ValueError(f"pooling={kind!r} is not one of last, all")
        self.first = 0 if kind == "all" else len(channels) - 1
        self.width = sum(channels[self.first :])

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return stage_means(maps[self.first :])


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
        """channels: C_l of each map; bits: K. hash_head: see `hash_layer`; pooling: `Pooling`."""
        super().__init__(proxies)
        self.pool = Pooling(channels, pooling)
        self.hash = hash_layer(hash_head, self.pool.width, bits)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        u = self.hash(self.pool(maps))
        return Output(u, self.proxies, features=stage_means(maps))


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
        self.classify = nn.Linear(self.pool.width, classes)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        logits = self.classify(self.pool(maps))  # (B, Y)
        return super().forward(maps)._replace(class_logits=logits[None])


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
        self.pool = Pooling(channels, pooling)
        self.classify = nn.Linear(self.pool.width, classes)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        logits = self.classify(self.pool(maps))  # (B, Y)
        u = logits.softmax(1) @ self.proxies
        return Output(u, self.proxies, class_logits=logits[None], features=stage_means(maps))
