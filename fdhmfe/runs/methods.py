"""From a method's name to its network, objective and coder, ready to be trained."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fdhmfe.config.methods import CODERS, NETWORKS, OBJECTIVES, part
from fdhmfe.config.settings import Config
from fdhmfe.losses import Objective
from fdhmfe.proxies import maxmin_proxies, random_proxies
from fdhmfe.training.train import Method


def build_method(
    config: Config, channels: Sequence[int], labels: Tensor, block: nn.Module | None = None
) -> Method:
    """The parts that `config` names, initialised from `config.seed`.

    channels: C_l of each stage map; labels (M,): of the training images, 0..Y-1; block: the
    backbone's last block, for networks that refine parts by copies of it. Each part gets the
    arguments that it names: settings, or facts of the data (channels, classes, labels, block).
    Raises ValueError if the parts do not go together.
    """
    torch.manual_seed(config.seed)
    chosen, classes = config.composition, int(labels.max()) + 1
    known: dict[str, Any] = asdict(config) | {"channels": list(channels), "classes": classes}
    known |= {"labels": labels, "proxies": None, "block": block}
    if not chosen.objective:
        network = called(part(chosen.network, NETWORKS), known)
        if list(network.parameters()):
            raise ValueError(f"network {chosen.network!r} must be trained: name an objective")
        return Method(network, None, called(part(chosen.coder, CODERS), known))
    objective = part(chosen.objective, OBJECTIVES)
    known["proxies"] = class_codes(objective, config, classes)
    network = known["network"] = called(part(chosen.network, NETWORKS), known)
    if not list(network.parameters()):
        raise ValueError(f"network {chosen.network!r} has nothing to train for an objective")
    if objective.tuned:
        default = inspect.signature(objective).parameters[objective.tuned].default
        known[objective.tuned] = known.get(objective.tuned, default) * config.loss_weight
    loss = called(objective, known)
    known["teaches_classes"] = loss.teaches_classes
    return Method(network, loss, called(part(chosen.coder, CODERS), known))


def class_codes(objective: type[Objective], config: Config, classes: int) -> np.ndarray | None:
    """The proxies (Y, K) that an objective needs, drawn with `config.seed`; None if it needs none.

    With `proxies=random`, an ablation, coin flips replace the max-min ones.
    """
    draw = objective.class_codes
    if draw is maxmin_proxies and config.proxies == "random":
        draw = random_proxies
    return draw(classes, config.bits, config.seed)


def called(make: Callable[..., Any], known: Mapping[str, Any]) -> Any:
    """Call `make` with the values in `known` that it has arguments for."""
    names = inspect.signature(make).parameters
    return make(**{name: known[name] for name in names if name in known})
