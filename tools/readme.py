"""Write the figure and the tables of README.md and docs/results.md anew (make readme).

The tables come from the rows of runs in results/laptop; the figure is drawn from a quick run on the
toy set, which is trained first if it is not there (some minutes).
"""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pages
import pandas as pd
from matplotlib.figure import Figure

from fdhmfe import config
from fdhmfe.codes import nearest, pack
from fdhmfe.config import profiles
from fdhmfe.config.methods import METHODS
from fdhmfe.encoding.trained import TrainedRun, open_run
from fdhmfe.figures import frames
from fdhmfe.runs import committed, experiment, ledger, plan, results, tables
from fdhmfe.runs.committed import Birds
from fdhmfe.support.files import atomic
from fdhmfe.support.places import REPOSITORY

README, RESULTS = REPOSITORY / "README.md", REPOSITORY / "docs" / "results.md"
LAPTOP = REPOSITORY / "results" / "laptop"
FIGURE = Path("docs/figures/neighbours.png")
START, END = "<!-- written by make readme -->", "<!-- end of what make readme writes -->"


FAIR = """All methods train the same last layers of one pretrained network, on the same views of
the images, for equally long; each has the head that did best on images which are not scored.
`fdh-mfe` is what the abstract names, `fdh-mfe+` has additions of ours. *Controls* are simple
things that could explain a gain: `softmax` is a plain classifier, `class-id` a code that only says
which class it predicts, `pooled-mlp` FDH-MFE without tokens and graph. `cosine` ranks by the
classifier's features, `unquantised` by FDH-MFE's output before it is cut to bits: what a code
loses."""


WORTH = """In each cell, the points of mAP that are lost without a part, with the 95 % interval
over pairs of runs that share a seed: above 0, the part helps. `no-stages` uses one stage in place
of three, `no-graph` no messages, `no-maxmin` random proxies, `no-background` and `no-triplet` lack
that loss; `no-arrangement` and `no-readout` lack what FDH-MFE+ adds. `deep-graph` has three rounds
of messages, `whole-graph` all places of the maps as nodes: there, it is what is lost by that."""
SAME_CODES = """The codes of each run are scored three ways. ± is the standard deviation over
folds. A row is dominated if the codes of another are at least as good at `seen@seen` and at
`unseen@unseen`."""
LATER = "The tables are being made anew."
COMPARED = """Differences in points of mAP, taken before rounding. A method is ahead or behind if
the difference is larger than the larger of the two ranges (max - min) over seeds, which is twice
the ±. That is a rule of thumb; with one seed nothing is decided."""
DECIDED = {"ahead": "ahead of", "behind": "behind"}


def section() -> str:
    """What README has between the marks: the main table, what it says, and of unseen classes."""
    return marked(*main_table(rows("main")), *unseen(seen_unseen(common_folds())))


def all_tables() -> str:
    """What docs/results.md has between the marks: every table of birds as far as it is made."""
    main, folds, ablation = rows("main"), common_folds(), rows("ablation")
    parts = ["## The main table", *main_table(main)]
    found = seen_unseen(folds)
    if len(found):
        parts += ["## Classes seen and never seen", *unseen(found), SAME_CODES]
        parts += shown("folds", folds, tables.pivot_open(found))
    lost = tables.paired_costs(ablation.table) if len(ablation.table) else pd.DataFrame()
    if len(lost):
        parts += ["## What each part is worth", WORTH, *shown("ablation", ablation, worth(lost))]
    return marked(*parts)


def main_table(main: Birds) -> list[str]:
    """The main table with what it says; or that there is none yet."""
    if main.table.empty:
        return [FAIR, LATER]
    cells = tables.map_cells(main.table)
    said, *compared = judgement(cells)
    return [said, FAIR, *shown("main", main, tables.pivot_cells(cells)), *compared]


