"""One small search for every method, on a validation split: python -m fdhmfe.runs.tune --help.

Two settings per method, the same trials for all: the learning rate (a third of the profile's, the
profile's, three times it), then the weight of the method's secondary loss (0.3 and 3 times its
default). The score is mAP@all at 24 bits, one seed, on queries taken from the train split. All
trials go to results/<profile>/tables/tuning.csv, the chosen settings to fdhmfe/config/tuned.csv,
from where config.load takes them.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fdhmfe import config
from fdhmfe.config.methods import CLOSED_FORM, METHODS
from fdhmfe.config.profiles import PROFILES, TUNED
from fdhmfe.config.settings import Config
from fdhmfe.runs import results
from fdhmfe.runs.sweep import sweep

LEARNING_RATES = (1 / 3, 1.0, 3.0)  # times the profile's
LOSS_WEIGHTS = (0.3, 3.0)  # times the method's own
BITS = 24
SETTINGS = ["learning_rate", "loss_weight"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune the methods the command line asks for; returns the exit code."""
    options = vars(parse(arguments))
    jobs, methods = options.pop("jobs"), options.pop("methods")
    given = {name: value for name, value in options.items() if value}
    try:
        path = config.load(**given).output_dir / "tables" / "tuning.csv"
        given |= dict(bits=BITS, protocol="validation", results_dir="results/tuning")
        trials = search(given, methods, jobs)
    except ValueError as error:
        print(f"tune: {error}", file=sys.stderr)
        return 2
    results.write_csv(path, merged(path, trials, ["dataset", "method"]))
    keep_best(trials)
    print(best(trials).to_string(index=False))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    learning = [method for method in METHODS if method not in CLOSED_FORM]
    parser = argparse.ArgumentParser(prog="python -m fdhmfe.runs.tune", description=__doc__)
    parser.add_argument("--profile", default="laptop", help="smoke, quick, laptop or paper")
    parser.add_argument("--dataset", help="toy, cub200, leeds_butterfly or folder")
    parser.add_argument("--data-dir", help="folder that holds the data set")
    parser.add_argument("--weights", help="backbone weights, .safetensors or .pth")
    parser.add_argument("--methods", nargs="+", default=learning, metavar="NAME")
    parser.add_argument("--jobs", type=int, help="processes; without it, one per core")
    return parser.parse_args(arguments)


def search(given: dict[str, Any], methods: Sequence[str], jobs: int | None) -> pd.DataFrame:
    """All trials, a row each: profile, dataset, method, the two settings, protocol, bits, mAP."""
    default = PROFILES[given["profile"]].get("learning_rate", Config.learning_rate)
    rates = [(m, default * factor, 1.0) for m in methods for factor in LEARNING_RATES]
    first = score(given, rates, jobs)
    weights = [
        (row.method, row.learning_rate, weight)
        for row in best(first).itertuples()
        for weight in LOSS_WEIGHTS
    ]
    return pd.concat([first, score(given, weights, jobs)], ignore_index=True)


def score(
    given: dict[str, Any], settings: Iterable[tuple[str, float, float]], jobs: int | None
) -> pd.DataFrame:
    """Run (method, learning rate, loss weight) settings and read their mAP."""
    trials = [
        config.load(**given, method=method, learning_rate=rate, loss_weight=weight)
        for method, rate, weight in settings
    ]
    rows = []
    for trial, folder in zip(trials, sweep(trials, jobs=jobs), strict=True):
        names = ("profile", "dataset", "method", *SETTINGS, "protocol", "bits", "seed", "epochs")
        row = {name: getattr(trial, name) for name in names}
        rows.append(row | {"run_id": folder.name, "value": results.read_map(folder)})
    return pd.DataFrame(rows)


def best(trials: pd.DataFrame) -> pd.DataFrame:
    """The best trial of each method; the first of equal ones."""
    return trials.loc[trials.groupby("method", sort=False).value.idxmax()]


def keep_best(trials: pd.DataFrame) -> None:
    """Put each method's best settings into fdhmfe/config/tuned.csv, in place of those it had."""
    names = ["profile", "method"]
    table = merged(TUNED, best(trials)[[*names, *SETTINGS]], names)
    results.write_csv(TUNED, table.sort_values(names))


def merged(path: Path, fresh: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The rows of a file, if it is there, with those that share `names` replaced by fresh ones."""
    if not path.exists():
        return fresh
    known = pd.read_csv(path)
    replaced = known.set_index(names).index.isin(fresh.set_index(names).index)
    return pd.concat([known[~replaced], fresh])


if __name__ == "__main__":
    sys.exit(main())
