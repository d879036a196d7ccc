"""Hash codes without labels or training: a pretrained backbone's features, and ITQ fitted to them.

The backbone is one with ImageNet's weights where they can be had, else that of the kit's beetles.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fdhmfe.codes import blocks
from fdhmfe.config.settings import Config, load
from fdhmfe.data.dataset import DataError
from fdhmfe.data.views import Preprocessing, view_image
from fdhmfe.encoding.listing import list_images
from fdhmfe.encoding.parts import Rounded
from fdhmfe.encoding.trained import BATCH, TrainedRun, opened
from fdhmfe.features.backbone import StageBackbone, frozen
from fdhmfe.features.receptive_field import stage_views
from fdhmfe.runs.inputs import open_backbone
from fdhmfe.runs.methods import build_method
from fdhmfe.support.files import atomic, content_hash, file_hash, make_folder
from fdhmfe.support.progress import progress

LEARN_FROM = 5000  # set by hand: pictures that ITQ is fitted to, at most
FITTED = "itq.safetensors"
Front = Callable[[Tensor], list[Tensor]]  # images (B, 3, S, S) -> stage maps


@dataclass(frozen=True)
class UntrainedRun(TrainedRun):
    """A frozen backbone and ITQ, in the place of a finished run. `folder` holds the fitted ITQ."""

    backbone_id: str

    @property
    def protocol(self) -> str:
        return f"{self.config.backbone}, not trained here, ITQ, {self.config.bits} bits"

    @cached_property
    def about(self) -> dict[str, Any]:
        raise ValueError("nothing was trained here, and nothing scored: share a finished run")

    @cached_property
    def model_id(self) -> str:
        """A hash of what makes the codes: the backbone's weights, image size and the fitted ITQ."""
        fitted = file_hash(self.folder / FITTED)
        return content_hash(fitted, self.backbone_id, self.config.image_size)


def open_untrained(
    folder: Path, album: Path, *, bits: int, backbone: str, weights: str
) -> UntrainedRun:
    """The untrained run in `folder`. If there is none, its ITQ is fitted to an album first.

    It has fewer than `bits` bits if there are too few pictures to learn them from. backbone,
    weights: as in the settings; empty: MobileNetV2 with ImageNet's weights, downloaded. Raises
    ValueError if the backbone is not known, or if fewer than two pictures can be read.
    """
    config, network, backbone_id = available(bits, backbone, weights)
    views = stage_views(network, config.image_size)[-config.stages :]
    channels, shifts = [view.channels for view in views], [view.shift for view in views]
    front, pre = Rounded(frozen(network), config.stages), network.preprocessing
    path, unlabelled = folder / FITTED, torch.zeros(1, dtype=torch.long)
    try:
        state = load_file(path)
    except (FileNotFoundError, SafetensorError):  # not there, or damaged
        root, names = list_images(album)
        x = features(front, pre, [root / name for name in spread(names, LEARN_FROM)])
        config = replace(config, bits=min(bits, len(x) - 1, x.shape[1]))
        coder = build_method(config, channels, unlabelled).coder
        coder.fit(x, unlabelled, None)
        state = coder.state_dict()
        make_folder(folder)
        with atomic(path) as partial:
            save_file(state, partial)
    config = replace(config, bits=state["projection"].shape[1])
    method = build_method(config, channels, unlabelled)
    method.coder.load_state_dict(state)
    made = (method.network.eval(), method.coder.eval(), pre, shifts, backbone_id)
    return UntrainedRun(folder, config, front, *made)


def spread(names: Sequence[str], most: int) -> list[str]:
    """At most so many of the names, evenly spaced: folders sort what is alike together.

    >>> spread("abcdefg", 3), spread("ab", 3)
    (['a', 'c', 'e'], ['a', 'b'])
    """
    count = min(most, len(names))
    return [names[i * len(names) // count] for i in range(count)]


def available(bits: int, backbone: str, weights: str) -> tuple[Config, StageBackbone, str]:
    """The settings, the backbone that is asked for, and its id; by default MobileNetV2.

    If none is asked for and ImageNet's weights cannot be had, it is the beetles' (`embedded`), and
    a line says so.
    """
    common: dict[str, Any] = dict(method="itq", trainable="none", bits=bits)
    asked = {k: v for k, v in dict(backbone=backbone, weights=weights).items() if v}
    if backbone == "embedded":
        return opened_backbone(load("quick", **common, **asked))
    try:
        return opened_backbone(load("laptop", **common, **asked))
    except ConnectionError as error:
        if asked:
            raise
        print(
            f"{error}\nInstead, the backbone of the kit's beetles is used. For other pictures its "
            "answers are poor: give --weights with a file of ImageNet's weights",
            flush=True,
        )
    return opened_backbone(load("quick", **common))


def opened_backbone(config: Config) -> tuple[Config, StageBackbone, str]:
    """The settings, the backbone that they name, and its id."""
    return config, *open_backbone(config, None)


@torch.inference_mode()
def features(front: Front, pre: Preprocessing, pictures: Sequence[Path]) -> Tensor:
    """The deepest stage's means (M, C), over image and mirror image, of the M that can be read.

    Raises ValueError if these are fewer than two.
    """
    found = []
    for rows in progress(list(blocks(len(pictures), BATCH)), "learning from batches"):
        views = [view for path in pictures[rows] if (view := readable(path, pre)) is not None]
        if views:
            images = torch.stack(views)
            maps = [front(each)[-1].mean((2, 3)) for each in (images, images.flip(-1))]
            found.append(torch.stack(maps).mean(0))
    if sum(map(len, found)) < 2:
        raise ValueError("fewer than two pictures can be read: a code needs some to compare")
    return torch.cat(found).clone()


def readable(path: Path, pre: Preprocessing) -> Tensor | None:
    """A picture as the backbone takes it, (3, S, S); None if it cannot be read."""
    try:
        return view_image(opened(path), 0, 0, pre)
    except DataError:
        return None
