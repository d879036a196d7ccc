"""Profiles, variants and tuning, which change settings; the names of data sets."""

import csv
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fdhmfe.config.methods import METHODS

BITS = (12, 24, 32, 48)
TUNED = Path(__file__).with_name("tuned.csv")  # written by fdhmfe.runs.tune
LARGE = dict(image_size=224, grid=7, width=128)
PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "smoke": dict(
            toy_classes=12, toy_train=10, toy_test=6, embedded_epochs=3, views=2, epochs=3
        ),
        "quick": {},
        "laptop": LARGE | dict(backbone="mobilenet_v2", views=6, epochs=15),
        "paper": LARGE
        | dict(backbone="resnet50", finetune=True, precision="bf16", workers=8)
        | dict(epochs=60, learning_rate=1e-3),
    }
)


# Settings that switch each part off. The ablation removes each part, and tries each part alone.
OFF: Mapping[str, Mapping[str, Any]] = {
    "stages": dict(stages=1),
    "fusion": dict(fusion=False),
    "selection": dict(selection=False),
    "graph": dict(graph_depth=0),
    "maxmin": dict(proxies="random"),
    "arrangement": dict(arranged=False),
    "readout": dict(proxy_readout=False),
    "uniformity": dict(balance_weight=0.0, decorrelation_weight=0.0),
    "background": dict(background_weight=0.0),
    "triplet": dict(triplet_weight=0.0),
    "quantisation": dict(quantisation_weight=0.0),
}
PLAIN: Mapping[str, Any] = {k: v for off in OFF.values() for k, v in off.items()}
NEEDS = {"fusion": ("stages",), "background": ("selection",)}  # a part that works only with others


def only(part: str) -> dict[str, Any]:
    """Settings that switch off all parts except this one and those that it needs."""
    kept = {key for name in (part, *NEEDS.get(part, ())) for key in OFF[name]}
    return {key: value for key, value in PLAIN.items() if key not in kept}


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"full": {}, "plain": PLAIN}
    | {f"no-{part}": off for part, off in OFF.items()}
    | {f"only-{part}": only(part) for part in OFF}
)


# Methods in the tables of notebooks 07 and 09, and seeds per cell, by profile
FEW = ("fdh-mfe", "lsh", "csq", "orthohash", "a2-net")
ALL = tuple(METHODS)
TABLE_METHODS = {"smoke": FEW[:4], "quick": FEW, "laptop": ALL, "paper": ALL}
SEEDS = {"smoke": (0,), "quick": (0,), "laptop": (0, 1), "paper": (0, 1, 2)}
DATASETS = (
    *("toy", "cub200", "aircraft", "nabirds", "vegfru", "vegfru_trainval", "food101"),
    *("dogs", "cars", "leeds_butterfly", "folder"),
)


def table_seeds(profile: str, dataset: str) -> tuple[int, ...]:
    """The seeds of each cell of notebook 09. (Ablations have more rows, so they use SEEDS.)

    If others have several, leeds_butterfly has five: one of its 414 queries is 0.24 % of the mAP.
    """
    several = len(SEEDS[profile]) > 1
    return tuple(range(5)) if several and dataset == "leeds_butterfly" else SEEDS[profile]


def tuning(profile: str, method: str) -> dict[str, float]:
    """The learning rate and loss weight that runs/tune.py chose for a method; empty if none."""
    with open(TUNED, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row.pop("profile"), row.pop("method")) == (profile, method):
                return {name: float(value) for name, value in row.items()}
    return {}
