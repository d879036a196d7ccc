"""Tables of what runs have written. No number comes from anywhere else."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

from fdhmfe.config.methods import METHODS, REFERENCES
from fdhmfe.runs.latex import latex_table
from fdhmfe.runs.plan import NETWORKS
from fdhmfe.runs.results import headline
from fdhmfe.support.files import write_text

GROUPS = ("ours", "baselines", "others", "controls", "references")  # of a table's rows, in order
FLOATS = ("cosine", "unquantised")  # rankings without codes
HOSTS = ("fdh-mfe", "softmax")  # whose runs the rows in REFERENCES are taken from
SEEN, UNSEEN = "seen@seen", "unseen@unseen"
OPEN = (SEEN, UNSEEN, "unseen@all")


def group_of(name: str) -> str:
    """Which of GROUPS a row belongs to: "fdh-mfe+, open" to "ours", a method of your own to others.

    Controls are what could explain a gain: a classifier, its class number, its features unhashed.
    """
    method = name.partition(", ")[0]
    if method in REFERENCES:
        return REFERENCES[method]
    if method not in METHODS:
        return "others"
    family = METHODS[method].family
    return family if family in GROUPS else "baselines"


def scored(table: pd.DataFrame, metric: str = "mAP") -> pd.DataFrame:
    """The rows of the headline number, or another, with `method` made the name of a table's row.

    A variant is part of the name ("fdh-mfe+, open"), as is the head of a method put together by
    hand. Several runs bring the rows in REFERENCES; only those of HOSTS are kept.
    """
    rows = headline(table, metric)
    beside, full = rows.method.isin(REFERENCES), rows.variant == "full"
    host = rows.run_id.map(rows[~beside].groupby("run_id").method.first())
    names = rows.method.where(full, rows.method + ", " + rows.variant)
    by_hand = rows.method.str.contains(r"\w\+\w")
    names = names.where(~by_hand, names + ", " + rows.hash_head)
    return rows.assign(method=names)[~beside | (full & host.isin(HOSTS))]


def map_cells(table: pd.DataFrame, metric: str = "mAP") -> pd.DataFrame:
    """One row per method with its variant and code length: mean, min and max over the seeds.

    ValueError if the rows are of several data sets, regimes or protocols: no mean is over those.
    """
    rows = scored(table, metric)
    for name in ("dataset", "trainable", "protocol"):
        if rows[name].nunique() > 1:
            raise ValueError(f"a table has one {name}, not {', '.join(rows[name].unique())}")
    cells = rows.groupby(["dataset", "method", "bits"], sort=False).value
    return (
        cells.agg(["mean", "min", "max", "count"]).rename(columns={"count": "seeds"}).reset_index()
    )


def pivot_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """mAP of methods by code length, in percent: group by group, in each the best first.

    "83.1 ± 0.4": half of max - min.
    """
    half = ((cells["max"] - cells["min"]) / 2).where(cells.seeds > 1)
    shown = cells.assign(text=percent(cells["mean"], half))
    shown["group"] = shown.method.map(group_of)
    best = cells.groupby("method")["mean"].mean().sort_values(ascending=False).index
    order = sorted(best, key=lambda name: GROUPS.index(group_of(name)))
    wide = shown.pivot(index=["group", "method"], columns="bits", values="text")
    wide = wide.loc[[(group_of(name), name) for name in order]]
    return wide.rename(columns=lambda bits: f"{bits} bits").rename_axis(columns=None)


def percent(mean: pd.Series, spread: pd.Series) -> pd.Series:
    """Shares as text: "83.1 ± 0.4", or "83.1" where there is no spread."""
    text = (100 * mean).map("{:.1f}".format)
    return text + (100 * spread).map(" ± {:.1f}".format).where(spread.notna(), "")


def gain_over_best(cells: pd.DataFrame, method: str, group: str = "baselines") -> pd.DataFrame:
    """A method against the best codes of one of GROUPS at each code length.

    spread: max - min over the seeds; of the two methods, the larger one. A gain is `clear` if it is
    larger than the spread; with one seed there is no spread, and no gain is.
    """
    codes = cells.method[~cells.method.isin(FLOATS)]
    rivals = [name for name in codes if group_of(name) == group]
    spread = (cells["max"] - cells["min"]).where(cells.seeds > 1)
    cells = cells.assign(spread=spread).set_index("bits")
    cells = cells.sort_values("mean", ascending=False, kind="stable")
    own, others = cells[cells.method == method], cells[cells.method.isin(rivals)]
    best = others[~others.index.duplicated()]  # the first of each code length
    gain, spread = own["mean"] - best["mean"], np.maximum(own.spread, best.spread)
    table = {"method": method, "mAP": own["mean"], "rival": best.method, "its mAP": best["mean"]}
    table |= {"gain": gain, "spread": spread, "clear": gain > spread}
    return pd.DataFrame(table).sort_index().rename_axis("bits").reset_index()


def paired_differences(table: pd.DataFrame) -> pd.DataFrame:
    """What each variant loses against its method in full, in mAP: a row per code length and seed.

    Both runs of a pair have the same seed; a run without a partner is left out.
    """
    rows = headline(table)
    rows = rows[~rows.method.isin(REFERENCES)]
    variants = [name for name in rows.variant.unique() if name != "full"]
    wide = rows.pivot(index=["method", "bits", "seed"], columns="variant", values="value")
    wide = wide.reindex(columns=[*variants, "full"])
    lost = wide[variants].rsub(wide["full"], axis=0).rename_axis(columns="variant")
    return lost.melt(ignore_index=False, value_name="cost").reset_index().dropna(subset="cost")


def paired_costs(table: pd.DataFrame) -> pd.DataFrame:
    """`paired_differences` summed up over the seeds, with a verdict, per variant and code length.

    cost: their mean; low, high: its 95 % interval by Student's t (none for a single seed). Verdict:
    the missing part "costs" if the interval lies above 0, "gains" if below, else "cannot tell".
    """
    keys = ["method", "bits", "variant"]
    pairs = paired_differences(table).groupby(keys, sort=False).cost
    found = pairs.agg(["mean", "count", "sem"])
    half = found["sem"] * student.ppf(0.975, found["count"] - 1)
    low, high = found["mean"] - half, found["mean"] + half
    verdict = np.select([low > 0, high < 0], ["costs", "gains"], "cannot tell")
    facts = {"cost": found["mean"], "low": low, "high": high, "seeds": found["count"]}
    return pd.DataFrame({**facts, "verdict": verdict}).reset_index()


def seen_unseen(table: pd.DataFrame) -> pd.DataFrame:
    """One row per method with its variant: mAP by protocol, mean and (`sd`) spread over the folds.

    dominated: codes of another row score at least as high on both seen and unseen classes. Rows
    must be of one code length: ValueError.
    """
    rows = scored(table)
    rows = rows[rows.protocol.isin(OPEN)]
    if rows.bits.nunique() > 1:
        raise ValueError("seen and unseen classes are compared at one code length")
    by_fold = rows.groupby(["method", "protocol", "fold"], sort=False).value.mean()
    groups = by_fold.groupby(["method", "protocol"], sort=False)
    mean, sd = (found.unstack()[list(OPEN)] for found in (groups.mean(), groups.std()))
    pairs = mean[[SEEN, UNSEEN]]
    codes = pairs[~mean.index.isin(FLOATS)]
    rivals = {name: codes.drop(name, errors="ignore") for name in pairs.index}
    dominated = [(rivals[name] >= pair).all(axis=1).any() for name, pair in pairs.iterrows()]
    both = mean.join(sd.add_suffix(" sd")).assign(dominated=dominated).rename_axis(columns=None)
    return both.assign(folds=rows.groupby("method").fold.nunique()).reset_index()


def in_all_folds(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the folds that every method with its variant has; all rows if there is none.

    Some folds are harder than others, so means over different folds do not compare.
    """
    held = table.groupby(["method", "variant"]).fold.agg(set)
    common = set.intersection(*held)
    return table[table.fold.isin(common)] if common else table