def common_folds() -> Birds:
    """The rows of the plan `folds`, of those folds that all methods have; or no rows."""
    found = rows("folds")
    return found._replace(table=tables.in_all_folds(found.table)) if len(found.table) else found


def seen_unseen(folds: Birds) -> pd.DataFrame:
    """The scores on seen and unseen classes; or no rows."""
    return tables.seen_unseen(folds.table) if len(folds.table) else pd.DataFrame()


def unseen(found: pd.DataFrame) -> list[str]:
    """What `seen_unseen` found about classes never seen: the best codes, and features unhashed."""
    scores = (
        found.set_index("method")[tables.UNSEEN] * 100 if len(found) else pd.Series(dtype=float)
    )
    codes = scores[~scores.index.isin(tables.FLOATS)].sort_values(ascending=False)
    if "cosine" not in scores or codes.empty:
        return []
    ours = codes[codes.index.map(tables.group_of) == "ours"]
    said = f"the best codes {codes.iloc[0]:.1f} (`{codes.index[0]}`)"
    if len(ours) and ours.index[0] != codes.index[0]:
        said += f", the best of ours {ours.iloc[0]:.1f} (`{ours.index[0]}`)"
    return [
        f"**Among classes never seen, features that are not hashed have {scores['cosine']:.1f} "
        f"(`cosine`), {said}**: mAP (%) at {plan.LONG} bits, mean over {found.folds.max()} folds."
    ]


def marked(*parts: str) -> str:
    """Paragraphs between the marks."""
    return "\n\n".join([START, *parts, END])


def shown(name: str, found: Birds, table: pd.DataFrame) -> tuple[str, str]:
    """A plan's caption and its table."""
    return words(name, found), markdown(table)


def rows(name: str) -> Birds:
    """The rows of a plan that count for the code here."""
    known = ledger.rows(LAPTOP, ledger.RUNS).run_id
    found = committed.birds(name)
    return found._replace(
        table=found.table[found.table.run_id.isin(known)],
        made=found.made[found.made.run_id.isin(known)],
    )


def words(name: str, found: Birds) -> str:
    """The caption of a plan's table, with how many of its runs are in it and what they cost."""
    own = found.made[found.made.run_id.isin(found.table.run_id)]
    learning = [each for each in own.method.unique() if METHODS[each].objective]
    untuned = [each for each in learning if not profiles.tuning("laptop", "tail", each)]
    said = [tables.caption(found.table, own, found.classes)]
    said += [f"Not tuned: {', '.join(untuned)}"] if untuned else []
    return f"{'. '.join(said)}. {cost(own, plan.planned([name], 'laptop', 'cub200'))}"


def worth(lost: pd.DataFrame) -> pd.DataFrame:
    """Points of mAP lost without each part, as text: a row per variant, a column per length."""
    points = (100 * lost[["cost", "low", "high"]]).round(1) + 0.0  # no "-0.0"
    told = points.cost.map("{:+.1f}".format)
    interval = points.low.map(" [{:+.1f}".format) + points.high.map(", {:+.1f}], ".format)
    told += (interval + lost.seeds.map("{} pairs".format)).where(lost.seeds > 1, " (one pair)")
    shown = lost.assign(text=told, row=lost.method + ", " + lost.variant)
    wide = shown.pivot(index="row", columns="bits", values="text").loc[shown.row.unique()]
    return wide.rename(columns=lambda bits: f"{bits} bits").rename_axis(
        columns=None, index="variant"
    )


def cost(own: pd.DataFrame, planned: plan.Runs) -> str:
    """Hours of one core that a table's runs took, and an estimate for all that are planned.

    A method of which no run is made is counted as the mean of the others.
    """
    seconds = own.groupby("method").seconds.mean()
    whole = sum(seconds.get(run["method"], own.seconds.mean()) for run in planned)
    spent = f"{len(own)} of {len(planned)} runs are made: {own.seconds.sum() / 3600:.1f} hours"
    if len(own) == len(planned):
        return f"All {spent} of one core."
    return f"So far {spent} of one core. All would take about {whole / 3600:.0f}."


