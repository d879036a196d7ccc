"""Tables of what runs have written. No number comes from anywhere else."""

from pathlib import Path

import numpy as np
import pandas as pd

from fdhmfe.runs.latex import latex_table
from fdhmfe.runs.results import REFERENCES, headline
from fdhmfe.support.files import atomic
from fdhmfe.support.places import shipped

METHOD = "fdh-mfe"


def map_cells(table: pd.DataFrame) -> pd.DataFrame:
    """One row per method and code length: mean, min and max of mAP@all over the seeds."""
    cells = headline(table).groupby(["dataset", "method", "bits"], sort=False).value
    return (
        cells.agg(["mean", "min", "max", "count"]).rename(columns={"count": "seeds"}).reset_index()
    )


def pivot_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """mAP of methods by code length, in percent, best first. "83.1 ± 0.4": half of max - min."""
    text = (100 * cells["mean"]).map("{:.1f}".format)
    half = (50 * (cells["max"] - cells["min"])).map(" ± {:.1f}".format)
    shown = cells.assign(text=text + half.where(cells.seeds > 1, ""))
    order = cells.groupby("method")["mean"].mean().sort_values(ascending=False).index
    wide = shown.pivot(index="method", columns="bits", values="text").loc[order]
    return wide.rename(columns=lambda bits: f"{bits} bits").rename_axis(columns=None)


def gain_over_best(cells: pd.DataFrame) -> pd.DataFrame:
    """FDH-MFE against the best baseline of each code length.

    spread: max - min over the seeds; of the two methods, the larger one. A gain is `clear` if it is
    larger than the spread; with one seed, no gain is.
    """
    cells = cells[~cells.method.isin(REFERENCES)].assign(spread=cells["max"] - cells["min"])
    cells = cells.set_index("bits").sort_values("mean", ascending=False, kind="stable")
    own, others = cells[cells.method == METHOD], cells[cells.method != METHOD]
    best = others[~others.index.duplicated()]  # the first of each code length
    gain, spread = own["mean"] - best["mean"], np.maximum(own.spread, best.spread)
    table = {METHOD: own["mean"], "best baseline": best.method, "its mAP": best["mean"]}
    table |= {"gain": gain, "spread": spread, "clear": (own.seeds > 1) & (gain > spread)}
    return pd.DataFrame(table).sort_index().reset_index()


def ablation_table(per_run: pd.DataFrame) -> pd.DataFrame:
    """One row per variant, in the order given: mean mAP, spread over the seeds, cost, size, time.

    per_run has the columns variant, seed, mAP, seconds, parameters; the first variant is the
    reference. cost: mAP below the reference. spread: the larger max - min of both over the seeds.
    """
    groups = per_run.groupby("variant", sort=False)
    table = groups.agg(
        mAP=("mAP", "mean"),
        seeds=("seed", "count"),
        seconds=("seconds", "median"),
        parameters=("parameters", "first"),
    )
    own = groups["mAP"].max() - groups["mAP"].min()
    table.insert(1, "spread", own.clip(lower=own.iloc[0]))
    table.insert(2, "cost", table["mAP"].iloc[0] - table["mAP"])
    return table.reset_index()


def component_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """What an ablation shows about each part; table: from `ablation_table`, two seeds or more.

    removed: mAP lost without the part. alone: mAP gained by adding the part, and the parts that it
    needs, to `plain`; NaN if not run. A difference counts if it is larger than both spreads.
    """
    rows = table.set_index("variant")[["mAP", "spread", "cost"]]
    verdicts = []
    for part in (name.removeprefix("no-") for name in rows.index if name.startswith("no-")):
        lost, spread = rows.loc[f"no-{part}", ["cost", "spread"]]
        pair = rows.reindex(["plain", f"only-{part}"])
        alone = pair["mAP"].iloc[1] - pair["mAP"].iloc[0]
        if abs(lost) > spread:
            verdict = "earns its place" if lost > 0 else "better without"
        elif alone > pair.spread.max():
            verdict = "others do its work"
        else:
            verdict = "no gain seen"
        verdicts.append({"part": part, "removed": lost, "alone": alone, "verdict": verdict})
    return pd.DataFrame(verdicts)


def export_cells(cells: pd.DataFrame, stem: Path, caption: str) -> list[Path]:
    """Write a table as <stem>.csv (long, full precision), .md and .tex; returns the paths."""
    wide = pivot_cells(cells)
    contents = {
        "csv": cells.to_csv(index=False),
        "md": f"{caption}\n\n{wide.reset_index().to_markdown(index=False)}\n",
        "tex": latex_table(wide, caption, stem.name),
    }
    paths = []
    for kind, text in contents.items():
        paths.append(stem.with_name(f"{stem.name}.{kind}"))
        with atomic(paths[-1]) as partial:
            partial.write_text(text, encoding="utf-8")
    return paths


def read_published() -> pd.DataFrame:
    """Numbers that others published or logged, with protocol, database-code rule and source."""
    return pd.read_csv(shipped("results/paper/published_map.csv"))
