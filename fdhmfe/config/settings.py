"""All settings of a run in one frozen, typed object. Profiles, variants and tuning change a few."""

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from fdhmfe.config.methods import CODERS, METHODS, NETWORKS, OBJECTIVES, Composition, compose, find
from fdhmfe.config.profiles import DATASETS, PROFILES, tuning, variant_settings
from fdhmfe.support.places import home, resolve, suggest


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. Times are in epochs, sizes in pixels or tokens per side.

    `FDHMFE`, `FDHMFELoss`, `hold_out_classes` say where their values are from. The rest: by hand.
    """

    # what to run: the names every notebook uses for its parameters
    profile: str = "quick"  # how large a run is; the defaults here are those of quick
    dataset: str = "toy"  # the images: drawn ones, an official data set, or your own folder
    data_dir: str = ""  # where the images are; the toy set draws its own
    weights: str = ""  # a weight file for the backbone; empty: download the published weights
    backbone: str = "embedded"  # embedded | a torchvision name | timm/NAME
    method: str = "fdh-mfe"  # FDH-MFE, a baseline, or your own: module:NAME of a Composition
    network: str = ""  # replaces the method's own: a name, or module:Class
    objective: str = ""  # replaces the method's own loss: a name, or module:Class
    coder: str = ""  # replaces the method's own: a name, or module:function
    trainable: str = "none"  # of the backbone: nothing, its tail (the last blocks), or all of it
    variant: str = "full"  # of fdh-mfe and the like: a part switched off, or "open"
    bits: int = 48  # code length
    seed: int = 0  # decides initial weights, image order, views and proxies
    results_dir: str = ""  # empty: results in the checkout, else in the working folder
    reuse: bool = True  # use a finished run from disk instead of training again

    # data
    toy_classes: int = 48  # species of the toy set
    toy_train: int = 30  # training images per species
    toy_test: int = 30  # query images per species
    image_size: int = 128  # pixels per side that the backbone sees
    protocol: str = "all-classes"  # what is query, what database; validation: to choose settings
    validation_share: float = 0.2  # share of a train class used as queries in protocol validation
    fold: int = 0  # 0 to 4: which fifth of the classes protocol folds holds out
    embedded_epochs: int = 36  # passes over the images that train the embedded backbone
    views: int = 4  # cached training views per image: whole, mirrored, then random crops
    grid: int = 8  # tokens per side: larger stage maps are average-pooled to it
    stages: int = 3  # how many of the backbone's stages are used, from the deepest

    # network
    width: int = 64  # channels of a token
    keep: int = 12  # tokens kept per stage: they are trained on the class and vote on it
    nodes: int = 40  # tokens per stage in the graph: the kept ones, then the next best
    graph_depth: int = 1  # graph layers; 0: none
    fusion: bool = True  # stages exchange features; false: each keeps its own
    selection: bool = True  # drop the tokens that say least about the class; false: keep all
    proxies: str = "maxmin"  # how class codes are drawn
    arranged: bool = False  # classes whose training images look alike get similar proxies
    dropout: float = 0.2  # share of the features that a training step leaves out
    hash_head: str = "linear"  # what gives u: a linear layer, or an MLP with one hidden layer
    pooling: str = "last"  # which stages a network without tokens pools: the last, or all
    proxy_readout: bool = False  # add to u the proxies' mean, weighted by class probability

    # losses
    scale: float = 8.0  # factor on the cosine of code and proxy, before the softmax
    margin: float = 0.2  # the cosine with the own class's proxy must be larger by this
    token_weight: float = 1.0  # weight of the kept tokens' class term
    class_weight: float = 1.0  # weight of the image's class term
    label_smoothing: float = 0.1  # share s of smoothing in the class and token terms
    balance_weight: float = 0.1  # weight of the term that makes each bit +1 as often as -1
    decorrelation_weight: float = 0.1  # weight of the term that makes bits uncorrelated
    background_weight: float = 1.0  # weight of the term that makes dropped tokens undecided
    triplet_weight: float = 0.5  # weight of the batch-hard triplet term
    triplet_margin: float = 0.25  # margin of the triplet term, as a share of the code length
    quantisation_weight: float = 0.1  # weight of the term that makes the |u_k| of an image equal
    loss_weight: float = 1.0  # factor on the one weight or margin that is tuned per method

    # schedule
    epochs: int = 12  # passes over the training images
    batch_size: int = 32  # images per step, in all processes together
    learning_rate: float = 4e-3  # the highest one, of all parts but the backbone
    backbone_learning_rate: float = 1e-4  # the highest one, of what is trained of the backbone
    weight_decay: float = 0.3  # of AdamW, the optimiser

    # fine-tuning: a frozen backbone always computes in 32 bits, uncompiled, once
    precision: str = "32"  # of the backbone's convolutions; the head stays in 32 bits
    compile: bool = False  # torch.compile the backbone: it takes minutes, then steps are faster
    workers: int = 2  # processes that decode images ahead; 0: none

    @property
    def cached_stages(self) -> int:
        """How many stage maps the feature cache holds; variants that use fewer share it."""
        return max(3, self.stages)

    @property
    def composition(self) -> Composition:
        """The method's network, objective and coder, or those that replace them."""
        parts = dict(network=self.network, objective=self.objective, coder=self.coder)
        return compose(self.method, self.trainable, self.variant, **parts)

    @property
    def output_dir(self) -> Path:
        """<results_dir>/<profile>; without a `results_dir`, home()/results/<profile>."""
        return resolve(self.results_dir or str(home() / "results")) / self.profile


