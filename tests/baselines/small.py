"""Small methods of every name, on features that any of them can learn in seconds."""

from pathlib import Path

import numpy as np
import torch

from fdhmfe.config.methods import METHODS
from fdhmfe.config.settings import Config, load
from fdhmfe.features.cache import StageCache
from fdhmfe.losses import Step
from fdhmfe.metrics import mean_average_precision
from fdhmfe.network import binarise
from fdhmfe.runs.inputs import CachedSource
from fdhmfe.runs.methods import build_method
from fdhmfe.training.train import Method, fit, fit_coder, relaxed_codes

CHANNELS, SIDES = [6, 70], [3, 2]
LABELS = torch.arange(48) % 4
TRAIN, TEST = np.arange(32), np.arange(32, 48)
TRAINED = [name for name in METHODS if name not in ("lsh", "itq")]
ADSH_FAMILY = ("adsh", "exchnet", "a2-net", "semicon")


def settings(**given) -> Config:
    small = dict(width=8, keep=2, bits=12, epochs=10, batch_size=8, dropout=0.0)
    return load("quick", **{**small, **given})


def source() -> CachedSource:
    """One view of features in which the class is a sixth of the variance."""
    rng = np.random.default_rng(0)
    stages = []
    for side, channels in zip(SIDES, CHANNELS, strict=True):
        centres = rng.normal(size=(4, channels))[LABELS]
        noise = 2 * rng.normal(size=(48, channels))
        image = (centres + noise)[:, None] + rng.normal(size=(48, side**2, channels))
        stages.append(image.reshape(48, side, side, channels).astype(np.float16))
    return CachedSource([StageCache(np.arange(48), stages)] * 2, 2)


def built(**given) -> Method:
    return build_method(settings(**given), CHANNELS, LABELS[TRAIN])


def outputs(method: Method, rows: np.ndarray = TRAIN[:8]) -> tuple:
    return method.network(source().views[0].read(rows, 2))


def loss(method: Method, output: tuple, progress: float = 0.0) -> tuple:
    """The objective's total and terms for the first eight images."""
    return method.objective(output, LABELS[:8], Step(torch.arange(8), progress))


def train(method: Method, config: Config, checkpoint: Path) -> None:
    if method.objective is not None:
        fit(method, source(), TRAIN, LABELS[TRAIN], config, checkpoint)
    fit_coder(method, source(), TRAIN, LABELS[TRAIN])


def codes(method: Method, rows: np.ndarray) -> np.ndarray:
    return binarise(relaxed_codes(method.network, source(), rows, method.coder)).numpy()


def retrieval(method: Method, database: np.ndarray) -> float:
    labels = LABELS.numpy()
    return mean_average_precision(codes(method, TEST), database, labels[TEST], labels[TRAIN])
