"""Profiles, variants and tuning, which change settings; the names of data sets."""

import csv
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fdhmfe.config.methods import METHODS
from fdhmfe.support.places import suggest

BITS = (12, 24, 32, 48)
TUNED = Path(__file__).with_name("tuned.csv")  # written by fdhmfe.runs.tune
KEYS = ("profile", "trainable", "method")  # of a row in it
LARGE = dict(image_size=224, grid=7, width=128)
PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "smoke": dict(
            toy_classes=12, toy_train=10, toy_test=6, embedded_epochs=3, views=2, epochs=3
        ),
        "quick": {},
        "laptop": LARGE
        | dict(backbone="mobilenet_v2", views=6, trainable="tail", epochs=10)
        | dict(backbone_learning_rate=1e-3, weight_decay=0.05)
        | dict(hash_head="mlp", pooling="all"),
        "paper": LARGE
        | dict(backbone="resnet50", trainable="all", precision="bf16", workers=8)
        | dict(epochs=60, learning_rate=1e-3),
    }
)


# Settings that switch off each part of FDH-MFE: a variant leaves out one.
OFF: Mapping[str, Mapping[str, Any]] = {
    "stages": dict(stages=1),
    "fusion": dict(fusion=False),
    "selection": dict(selection=False),
    "graph": dict(graph_depth=0),
    "maxmin": dict(proxies="random"),
    "uniformity": dict(balance_weight=0.0, decorrelation_weight=0.0),
    "classifier": dict(class_weight=0.0),
    "background": dict(background_weight=0.0),
    "triplet": dict(triplet_weight=0.0),
    "quantisation": dict(quantisation_weight=0.0),
}
# The parts that the abstract names; the others are what these need, or how we built them
ABSTRACT = ("stages", "graph", "maxmin", "background", "triplet")
ADDED: Mapping[str, Mapping[str, Any]] = {  # switch off what FDH-MFE+ adds
    "arrangement": dict(arranged=False),
    "readout": dict(proxy_readout=False),
}
GRAPHS: Mapping[str, Mapping[str, Any]] = {  # other ways to build the graph
    "deep-graph": dict(graph_depth=3),
    "whole-graph": dict(nodes=1000),  # more than a stage has: every token is a node
}
OPEN: Mapping[str, Any] = dict(coder="mixture")  # for classes never seen


def without(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """A variant for each part, which switches it off."""
    return {f"no-{part}": off for part, off in parts.items()}


# The variants of each method that has some, beside "full"
VARIANTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "fdh-mfe": {**without(OFF), **GRAPHS},
        "fdh-mfe+": {"open": OPEN, **without(OFF), **without(ADDED)},
        "softmax": {"open": OPEN, **without({"arrangement": ADDED["arrangement"]})},
    }
)


def variant_settings(method: str, variant: str) -> Mapping[str, Any]:
    """What a variant of a method changes; ValueError, with the nearest name, if it has no such."""
    known = {"full": {}, **VARIANTS.get(method, {})}
    if variant not in known:
        raise ValueError(f"variant={variant!r} of {method} is not known{suggest(variant, known)}")
    return known[variant]


# Methods in the tables of `ablations` and `tables`, and seeds per cell, by profile
FEW = ("fdh-mfe", "fdh-mfe+", "softmax", "lsh", "csq", "orthohash", "a2-net")
ALL = tuple(METHODS)
TABLE_METHODS = {"smoke": FEW[:-1], "quick": FEW, "laptop": ALL, "paper": ALL}
SEEDS = {"smoke": (0,), "quick": (0,), "laptop": (0, 1, 2), "paper": (0, 1, 2)}
# Seeds of an ablation, which compares small differences: at the shortest and at the longest code
ABLATION_SEEDS = {"smoke": (1, 0), "quick": (3, 0), "laptop": (5, 3), "paper": (5, 3)}
DATASETS = (
    *("toy", "cub200", "aircraft", "nabirds", "vegfru", "vegfru_trainval", "food101"),
    *("dogs", "cars", "leeds_butterfly", "folder"),
)


def table_seeds(profile: str, dataset: str) -> tuple[int, ...]:
    """The seeds of each cell of notebook `tables`.

    If others have several, leeds_butterfly has five: one of its 414 queries is 0.24 % of the mAP.
    """
    several = len(SEEDS[profile]) > 1
    return tuple(range(5)) if several and dataset == "leeds_butterfly" else SEEDS[profile]


def tuning(profile: str, trainable: str, method: str) -> dict[str, str]:
    """The settings that runs/tune.py chose for a method, as text; empty if it chose none."""
    with open(TUNED, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if tuple(row.pop(name) for name in KEYS) == (profile, trainable, method):
                return {name: value for name, value in row.items() if value}
    return {}
