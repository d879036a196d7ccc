"""Methods by name: each is a network and the criterion it is trained with, on one shared loop."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fdhmfe import baselines, distributed, losses
from fdhmfe.attention import SEMICON, PartHash
from fdhmfe.config import Config
from fdhmfe.criterion import Batch, Criterion
from fdhmfe.hashing import (
    arrange,
    balanced_codes,
    class_similarity,
    hash_centres,
    random_proxies,
)
from fdhmfe.model import FDHMFE, Output, PooledHash
from fdhmfe.projections import ITQ, RandomProjection


class Method(NamedTuple):
    """`network`: L stage token tensors (B, S_l, C_l) -> a tuple whose `u` is the relaxed code.

    Without a criterion the network is fitted in closed form: `network.fit(features (M, C))`.
    """

    network: nn.Module
    criterion: Criterion | None

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
    match config.method:
        case "lsh":
            return Method(RandomProjection(channels[-1], config.bits), None)
        case "itq":
            return Method(ITQ(channels[-1], config.bits), None)
        case "orthohash" | "csq" | "dpn":
            draw, criterion = CLASS_CODES[config.method]
            proxies = draw(classes, config.bits, config.seed)
            network = PooledHash(config, channels, proxies)
            return Method(network, criterion(network, config))
        case "dpsh":
            return Method(PooledHash(config, channels), baselines.DPSHLoss(config, labels))
        case "hashnet":
            return Method(PooledHash(config, channels), baselines.HashNetLoss(config))
        case "adsh":
            return Method(PooledHash(config, channels), baselines.ADSHLoss(config, labels))
        case "exchnet":
            network = PartHash(config, channels)
            return Method(network, baselines.ExchNetLoss(network, config, labels))
        case "a2-net":
            network = PartHash(config, channels)
            return Method(network, baselines.A2NetLoss(network, config, labels))
        case "semicon":
            return Method(SEMICON(config, channels), baselines.ADSHLoss(config, labels))
    network = FDHMFE(config, channels, classes)
    return Method(network, FDHMFELoss(network, config))


def arrange_proxies(method: Method, features: np.ndarray, labels: Tensor) -> None:
    """Give the method's proxies out anew: classes alike in features (M, C) get near ones.

    labels (M,): those of the images. Several processes agree.
    """
    similarity = class_similarity(features, labels.numpy())
    arranged = arrange(method.network.proxies.cpu().numpy(), similarity)
    method.network.proxies.copy_(torch.from_numpy(distributed.as_the_first(arranged)))


# Methods that train a pooled hash layer towards class codes: how the codes are drawn, and the loss
CLASS_CODES = {
    "orthohash": (random_proxies, baselines.OrthoHashLoss),
    "csq": (hash_centres, baselines.CSQLoss),
    "dpn": (balanced_codes, baselines.DPNLoss),
}


class FDHMFELoss(baselines.ProxyCriterion):
    """L = proxy + weighted sum of the other terms; a term of weight 0 is not computed.

    The terms are the abstract's; their weights and forms are a reconstruction.
    """

    def forward(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        (u, logits, kept, class_logits), labels, c = output, batch.labels, self.config
        terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "proxy": (
                1.0,
                lambda: losses.proxy_loss(u, labels, self.proxies, scale=c.scale, margin=c.margin),
            ),
            "token": (
                c.token_weight,
                lambda: losses.token_loss(logits, kept, labels, smoothing=c.label_smoothing),
            ),
            "class": (
                c.class_weight if c.proxy_readout else 0.0,
                lambda: losses.class_loss(
                    class_logits.flatten(0, 1),
                    labels.repeat(len(class_logits)),
                    smoothing=c.label_smoothing,
                ),
            ),
            "background": (c.background_weight, lambda: losses.background_loss(logits, kept)),
            "triplet": (
                c.triplet_weight * c.loss_weight,
                lambda: losses.batch_hard_triplet_loss(u, labels, margin=c.triplet_margin),
            ),
            "balance": (c.balance_weight, lambda: losses.balance_loss(u)),
            "decorrelation": (c.decorrelation_weight, lambda: losses.decorrelation_loss(u)),
            "quantisation": (c.quantisation_weight, lambda: losses.quantisation_loss(u)),
        }
        parts = {name: term() for name, (weight, term) in terms.items() if weight}
        total = sum((terms[name][0] * value for name, value in parts.items()), torch.zeros(()))
        return total, parts
