"""Methods by name: each is a network and the criterion it is trained with, on one shared loop."""

import numpy as np
import torch
from torch import Tensor

from fdhmfe.baselines import objectives
from fdhmfe.baselines.centres import balanced_codes, hash_centres
from fdhmfe.baselines.networks import ITQ, SEMICON, PartHash, PooledHash, RandomProjection
from fdhmfe.config.settings import Config
from fdhmfe.losses import FDHMFELoss
from fdhmfe.network import FDHMFE
from fdhmfe.proxies import arrange, class_similarity, random_proxies
from fdhmfe.support import distributed
from fdhmfe.training.train import Method


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
            return Method(PooledHash(config, channels), objectives.DPSHLoss(config, labels))
        case "hashnet":
            return Method(PooledHash(config, channels), objectives.HashNetLoss(config))
        case "adsh":
            return Method(PooledHash(config, channels), objectives.ADSHLoss(config, labels))
        case "exchnet":
            network = PartHash(config, channels)
            return Method(network, objectives.ExchNetLoss(network, config, labels))
        case "a2-net":
            network = PartHash(config, channels)
            return Method(network, objectives.A2NetLoss(network, config, labels))
        case "semicon":
            return Method(SEMICON(config, channels), objectives.ADSHLoss(config, labels))
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
    "orthohash": (random_proxies, objectives.OrthoHashLoss),
    "csq": (hash_centres, objectives.CSQLoss),
    "dpn": (balanced_codes, objectives.DPNLoss),
}
