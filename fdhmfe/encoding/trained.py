"""A finished run opened again: its data and network, and codes of images it has never seen.

Letters: B images, K bits, L stages, G squares per side of the map of kept regions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from fdhmfe.config.settings import Config
from fdhmfe.data.views import PLAIN_VIEWS, view_image
from fdhmfe.network import Output, binarise
from fdhmfe.runs.experiment import build_model
from fdhmfe.runs.inputs import CachedSource, Inputs, prepare
from fdhmfe.support.files import read_json
from fdhmfe.support.places import resolve


@dataclass(frozen=True)
class TrainedRun:
    """A finished run with its data set open and its network loaded, in evaluation mode."""

    folder: Path
    config: Config
    inputs: Inputs
    network: nn.Module

    @property
    def protocol(self) -> str:
        """One line to print beside what the run shows."""
        c = self.config
        shown = [c.dataset, c.method] + ([c.variant] if c.variant != "full" else [])
        return ", ".join([*shown, f"{c.bits} bits", f"seed {c.seed}", f"profile {c.profile}"])


def open_run(folder: str | Path, *, data_dir: str = "", weights: str = "") -> TrainedRun:
    """Open a finished run; `data_dir` and `weights` say where its files are if they have moved.

    Raises ValueError if the folder is no finished run, if the images or the backbone found are not
    those it was made with, or if its network is another version's.
    """
    folder = resolve(str(folder))
    config = read_config(folder, data_dir=data_dir, weights=weights)
    inputs = prepare(config)
    check_origin(folder, inputs)
    return TrainedRun(folder, config, inputs, load_network(folder, config, inputs))


def load_network(folder: Path, config: Config, inputs: Inputs) -> nn.Module:
    """The network of the run of `config` in `folder`, in evaluation mode.

    Raises ValueError if it is another version's.
    """
    network = build_model(config, inputs).network
    try:
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"the network in {folder} is of another version ({reason}): train again"
        ) from None
    return network.eval()


def read_config(folder: Path, *, data_dir: str = "", weights: str = "") -> Config:
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
    moved = {"data_dir": data_dir, "weights": weights}
    return replace(config, **{name: place for name, place in moved.items() if place})


def check_origin(folder: Path, inputs: Inputs) -> None:
    """ValueError unless images and backbone are those that the run in `folder` was made with."""
    made = read_json(folder / "env.json")
    if made["dataset_hash"] != inputs.dataset.hash:
        raise ValueError(
            f"{folder.name} was trained on other images than those in {inputs.dataset.root}: "
            "give the right data_dir, or train again"
        )
    if made["backbone_id"] != inputs.backbone_id:
        raise ValueError(
            f"{folder.name} was trained with backbone weights {made['backbone_id']}, not "
            f"{inputs.backbone_id}: give the right weights, or train again"
        )


@torch.inference_mode()
def encode_images(run: TrainedRun, images: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """Codes (B, K) int8 of any images, made as the run's own were, and their `kept_cells`."""
    size = run.config.image_size
    outputs = []
    for view in PLAIN_VIEWS:
        batch = torch.stack([view_image(image, view, 0, size) for image in images])
        outputs.append(run.network(read_images(run, batch)))
    u = torch.stack([output.u for output in outputs]).mean(0)
    return binarise(u).numpy(), kept_cells(outputs[0], run.inputs.shifts)


def read_images(run: TrainedRun, images: Tensor) -> list[Tensor]:
    """What the network reads of images (B, 3, size, size)."""
    if not isinstance(run.inputs.source, CachedSource):
        return [images]
    return rounded_tokens(run.inputs.backbone, images)[-run.config.stages :]


def rounded_tokens(backbone: nn.Module, images: Tensor) -> list[Tensor]:
    """All stage maps of images (B, 3, S, S), rounded to float16 as the feature cache's are."""
    maps = backbone(images.contiguous(memory_format=torch.channels_last))
    return [x.half().float() for x in maps]


@torch.inference_mode()
def kept_regions(run: TrainedRun, rows: np.ndarray) -> np.ndarray:
    """The `kept_cells` of the whole-image view of the data set's given rows."""
    output = run.network(run.inputs.source.plain_batches(rows)[0])
    return kept_cells(output, run.inputs.shifts)


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
