"""One frozen, typed configuration; profiles, variants and tuning are small sets of overrides."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fdhmfe.config.methods import CODERS, METHODS, NETWORKS, OBJECTIVES, Composition, compose, find
from fdhmfe.config.profiles import DATASETS, PROFILES, VARIANTS, tuning
from fdhmfe.support.places import home, resolve, suggest


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. Times are in epochs, sizes in pixels or tokens per side.

    `FDHMFE`, `FDHMFELoss` and `hold_out_classes` say where their values are from; others: by hand.
    """

    # what to run: the names every notebook uses for its parameters
    profile: str = "quick"  # how large everything is; the defaults here are those of quick
    dataset: str = "toy"  # the images: drawn, of an official set, or a folder of one's own
    data_dir: str = ""  # where the images are; the toy set draws its own
    weights: str = ""  # a weight file for the backbone; empty: published ones are downloaded
    backbone: str = "embedded"  # embedded | a torchvision name | timm/NAME
    method: str = "fdh-mfe"  # FDH-MFE, a baseline, or one's own: module:NAME of a Composition
    network: str = ""  # in place of the method's own: a name, or module:Class
    objective: str = ""  # in place of the method's own loss: a name, or module:Class
    coder: str = ""  # in place of the method's own: a name, or module:function
    variant: str = "full"  # which parts of fdh-mfe are switched off
    bits: int = 48  # code length
    seed: int = 0  # of initial weights, image order and proxies
    results_dir: str = ""  # empty: results in the checkout, else in the working folder
    reuse: bool = True  # take a finished run from disk instead of training again

    # data
    toy_classes: int = 48  # species of the toy set
    toy_train: int = 30  # training images per species
    toy_test: int = 30  # query images per species
    image_size: int = 128  # pixels per side that the backbone sees
    protocol: str = "all-classes"  # what is query and database; validation: to choose settings
    validation_share: float = 0.2  # of each train class, the queries of protocol validation
    unseen_share: float = 0.05  # of the classes, never trained on in protocol unseen@unseen
    embedded_epochs: int = 36  # passes over the images that train the embedded backbone
    finetune: bool = False  # train the backbone too, instead of reading cached stage features
    views: int = 4  # cached training views per image: whole, mirrored, then random crops
    grid: int = 8  # stage maps larger than this are average-pooled to it
    stages: int = 3  # deepest stages used

    # network
    width: int = 64  # channels of a token
    keep: int = 12  # tokens kept per stage: they learn the label and vote on it
    nodes: int = 40  # tokens per stage in the graph: the kept ones, then the next best
    graph_depth: int = 1  # graph layers; 0: none
    fusion: bool = True  # stages exchange what they see; false: each keeps its own
    selection: bool = True  # drop the tokens that tell least of the class; false: none
    proxies: str = "maxmin"  # how class codes are drawn
    arranged: bool = True  # classes whose training images look alike get near proxies
    dropout: float = 0.2  # share of the features that a training step leaves out
    proxy_readout: bool = True  # add the proxies' mean, weighted by class posterior, to u

    # losses
    scale: float = 8.0  # of the cosine between code and proxy, before the softmax
    margin: float = 0.2  # by which the cosine with the own class's proxy must lead
    token_weight: float = 1.0  # of the kept tokens' class term
    class_weight: float = 1.0  # of the image's class term
    label_smoothing: float = 0.1  # of the class and token terms
    balance_weight: float = 0.1  # of the term that makes each bit +1 as often as -1
    decorrelation_weight: float = 0.1  # of the term that makes bits independent
    background_weight: float = 1.0  # of the term that keeps dropped tokens from naming a class
    triplet_weight: float = 0.5  # of the batch-hard triplet term
    triplet_margin: float = 0.25  # of the triplet term, as a share of the code length
    quantisation_weight: float = 0.1  # of the term that makes an image's outputs equally large
    loss_weight: float = 1.0  # multiplies the one weight or margin of a method that is tuned

    # schedule
    epochs: int = 12  # passes over the training images
    batch_size: int = 32  # images per step, of all processes together
    learning_rate: float = 4e-3  # highest, of all but the backbone
    backbone_learning_rate: float = 1e-4  # highest, of a backbone that is trained
    weight_decay: float = 0.3  # of AdamW, the optimiser

    # fine-tuning: a frozen backbone always computes in 32 bits, uncompiled, once
    precision: str = "32"  # of the backbone's convolutions; the head stays in 32 bits
    compile: bool = False  # the backbone, by torch.compile: minutes first, then faster steps
    workers: int = 2  # processes that decode images ahead; 0: none

    @property
    def cached_stages(self) -> int:
        """Stage maps in the feature cache, shared by variants that use fewer of them."""
        return max(3, self.stages)

    @property
    def composition(self) -> Composition:
        """The method's network, objective and coder, with those exchanged that are given."""
        return compose(
            self.method, network=self.network, objective=self.objective, coder=self.coder
        )

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
    "variant": tuple(VARIANTS),
    "proxies": ("maxmin", "random"),
    "precision": ("32", "bf16"),
    "protocol": ("all-classes", "unseen@unseen", "validation"),
}
PARTS = ("method", "network", "objective", "coder")
PATHS = ("data_dir", "weights", "results_dir")  # settings that are paths

