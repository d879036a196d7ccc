"""One frozen, typed configuration; profiles, variants and tuning are small sets of overrides."""

import csv
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
BITS = (12, 24, 32, 48)
TUNED = Path(__file__).with_name("tuned.csv")  # written by fdhmfe.tune


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. Times are in epochs, sizes in pixels or tokens per side."""

    # what to run: the names every notebook uses for its parameters
    profile: str = "quick"
    dataset: str = "toy"  # a name in DATASETS
    data_dir: str = ""  # where the images are; the toy set draws its own
    weights: str = ""  # a weight file for `backbone`; empty: download, or the embedded one
    backbone: str = "embedded"  # embedded | a torchvision name | timm/NAME
    method: str = "fdh-mfe"  # a name in METHODS
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
    proxy_readout: bool = True  # add the class posterior, spoken in proxies, to the code

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
    # Multiplies the one secondary weight of a method, so that each is tuned by the same name:
    # fdh-mfe: triplet_weight; orthohash, dpn: the margin; csq, dpsh: quantisation; hashnet: the
    # slope alpha; adsh, exchnet, a2-net, semicon: gamma. lsh and itq have none.
    loss_weight: float = 1.0

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
    def output_dir(self) -> Path:
        """results/<profile>; a relative `results_dir` starts at the repository root."""
        return resolve(self.results_dir) / self.profile


PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "smoke": dict(
            toy_classes=12, toy_train=10, toy_test=6, embedded_epochs=3, views=2, epochs=3
        ),
        "quick": {},
        "laptop": dict(
            backbone="mobilenet_v2", image_size=224, grid=7, width=128, views=6, epochs=15
        ),
        "paper": dict(
            backbone="resnet50",
            image_size=224,
            grid=7,
            width=128,
            finetune=True,
            precision="bf16",
            workers=8,
            epochs=60,
            learning_rate=1e-3,
        ),
    }
)

# What switches each part off. The ablation has a row per part: without it, and with it alone.
OFF: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
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
)
PLAIN: Mapping[str, Any] = MappingProxyType({k: v for off in OFF.values() for k, v in off.items()})
NEEDS = MappingProxyType({"fusion": ("stages",), "background": ("selection",)})  # no effect alone


def only(part: str) -> dict[str, Any]:
    """What switches off every part but one, and those without which it has no effect."""
    kept = {key for name in (part, *NEEDS.get(part, ())) for key in OFF[name]}
    return {key: value for key, value in PLAIN.items() if key not in kept}


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"full": {}, "plain": PLAIN}
    | {f"no-{part}": off for part, off in OFF.items()}
    | {f"only-{part}": only(part) for part in OFF}
)

CLOSED_FORM = ("lsh", "itq")  # fitted at once, without labels: nothing to tune
METHODS = (
    "fdh-mfe",
    *CLOSED_FORM,
    *("dpsh", "hashnet", "adsh"),  # pairs of images
    *("csq", "dpn", "orthohash"),  # images against class codes
    *("exchnet", "a2-net", "semicon"),  # fine-grained: attention, trained as adsh is
)

# What the tables of notebooks 07 and 09 hold, by profile: methods, and seeds per cell
_FEW = ("fdh-mfe", "lsh", "csq", "orthohash", "a2-net")
TABLE_METHODS = MappingProxyType(
    {"smoke": _FEW[:4], "quick": _FEW, "laptop": METHODS, "paper": METHODS}
)
SEEDS = MappingProxyType({"smoke": (0,), "quick": (0,), "laptop": (0, 1), "paper": (0, 1, 2)})
FEW_QUERIES = ("leeds_butterfly",)  # so few that one of them weighs a quarter of a point

DATASETS = (
    *("toy", "cub200", "aircraft", "nabirds", "vegfru", "vegfru_trainval", "food101"),
    *("dogs", "cars", "leeds_butterfly", "folder"),
)

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "profile": tuple(PROFILES),
        "dataset": DATASETS,
        "method": METHODS,
        "variant": tuple(VARIANTS),
        "proxies": ("maxmin", "random"),
        "precision": ("32", "bf16"),
        "protocol": ("all-classes", "unseen@unseen", "validation"),
    }
)

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
    if name != "full" and method != "fdh-mfe":
        raise ValueError(f"variant={name!r} switches a part of fdh-mfe; method {method!r} has none")
    variant, tuned = VARIANTS[name], tuning(profile, method)
    config = Config(**{**PROFILES[profile], **tuned, **variant, **checked})
    if config.keep > config.nodes:
        raise ValueError(
            f"keep={config.keep} is more than nodes={config.nodes}: kept tokens are nodes, too"
        )
    return config


def table_seeds(profile: str, dataset: str) -> tuple[int, ...]:
    """Seeds per cell of notebook 09: five where there are few queries and the profile has several.

    Ablations, which have more rows, keep to SEEDS.
    """
    several = len(SEEDS[profile]) > 1
    return (0, 1, 2, 3, 4) if several and dataset in FEW_QUERIES else SEEDS[profile]


def tuning(profile: str, method: str) -> dict[str, float]:
    """Learning rate and loss weight that fdhmfe.tune chose for a method; empty where untuned."""
    with open(TUNED, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row.pop("profile"), row.pop("method")) == (profile, method):
                return {name: float(value) for name, value in row.items()}
    return {}


def check_type(name: str, value: Any, expected: type) -> Any:
    """Return `value` if it has the expected type (an int is a valid float), else ValueError."""
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ValueError(
            f"{name}={value!r} must be {expected.__name__}, not {type(value).__name__}"
        )
    return value


def suggest(name: Any, known: Iterable[str]) -> str:
    """The tail of an error message: the nearest known name, then all of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"{hint} Known: {', '.join(names)}"


def resolve(path: str) -> Path:
    """An absolute path; a relative one starts at the repository root, not the working folder."""
    return REPOSITORY / Path(path).expanduser()
