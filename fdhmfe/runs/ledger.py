"""Finished runs as rows of two tables, so that a sweep survives a new machine.

`tables/map.csv` holds the metric rows of all runs, `tables/runs.csv` one row per run: its settings,
environment, time and size. A run counts as done if its row has its name, which stands for settings,
data and weights, and was made by the code that is here, or by code that was seen to give the same
codes. Tables and figures are made from rows; networks and codes stay where they were made.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from fdhmfe.runs.results import (
    COLUMNS,
    PLACES,
    SHOWN,
    read_environment,
    read_metrics,
    read_settings,
    read_table,
    same_codes,
    write_csv,
)
from fdhmfe.support.files import locked

METRICS, RUNS = "map.csv", "runs.csv"
RUN_COLUMNS = ("run_id", *SHOWN, "source_hash")  # of runs.csv, among others
# Text, also where it happens to look like a number: 0123, or 12e5
HASHES = dict.fromkeys(("source_hash", "commit", "dataset_hash", "backbone_id"), str)


def run_list(folders: Iterable[Path]) -> pd.DataFrame:
    """One row per run: its settings (but those in PLACES), its environment, what it took."""
    rows = []
    for folder in folders:
        settings, made = read_settings(folder), read_environment(folder, "source_hash")
        kept = {name: value for name, value in settings.items() if name not in PLACES}
        rows.append({"run_id": folder.name, **kept, **made})
    return pd.DataFrame(rows)


def class_counts(runs: pd.DataFrame) -> pd.Series:
    """Of how many classes each run's images are: in protocol half, queries are of half of them."""
    asked = runs.query_classes.astype(int)
    return asked.where(runs.protocol != "half", 2 * asked)


def record(output_dir: Path, folders: Sequence[Path]) -> None:
    """Write the rows of finished runs into the tables of `output_dir`, in place of their old ones.

    Rows that other code made are dropped: a table holds the numbers of one version.
    """
    if not folders:
        return
    metrics, runs = pd.concat(map(read_metrics, folders)), run_list(folders)
    with locked(output_dir / "locks" / "tables.lock"):
        before = in_force(output_dir)
        for name, fresh in ((METRICS, metrics), (RUNS, runs)):
            old = before[name]
            kept = old[~old.run_id.isin(fresh.run_id)] if len(old) else old
            write_csv(
                output_dir / "tables" / name, pd.concat([kept, fresh]) if len(kept) else fresh
            )


def rows(output_dir: Path, name: str) -> pd.DataFrame:
    """The rows of a table that count for the code here; empty fields are empty strings."""
    return in_force(output_dir)[name]


def in_force(output_dir: Path) -> dict[str, pd.DataFrame]:
    """Both tables, METRICS and RUNS, without the rows that do not count for the code here.

    A run counts only if both have it.
    """
    tables = output_dir / "tables"
    if not (tables / RUNS).exists() or not (tables / METRICS).exists():
        return dict.fromkeys((METRICS, RUNS), pd.DataFrame({"run_id": []}))
    metrics, runs = read(tables / METRICS), read(tables / RUNS)
    known = runs.run_id[runs.source_hash.isin(same_codes()) & runs.run_id.isin(metrics.run_id)]
    return {
        METRICS: metrics[metrics.run_id.isin(known)],
        RUNS: runs[runs.run_id.isin(known)],
    }


def read(path: Path) -> pd.DataFrame:
    """One of the tables as it is, whatever code made its rows; empty fields are empty strings.

    Raises ValueError if it is damaged.
    """
    advice = (
        "put a whole copy in its place (from git, if it is committed), or delete it: runs whose "
        "folders are here are entered again, others are made again"
    )
    return read_table(path, COLUMNS if path.name == METRICS else RUN_COLUMNS, advice, HASHES)


def rows_of(output_dir: Path, name: str, run_ids: Sequence[str]) -> pd.DataFrame:
    """The rows of these runs, in the order given; KeyError naming the first that is missing."""
    groups = dict(iter(rows(output_dir, name).groupby("run_id", sort=False)))
    return pd.concat([groups[run_id] for run_id in run_ids], ignore_index=True)
