"""What a run reads: a checked data set, its backbone, and where batches come from."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import data
from torch.utils.data import DataLoader

from fdhmfe.config.settings import Config
from fdhmfe.data import dataset as datasets
from fdhmfe.data import picture, views
from fdhmfe.data.dataset import DataError, Dataset
from fdhmfe.data.door import open_dataset
from fdhmfe.data.views import PLAIN_VIEWS, Preprocessing, load_views
from fdhmfe.features import backbone as backbones
from fdhmfe.features import cache
from fdhmfe.features import split as splits
from fdhmfe.features.backbone import StageBackbone, frozen, pretrained
from fdhmfe.features.cache import StageCache, cached_view
from fdhmfe.features.receptive_field import stage_views
from fdhmfe.features.split import Front, split
from fdhmfe.features.weights import embedded_backbone, embedded_weights
from fdhmfe.support import distributed
from fdhmfe.support.files import content_hash, file_hash
from fdhmfe.support.identity import code_identity
from fdhmfe.support.places import home, resolve

Plan = Iterable[tuple[np.ndarray, np.random.Generator]]  # each batch: rows (B,), random generator
# The settings that `prepare` reads: runs that agree in these share data, weights and features
READ = (
    *("dataset", "data_dir", "toy_classes", "toy_train", "toy_test", "image_size"),
    *("protocol", "validation_share", "fold"),
    *("backbone", "weights", "embedded_epochs", "trainable", "views", "grid", "cached_stages"),
)


@dataclass(frozen=True)
class CachedSource:
    """The deepest `maps` maps from the cache. For training, each image's view is random.

    If several processes share a run and `shared` is set, a training batch holds only the images of
    this process: the maps go through a tail, whose output is gathered.
    """

    views: list[StageCache]
    maps: int
    shared: bool = False

    def training_batches(self, plan: Plan) -> Generator[list[Tensor], None, None]:
        for rows, rng in plan:
            drawn = rng.integers(len(self.views), size=len(rows))
            own = distributed.share(np.arange(len(rows))) if self.shared else slice(None)
            yield self.training_batch(rows[own], drawn[own])

    def training_batch(self, rows: np.ndarray, drawn: np.ndarray) -> list[Tensor]:
        parts = [view.read(rows[drawn == v], self.maps) for v, view in enumerate(self.views)]
        back = drawn.argsort(kind="stable").argsort()  # from the order of views to that of rows
        return [torch.cat(stage)[back] for stage in zip(*parts, strict=True)]

    def plain_batches(self, rows: np.ndarray) -> list[list[Tensor]]:
        return next(self.encoding_batches([rows]))

    def encoding_batches(
        self, parts: Sequence[np.ndarray], views: Sequence[int] = PLAIN_VIEWS
    ) -> Iterator[list[list[Tensor]]]:
        for rows in parts:
            yield [self.views[view].read(rows, self.maps) for view in views]


@dataclass(frozen=True)
class ImageSource:
    """Images decoded on demand, for fine-tuning; training images are random crops.

    `workers` processes decode the next batches, two each, while the network works on one; with 0,
    each batch is decoded when it is needed. Random numbers are drawn in this process, in the order
    of the batches, so the number and the speed of the workers change no pixel. If several
    processes share a run, a training batch holds only the images of this process.
    """

    dataset: Dataset
    preprocessing: Preprocessing
    workers: int = 0

    def training_batches(self, plan: Plan) -> Generator[list[Tensor], None, None]:
        draws = ((distributed.share(rows), int(rng.integers(2, 2**31))) for rows, rng in plan)
        for images in self.decoded(draws):
            yield [images]

    def plain_batches(self, rows: np.ndarray) -> list[list[Tensor]]:
        return [[load_views(self.dataset, rows, view, self.preprocessing)] for view in PLAIN_VIEWS]

    def encoding_batches(
        self, parts: Sequence[np.ndarray], views: Sequence[int] = PLAIN_VIEWS
    ) -> Iterator[list[list[Tensor]]]:
        images = self.decoded((rows, view) for rows in parts for view in views)
        for _ in parts:
            yield [[next(images)] for _ in views]

    def decoded(self, draws: Iterable[tuple[np.ndarray, int]]) -> Iterator[Tensor]:
        """The images (B, 3, S, S) of each (rows, view), in order, in memory a GPU can read.

        Raises DataError naming a file that cannot be read.
        """
        loader: DataLoader = DataLoader(
            Decoder(self.dataset, self.preprocessing),
            sampler=draws,
            batch_size=None,  # an element of the sampler is a batch
            num_workers=self.workers,
            # A fork of this process, which has threads, may wait for ever.
            multiprocessing_context="spawn" if self.workers else None,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else it would use random numbers of the training
        )
        for images in loader:
            if isinstance(images, DataError):
                raise images
            yield images


@dataclass(frozen=True)
class Decoder(data.Dataset):
    """Decodes a batch of one view in a worker process. Returns a DataError, does not raise it."""

    dataset: Dataset
    preprocessing: Preprocessing

    def __getitem__(self, draw: tuple[np.ndarray, int]) -> Tensor | DataError:
        try:
            return load_views(self.dataset, *draw, self.preprocessing)
        except DataError as error:  # raised in a worker, it would arrive with a traceback
            return error


@dataclass(frozen=True)
class Inputs:
    """Everything a run reads: the data, its backbone, and where batches come from."""

    dataset: Dataset
    trained: nn.Module | None  # of the backbone: what trains with the head, as it was pretrained
    block: nn.Module | None  # a copy of the backbone's last block, where its tail is trained
    backbone_id: str  # identifies the backbone and its weights
    source: CachedSource | ImageSource
    channels: list[int]  # C_l of each stage
    shifts: list[float]  # of each stage's tokens, in cells: see `stage_views`
    precision: str = "32"  # of a backbone that is fine-tuned: 32 | bf16


def prepare(config: Config, dataset: Dataset | None = None) -> Inputs:
    """Open the data set, build the backbone, and compute or open its stage features.

    `dataset`: the one that the configuration names, if it is already open.
    """
    dataset = dataset or open_dataset(config)
    backbone, backbone_id = open_backbone(config, dataset)
    stages = stage_views(backbone, config.image_size)[-config.stages :]
    channels, shifts = [stage.channels for stage in stages], [stage.shift for stage in stages]
    division = divide(config, backbone)
    source: CachedSource | ImageSource
    if division.front is None:
        source = ImageSource(dataset, backbone.preprocessing, config.workers)
    else:
        views = open_views(config, dataset, division.front, backbone_id)
        source = CachedSource(views, division.maps, shared=division.trained is not None)
    made = (division.trained, division.block, backbone_id, source)
    return Inputs(dataset, *made, channels, shifts, config.precision)


class Division(NamedTuple):
    """A backbone, divided by what is cached and what trains with the head."""

    front: StageBackbone | Front | None  # its maps are cached; None: images are read each time
    maps: int  # how many of its maps a run reads, from the deepest
    trained: nn.Module | None
    block: nn.Module | None  # a copy of the tail's last block


def divide(config: Config, backbone: StageBackbone) -> Division:
    """Divide a backbone as `config.trainable` asks; ValueError if it has no tail (see `split`)."""
    if config.trainable == "all":
        return Division(None, 1, backbone, None)
    if config.trainable == "none":
        return Division(frozen(backbone), config.stages, None, None)
    front, tail, block = split(backbone)
    return Division(front, 1 + max(0, config.stages - tail.stages), tail, block)


def open_backbone(config: Config, dataset: Dataset | None) -> tuple[StageBackbone, str]:
    """The backbone that a configuration names, and an identifier of its weights."""
    if config.backbone == "embedded":
        embedded = embedded_weights(dataset, config)
        return embedded_backbone(embedded, config), file_hash(embedded)
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
    config: Config, dataset: Dataset, front: StageBackbone | Front, backbone_id: str
) -> list[StageCache]:
    """Cached features: plain views of every image, further views only of training images."""
    modules = (datasets, picture, views, backbones, splits, cache)
    source = code_identity(Path(str(module.__file__)) for module in modules)
    key = content_hash(
        *(dataset.images_hash, backbone_id, source),
        *(config.image_size, config.grid, config.cached_stages, type(front).__name__),
    )
    folder = home() / "data" / "cache" / f"{config.dataset}-{key}"
    return [
        cached_view(
            folder / f"view-{view}",
            dataset,
            np.arange(len(dataset.table)) if view in PLAIN_VIEWS else dataset.learnable,
            view,
            front,
        )
        for view in range(config.views)
    ]
