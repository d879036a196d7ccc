"""What makes the codes of a run, put together from its settings: front, network and coder.

Letters: B images, S pixels per side.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fdhmfe.config.settings import Config
from fdhmfe.data.views import Preprocessing
from fdhmfe.features.backbone import (
    StageBackbone,
    channels_first,
    ready,
    stage_extractor,
    timm_stages,
    torchvision_network,
)
from fdhmfe.features.embedded import EmbeddedNet
from fdhmfe.features.receptive_field import stage_views
from fdhmfe.network import HashNetwork
from fdhmfe.runs.inputs import divide
from fdhmfe.runs.methods import build_method
from fdhmfe.training.coders import Coder
from fdhmfe.training.finetune import FineTuned


class Rounded(nn.Module):
    """The deepest maps of a frozen front, rounded to float16 like those in the feature cache."""

    def __init__(self, front: nn.Module, maps: int) -> None:
        super().__init__()
        self.front = front
        self.maps = maps

    def forward(self, images: Tensor) -> list[Tensor]:
        images = images.contiguous(memory_format=torch.channels_last)
        return [x.half().float() for x in self.front(images)[-self.maps :]]


class Pixels(nn.Module):
    """No front at all: the network takes the images."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


class Parts(NamedTuple):
    """The parts, in evaluation mode, in the order of `TrainedRun`."""

    front: Rounded | Pixels
    network: HashNetwork | FineTuned
    coder: Coder
    preprocessing: Preprocessing
    shifts: list[float]


def assembled(config: Config, backbone: StageBackbone, classes: int) -> Parts:
    """What a run of `config` on this backbone trains, and what stands before it, yet untrained."""
    stages = stage_views(backbone, config.image_size)[-config.stages :]
    front, maps, trained, block = divide(config, backbone)
    channels, labels = [stage.channels for stage in stages], torch.arange(classes)
    method = build_method(config, channels, labels, block)
    network: Any = method.network
    if trained is not None:
        network = FineTuned(trained, method.head, len(stages), config.precision)
    network.eval().requires_grad_(False)
    before = Pixels() if front is None else Rounded(front, maps)
    shifts = [stage.shift for stage in stages]
    return Parts(before, network, method.coder, backbone.preprocessing, shifts)


@contextmanager
def fitting(folder: Path, so: str) -> Iterator[None]:
    """Within the block, weights that do not fit become a ValueError that names the folder."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()[:200]
        told = f"the network in {folder} is of another version ({reason}): {so}"
        raise ValueError(told) from None


def blank_backbone(config: Config, pre: Preprocessing) -> StageBackbone:
    """The backbone that `config` names, with random weights, for stored ones to take their place.

    Raises ValueError or RuntimeError if torchvision or timm do not know it.
    """
    stages, size = config.cached_stages, config.image_size
    name = config.backbone.removeprefix("timm/")
    if config.backbone == "embedded":
        extractor = stage_extractor(EmbeddedNet(outputs=1), stages, size)
    elif name == config.backbone:
        extractor = stage_extractor(torchvision_network(name), stages, size)
    else:
        extractor = channels_first(timm_stages(name, stages))
    return ready(extractor, config.grid, pre)
