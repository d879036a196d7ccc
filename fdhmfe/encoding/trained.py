"""A finished run opened again: codes of new images, and what its network keeps of them.

    run = open_run("results/quick/runs/...")
    codes = run.encode(["a.jpg", "b.jpg"])  # (2, K) int8

Letters: B images, K bits, L stages, S pixels per side, G squares per side of the map of kept cells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor, nn

from fdhmfe.codes import blocks
from fdhmfe.config.settings import Config
from fdhmfe.data.dataset import Dataset, open_image
from fdhmfe.data.door import open_dataset
from fdhmfe.data.views import load_views, view_image
from fdhmfe.features.backbone import StageBackbone, frozen
from fdhmfe.features.receptive_field import stage_views
from fdhmfe.features.weights import recipe, shipped_recipe
from fdhmfe.network import HashNetwork, Output, binarise
from fdhmfe.runs.experiment import build_model
from fdhmfe.runs.inputs import Inputs, open_backbone, prepare
from fdhmfe.runs.methods import build_method
from fdhmfe.runs.results import read_codes
from fdhmfe.support.files import content_hash, file_hash, read_json
from fdhmfe.training.coders import Coder
from fdhmfe.training.finetune import FineTuned
from fdhmfe.training.train import Method

BATCH = 32  # images in the network at once
Picture = str | Path | Image.Image


class Rounded(nn.Module):
    """A frozen backbone whose maps are rounded to float16, as those of the feature cache are."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> list[Tensor]:
        return [stage.half().float() for stage in self.backbone(images)]


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its network, in evaluation mode, and its data set once that is asked for."""

    folder: Path
    config: Config
    network: FineTuned  # [images (B, 3, S, S)] -> Output, the backbone included
    coder: Coder  # Output -> relaxed codes (B, K), signed as the bits
    shifts: list[float]  # of each stage's maps, in cells: see `stage_views`

    @property
    def protocol(self) -> str:
        """One line to print beside what the run shows."""
        c = self.config
        shown = [c.dataset, c.composition.name] + ([c.variant] if c.variant != "full" else [])
        return ", ".join([*shown, f"{c.bits} bits", f"seed {c.seed}", f"profile {c.profile}"])

    @property
    def head(self) -> HashNetwork:
        """The hashing network, which follows the backbone: L stage maps -> Output."""
        return self.network.head

    @property
    def method(self) -> Method:
        """What the run trained and stored; it takes the batches of `inputs.source`."""
        return Method(self.network if self.config.finetune else self.head, None, self.coder)

    @cached_property
    def model_id(self) -> str:
        """Changes with anything that the codes depend on."""
        backbone = read_json(self.folder / "env.json")["backbone_id"]
        weights = file_hash(self.folder / "model.safetensors")
        return content_hash(weights, backbone, self.config.image_size)

    @cached_property
    def inputs(self) -> Inputs:
        """The run's data set and stage features; ValueError if its images are others now."""
        return prepare(self.config, run_dataset(self.folder, self.config))

    def encode(self, images: Sequence[Picture]) -> np.ndarray:
        """Codes (B, K) int8 of -1 and +1 of any images, made as the run's own were.

        images: paths, or Pillow's images. Raises DataError naming a file that cannot be read.
        """
        if isinstance(images, Picture):
            raise TypeError("encode takes a list of images: give [image] for a single one")
        parts = [self.codes(self.read(images[rows])) for rows in blocks(len(images), BATCH)]
        return np.concatenate([np.zeros((0, self.config.bits), np.int8), *parts])

    def read(self, images: Sequence[Picture]) -> Tensor:
        """Images as the backbone takes them: (B, 3, S, S)."""
        size = self.config.image_size
        return torch.stack([view_image(opened(image), 0, 0, size) for image in images])

    def codes(self, pixels: Tensor) -> np.ndarray:
        """Codes (B, K) int8 of what `read` returns: of the mean over each image and its mirror."""
        views = [self.coder(self.network([view])) for view in (pixels, pixels.flip(-1))]
        return binarise(torch.stack(views).mean(0)).numpy()

    def maps(self, images: Sequence[Picture]) -> list[Tensor]:
        """What the head reads of whole images: L stage maps."""
        return self.network.maps(self.read(images))

    def row_maps(self, rows: np.ndarray) -> list[Tensor]:
        """The same of table rows (B,) of the run's data set; stored features where there are."""
        if self.config.finetune:
            views = load_views(self.inputs.dataset, rows, 0, self.config.image_size)
            return self.network.maps(views)
        return self.inputs.source.plain_batches(rows)[0]

    def kept(self, maps: list[Tensor]) -> np.ndarray:
        """Where on the images each stage keeps what it sees: `kept_cells` of their maps."""
        return kept_cells(self.head(maps), self.shifts)