def pivot_open(table: pd.DataFrame) -> pd.DataFrame:
    """`seen_unseen` to read: mean ± standard deviation over the folds, in percent."""
    shown = {name: percent(table[name], table[f"{name} sd"]) for name in OPEN}
    return table[["method"]].assign(**shown, dominated=table.dominated).set_index("method")


def grid(table: pd.DataFrame) -> pd.DataFrame:
    """Mean mAP over the seeds of each network, objective and coder, by regime and code length.

    Networks have the names of plan.NETWORKS. Where a network has class evidence, the read-out of
    its codes is a second coder.
    """
    chosen = (table.metric == "mAP") & (table.ties == "expected")
    chosen &= (table.database_codes == "network") & ~table.method.isin(REFERENCES)
    rows = table[chosen]
    parts = []
    for name, settings in NETWORKS.items():
        fits = np.logical_and.reduce([rows[key] == value for key, value in settings.items()])
        parts.append(rows[fits].assign(network=name))
    keys = ["trainable", "bits", "coder", "network", "objective"]
    cells = pd.concat(parts).groupby(keys, sort=False).value.agg(["mean", "count"])
    return cells.rename(columns={"count": "seeds"}).reset_index()


def spans(cells: pd.DataFrame) -> pd.DataFrame:
    """How far the best and the worst network lie apart in the mean over objectives, and vice versa.

    One row per regime, code length and coder of `grid` that has an objective with every network;
    other objectives are left out.
    """
    rows = []
    keys = ["trainable", "bits", "coder"]
    for values, own in cells.groupby(keys, sort=False):
        wide = own.pivot(index="network", columns="objective", values="mean").dropna(axis=1)
        if wide.empty:
            continue
        network, objective = (np.ptp(wide.mean(axis=axis)) for axis in (1, 0))
        row = {"network": network, "objective": objective, "objectives": wide.shape[1]}
        rows.append(dict(zip(keys, values, strict=True)) | row)
    return pd.DataFrame(rows, columns=[*keys, "network", "objective", "objectives"])


