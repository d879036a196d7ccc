"""Training and encoding: the only place that calls backward."""

import math
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fdhmfe.checkpoint import History, load_checkpoint, save_checkpoint
from fdhmfe.config import Config
from fdhmfe.methods import Batch, Method
from fdhmfe.progress import progress, watched

ENCODING_BATCH = 128


class Source(Protocol):
    """Where inputs come from: cached stage features, or images for fine-tuning."""

    def training_batch(self, rows: np.ndarray, rng: np.random.Generator) -> list[Tensor]: ...

    def plain_batches(self, rows: np.ndarray) -> list[list[Tensor]]: ...


class LossError(FloatingPointError):
    """The loss of a batch is not finite; `rows` are the table rows of its images."""

    def __init__(self, message: str, rows: np.ndarray) -> None:
        super().__init__(message)
        self.rows = rows


def fit(
    method: Method,
    source: Source,
    rows: np.ndarray,
    labels: Tensor,
    config: Config,
    checkpoint: Path,
) -> History:
    """Train `method.network` in place for a fixed number of epochs; returns one row per epoch.

    rows (M,) table rows and their labels (M,). After every epoch `checkpoint` is written, so a
    killed run continues from its last whole epoch. Everything random in an epoch follows from
    (seed, epoch): a resumed run ends with the same weights, bit for bit, as an uninterrupted one.
    Raises LossError when the loss is not finite.
    """
    optimiser = make_optimiser(method.network, config)
    history = load_checkpoint(checkpoint, method.modules, optimiser)
    if history:
        print(f"resuming after epoch {len(history)} of {config.epochs}", flush=True)
    for epoch in progress(range(len(history), config.epochs), "epochs", lines=0):
        torch.manual_seed(config.seed * 100_003 + epoch)
        rng = np.random.default_rng([config.seed, epoch])
        order = rng.permutation(len(rows))
        parts = []
        slices = batch_slices(len(rows), config.batch_size)
        for step, part in enumerate(slices):
            done = (epoch + step / len(slices)) / config.epochs
            set_learning_rate(optimiser, done)
            index = order[part]
            inputs = source.training_batch(rows[index], rng)
            batch = Batch(labels[index], torch.from_numpy(index), done)
            try:
                parts.append(train_step(method, inputs, batch, optimiser))
            except FloatingPointError as error:
                raise LossError(str(error), rows[index]) from error
        method.criterion.end_epoch()
        history.append({"epoch": epoch + 1} | pd.DataFrame(parts).mean().to_dict())
        save_checkpoint(checkpoint, method.modules, optimiser, history)
        if not watched():
            print("  ".join(f"{k} {v:.4g}" for k, v in history[-1].items()), flush=True)
    return history


def train_step(
    method: Method, inputs: list[Tensor], batch: Batch, optimiser: torch.optim.Optimizer
) -> dict[str, float]:
    """One update of the network; returns the loss and its parts."""
    method.network.train()
    total, parts = method.criterion(method.network(inputs), batch)
    values = {"loss": total.item(), **{name: part.item() for name, part in parts.items()}}
    if not math.isfinite(values["loss"]):
        raise FloatingPointError(f"the loss is not finite: {values}; lower learning_rate")
    optimiser.zero_grad()
    total.backward()
    nn.utils.clip_grad_norm_(method.network.parameters(), max_norm=5.0)
    optimiser.step()
    return values


def batch_slices(count: int, size: int) -> list[slice]:
    """Equal batches; a short last one is left out unless it is the only one (batch norm)."""
    whole = max(1, count // size)
    return [slice(i * size, (i + 1) * size) for i in range(whole)]


def make_optimiser(model: nn.Module, config: Config) -> torch.optim.AdamW:
    """AdamW; no decay on biases and norms; a pretrained backbone gets its own learning rate."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("backbone."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        {
            "params": parameters,
            "peak": config.backbone_learning_rate if pretrained else config.learning_rate,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (pretrained, decays), parameters in groups.items()
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, progress: float) -> None:
    """Linear warm-up over the first tenth of training, then a half cosine to zero."""
    warm = 0.1
    if progress < warm:
        factor = (progress + 1e-3) / warm
    else:
        factor = (1 + math.cos(math.pi * (progress - warm) / (1 - warm))) / 2
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def batches(rows: np.ndarray, size: int = ENCODING_BATCH) -> list[np.ndarray]:
    """Rows in batches for encoding, where their size does not change the result."""
    return [rows[first : first + size] for first in range(0, len(rows), size)]


@torch.inference_mode()
def relaxed_codes(
    model: nn.Module, source: Source, rows: np.ndarray, batch: int = ENCODING_BATCH
) -> Tensor:
    """u (M, K) of the given table rows, in evaluation mode: the mean over the plain views."""
    model.eval()
    parts = []
    for part in batches(rows, batch):
        views = source.plain_batches(part)
        parts.append(torch.stack([model(inputs).u for inputs in views]).mean(0).cpu())
    return torch.cat(parts)
