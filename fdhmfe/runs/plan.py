"""Which runs each table needs: settings that differ from those given, one mapping per run.

The notebooks `ablations` and `tables` and `fdhmfe sweep --plan` all take them from here, so they
ask for the same runs.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any

from fdhmfe.config import profiles
from fdhmfe.config.profiles import ABLATION_SEEDS, ABSTRACT, ADDED, BITS, GRAPHS

Runs = list[dict[str, Any]]
SHORT, LONG = BITS[0], BITS[-1]
# Rows of the table of classes seen and unseen
OPEN_METHODS = ("fdh-mfe", "softmax", "orthohash", "csq", "dpsh", "hashnet", "adsh", "itq", "lsh")
OPEN_VARIANTS = (("fdh-mfe+", "full"), ("fdh-mfe+", "open"), ("softmax", "open"))
# Networks and objectives that go together in any pair, for the question where a gain comes from
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "pooled, linear": dict(network="pooled", hash_head="linear", pooling="last"),
    "pooled, MLP": dict(network="pooled", hash_head="mlp", pooling="all"),
    "parts": dict(network="parts"),
    "FDH-MFE": dict(network="fdh-mfe", hash_head="mlp"),
}
OBJECTIVES = ("orthohash", "csq", "dpn", "dpsh", "hashnet", "adsh", "fdh-mfe")
FEW_OBJECTIVES = ("orthohash", "fdh-mfe")  # where tables have one seed


def main(profile: str, dataset: str) -> Runs:
    """Every method at every code length, with the seeds of the profile's tables.

    Seed by seed, the outer lengths first: a table that is not finished says the most.
    """
    methods, seeds = profiles.TABLE_METHODS[profile], profiles.table_seeds(profile, dataset)
    lengths = (SHORT, LONG, *BITS[1:-1])
    return [dict(method=m, bits=k, seed=s) for s, k, m in product(seeds, lengths, methods)]


def folds(profile: str, dataset: str) -> Runs:
    """One long code per method, each fifth of the classes held out in turn."""
    numbers = range(5) if several(profile) else range(1)
    known = profiles.TABLE_METHODS[profile]
    rows = [(m, "full") for m in OPEN_METHODS if m in known] + list(OPEN_VARIANTS)
    common = dict(protocol="folds", bits=LONG)
    return [dict(method=m, variant=v, fold=f, **common) for f, (m, v) in product(numbers, rows)]


def half(profile: str, dataset: str) -> Runs:
    """Train on the first half of the classes, retrieve among the second."""
    runs = [run for run in folds(profile, dataset) if run["fold"] == 0]
    return [{**run, "protocol": "half"} for run in runs]


def ablation(profile: str, dataset: str) -> Runs:
    """FDH-MFE without each part that the abstract names, and FDH-MFE+ without what it adds.

    Where tables have one seed, FDH-MFE+ has one here, too: it teaches in the tables. Where they
    have several, the shortest code has other graphs as well.
    """
    plain = ["full", *(f"no-{part}" for part in ABSTRACT)]
    rows = [("fdh-mfe", variant) for variant in plain]
    ours = [("fdh-mfe+", f"no-{part}") for part in ADDED] + [("fdh-mfe+", "full")]
    many, lengths = several(profile), zip((SHORT, LONG), ABLATION_SEEDS[profile], strict=True)
    asked = [
        (k, s, m, v)
        for k, seeds in lengths
        for s in range(seeds)
        for m, v in rows + (ours if many or s == 0 else [])
    ]
    asked += [(SHORT, s, "fdh-mfe", v) for v in GRAPHS for s in range(3) if many]
    return [dict(method=m, variant=v, bits=k, seed=s) for k, s, m, v in asked]


def grid(profile: str, dataset: str) -> Runs:
    """Networks by objectives; each cell has the tuned rates of its objective's own method."""
    many = several(profile)
    seeds, lengths = ((0, 1), (SHORT, LONG)) if many else ((0,), (SHORT,))
    objectives = OBJECTIVES if many else FEW_OBJECTIVES
    cells = product(seeds, lengths, objectives, NETWORKS.values())
    return [dict(method=o, bits=k, seed=s, **network) for s, k, o, network in cells]


def several(profile: str) -> bool:
    """Whether a profile's tables have more than one seed."""
    return len(profiles.SEEDS[profile]) > 1


PLANS: Mapping[str, Callable[[str, str], Runs]] = {
    each.__name__: each for each in (main, folds, half, ablation, grid)
}


def planned(names: Iterable[str], profile: str, dataset: str) -> Runs:
    """The runs of several plans, in order, each run once."""
    runs = [run for name in names for run in PLANS[name](profile, dataset)]
    return [run for place, run in enumerate(runs) if run not in runs[:place]]