POSITIVE = (
    *("bits", "toy_classes", "toy_train", "toy_test", "image_size", "embedded_epochs", "views"),
    *("grid", "stages", "width", "keep", "nodes"),
    *("epochs", "batch_size", "learning_rate", "scale"),
)


def load(profile: str = "quick", **overrides: Any) -> Config:
    """The configuration of a profile, then the method's tuning, a variant, and `overrides` on top.

    Paths become absolute; a relative one starts at the working folder. Raises ValueError for an
    unknown name or choice (with the nearest valid one), a value of the wrong type, a number out
    of range, or a path that would have no effect.
    """
    for name in overrides:
        if name not in TYPES:
            raise ValueError(f"unknown parameter {name!r}{suggest(name, TYPES)}")
    chosen = {"profile": profile, **overrides}
    for name, choices in CHOICES.items():
        if name in PARTS and ":" in str(chosen.get(name)):
            continue  # not from a table: imported
        if name in chosen and chosen[name] not in choices:
            raise ValueError(
                f"{name}={chosen[name]!r} is not known{suggest(chosen[name], choices)}"
            )
    checked = {name: check_type(name, value, TYPES[name]) for name, value in chosen.items()}
    checked |= {name: str(resolve(checked[name])) for name in PATHS if checked.get(name)}
    method = checked.get("method", Config.method)
    find(method)  # imports module:NAME, so that a wrong one is an error at once
    variant = VARIANTS[checked.get("variant", Config.variant)]
    config = Config(**{**PROFILES[profile], **tuning(profile, method), **variant, **checked})
    check_values(config)
    return config


def check_values(config: Config) -> None:
    """ValueError for a number out of range, or a setting that would have no effect."""
    for name in POSITIVE:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name}={getattr(config, name)} must be positive")
    if config.workers < 0:
        raise ValueError(f"workers={config.workers} must not be negative; 0 means none")
    if config.views < 2:
        raise ValueError(f"views={config.views} must be at least 2: the image and its mirror")
    if config.keep > config.nodes:
        raise ValueError(
            f"keep={config.keep} is more than nodes={config.nodes}: kept tokens are nodes, too"
        )
    if config.variant != "full" and config.method != "fdh-mfe":
        has_none = f"method {config.method!r} has none"
        raise ValueError(f"variant={config.variant!r} switches a part of fdh-mfe; {has_none}")
    if config.data_dir and config.dataset == "toy":
        raise ValueError(
            f"data_dir={config.data_dir!r} has no effect: dataset 'toy' draws its own images; "
            "name the dataset that is there"
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
    """Return `value` if it has the expected type (an int is a valid float), else ValueError."""
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ValueError(
            f"{name}={value!r} must be {expected.__name__}, not {type(value).__name__}"
        )
    return value
