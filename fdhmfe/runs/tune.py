"""One small search for every method, on a validation split.

Two settings per method, the same trials for all: the learning rate (a third of the profile's, the
profile's, three times it), then the weight of the method's secondary loss (0.3 and 3 times its
default). The score is mAP@all at 24 bits, one seed, on queries taken from the train split. All
trials go to results/<profile>/tables/tuning.csv, the chosen settings to fdhmfe/config/tuned.csv,
from where config.load takes them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from fdhmfe.config.methods import METHODS
from fdhmfe.config.profiles import PROFILES, TUNED
from fdhmfe.config.settings import Config, load
from fdhmfe.runs import results
from fdhmfe.runs.sweep import sweep

LEARNING_RATES = (1 / 3, 1.0, 3.0)  # times the profile's
LOSS_WEIGHTS = (0.3, 3.0)  # times the method's own
BITS = 24
LEARNING = tuple(name for name, each in METHODS.items() if each.objective)
SETTINGS = ["learning_rate", "loss_weight"]


def tune(given: Mapping[str, Any], methods: Sequence[str], jobs: int | None) -> pd.DataFrame:
    """Tune the methods (none: all that learn), settings `given`; returns each one's best trial."""
    output_dir = load(**given).output_dir
    apart = dict(bits=BITS, protocol="validation", results_dir=str(output_dir.parent / "tuning"))
    trials = search({**given, **apart}, methods or LEARNING, jobs)
    path = output_dir / "tables" / "tuning.csv"
    results.write_csv(path, merged(path, trials, ["dataset", "method"]))
    kept, names = best(trials), ["profile", "method"]
    table = merged(TUNED, kept[[*names, *SETTINGS]], names)
    results.write_csv(TUNED, table.sort_values(names))
    return kept


def search(given: dict[str, Any], methods: Sequence[str], jobs: int | None) -> pd.DataFrame:
    """All trials, a row each: profile, dataset, method, the two settings, protocol, bits, mAP."""
    profile = PROFILES[given.get("profile", Config.profile)]
    default = profile.get("learning_rate", Config.learning_rate)
    rates = [(m, default * factor, 1.0) for m in methods for factor in LEARNING_RATES]
    first = score(given, rates, jobs)
    chosen = best(first)[["method", "learning_rate"]].values.tolist()
    weights = [(*each, weight) for each in chosen for weight in LOSS_WEIGHTS]
    return pd.concat([first, score(given, weights, jobs)], ignore_index=True)


def score(
    given: dict[str, Any], settings: Iterable[tuple[str, float, float]], jobs: int | None
) -> pd.DataFrame:
    """Run (method, learning rate, loss weight) settings and read their mAP."""
    trials = [
        load(**given, method=method, learning_rate=rate, loss_weight=weight)
        for method, rate, weight in settings
    ]
    folders = sweep(trials, jobs=jobs)
    names = ["profile", "dataset", "method", *SETTINGS, "protocol", "bits", "seed", "epochs"]
    table = pd.DataFrame(map(asdict, trials))[names]
    scores = [results.read_map(folder) for folder in folders]
    return table.assign(run_id=[folder.name for folder in folders], value=scores)


def best(trials: pd.DataFrame) -> pd.DataFrame:
    """The best trial of each method; the first of equal ones."""
    return trials.loc[trials.groupby("method", sort=False).value.idxmax()]


def merged(path: Path, fresh: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Fresh rows, after the rows of a file (if any) that differ from all of them in `names`."""
    if not path.exists():
        return fresh
    known = pd.read_csv(path)
    replaced = known.set_index(names).index.isin(fresh.set_index(names).index)
    return pd.concat([known[~replaced], fresh])
