"""A finished run as a function from images to codes, for images that belong to no data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from fdhmfe.config.settings import Config
from fdhmfe.data.door import open_dataset
from fdhmfe.data.views import view_image
from fdhmfe.encoding.trained import read_config, rounded_tokens
from fdhmfe.features.backbone import frozen
from fdhmfe.network import binarise
from fdhmfe.runs.inputs import open_backbone
from fdhmfe.runs.methods import build_method
from fdhmfe.runs.results import read_codes
from fdhmfe.support.files import content_hash, file_hash, read_json
from fdhmfe.training.finetune import FineTuned


@dataclass(frozen=True)
class Encoder:
    """Backbone and head of one run. `model_id` changes with anything the codes depend on."""

    network: nn.Module
    size: int  # pixels per side
    bits: int
    model_id: str

    def read(self, image: Image.Image) -> Tensor:
        """An image as the network takes it: (3, size, size)."""
        return view_image(image, 0, 0, self.size)

    @torch.inference_mode()
    def codes(self, images: Tensor) -> np.ndarray:
        """Codes (B, K) int8 of images (B, 3, size, size): of the mean over each and its mirror."""
        views = [images, images.flip(-1)]
        return binarise(torch.stack([self.network([v]).u for v in views]).mean(0)).numpy()


class Rounded(nn.Module):
    """A frozen backbone whose tokens are rounded to float16, as those of the feature cache are."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> list[Tensor]:
        return rounded_tokens(self.backbone, images)


def open_encoder(run: Path, **places: str) -> Encoder:
    """The network of a finished run folder, in evaluation mode.

    `places` (data_dir, weights) say where data and weights are now, if not where they were.
    Raises ValueError for a folder that holds no finished run, or weights that it was not made with.
    """
    config = read_config(run, **places)
    env = read_json(run / "env.json")
    backbone = run_backbone(config, env)
    state = load_file(run / "model.safetensors")
    with torch.inference_mode():
        probe = backbone(torch.zeros(1, 3, config.image_size, config.image_size))
    channels = [x.shape[1] for x in probe][-config.stages :]
    head = build_method(config, channels, torch.arange(classes_of(run, state))).network
    network = FineTuned(backbone, head, len(channels), config.precision)
    (network if config.finetune else head).load_state_dict(state)
    model_id = content_hash(
        file_hash(run / "model.safetensors"), env["backbone_id"], config.image_size
    )
    return Encoder(network.eval(), config.image_size, config.bits, model_id)


def run_backbone(config: Config, env: dict[str, Any]) -> nn.Module:
    """The backbone a run was made with, checked by its weights' hash unless the run trained it."""
    # Only the embedded backbone is made from a data set.
    dataset = open_dataset(config) if config.backbone == "embedded" else None
    backbone, found = open_backbone(config, dataset)
    if config.finetune:
        return backbone
    if found != env["backbone_id"]:
        raise ValueError(f"the run was made with backbone {env['backbone_id']}, this is {found}")
    return Rounded(frozen(backbone))


def classes_of(run: Path, state: dict[str, Tensor]) -> int:
    """Number of classes the network was trained on; where it has no proxies, any will do."""
    for name in ("proxies", "head.proxies"):
        if name in state:
            return len(state[name])
    return int(read_codes(run)["database_labels"].max()) + 1
