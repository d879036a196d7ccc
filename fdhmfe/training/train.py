"""The training loop of all methods, and the encoding of images by a trained network."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fdhmfe.codes import blocks
from fdhmfe.config.settings import Config
from fdhmfe.data.views import PLAIN_VIEWS
from fdhmfe.losses import Objective, Step
from fdhmfe.network import HashNetwork, Output
from fdhmfe.support import distributed
from fdhmfe.support.progress import progress, watched
from fdhmfe.training.checkpoint import History, load_checkpoint, save_checkpoint
from fdhmfe.training.coders import Coder, features_of
from fdhmfe.training.finetune import FineTuned

ENCODING_BATCH = 128
PRETRAINED = ("backbone.", "head.block.")  # prefixes of pretrained parameters
CODER = "coder."  # prefix of the coder's tensors in a stored run


class Method(NamedTuple):
    """A network, its objective and its coder. Each of the three can be exchanged.

    Without an objective the network is not trained; only the coder is fitted.
    """

    network: HashNetwork | FineTuned  # of L stage maps, or of what its part of the backbone takes
    objective: Objective | None
    coder: Coder

    @property
    def head(self) -> HashNetwork:
        """The hashing network, without a backbone in front."""
        return self.network.head if isinstance(self.network, FineTuned) else self.network

    @property
    def state(self) -> dict[str, Tensor]:
        """What a finished run stores: the tensors of the network and of the coder."""
        fitted = {f"{CODER}{name}": value for name, value in self.coder.state_dict().items()}
        return {**self.network.state_dict(), **fitted}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load what `state` returned; RuntimeError if it does not fit."""
        fitted = {k: v for k, v in state.items() if k.startswith(CODER)}
        self.coder.load_state_dict({k.removeprefix(CODER): v for k, v in fitted.items()})
        self.network.load_state_dict({k: v for k, v in state.items() if k not in fitted})

    @property
    def modules(self) -> nn.ModuleDict:
        """What a checkpoint holds."""
        parts = {"network": self.network, "objective": self.objective}
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})


class Source(Protocol):
    """Where inputs come from: cached stage features, or images for fine-tuning."""

    def training_batches(
        self, plan: Iterator[tuple[np.ndarray, np.random.Generator]]
    ) -> Generator[list[Tensor], None, None]: ...

    def encoding_batches(
        self, parts: Sequence[np.ndarray], views: Sequence[int] = PLAIN_VIEWS
    ) -> Iterator[list[list[Tensor]]]: ...


class Pace(NamedTuple):
    """How fast the last epoch went, and what held it up."""

    images_per_second: float  # of all processes together
    waiting: float  # share of the epoch in which the network waited for data, 0..1


class Fitted(NamedTuple):
    """What `fit` returns; the trained network itself is in the Method."""

    history: History  # a row per epoch
    pace: Pace | None  # None if no epoch was left to train


class LossError(FloatingPointError):
    """The loss of a batch is not finite. places (B,): its images among the training images."""

    def __init__(self, message: str, places: np.ndarray) -> None:
        super().__init__(message)
        self.places = places


def fit(
    method: Method,
    source: Source,
    rows: np.ndarray,
    labels: Tensor,
    config: Config,
    checkpoint: Path,
) -> Fitted:
    """Train `method.network` in place, on the device it is on, for `config.epochs` epochs.

    rows (M,): table rows to train on; labels (M,): theirs. `checkpoint` is written after each
    epoch, so a killed run continues after its last whole epoch. All random numbers of an epoch
    follow from (seed, epoch): a resumed run ends with exactly the weights of an uninterrupted one.
    Raises LossError if the loss is not finite.
    """
    optimiser = make_optimiser(method.network, config)
    with distributed.first_goes_first():
        history = load_checkpoint(checkpoint, method.modules, optimiser)
    done, pace = distributed.agreed(len(history)), None
    labels = labels.to(distributed.device_of(method.network))
    if history:
        print(f"resuming after epoch {done} of {config.epochs}", flush=True)
    with closing(source.training_batches(planned(rows, config, done))) as stream:
        for epoch in progress(range(done, config.epochs), "epochs", lines=0):
            means, pace = train_epoch(method, stream, labels, config, epoch, optimiser)
            history.append({"epoch": epoch + 1} | means)
            if distributed.rank() == 0:
                save_checkpoint(checkpoint, method.modules, optimiser, history)
            if not watched():
                print("  ".join(f"{k} {v:.4g}" for k, v in history[-1].items()), flush=True)
    return Fitted(history, pace)


def planned(
    rows: np.ndarray, config: Config, done: int
) -> Iterator[tuple[np.ndarray, np.random.Generator]]:
    """The table rows of each batch after `done` epochs, and the generator for its random views."""
    for epoch in range(done, config.epochs):
        places, rng = epoch_batches(len(rows), config, epoch)
        for part in places:
            yield rows[part], rng