def judgement(cells: pd.DataFrame) -> list[str]:
    """What the main table says about both of ours: in words, the rule, and each comparison.

    Without a comparison, that there is none.
    """
    groups = ("baselines", "controls")
    found = [
        tables.gain_over_best(cells, method, group).assign(whom=f"the best {group[:-1]}")
        for method, group in product(("fdh-mfe", "fdh-mfe+"), groups)
    ]
    gains = pd.concat(found, ignore_index=True).dropna(subset=["gain"])
    if gains.empty:
        return ["Nothing can be compared yet."]
    gains["verdict"] = gains.apply(verdict, axis=1)
    points = (100 * gains.gain).map("{:+.1f}".format)
    gains["text"] = points + " (" + gains.rival + ", " + gains.verdict + ")"
    gains["comparison"] = gains.method + " minus " + gains.whom
    wide = gains.pivot(index="comparison", columns="bits", values="text")
    wide = wide.loc[gains.comparison.unique()].rename(columns="{} bits".format)
    there = sum(tables.group_of(name) == "baselines" for name in cells.method.unique())
    return [in_words(gains), f"{COMPARED} {there} baselines are in the table.", markdown(wide)]


def verdict(row: pd.Series) -> str:
    """Whether a row of what `gain_over_best` found is ahead, behind, or neither."""
    if np.isnan(row.spread):
        return "too few seeds"
    if abs(row.gain) <= row.spread:
        return "not clear"
    return "ahead" if row.gain > 0 else "behind"


def in_words(gains: pd.DataFrame) -> str:
    """A line for each of ours: where it is ahead, where behind, and where that is not clear."""
    lines = []
    for method, own in gains.groupby("method", sort=False):
        said = [
            f"{DECIDED.get(word, f'{word} against')} {whom} "
            f"at {' and '.join(map(str, those.bits))} bits"
            for (whom, word), those in own.groupby(["whom", "verdict"], sort=False)
        ]
        lines.append(f"- **`{method}`: {'; '.join(said)}.**")
    return "\n".join(lines)


def markdown(table: pd.DataFrame) -> str:
    return table.fillna("").reset_index().to_markdown(index=False, disable_numparse=True)


def replaced(page: str, new: str) -> str:
    """The page with what stands between the marks replaced; ValueError without marks."""
    return pages.replaced(page, new, START, END)


def draw(run: TrainedRun, count: int = 3, neighbours: int = 6) -> Figure:
    """Queries evenly spaced over the test split, their nearest images, and the kept regions."""
    data, codes = run.inputs.dataset, results.read_codes(run.folder)
    chosen = np.linspace(0, len(codes["query_codes"]) - 1, count + 2).astype(int)[1:-1]
    packed = pack(codes["query_codes"][chosen]), pack(codes["database_codes"])
    places, distances = nearest(*packed, neighbours)
    classes = np.array(data.classes)
    asked, found = codes["query_labels"][chosen], codes["database_labels"][places]

    def shown(rows: np.ndarray) -> list:
        kept = run.kept(run.row_maps(rows)) > 0
        return [frames.dimmed(data.image(row), k) for row, k in zip(rows, kept, strict=True)]

    hits = [shown(data.rows("database")[row]) for row in places]
    queries = shown(data.rows("test")[chosen])
    return frames.neighbours(queries, hits, classes[asked], classes[found], distances)


def main() -> int:
    run = open_run(experiment.run(config.load("quick")))
    with atomic(REPOSITORY / FIGURE) as partial:
        draw(run).savefig(partial, format="png", dpi=130, bbox_inches="tight")
    for page, new in ((README, section()), (RESULTS, all_tables())):
        pages.update(page, replaced(page.read_text(encoding="utf-8"), new))
    return 0


if __name__ == "__main__":
    sys.exit(main())
