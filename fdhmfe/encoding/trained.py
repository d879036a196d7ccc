"""A finished run, opened again: it encodes new images, and shows which regions it keeps.

    run = open_run("results/quick/runs/...")
    codes = run.encode(["a.jpg", "b.jpg"])  # (2, K) int8
    run.save_pretrained("my-model")  # a folder for others: from_pretrained("my-model").encode(...)

Letters: B images, K bits, L stages, S pixels per side, G squares per side of the map of kept cells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fdhmfe.codes import blocks
from fdhmfe.config.settings import Config
from fdhmfe.data.dataset import Dataset, open_image
from fdhmfe.data.door import open_dataset
from fdhmfe.data.picture import decode
from fdhmfe.data.views import Preprocessing, view_image
from fdhmfe.encoding import card, shared
from fdhmfe.encoding.parts import Pixels, Rounded, assembled, blank_backbone, fitting
from fdhmfe.features.backbone import StageBackbone
from fdhmfe.features.weights import recipe, shipped_recipe
from fdhmfe.network import HashNetwork, Output, binarise
from fdhmfe.runs.experiment import build_model
from fdhmfe.runs.inputs import Inputs, open_backbone, prepare
from fdhmfe.runs.results import read_codes, read_environment, read_settings, read_state
from fdhmfe.support.files import content_hash, file_hash
from fdhmfe.support.places import resolve
from fdhmfe.training.coders import Coder
from fdhmfe.training.finetune import FineTuned, head_maps
from fdhmfe.training.train import Method

BATCH = 32  # images in the network at once
FRONT = "front."  # prefix of the front's tensors in a shared model: `Rounded` gives it
Picture = str | Path | Image.Image


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its network, in evaluation mode. The data set is opened when it is needed."""

    folder: Path
    config: Config
    front: Rounded | Pixels  # images (B, 3, S, S) -> what the network takes
    network: HashNetwork | FineTuned  # what the run trained
    coder: Coder  # Output -> relaxed codes (B, K), signed as the bits
    preprocessing: Preprocessing
    shifts: list[float]  # of each stage's tokens, in cells: see `stage_views`

    @property
    def protocol(self) -> str:
        """One line to print beside what the run shows."""
        c = self.config
        shown = [c.dataset, c.composition.name] + ([c.variant] if c.variant != "full" else [])
        return ", ".join([*shown, f"{c.bits} bits", f"seed {c.seed}", f"profile {c.profile}"])

    @property
    def head(self) -> HashNetwork:
        """The hashing network, which follows the backbone: L stage maps -> Output."""
        return self.method.head

    @property
    def method(self) -> Method:
        """What the run trained and stored. Its network takes the batches of `inputs.source`."""
        return Method(self.network, None, self.coder)

    @cached_property
    def model_id(self) -> str:
        """A hash of what makes the codes: weights of head and backbone, image size, and coder."""
        backbone = read_environment(self.folder, "backbone_id")["backbone_id"]
        weights = file_hash(self.folder / "model.safetensors")
        coder = self.config.composition.coder
        return content_hash(weights, backbone, self.config.image_size, coder)

    @cached_property
    def inputs(self) -> Inputs:
        """The run's data set and stage features; ValueError if the images have changed."""
        return prepare(self.config, run_dataset(self.folder, self.config))

    @cached_property
    def about(self) -> dict[str, Any]:
        """Settings, preprocessing, classes and scores, as JSON can hold them: see `card.facts`."""
        dataset = run_dataset(self.folder, self.config)
        return card.facts(self.folder, self.config, self.preprocessing, dataset, self.model_id)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder in the Hub's format, with a model card, that `from_pretrained` opens.

        The data set is opened for it. Raises ValueError if its images have changed, if `folder`
        holds a model already, or if this one cannot be shared: see `shared.write`.
        """
        state = {**self.front.state_dict(), **self.method.state}
        shared.write(resolve(str(folder)), self.about, state)

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None) -> "SharedModel":
        """Open a shared model: see the function of this name."""
        return from_pretrained(name, revision)

    def encode(self, images: Sequence[Picture]) -> np.ndarray:
        """Codes (B, K) int8 of -1 and +1 of any images, made in the same way as the run's own.

        images: a list of paths or Pillow images. Raises DataError naming a file it cannot read.
        """
        if isinstance(images, Picture):
            raise TypeError("encode takes a list of images: give [image] for a single one")
        parts = [self.codes(self.read(images[rows])) for rows in blocks(len(images), BATCH)]
        return np.concatenate([np.zeros((0, self.config.bits), np.int8), *parts])

    def read(self, images: Sequence[Picture]) -> Tensor:
        """Whole images as the backbone takes them: (B, 3, S, S)."""
        pre = self.preprocessing
        return torch.stack([view_image(opened(image), 0, 0, pre) for image in images])

    def codes(self, pixels: Tensor) -> np.ndarray:
        """Codes (B, K) int8 of what `read` returns: from the mean of image and mirror image."""
        fronts = (self.front(view) for view in (pixels, pixels.flip(-1)))
        views = [self.coder(self.network(inputs)) for inputs in fronts]
        return binarise(torch.stack(views).mean(0)).numpy()

    def maps(self, images: Sequence[Picture]) -> list[Tensor]:
        """The backbone's L stage maps of whole images: what the head takes."""
        return head_maps(self.network, self.front(self.read(images)))

    def row_maps(self, rows: np.ndarray) -> list[Tensor]:
        """The L stage maps of table rows (B,) of the run's data set, from its cache if it has one.

        One more map follows if the head refines parts: see `HashNetwork.refines`.
        """
        return head_maps(self.network, self.inputs.source.plain_batches(rows)[0])

    def kept(self, maps: list[Tensor]) -> np.ndarray:
        """Which regions of the images each stage keeps, from their stage maps: see `kept_cells`."""
        return kept_cells(self.head(maps), self.shifts)


