"""One frozen, typed configuration; profiles, variants and tuning are small sets of overrides."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fdhmfe.config.methods import CODERS, METHODS, NETWORKS, OBJECTIVES, Composition, compose, find
from fdhmfe.config.profiles import DATASETS, PROFILES, VARIANTS, tuning
from fdhmfe.support.places import resolve, suggest


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. Times are in epochs, sizes in pixels or tokens per side.

    `FDHMFE`, `FDHMFELoss` and `hold_out_classes` say where their values are from; others: by hand.
    """

    # what to run: the names every notebook uses for its parameters
    profile: str = "quick"
    dataset: str = "toy"  # a name in DATASETS
    data_dir: str = ""  # where the images are; the toy set draws its own
    weights: str = ""  # a weight file for `backbone`; empty: download, or the embedded one
    backbone: str = "embedded"  # embedded | a torchvision name | timm/NAME
    method: str = "fdh-mfe"  # a name in METHODS, or module:NAME of a Composition
    network: str = ""  # in place of the method's own: a name in NETWORKS, or module:Class
    objective: str = ""  # the same, in OBJECTIVES
    coder: str = ""  # the same, in CODERS
    variant: str = "full"  # a name in VARIANTS
    bits: int = 48
    seed: int = 0
    results_dir: str = "results"
    reuse: bool = True  # take a finished run from disk instead of training again

    # data
    toy_classes: int = 48
    toy_train: int = 30  # images per class
    toy_test: int = 30
    image_size: int = 128
    protocol: str = "all-classes"  # all-classes | unseen@unseen | validation (to choose settings)
    validation_share: float = 0.2  # of each train class
    unseen_share: float = 0.05  # of the classes, never trained on
    embedded_epochs: int = 36
    finetune: bool = False  # train the backbone too, instead of reading cached stage features
    views: int = 4  # cached training views per image: whole, mirrored, then random crops
    grid: int = 8  # stage maps larger than this are average-pooled to it
    stages: int = 3  # deepest stages used

    # network
    width: int = 64
    keep: int = 12  # tokens kept per stage: they learn the label and vote on it
    nodes: int = 40  # tokens per stage in the graph: the kept ones, then the next best
    graph_depth: int = 1
    fusion: bool = True
    selection: bool = True
    proxies: str = "maxmin"  # maxmin | random
    arranged: bool = True  # classes whose training images look alike get near proxies
    dropout: float = 0.2
    proxy_readout: bool = True  # add the proxies' mean, weighted by class posterior, to u

    # losses
    scale: float = 8.0
    margin: float = 0.2
    token_weight: float = 1.0
    class_weight: float = 1.0
    label_smoothing: float = 0.1  # of the class and token terms
    balance_weight: float = 0.1
    decorrelation_weight: float = 0.1
    background_weight: float = 1.0
    triplet_weight: float = 0.5
    triplet_margin: float = 0.25
    quantisation_weight: float = 0.1
    loss_weight: float = 1.0  # multiplies the argument of the objective that is tuned: `tuned`

    # schedule
    epochs: int = 12
    batch_size: int = 32
    learning_rate: float = 4e-3
    backbone_learning_rate: float = 1e-4
    weight_decay: float = 0.3

    # fine-tuning: a frozen backbone always computes in 32 bits, uncompiled, once
    precision: str = "32"  # 32 | bf16: of the backbone's convolutions; the head stays in 32
    compile: bool = False  # the backbone, by torch.compile: minutes first, then faster steps
    workers: int = 2  # processes that decode images ahead; 0: none

    @property
    def cached_stages(self) -> int:
        """Stage maps in the feature cache, shared by variants that use fewer of them."""
        return max(3, self.stages)

    @property
    def composition(self) -> Composition:
        """The method's network, objective and coder, with those exchanged that are given."""
        parts = {"network": self.network, "objective": self.objective, "coder": self.coder}
        return compose(self.method, **parts)

    @property
    def output_dir(self) -> Path:
        """results/<profile>; a relative `results_dir` starts at the repository root."""
        return resolve(self.results_dir) / self.profile


CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "profile": tuple(PROFILES),
        "dataset": DATASETS,
        "method": tuple(METHODS),
        "network": ("", *NETWORKS),
        "objective": ("", *OBJECTIVES),
        "coder": ("", *CODERS),
        "variant": tuple(VARIANTS),
        "proxies": ("maxmin", "random"),
        "precision": ("32", "bf16"),
        "protocol": ("all-classes", "unseen@unseen", "validation"),
    }
)

PARTS = ("method", "network", "objective", "coder")
POSITIVE = (
    *("bits", "toy_classes", "toy_train", "toy_test", "image_size", "embedded_epochs", "views"),
    *("grid", "stages", "width", "keep", "nodes"),
    *("epochs", "batch_size", "learning_rate", "scale"),
)


def load(profile: str = "quick", **overrides: Any) -> Config:
    """The configuration of a profile, then the method's tuning, a variant, and `overrides` on top.

    Raises ValueError for an unknown name or choice (with the nearest valid one), a value of the
    wrong type, or a number out of range.
    """
    types = {field.name: type(field.default) for field in fields(Config)}
    for name in overrides:
        if name not in types:
            raise ValueError(f"unknown parameter {name!r}{suggest(name, types)}")
    chosen = {"profile": profile, **overrides}
    for name, choices in CHOICES.items():
        if name in PARTS and ":" in str(chosen.get(name)):
            continue  # not from a table: imported
        if name in chosen and chosen[name] not in choices:
            raise ValueError(
                f"{name}={chosen[name]!r} is not known{suggest(chosen[name], choices)}"
            )
    checked = {name: check_type(name, value, types[name]) for name, value in chosen.items()}
    for name in POSITIVE:
        if name in checked and checked[name] <= 0:
            raise ValueError(f"{name}={checked[name]} must be positive")
    if checked.get("workers", 0) < 0:
        raise ValueError(f"workers={checked['workers']} must not be negative; 0 means none")
    if checked.get("views", 2) < 2:
        raise ValueError(f"views={checked['views']} must be at least 2: the image and its mirror")
    method, name = checked.get("method", Config.method), checked.get("variant", "full")
    find(method)  # imports module:NAME, so that a wrong one is an error at once
    if name != "full" and method != "fdh-mfe":
        raise ValueError(f"variant={name!r} switches a part of fdh-mfe; method {method!r} has none")
    variant, tuned = VARIANTS[name], tuning(profile, method)
    config = Config(**{**PROFILES[profile], **tuned, **variant, **checked})
    if config.keep > config.nodes:
        raise ValueError(
            f"keep={config.keep} is more than nodes={config.nodes}: kept tokens are nodes, too"
        )
    return config


def check_type(name: str, value: Any, expected: type) -> Any:
    """Return `value` if it has the expected type (an int is a valid float), else ValueError."""
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ValueError(
            f"{name}={value!r} must be {expected.__name__}, not {type(value).__name__}"
        )
    return value
