"""Write the figures and the table of README.md anew: python tools/readme.py (or make readme).

The table and two figures come from results/laptop; the first figure is drawn from a quick run on
the toy set, which is trained first if it is not there (some minutes).
"""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fdhmfe import config
from fdhmfe.codes import nearest, pack
from fdhmfe.encoding.trained import TrainedRun, open_run
from fdhmfe.figures import frames
from fdhmfe.runs import experiment, results
from fdhmfe.support.files import atomic
from fdhmfe.support.places import REPOSITORY

README = REPOSITORY / "README.md"
TABLES = REPOSITORY / "results" / "laptop" / "tables"
FIGURE = Path("docs/figures/neighbours.png")
START, END = "<!-- written by make readme -->", "<!-- end of what make readme writes -->"


def section() -> str:
    """What stands between the marks: three figures and the table, all from files."""
    caption, table = (TABLES / "map-cub200.md").read_text(encoding="utf-8").split("\n\n", 1)
    figures = "results/laptop/figures/09_tables"
    return f"""{START}
![Three toy queries with their nearest images and distances; dropped regions are dark]({FIGURE})

Three drawn beetles and what their 48 bits find (profile `quick`, seed 0): ✓ the same species, ✗ a
look-alike; the network kept the bright regions.

![mAP against code length for FDH-MFE and eleven baselines]({figures}-map-cub200.png)

{caption}

{table.strip()}

`class-id` are codes that spell the class FDH-MFE predicts: as far as both score alike, this mAP
measures classification of classes seen in training. {unseen()}

{butterflies()}

![Precision at k, and precision against recall]({figures}-curves-cub200.png)
{END}"""


def unseen() -> str:
    """One sentence on classes that no method was trained on."""
    table = pd.read_csv(TABLES / "unseen-cub200.csv")
    table = table.sort_values("mean", ascending=False)
    scores = ", ".join(f"{row.method} {100 * row.mean:.1f}" for row in table.itertuples())
    bits, seeds = table.bits.iloc[0], table.seeds.min()
    return (
        f"On classes never seen ({bits} bits, {seeds} seed(s), mAP@all in %) the order is another: "
        f"{scores}."
    )


def butterflies() -> str:
    """One sentence on the small set, where little is left to win."""
    table = pd.read_csv(TABLES / "gain-leeds_butterfly.csv").query("method == 'fdh-mfe'")
    seeds = pd.read_csv(TABLES / "map-leeds_butterfly.csv").seeds.min()
    lengths = "/".join(map(str, table.bits))
    own = ", ".join(f"{100 * value:.2f}" for value in table["mAP"])
    best = zip(table["its mAP"], table["rival"], strict=True)
    others = ", ".join(f"{100 * value:.2f} ({name})" for value, name in best)
    beyond = (table.gain.abs() > table.spread).sum()
    return (
        f"On the ten kinds of `leeds_butterfly` little is left to win: at {lengths} bits FDH-MFE "
        f"has {own}, the best baseline {others} (mAP@all in %, {seeds} seeds). Differences beyond "
        f"the spread of the seeds: {beyond or 'none'}."
    )


def replaced(readme: str, new: str) -> str:
    """The README's text with what stands between the marks replaced; ValueError without marks."""
    pattern = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(readme):
        raise ValueError(f"README.md has no {START} ... {END}")
    return pattern.sub(lambda _: new, readme)


def draw(run: TrainedRun, count: int = 3, neighbours: int = 6) -> Figure:
    """Queries evenly spaced over the test split, their nearest images, and the kept regions."""
    data, codes = run.inputs.dataset, results.read_codes(run.folder)
    chosen = np.linspace(0, len(codes["query_codes"]) - 1, count + 2).astype(int)[1:-1]
    packed = pack(codes["query_codes"][chosen]), pack(codes["database_codes"])
    places, distances = nearest(*packed, neighbours)
    right = codes["database_labels"][places] == codes["query_labels"][chosen][:, None]

    def shown(rows: np.ndarray) -> list:
        kept = run.kept(run.row_maps(rows)) > 0
        return [frames.dimmed(data.image(row), k) for row, k in zip(rows, kept, strict=True)]

    hits = [shown(data.rows("database")[row]) for row in places]
    queries = shown(data.rows("test")[chosen])
    return frames.neighbours(queries, hits, right, distances)


def main() -> int:
    run = open_run(experiment.run(config.load("quick")))
    with atomic(REPOSITORY / FIGURE) as partial:
        draw(run).savefig(partial, format="png", dpi=130, bbox_inches="tight")
    text = replaced(README.read_text(encoding="utf-8"), section())
    with atomic(README) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"wrote README.md and {FIGURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
