"""Methods by name: each is a network and the loss it is trained with, on one shared loop."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fdhmfe import losses
from fdhmfe.config import Config
from fdhmfe.model import FDHMFE, Output, PooledHash

Loss = Callable[[Output, Tensor], tuple[Tensor, dict[str, Tensor]]]


class Method(NamedTuple):
    network: nn.Module  # L stage token tensors -> Output; has a buffer `proxies` (Y, K)
    loss: Loss  # (output, labels) -> (total, parts)


def build_method(config: Config, channels: list[int], classes: int) -> Method:
    """The network and loss `config.method` names, initialised from `config.seed`."""
    torch.manual_seed(config.seed)
    if config.method == "orthohash":
        network = PooledHash(config, channels, classes)
        return Method(network, partial(orthohash_loss, proxies=network.proxies, config=config))
    network = FDHMFE(config, channels, classes)
    return Method(network, partial(fdhmfe_loss, proxies=network.proxies, config=config))


def orthohash_loss(
    output: Output, labels: Tensor, *, proxies: Tensor, config: Config
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cosine-margin softmax to the proxies, nothing else."""
    loss = losses.proxy_loss(output.u, labels, proxies, scale=config.scale, margin=config.margin)
    return loss, {"proxy": loss}


def fdhmfe_loss(
    output: Output, labels: Tensor, *, proxies: Tensor, config: Config
) -> tuple[Tensor, dict[str, Tensor]]:
    """L = proxy + weighted sum of the other terms; a term of weight 0 is not computed.

    The terms are the abstract's; their weights and forms are a reconstruction.
    """
    u, logits, kept = output
    terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
        "proxy": (
            1.0,
            lambda: losses.proxy_loss(u, labels, proxies, scale=config.scale, margin=config.margin),
        ),
        "token": (config.token_weight, lambda: losses.token_loss(logits, kept, labels)),
        "background": (config.background_weight, lambda: losses.background_loss(logits, kept)),
        "triplet": (
            config.triplet_weight,
            lambda: losses.batch_hard_triplet_loss(u, labels, margin=config.triplet_margin),
        ),
        "balance": (config.balance_weight, lambda: losses.balance_loss(u)),
        "decorrelation": (config.decorrelation_weight, lambda: losses.decorrelation_loss(u)),
        "quantisation": (config.quantisation_weight, lambda: losses.quantisation_loss(u)),
    }
    parts = {name: term() for name, (weight, term) in terms.items() if weight}
    total = sum((terms[name][0] * value for name, value in parts.items()), torch.zeros(()))
    return total, parts
