"""The rows of real birds that the repository holds, to stand beside the toy set's.

They lie in results/laptop/tables: CUB-200-2011, a backbone whose last blocks train along. Reading
them trains nothing. Some may not be made yet, or none.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from fdhmfe.config.settings import load
from fdhmfe.data.report import of_published
from fdhmfe.runs import ledger, plan
from fdhmfe.support.places import shipped

PROFILE, DATASET = "laptop", "cub200"
# What tells the runs of a plan apart; all else follows from the profile and its tuning
KEYS = (
    *("method", "variant", "bits", "seed", "protocol", "fold", "trainable"),
    *("network", "objective", "coder", "hash_head", "pooling", "backbone"),
)
SHOWN = 5  # rows that `told` names; the others it counts


class Birds(NamedTuple):
    """Metric rows and run rows of those runs of a plan that are there, and how many are not.

    If no run is there, both tables are empty.
    """

    table: pd.DataFrame
    made: pd.DataFrame
    told: str

    @property
    def classes(self) -> str:
        """How many of the published classes the images are of."""
        return of_published(DATASET, ledger.class_counts(self.made).max())


def birds(name: str) -> Birds:
    """The committed rows of one of the PLANS: "main", "folds", "half", "ablation" or "grid".

    Rows are taken as they are, whatever code made them: who edits a loss still sees them. If runs
    are of different images, only those are taken of which there are most.
    """
    wanted = plan.planned([name], PROFILE, DATASET)
    table, made = read(ledger.METRICS), read(ledger.RUNS)
    keys = [key(vars(load(PROFILE, dataset=DATASET, **run))) for run in wanted]
    made = made[made.dataset == DATASET]
    made = made.assign(key=[key(row) for row in made.to_dict("records")])
    made = of_one_kind(made[made.key.isin(keys)])
    found = dict(zip(made.pop("key"), made.run_id, strict=True))
    own = [found[each] for each in keys if each in found]
    missing = [run for run, each in zip(wanted, keys, strict=True) if each not in found]
    table, made = (each[each.run_id.isin(own)].reset_index(drop=True) for each in (table, made))
    return Birds(table, made, told(name, missing, len(wanted)))


def of_one_kind(made: pd.DataFrame) -> pd.DataFrame:
    """The runs whose images are the most frequent: as many classes, and in each split the same."""
    counts = ledger.class_counts(made)
    made = made[counts == counts.mode().max()]
    split = made.protocol + made.fold.astype(str)
    usual = made.dataset_hash.groupby(split).transform(lambda hashes: hashes.mode().max())
    return made[made.dataset_hash == usual]


def read(name: str) -> pd.DataFrame:
    """One of the committed tables; without its file, a table without rows."""
    path = shipped(f"results/{PROFILE}/tables/{name}")
    if not path.is_file():
        return pd.DataFrame(columns=["run_id", "dataset", "dataset_hash", "query_classes", *KEYS])
    return ledger.read(path)


def key(settings: Any) -> tuple[str, ...]:
    """The KEYS of a run, as text."""
    return tuple(str(settings[name]) for name in KEYS)


def told(name: str, missing: Sequence[dict[str, Any]], planned: int) -> str:
    """How many runs of a plan are there, which rows lack some, and the command that makes them."""
    there = planned - len(missing)
    if not missing:
        return f"birds: all {planned} runs of the plan `{name}` are there"
    rows: dict[str, set[int]] = {}
    for run in missing:
        row = ", ".join(str(run[part]) for part in ("method", "variant", "network") if part in run)
        rows.setdefault(row.removesuffix(", full"), set()).add(run["bits"])
    names = [f"{row} ({', '.join(map(str, sorted(bits)))} bits)" for row, bits in rows.items()]
    more = f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    command = f"fdhmfe sweep --plan {name} --profile {PROFILE} --dataset {DATASET}"
    return (
        f"birds: {there} of {planned} runs of the plan `{name}` are there.\n"
        f"Rows that lack runs: {'; '.join(names[:SHOWN])}{more}\n"
        f"To make them: {command} --data-dir FOLDER"
    )
