"""One run, end to end: data -> stage features -> training -> codes -> scores -> run folder."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdhmfe import backbone as backbones
from fdhmfe import results, train, views
from fdhmfe.backbone import StageBackbone, frozen, pretrained
from fdhmfe.cache import StageCache, cached_view
from fdhmfe.config import REPOSITORY, Config, resolve
from fdhmfe.data import Dataset, open_dataset
from fdhmfe.embedded import embedded_backbone, embedded_weights
from fdhmfe.files import content_hash, file_hash
from fdhmfe.hashing import binarise
from fdhmfe.methods import Method, build_method
from fdhmfe.model import Output
from fdhmfe.views import PLAIN_VIEWS, load_views


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


class FineTuned(nn.Module):
    """A backbone and a hashing head trained together: [images (B, 3, H, W)] -> Output."""

    def __init__(self, backbone: StageBackbone, head: nn.Module, stages: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.stages = stages
        self.register_buffer("proxies", head.proxies, persistent=False)  # stored with the head

    def forward(self, inputs: list[Tensor]) -> Output:
        return self.head(self.backbone(inputs[0])[-self.stages :])


class MeanPool(nn.Module):
    """The mean of the last stage's tokens in place of a code: what pooled methods read."""

    proxies = None

    def forward(self, stages: list[Tensor]) -> Output:
        return Output(stages[-1].mean(1), [], [])


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


def run(config: Config) -> Path:
    """Train, encode, score and store one run; returns its folder.

    A finished run with the same settings, data, weights and code is returned as it is when
    `config.reuse` is set. A run that was killed continues from its last checkpoint.
    """
    inputs = prepare(config)
    name = results.run_id(config, inputs.dataset.hash, inputs.backbone_id)
    folder = config.output_dir / "runs" / name
    if config.reuse and results.is_finished(folder):
        print(f"reused {folder.name}", flush=True)
        return folder
    started = time.perf_counter()
    model = build_model(config, inputs)
    checkpoint = folder / f"checkpoint-{results.source_hash()}.safetensors"
    history = train_model(model, config, inputs, checkpoint)
    codes, top1 = encode_splits(model.network, inputs)
    facts = {
        "seconds": round(time.perf_counter() - started, 1),
        "parameters": sum(p.numel() for p in model.network.parameters() if p.requires_grad),
        "dataset_hash": inputs.dataset.hash,
        "backbone_id": inputs.backbone_id,
    }
    solved = solved_codes(model, inputs)
    results.write_run(folder, config, history, codes, model.network, top1, facts, solved)
    checkpoint.unlink(missing_ok=True)
    return folder


def build_model(config: Config, inputs: Inputs) -> Method:
    """The untrained method, with its backbone in front when that is fine-tuned."""
    labels = torch.from_numpy(inputs.dataset.labels(inputs.dataset.rows("train")))
    method = build_method(config, inputs.channels, labels)
    return method._replace(network=with_backbone(method.network, inputs))


def with_backbone(head: nn.Module, inputs: Inputs) -> nn.Module:
    """What reads the source's batches: the head, after the backbone if those are images."""
    if isinstance(inputs.source, ImageSource):
        return FineTuned(inputs.backbone, head, stages=len(inputs.channels))
    return head


def train_model(
    method: Method, config: Config, inputs: Inputs, checkpoint: Path
) -> list[dict[str, float]]:
    """Train on the train split; returns the history, empty for a closed-form method."""
    rows = inputs.dataset.rows("train")
    if method.criterion is None:
        network = method.network
        head = network.head if isinstance(network, FineTuned) else network
        head.fit(torch.from_numpy(pooled_features(inputs, rows)))
        return []
    labels = torch.from_numpy(inputs.dataset.labels(rows))
    return train.fit(method, inputs.source, rows, labels, config, checkpoint)


def encode_splits(model: nn.Module, inputs: Inputs) -> tuple[dict[str, np.ndarray], float]:
    """Codes of queries and database, and the share of queries nearest to their class's centre.

    The centres are the network's proxies; where it has none, or none for the database's classes,
    they are the mean relaxed codes of those classes in the database.
    """
    query, database = inputs.dataset.rows("test"), inputs.dataset.rows("database")
    query_labels, database_labels = map(inputs.dataset.labels, (query, database))
    u = train.relaxed_codes(model, inputs.source, query)
    u_database = train.relaxed_codes(model, inputs.source, database)
    centres, proxies = class_means(u_database, database_labels), model.proxies
    if proxies is not None and len(proxies) >= len(centres):
        centres = proxies.cpu()
    codes = {
        "query_codes": binarise(u).numpy(),
        "query_labels": query_labels,
        "database_codes": binarise(u_database).numpy(),
        "database_labels": database_labels,
    }
    return codes, float((nearest_proxy(u, centres) == query_labels).mean())


def class_means(u: Tensor, labels: np.ndarray) -> Tensor:
    """Mean of u (M, K) per class: (Y, K); NaN for a class below Y that has no image."""
    own = F.one_hot(torch.from_numpy(labels)).to(u.dtype)  # (M, Y)
    return own.T @ u / own.sum(0)[:, None]


def nearest_proxy(u: Tensor, proxies: Tensor) -> np.ndarray:
    """Class of the most similar proxy (cosine): u (B, K), proxies (Y, K) -> (B,).

    A proxy that is NaN is no candidate.
    """
    cosine = F.normalize(u) @ F.normalize(proxies).T
    return cosine.nan_to_num(nan=-2.0).argmax(1).numpy()


def solved_codes(method: Method, inputs: Inputs) -> np.ndarray | None:
    """The database's codes that the criterion solved from labels, if the database is its images."""
    database, train_rows = map(inputs.dataset.rows, ("database", "train"))
    if method.criterion is None or not np.array_equal(database, train_rows):
        return None
    codes = method.criterion.database_codes()
    return None if codes is None else codes.cpu().numpy()


def pooled_features(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    """Mean token of the last stage, before any hashing: (M, C) for the given table rows."""
    return train.relaxed_codes(with_backbone(MeanPool(), inputs), inputs.source, rows).numpy()