TYPES: Mapping[str, type] = {field.name: type(field.default) for field in fields(Config)}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "profile": tuple(PROFILES),
    "dataset": DATASETS,
    "method": tuple(METHODS),
    "network": ("", *NETWORKS),
    "objective": ("", *OBJECTIVES),
    "coder": ("", *CODERS),
    "trainable": ("none", "tail", "all"),
    "hash_head": ("linear", "mlp"),
    "pooling": ("last", "all"),
    "proxies": ("maxmin", "random"),
    "precision": ("32", "bf16"),
    "protocol": ("all-classes", "validation", "folds", "folds-validation", "half"),
}
FOLDS = 5  # of protocol folds: each class is unseen in one of them
PARTS = ("method", "network", "objective", "coder")
PATHS = ("data_dir", "weights", "results_dir")  # settings that are paths


class Range(NamedTuple):
    """The numbers from `low` to `high`, without an end that is open. NaN is in no range."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        low = f"more than {self.low}" if self.open_low else f"{self.low} or more"
        high = f"less than {self.high}" if self.open_high else f"{self.high} or less"
        return low if self.high == math.inf else f"{low}, and {high}"


AT_LEAST_1 = Range(1)
WEIGHT = Range(0, open_high=True)  # 0 switches a term off; infinity is no weight
RATE = Range(0, open_low=True, open_high=True)
SHARE = Range(0, 1, open_high=True)
RANGES: Mapping[str, Range] = {
    "bits": Range(1, 256),  # beyond, drawing proxies takes minutes
    "seed": Range(0, 2**32 - 1),  # what every random generator takes
    "toy_classes": Range(2),
    **dict.fromkeys(("toy_train", "toy_test", "embedded_epochs", "epochs"), AT_LEAST_1),
    "image_size": Range(32),  # the deepest of five halvings has one pixel left
    "validation_share": Range(0, 1, open_low=True, open_high=True),
    "fold": Range(0, FOLDS - 1),
    "views": Range(2),  # the image and its mirror
    **dict.fromkeys(("grid", "stages", "width", "keep", "nodes"), AT_LEAST_1),
    **dict.fromkeys(("graph_depth", "workers"), Range(0)),
    **dict.fromkeys(("dropout", "label_smoothing"), SHARE),
    "margin": Range(0, 2),  # between cosines
    "triplet_margin": Range(0, 1),
    **dict.fromkeys(("token_weight", "class_weight", "balance_weight"), WEIGHT),
    **dict.fromkeys(("decorrelation_weight", "background_weight", "triplet_weight"), WEIGHT),
    **dict.fromkeys(("quantisation_weight", "loss_weight", "weight_decay"), WEIGHT),
    "batch_size": Range(2),  # batch norm and triplets compare images
    **dict.fromkeys(("scale", "learning_rate", "backbone_learning_rate"), RATE),
}


def load(profile: str = "quick", **overrides: Any) -> Config:
    """The configuration of a profile, changed by the method's tuning, the variant and `overrides`.

    Of these, the last one wins. Relative paths start at the working folder and become absolute.
    Raises ValueError for an unknown name or choice (with the nearest valid one), a value of the
    wrong type, a number out of range, or a setting that would have no effect.
    """
    for name in overrides:
        if name not in TYPES:
            raise ValueError(f"unknown parameter {name!r}{suggest(name, TYPES)}")
    chosen = {"profile": profile, **overrides}
    for name, choices in CHOICES.items():
        if name in PARTS and ":" in str(chosen.get(name)):
            continue  # not a name from a table: it is imported
        if name in chosen and chosen[name] not in choices:
            raise ValueError(
                f"{name}={chosen[name]!r} is not known{suggest(chosen[name], choices)}"
            )
    checked = {name: check_type(name, value, TYPES[name]) for name, value in chosen.items()}
    checked |= {name: str(resolve(checked[name])) for name in PATHS if checked.get(name)}
    method = checked.get("method", Config.method)
    own = find(method).settings  # imports module:NAME, so that a wrong one fails at once
    variant = variant_settings(method, checked.get("variant", Config.variant))
    base = {**PROFILES[profile], **own}
    trainable = {**base, **checked}.get("trainable", Config.trainable)
    tuned = {k: TYPES[k](text) for k, text in tuning(profile, trainable, method).items()}
    config = Config(**{**base, **tuned, **variant, **checked})
    check_values(config)
    return config


def check_values(config: Config) -> None:
    """ValueError for a number out of range, or a setting that would have no effect."""
    for name, allowed in RANGES.items():
        value = getattr(config, name)
        if not allowed.holds(value):
            raise ValueError(f"{name}={value} must be {allowed}: {meanings()[name]}")
    if config.keep > config.nodes:
        raise ValueError(
            f"keep={config.keep} is more than nodes={config.nodes}: every kept token is also a node"
        )
    if config.data_dir and config.dataset == "toy":
        raise ValueError(
            f"data_dir={config.data_dir!r} has no effect: dataset 'toy' draws its own images; "
            "name the dataset that is in data_dir"
        )
    if config.weights and config.backbone == "embedded":
        raise ValueError(
            f"weights={config.weights!r} has no effect: backbone 'embedded' has its own; "
            "name the backbone that they are for"
        )


def meanings() -> dict[str, str]:
    """What each setting means: the comment on its line in Config."""
    return dict(re.findall(r"^    (\w+): \w+ = .+?  # (.+)$", inspect.getsource(Config), re.M))


def check_type(name: str, value: Any, expected: type) -> Any:
    """Return `value` if it has the expected type, else raise ValueError. An int becomes a float."""
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ValueError(
            f"{name}={value!r} must be {expected.__name__}, not {type(value).__name__}"
        )
    return value
