"""Write the figure and the tables of README.md anew: python tools/readme.py (or make readme).

The tables come from the rows of runs in results/laptop; the figure is drawn from a quick run on the
toy set, which is trained first if it is not there (some minutes).
"""

import sys
from pathlib import Path

import numpy as np
import pages
import pandas as pd
from matplotlib.figure import Figure

from fdhmfe import config
from fdhmfe.codes import nearest, pack
from fdhmfe.config import profiles
from fdhmfe.encoding.trained import TrainedRun, open_run
from fdhmfe.figures import frames
from fdhmfe.runs import committed, experiment, ledger, plan, results, tables
from fdhmfe.runs.committed import Birds
from fdhmfe.support.files import atomic, write_text
from fdhmfe.support.places import REPOSITORY

README = REPOSITORY / "README.md"
LAPTOP = REPOSITORY / "results" / "laptop"
FIGURE = Path("docs/figures/neighbours.png")
START, END = "<!-- written by make readme -->", "<!-- end of what make readme writes -->"


def section() -> str:
    """What stands between the marks: a figure, and the tables of birds as far as they are made."""
    return f"""{START}
![Three toy queries with their nearest images and distances; dropped regions are dark]({FIGURE})

Three drawn beetles and what their 48 bits find (profile `quick`, seed 0): ✓ the same species, ✗ a
look-alike; the network kept the bright regions.

{birds()}
{END}"""


FAIR = """On photographs, the question is what remains when the baselines get what FDH-MFE gets: the
same trained tail of the backbone, the same views and schedule, a head with a hidden layer on all
stages. (In the kit's first edition they had one linear layer on frozen features. Most of FDH-MFE's
lead came from that, and from a read-out that serves a plain classifier as well.) Read `fdh-mfe`
against the baselines, and `fdh-mfe+` against the controls."""


WORTH = """What each part is worth: the points of mAP lost without it, with the 95 % interval over
pairs of runs that share a seed. A part earns its place where the interval lies above 0. """


def birds() -> str:
    """The tables of birds, from the rows that count for the code here; and what is missing."""
    main, folds, ablation = (rows(name) for name in ("main", "folds", "ablation"))
    if main.table.empty:
        return f"{FAIR}\n\nThe tables are being made anew."
    cells = tables.map_cells(main.table)
    parts = [FAIR, words("main", main), markdown(tables.pivot_cells(cells)), verdicts(cells)]
    if len(folds.table):
        common = folds._replace(table=tables.in_all_folds(folds.table))
        found = tables.pivot_open(tables.seen_unseen(common.table))
        parts += ["The same codes on classes seen and never seen. " + words("folds", common)]
        parts += [markdown(found)]
    lost = tables.paired_costs(ablation.table) if len(ablation.table) else pd.DataFrame()
    if len(lost):
        parts += [WORTH + words("ablation", ablation), markdown(worth(lost))]
    return "\n\n".join(filter(None, parts))


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
    untuned = [each for each in own.method.unique() if not profiles.tuning("laptop", "tail", each)]
    said = [tables.caption(found.table, own, found.classes)]
    said += [f"Not tuned: {', '.join(untuned)}"] if untuned else []
    return f"{'. '.join(said)}. {cost(own, plan.planned([name], 'laptop', 'cub200'))}"


def worth(lost: pd.DataFrame) -> pd.DataFrame:
    """Points of mAP lost without each part, as text: a row per variant, a column per length."""
    points = (100 * lost[["cost", "low", "high"]]).round(1) + 0.0  # no "-0.0"
    told = points.cost.map("{:+.1f}".format)
    interval = points.low.map(" [{:+.1f}".format) + points.high.map(", {:+.1f}]".format)
    told += interval.where(lost.seeds > 1, " (one seed)")
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


def verdicts(cells: pd.DataFrame) -> str:
    """What the main table says about both of ours; a part of it if rows are missing."""
    pairs = [("fdh-mfe", None, "the best baseline"), ("fdh-mfe+", ["softmax"], "the control")]
    said = []
    for method, rivals, whom in pairs:
        gains = tables.gain_over_best(cells, method, rivals).dropna(subset=["gain"])
        each = [
            f"{100 * row.gain:+.1f} at {row.bits} bits ({row.rival}"
            f"{'' if abs(row.gain) > row.spread else ', not clear'})"
            for row in gains.itertuples()
        ]
        if each:
            said.append(f"`{method}` minus {whom}, in points of mAP: {', '.join(each)}.")
    clear = "A difference is clear if it is larger than the range over seeds of both methods"
    return " ".join([*said, f"{clear}; with one seed none is."]) if said else ""


def markdown(table: pd.DataFrame) -> str:
    return table.fillna("").reset_index().to_markdown(index=False, disable_numparse=True)


def replaced(readme: str, new: str) -> str:
    """The README's text with what stands between the marks replaced; ValueError without marks."""
    return pages.replaced(readme, new, START, END)


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
    text = replaced(README.read_text(encoding="utf-8"), section())
    write_text(README, text)
    print(f"wrote README.md and {FIGURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
