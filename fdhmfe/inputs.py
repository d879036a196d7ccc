"""What a run reads: a checked data set, its backbone, and where batches come from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fdhmfe import backbone as backbones
from fdhmfe import views
from fdhmfe.backbone import StageBackbone, frozen, pretrained
from fdhmfe.cache import StageCache, cached_view
from fdhmfe.config import REPOSITORY, Config, resolve
from fdhmfe.data import Dataset, open_dataset
from fdhmfe.embedded import embedded_backbone, embedded_weights
from fdhmfe.files import content_hash, file_hash
from fdhmfe.views import PLAIN_VIEWS, load_views

# The settings that `prepare` reads: configurations alike in these share data, weights and features
READ = (
    *("dataset", "data_dir", "toy_classes", "toy_train", "toy_test", "image_size"),
    *("protocol", "validation_share", "unseen_share"),
    *("backbone", "weights", "embedded_epochs", "finetune", "views", "grid", "cached_stages"),
)


@dataclass(frozen=True)
class CachedSource:
    """The deepest `stages` maps from the cache; training images come in views drawn at random."""

    views: list[StageCache]
    stages: int

    def training_batch(self, rows: np.ndarray, rng: np.random.Generator) -> list[Tensor]:
        view = rng.integers(len(self.views), size=len(rows))
        parts = [self.views[v].read(rows[[i]], self.stages) for i, v in enumerate(view)]
        return [torch.cat(stage) for stage in zip(*parts, strict=True)]

    def plain_batches(self, rows: np.ndarray) -> list[list[Tensor]]:
        return [self.views[view].read(rows, self.stages) for view in PLAIN_VIEWS]


@dataclass(frozen=True)
class ImageSource:
    """Images decoded on demand, for fine-tuning; training images are random crops."""

    dataset: Dataset
    size: int

    def training_batch(self, rows: np.ndarray, rng: np.random.Generator) -> list[Tensor]:
        view = int(rng.integers(2, 2**31))
        return [load_views(self.dataset, rows, view, self.size)]

    def plain_batches(self, rows: np.ndarray) -> list[list[Tensor]]:
        return [[load_views(self.dataset, rows, view, self.size)] for view in PLAIN_VIEWS]


@dataclass(frozen=True)
class Inputs:
    """Everything a run reads: the data, its backbone, and where batches come from."""

    dataset: Dataset
    backbone: StageBackbone
    backbone_id: str  # content hash of the weights
    source: CachedSource | ImageSource
    channels: list[int]


def prepare(config: Config) -> Inputs:
    """Open the data set, build the backbone, and compute or open its stage features."""
    dataset = open_dataset(config)
    backbone, backbone_id = open_backbone(config, dataset)
    if not config.finetune:
        backbone = frozen(backbone)
    with torch.inference_mode():
        probe = backbone(torch.zeros(1, 3, config.image_size, config.image_size))
    channels = [tokens.shape[-1] for tokens in probe][-config.stages :]
    source = (
        ImageSource(dataset, config.image_size)
        if config.finetune
        else CachedSource(open_views(config, dataset, backbone, backbone_id), config.stages)
    )
    return Inputs(dataset, backbone, backbone_id, source, channels)


def open_backbone(config: Config, dataset: Dataset) -> tuple[StageBackbone, str]:
    """The backbone a configuration names, and what identifies its weights."""
    if config.backbone == "embedded":
        weights = embedded_weights(dataset, config)
        return embedded_backbone(weights, config), file_hash(weights)
    weights = resolve(config.weights) if config.weights else None
    backbone = pretrained(
        config.backbone,
        weights,
        stages=config.cached_stages,
        grid=config.grid,
        size=config.image_size,
    )
    return backbone, f"{config.backbone}-{file_hash(weights) if weights else 'published'}"


def open_views(
    config: Config, dataset: Dataset, backbone: StageBackbone, backbone_id: str
) -> list[StageCache]:
    """The plain views of every image, and the other training views of the training images."""
    source = [file_hash(Path(module.__file__)) for module in (views, backbones)]
    key = content_hash(
        *(dataset.images_hash, backbone_id, source),
        *(config.image_size, config.grid, config.cached_stages),
    )
    folder = REPOSITORY / "data" / "cache" / f"{config.dataset}-{key}"
    return [
        cached_view(
            folder / f"view-{view}",
            dataset,
            np.arange(len(dataset.table)) if view in PLAIN_VIEWS else dataset.learnable,
            view,
            backbone,
            config.image_size,
        )
        for view in range(config.views)
    ]
