"""An FDH-MFE network, opened: the head with its parts, and the stage tokens that it reads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fdhmfe.config.settings import Config
from fdhmfe.encoding.trained import load_network
from fdhmfe.network import FDHMFE
from fdhmfe.runs.experiment import build_model
from fdhmfe.runs.inputs import Inputs
from fdhmfe.training.finetune import FineTuned

Reader = Callable[[np.ndarray], list[Tensor]]


def open_run(folder: Path, config: Config, inputs: Inputs) -> tuple[FDHMFE, Reader]:
    """The trained head of a run of `config`, and what reads its inputs (see `opened`).

    Raises FileNotFoundError when the run is not there, ValueError when it is another version's.
    """
    if not (folder / "model.safetensors").exists():
        raise FileNotFoundError(f"there is no network in {folder}: run notebook 06_train first")
    return opened(load_network(folder, config, inputs), inputs)


def untrained(config: Config, inputs: Inputs) -> tuple[FDHMFE, Reader]:
    """The same with the random weights that training starts from."""
    return opened(build_model(config, inputs).network, inputs)


def opened(network: nn.Module, inputs: Inputs) -> tuple[FDHMFE, Reader]:
    """A network's head in evaluation mode, and a function from table rows to its inputs.

    The function takes rows (B,) and returns L stage maps as tokens (B, S_l, C_l), of the whole
    image. Raises ValueError for another method than FDH-MFE, which has no such parts.
    """
    network.eval().requires_grad_(False)
    finetuned = isinstance(network, FineTuned)
    head = network.head if finetuned else network
    if not isinstance(head, FDHMFE):
        raise ValueError(f"{type(head).__name__} has no stages or graph: use method 'fdh-mfe'")

    @torch.no_grad()
    def read(rows: np.ndarray) -> list[Tensor]:
        batch = inputs.source.plain_batches(rows)[0]
        return network.backbone(batch[0])[-network.stages :] if finetuned else batch

    return head, read