def counted(number: int, what: str) -> str:
    """A number of things: "1 seed", "3 seeds"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def seeds_told(rows: pd.DataFrame) -> str:
    """How many seeds a cell has: "3 seeds", or "1 to 3 seeds" if a table is not finished."""
    cells = rows.groupby(["method", "variant", "bits", "fold"], dropna=False).seed.nunique()
    few, many = cells.min(), cells.max()
    return counted(many, "seed") if few == many else f"{few} to {counted(many, 'seed')}"


def caption(rows: pd.DataFrame, runs: pd.DataFrame, classes: str) -> str:
    """What a table's numbers are: measure, data, regime, protocol, seeds, folds and device.

    rows, runs: of the same runs, from the ledger; classes: from report.classes_told.
    """

    def told(table: pd.DataFrame, *names: str) -> str:
        facts = table[list(names)].drop_duplicates().astype(str)
        return ", ".join(" ".join(row) for row in facts.to_numpy())

    own = rows[~rows.method.isin(REFERENCES)]
    sizes = own[["n_query", "n_database"]].drop_duplicates().to_numpy()
    folds = own.fold[own.fold != ""].nunique()
    facts = [
        f"{told(own, 'dataset')}, {classes}",
        f"{told(own, 'backbone')}, trainable {told(own, 'trainable')}",
        f"protocol {told(own, 'protocol')}",
        *(f"{queries} queries, {items} database images" for queries, items in sizes[:1]),
        "network codes",
        seeds_told(own) + (f", {counted(folds, 'fold')}" if folds else ""),
        f"profile {told(own, 'profile')}, {told(runs, 'device')}",
    ]
    if len(sizes) > 1:  # each fold has its own
        del facts[3]
    return "; ".join(["mAP@all (%), ties in expectation", *facts])


def export_cells(cells: pd.DataFrame, stem: Path, caption: str) -> list[Path]:
    """Write a table as <stem>.csv (long, full precision), .md and .tex; returns the paths."""
    wide = pivot_cells(cells)
    shown = wide.reset_index().to_markdown(index=False, disable_numparse=True)
    contents = {
        "csv": cells.to_csv(index=False),
        "md": f"{caption}\n\n{shown}\n",
        "tex": latex_table(wide, caption, stem.name),
    }
    paths = []
    for kind, text in contents.items():
        paths.append(stem.with_name(f"{stem.name}.{kind}"))
        write_text(paths[-1], text)
    return paths