def epoch_batches(
    count: int, config: Config, epoch: int
) -> tuple[list[np.ndarray], np.random.Generator]:
    """Positions (B,) among `count` images, for each batch of an epoch, and the generator used."""
    rng = np.random.default_rng([config.seed, epoch])
    order = rng.permutation(count)
    size = config.batch_size
    # A short last batch is left out (bad for batch norm), if there are others.
    return [order[part] for part in blocks(count - count % size or count, size)], rng


def train_epoch(
    method: Method,
    stream: Iterator[list[Tensor]],
    labels: Tensor,
    config: Config,
    epoch: int,
    optimiser: torch.optim.Optimizer,
) -> tuple[dict[str, float], Pace]:
    """One pass over the training images; returns the mean loss and terms, and the speed."""
    torch.manual_seed(config.seed * 100_003 + epoch)  # unique per seed and epoch
    method.network.train()
    order, _ = epoch_batches(len(labels), config, epoch)
    parts, waited, started = [], 0.0, time.perf_counter()
    for step, places in enumerate(order):
        done = (epoch + step / len(order)) / config.epochs
        set_learning_rate(optimiser, done)
        asked = time.perf_counter()
        inputs = on_device(next(stream), labels.device)
        waited += time.perf_counter() - asked
        index = torch.from_numpy(places).to(labels.device)
        parts.append(train_step(method, inputs, labels[index], Step(index, done), optimiser))
    cast(Objective, method.objective).end_epoch()
    seconds = time.perf_counter() - started
    pace = Pace(sum(map(len, order)) / seconds, waited / seconds)
    return pd.DataFrame(parts).mean().to_dict(), pace


def on_device(inputs: list[Tensor], device: torch.device) -> list[Tensor]:
    """A batch, moved to the network's device; from pinned memory, while the device computes."""
    return [x.to(device, non_blocking=True) for x in inputs]


def train_step(
    method: Method,
    inputs: list[Tensor],
    labels: Tensor,
    step: Step,
    optimiser: torch.optim.Optimizer,
) -> dict[str, float]:
    """One update of the network; returns the loss and its terms."""
    total, parts = cast(Objective, method.objective)(method.network(inputs), labels, step)
    values = {"loss": total.item(), **{name: part.item() for name, part in parts.items()}}
    if not math.isfinite(values["loss"]):
        message = f"the loss is not finite: {values}; lower learning_rate"
        raise LossError(message, step.positions.cpu().numpy())
    optimiser.zero_grad()
    total.backward()
    distributed.average_gradients(method.network.parameters())
    nn.utils.clip_grad_norm_(method.network.parameters(), max_norm=5.0)  # set by hand
    optimiser.step()
    return values


def make_optimiser(model: nn.Module, config: Config) -> torch.optim.AdamW:
    """AdamW without decay on biases and norms; what is pretrained has a learning rate of its own.

    That is the backbone, and copies of its last block (`HashNetwork.refines`).
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith(PRETRAINED), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    described = (
        {
            "params": parameters,
            "peak": config.backbone_learning_rate if pretrained else config.learning_rate,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (pretrained, decays), parameters in groups.items()
    )
    return torch.optim.AdamW(described, fused=True)  # fused: faster, on CPU and GPU


def set_learning_rate(optimiser: torch.optim.Optimizer, progress: float) -> None:
    """Linear warm-up over the first tenth of training (set by hand), then a half cosine to 0."""
    warm = 0.1
    if progress < warm:
        factor = (progress + 1e-3) / warm
    else:
        factor = (1 + math.cos(math.pi * (progress - warm) / (1 - warm))) / 2
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


@torch.inference_mode()
def relaxed_codes(
    model: nn.Module,
    source: Source,
    rows: np.ndarray,
    coder: Callable[[Output], Tensor],
    batch: int = ENCODING_BATCH,
) -> Tensor:
    """Relaxed codes (M, K) of the given table rows, on the CPU. Their signs are the bits.

    The mean over the plain views, in evaluation mode, on the device that the model is on. Several
    processes share the work, and each returns all codes.
    """
    model.eval()
    device = distributed.device_of(model)
    parts = []
    share = distributed.encoding_share(rows)
    batches = [share[part] for part in blocks(len(share), batch)]
    for views in source.encoding_batches(batches):
        codes = [coder(model(on_device(inputs, device))) for inputs in views]
        parts.append(torch.stack(codes).mean(0).cpu())
    return distributed.collect(torch.cat(parts), len(rows))


def fit_coder(method: Method, source: Source, rows: np.ndarray, labels: Tensor) -> None:
    """Fit the coder, if it needs that, to what the trained network says of the training images.

    rows (M,): table rows; labels (M,): theirs.
    """
    if method.coder.fitted:
        features = relaxed_codes(method.network, source, rows, features_of)
        proxies = method.head.proxies
        method.coder.cpu().fit(features, labels, None if proxies is None else proxies.cpu())
        method.coder.to(distributed.device_of(method.network))