@dataclass(frozen=True)
class SharedModel(TrainedRun):
    """A model that was shared, in the place of a finished run. `folder` holds its files."""

    stored: dict[str, Any]  # its config.json

    @cached_property
    def about(self) -> dict[str, Any]:
        return self.stored

    @cached_property
    def model_id(self) -> str:
        """That of the run which was shared: both make the same codes."""
        return self.stored["model_id"]

    @cached_property
    def inputs(self) -> Inputs:
        raise ValueError(f"{self.folder} is a shared model: it holds no images of its data set")


def open_run(folder: str | Path, data_dir: str = "", weights: str = "") -> TrainedRun:
    """Open a finished run; `data_dir` and `weights` say where its files are if they have moved.

    The data set is opened only if the embedded backbone was trained on it. A shared model's folder
    is opened, too. Raises ValueError if the folder is neither, if a file of it is missing or
    damaged, if its backbone has other weights than then, or if another version made it.
    """
    folder = resolve(str(folder))
    if shared.is_shared(folder):
        if data_dir or weights:
            raise ValueError(f"{folder} is a shared model: it needs no data_dir and no weights")
        return from_pretrained(folder)
    config = read_config(folder, data_dir, weights)
    backbone = run_backbone(folder, config)
    state = read_state(folder)
    run = TrainedRun(folder, config, *assembled(config, backbone, class_count(folder, state)))
    with fitting(folder, "train again"):
        run.method.load_state(state)
    return run


def from_pretrained(name: str | Path, revision: str | None = None) -> SharedModel:
    """Open a model that `save_pretrained` wrote: a folder, OWNER/NAME on the Hub, or "toy".

    revision: a commit, tag or branch on the Hub. Neither data set nor other weights are needed, and
    no code comes from the model. Raises ValueError naming the file that is missing, damaged or of
    another version; ConnectionError if the Hub does not give it (see `shared.find`).
    """
    folder = shared.find(name, revision)
    about, config, pre, state = shared.read(folder)
    with shared.sound(folder / shared.ABOUT):
        parts = assembled(config, blank_backbone(config, pre), len(about["classes"]))
    model = SharedModel(folder, config, *parts, about)
    with fitting(folder, "get the model again"):
        front = {k: v for k, v in state.items() if k.startswith(FRONT)}
        model.front.load_state_dict(front)
        model.method.load_state({k: v for k, v in state.items() if k not in front})
    return model


def untrained(config: Config, inputs: Inputs) -> nn.Module:
    """The head of a run of `config` with the random weights that training starts from."""
    return build_model(config, inputs).head.eval().requires_grad_(False)


def read_config(folder: Path, data_dir: str, weights: str) -> Config:
    """The settings of the finished run in `folder`; `data_dir` and `weights` replace its own.

    Raises ValueError if the folder is no finished run, or if another version made it.
    """
    if not (folder / "metrics.csv").is_file():
        raise ValueError(
            f"{folder} is not a finished run: name a folder of results/<profile>/runs that holds "
            "metrics.csv, or make one with notebook 08_train"
        )
    try:
        config = Config(**read_settings(folder))
    except TypeError as error:
        raise ValueError(f"{folder} was made by another version ({error}): train again") from None
    return replace(config, data_dir=data_dir or config.data_dir, weights=weights or config.weights)


def run_backbone(folder: Path, config: Config) -> StageBackbone:
    """The backbone of the run in `folder`; its weights are compared, unless the run trained them.

    Raises ValueError for other weights, or if they must be trained here and the images are others.
    """
    from_images = config.backbone == "embedded" and shipped_recipe() != recipe(config)
    dataset = run_dataset(folder, config) if from_images else None
    backbone, found = open_backbone(config, dataset)
    if config.trainable == "all":
        return backbone  # the run's own weights take the place of these
    made = read_environment(folder, "backbone_id")["backbone_id"]
    if made != found:
        raise ValueError(
            f"{folder.name} was trained with backbone weights {made}, not {found}: give the right "
            "weights, or train again"
        )
    return backbone


def run_dataset(folder: Path, config: Config) -> Dataset:
    """The data set of the run in `folder`; ValueError if its images are not those of the run."""
    dataset = open_dataset(config)
    if read_environment(folder, "dataset_hash")["dataset_hash"] != dataset.hash:
        raise ValueError(
            f"{folder.name} was trained on other images than those in {dataset.root}: "
            "give the right data_dir, or train again"
        )
    return dataset


def class_count(folder: Path, state: dict[str, Tensor]) -> int:
    """Number of classes that the network was trained on. Without proxies, any number will do."""
    proxies = state.get("proxies", state.get("head.proxies"))
    labels = read_codes(folder)["database_labels"]
    return int(labels.max()) + 1 if proxies is None else len(proxies)


def opened(image: Picture) -> Image.Image:
    """An image, or the one at a path, in RGB and upright, as `decode` makes it."""
    return decode(image) if isinstance(image, Image.Image) else open_image(Path(image))


def kept_cells(output: Output, shifts: Sequence[float]) -> np.ndarray:
    """Which stages keep each square of an image: (B, G, G) uint8, bit l set if stage l keeps it.

    A square is half a cell of the finest stage. shifts (L,), in cells: how far from its own cell a
    token of each stage looks; rounded to squares. G is 0 if the network keeps no regions.
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
        cell = moved * side // squares  # the token that sees each square; outside the grid: none
        seen = (cell >= 0) & (cell < side)
        cell = cell.clip(0, side - 1)
        here = own.reshape(-1, side, side)[:, cell][:, :, cell]
        cells |= here * np.outer(seen, seen)
    return cells
