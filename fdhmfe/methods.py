"""Methods by name: each is a network and the criterion it is trained with, on one shared loop."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fdhmfe import losses
from fdhmfe.config import Config
from fdhmfe.model import FDHMFE, Output, PooledHash


class Batch(NamedTuple):
    """What a criterion may know of a batch beside the network's output."""

    labels: Tensor  # (B,)
    index: Tensor  # (B,) places of the images among the M training images
    progress: float  # share of the training done, 0..1


class Criterion(nn.Module):
    """A training loss: forward(output, batch) -> (total, parts). Buffers are checkpointed."""

    def forward(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        raise NotImplementedError

    def end_epoch(self) -> None:
        """Called after each epoch; methods that alternate between two problems override it."""


class Method(NamedTuple):
    """`network`: L stage token tensors (B, S_l, C_l) -> Output."""

    network: nn.Module
    criterion: Criterion

    @property
    def modules(self) -> nn.ModuleDict:
        """Both, under their names: what a checkpoint holds."""
        return nn.ModuleDict(self._asdict())


def build_method(config: Config, channels: list[int], labels: Tensor) -> Method:
    """The network and criterion `config.method` names, initialised from `config.seed`.

    labels (M,): those of the training images, 0..Y-1.
    """
    torch.manual_seed(config.seed)
    classes = int(labels.max()) + 1
    if config.method == "orthohash":
        network = PooledHash(config, channels, classes)
        return Method(network, OrthoHashLoss(network, config))
    network = FDHMFE(config, channels, classes)
    return Method(network, FDHMFELoss(network, config))


class OrthoHashLoss(Criterion):
    """Cosine-margin softmax to the network's proxies, nothing else (arXiv 2109.14449)."""

    def __init__(self, network: nn.Module, config: Config) -> None:
        super().__init__()
        self.register_buffer(
            "proxies", network.proxies, persistent=False
        )  # stored with the network
        self.scale, self.margin = config.scale, config.margin

    def forward(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = losses.proxy_loss(
            output.u, batch.labels, self.proxies, scale=self.scale, margin=self.margin
        )
        return loss, {"proxy": loss}


class FDHMFELoss(Criterion):
    """L = proxy + weighted sum of the other terms; a term of weight 0 is not computed.

    The terms are the abstract's; their weights and forms are a reconstruction.
    """

    def __init__(self, network: nn.Module, config: Config) -> None:
        super().__init__()
        self.register_buffer(
            "proxies", network.proxies, persistent=False
        )  # stored with the network
        self.config = config

    def forward(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        (u, logits, kept, class_logits), labels, c = output, batch.labels, self.config
        terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "proxy": (
                1.0,
                lambda: losses.proxy_loss(u, labels, self.proxies, scale=c.scale, margin=c.margin),
            ),
            "token": (c.token_weight, lambda: losses.token_loss(logits, kept, labels)),
            "class": (
                c.class_weight if c.proxy_readout else 0.0,
                lambda: losses.class_loss(class_logits, labels, smoothing=c.label_smoothing),
            ),
            "background": (c.background_weight, lambda: losses.background_loss(logits, kept)),
            "triplet": (
                c.triplet_weight,
                lambda: losses.batch_hard_triplet_loss(u, labels, margin=c.triplet_margin),
            ),
            "balance": (c.balance_weight, lambda: losses.balance_loss(u)),
            "decorrelation": (c.decorrelation_weight, lambda: losses.decorrelation_loss(u)),
            "quantisation": (c.quantisation_weight, lambda: losses.quantisation_loss(u)),
        }
        parts = {name: term() for name, (weight, term) in terms.items() if weight}
        total = sum((terms[name][0] * value for name, value in parts.items()), torch.zeros(()))
        return total, parts