def open_run(folder: str | Path, data_dir: str = "", weights: str = "") -> TrainedRun:
    """Open a finished run; `data_dir` and `weights` say where its files are if they have moved.

    The data set is opened only where the backbone was trained on it. Raises ValueError if the
    folder is no finished run, if its backbone is not the one it was made with, or if its network is
    another version's.
    """
    folder = Path(folder).expanduser().absolute()
    config = read_config(folder, data_dir, weights)
    backbone = run_backbone(folder, config)
    stages = stage_views(backbone, config.image_size)[-config.stages :]
    state = load_file(folder / "model.safetensors")
    labels = torch.arange(class_count(folder, state))
    method = build_method(config, [stage.channels for stage in stages], labels)
    seen, precision = (backbone, config.precision) if config.finetune else (Rounded(backbone), "32")
    network = FineTuned(seen, method.head, len(stages), precision)
    shifts = [stage.shift for stage in stages]
    run = TrainedRun(folder, config, network, method.coder, shifts)
    try:
        run.method.network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"the network in {folder} is of another version ({reason}): train again"
        ) from None
    network.eval().requires_grad_(False)
    return run


def untrained(config: Config, inputs: Inputs) -> nn.Module:
    """The head of a run of `config` with the random weights that training starts from."""
    return build_model(config, inputs).head.eval().requires_grad_(False)


def read_config(folder: Path, data_dir: str, weights: str) -> Config:
    """The settings of the finished run in `folder`, with the places that have moved.

    Raises ValueError if the folder is no finished run, or another version's.
    """
    if not (folder / "metrics.csv").is_file():
        raise ValueError(
            f"{folder} is not a finished run: name a folder of results/<profile>/runs that holds "
            "metrics.csv, or make one with notebook 06_train"
        )
    try:
        config = Config(**read_json(folder / "config.json"))
    except TypeError as error:
        raise ValueError(f"{folder} was made by another version ({error}): train again") from None
    return replace(config, data_dir=data_dir or config.data_dir, weights=weights or config.weights)


def run_backbone(folder: Path, config: Config) -> StageBackbone:
    """The backbone of the run in `folder`, checked by its weights' hash unless the run trained it.

    Raises ValueError for other weights, or for other images where weights would be made from them.
    """
    from_images = config.backbone == "embedded" and shipped_recipe() != recipe(config)
    dataset = run_dataset(folder, config) if from_images else None
    backbone, found = open_backbone(config, dataset)
    if config.finetune:
        return backbone  # the run's own weights take the place of these
    made = read_json(folder / "env.json")["backbone_id"]
    if made != found:
        raise ValueError(
            f"{folder.name} was trained with backbone weights {made}, not {found}: give the right "
            "weights, or train again"
        )
    return frozen(backbone)


def run_dataset(folder: Path, config: Config) -> Dataset:
    """The data set of the run in `folder`; ValueError if its images are not those of the run."""
    dataset = open_dataset(config)
    if read_json(folder / "env.json")["dataset_hash"] != dataset.hash:
        raise ValueError(
            f"{folder.name} was trained on other images than those in {dataset.root}: "
            "give the right data_dir, or train again"
        )
    return dataset


def class_count(folder: Path, state: dict[str, Tensor]) -> int:
    """Number of classes the network was trained on; where it has no proxies, any will do."""
    proxies = state.get("proxies", state.get("head.proxies"))
    labels = read_codes(folder)["database_labels"]
    return int(labels.max()) + 1 if proxies is None else len(proxies)


def opened(image: Picture) -> Image.Image:
    """An image, given or at a path, in RGB and turned as its EXIF orientation says."""
    if isinstance(image, Image.Image):
        return ImageOps.exif_transpose(image).convert("RGB")
    return open_image(Path(image))


def kept_cells(output: Output, shifts: Sequence[float]) -> np.ndarray:
    """Which stages keep what lies there: (B, G, G) uint8 over the image, bit l for stage l.

    A square is half a cell of the finest stage. shifts (L,), in cells: how far off each stage's
    tokens look, to the nearest square. G is 0 where the network keeps no regions.
    """
    index = output.kept_index
    if not index:
        return np.zeros((len(output.u), 0, 0), np.uint8)
    sides = [math.isqrt(logits.shape[1]) for logits in output.token_logits]
    squares = 2 * max(sides)
    cells = np.zeros((len(output.u), squares, squares), np.uint8)
    for level, (chosen, side, shift) in enumerate(zip(index, sides, shifts, strict=True)):
        own = np.zeros((len(cells), side * side), np.uint8)
        np.put_along_axis(own, chosen.cpu().numpy(), 1 << level, axis=1)
        moved = np.arange(squares) - round(shift * squares / side)
        cell = moved * side // squares  # whose square it is; outside the grid: no token's
        seen = (cell >= 0) & (cell < side)
        cell = cell.clip(0, side - 1)
        here = own.reshape(-1, side, side)[:, cell][:, :, cell]
        cells |= here * np.outer(seen, seen)
    return cells
