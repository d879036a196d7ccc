"""One search for every method, on a validation split, with the same budget.

It starts from the profile's settings and walks: along one axis at a time it tries the neighbours of
the best trial so far, and goes on as long as that helps, so the best lies inside what was tried and
not at an edge. The axes: the hash head and what it pools (where the network has a choice), the
learning rate of the backbone (where it trains), the weight of the method's secondary loss, and the
learning rate of the head. The score is mAP@all at 24 bits, one seed, after half of the profile's
epochs, on queries taken from the train split. All trials go to results/<profile>/tables/tuning.csv,
the chosen settings to fdhmfe/config/tuned.csv, from where config.load takes them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from fdhmfe.config.methods import METHODS, OBJECTIVES, find, part
from fdhmfe.config.profiles import KEYS, PROFILES, TUNED
from fdhmfe.config.settings import Config, load
from fdhmfe.runs import ledger, results
from fdhmfe.runs.sweep import collect
from fdhmfe.support.files import readable

BUDGET = 9  # trials per method, the same for all: set by hand, for an hour or two in all
FACTOR = 3.0  # between neighbours on an axis of numbers
BITS = 24
HEADS: Mapping[str, Sequence[tuple[str, str]]] = {  # of each network: hash_head, pooling
    "pooled": (("linear", "last"), ("mlp", "last"), ("mlp", "all")),
    "pooled-classified": (("linear", "last"), ("mlp", "last"), ("mlp", "all")),
    "classifier": (("linear", "last"), ("linear", "all")),
    "fdh-mfe": (("linear", "last"), ("mlp", "last")),
}
LEARNING = tuple(name for name, each in METHODS.items() if each.objective)
RATES = ("backbone_learning_rate", "loss_weight", "learning_rate")
SETTINGS = ("hash_head", "pooling", *RATES)
Trial = dict[str, Any]  # a value for each of SETTINGS


def tune(given: Mapping[str, Any], methods: Sequence[str], jobs: int | None) -> pd.DataFrame:
    """Tune the methods (none: all that learn), settings `given`; returns each one's best trial."""
    config = load(**given)
    output_dir = config.output_dir
    apart = dict(bits=BITS, protocol="validation", results_dir=str(output_dir.parent / "tuning"))
    apart |= dict(epochs=math.ceil(config.epochs / 2))
    trials = search({**given, **apart}, methods or LEARNING, jobs)
    path = output_dir / "tables" / "tuning.csv"
    results.write_csv(path, merged(path, trials, ["dataset", "trainable", "method"]))
    kept = best(trials)
    table = merged(TUNED, kept[[*KEYS, *SETTINGS]], list(KEYS))
    results.write_csv(TUNED, table.sort_values(list(KEYS)))
    return kept


def search(given: dict[str, Any], methods: Sequence[str], jobs: int | None) -> pd.DataFrame:
    """All trials, a row each: profile, dataset, method, the settings tried, protocol, bits, mAP."""
    trials, waiting = pd.DataFrame(), {method: [start(given, method)] for method in methods}
    print(f"{len(methods)} methods, at most {BUDGET} trials each", flush=True)
    while any(waiting.values()):
        asked = [(method, trial) for method in methods for trial in waiting[method]]
        trials = pd.concat([trials, score(given, asked, jobs)], ignore_index=True)
        waiting = {method: next_trials(given, method, trials) for method in methods}
    return trials


def start(given: Mapping[str, Any], method: str) -> Trial:
    """The settings of the first trial: the profile's own, and the first head of the network."""
    config = load(**{**given, "method": method})
    usual = {**PROFILES[config.profile], **find(method).settings}
    own = {name: usual.get(name, getattr(Config, name)) for name in SETTINGS}
    return own | dict(zip(SETTINGS, heads(config)[0], strict=False))


def heads(config: Config) -> Sequence[tuple[str, str]]:
    """The heads that the method's network has a choice of: (hash_head, pooling)."""
    return HEADS.get(config.composition.network, ((Config.hash_head, Config.pooling),))


def next_trials(given: Mapping[str, Any], method: str, trials: pd.DataFrame) -> list[Trial]:
    """What to try next for a method: untried neighbours of its best trial along the first axis.

    Empty if all neighbours have been tried, so that the best is inside, or the budget is spent.
    """
    mine = trials[trials.method == method]
    tried = mine[list(SETTINGS)].to_dict("records")
    centre = tried[int(mine.value.to_numpy().argmax())]
    config = load(**{**given, "method": method})
    for neighbours in axes(config, centre, start(given, method)):
        untried = [trial for trial in neighbours if trial not in tried]
        if untried:
            return untried[: BUDGET - len(tried)]
    return []


def axes(config: Config, centre: Trial, first: Trial) -> Iterator[list[Trial]]:
    """The neighbours of a trial, axis by axis. Axes without effect on the method are left out.

    Values on an axis of numbers are those of the first trial times powers of `FACTOR`, so that a
    walk back meets what it has tried.
    """
    yield [centre | dict(zip(SETTINGS, head, strict=False)) for head in heads(config)]
    fixed = {"backbone_learning_rate"} if config.trainable == "none" else set()
    objective = part(config.composition.objective, OBJECTIVES)
    fixed |= set() if objective.tuned else {"loss_weight"}
    for name in RATES:
        if name not in fixed:
            here = round(math.log(centre[name] / first[name], FACTOR))
            values = (first[name] * FACTOR ** (here + step) for step in (1, -1))
            yield [centre | {name: float(f"{value:.3g}")} for value in values]


def score(
    given: Mapping[str, Any], asked: Sequence[tuple[str, Trial]], jobs: int | None
) -> pd.DataFrame:
    """Run the trials of methods, and read their mAP from the tables."""
    configs = [load(**{**given, **trial, "method": method}) for method, trial in asked]
    names = collect(configs, jobs=jobs)
    metrics = ledger.rows_of(configs[0].output_dir, ledger.METRICS, names)
    values = results.headline(metrics).groupby("run_id", sort=False).value.first()
    shown = ["profile", "dataset", "trainable", "method", *SETTINGS]
    shown += ["protocol", "bits", "seed", "epochs"]
    table = pd.DataFrame(map(asdict, configs))[shown]
    return table.assign(run_id=names, value=values[names].to_numpy())


def best(trials: pd.DataFrame) -> pd.DataFrame:
    """The best trial of each method; the first of equal ones."""
    return trials.loc[trials.groupby("method", sort=False).value.idxmax()]


def merged(path: Path, fresh: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Fresh rows, after the rows of a file (if any) that differ from all of them in `names`."""
    if not path.exists():
        return fresh
    with readable(path, "put a whole copy in its place, or delete it and tune again"):
        known = pd.read_csv(path)
        replaced = known.set_index(names).index.isin(fresh.set_index(names).index)
    return pd.concat([known[~replaced], fresh])
