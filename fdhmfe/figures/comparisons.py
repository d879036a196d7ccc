"""Charts that ask where a gain comes from, and what it costs: tidy tables in, Figures out."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fdhmfe.config.methods import METHODS
from fdhmfe.figures import frames
from fdhmfe.figures.curves import styles

HEAT = "cividis"  # the same to eyes that see no red or green
COORDINATES = ("seen@seen", "unseen@unseen", "seen@seen sd", "unseen@unseen sd")


def ablation(costs: pd.DataFrame, title: str) -> Figure:
    """What each variant costs, in points of mAP, a panel per code length; whiskers: 95 % intervals.

    costs: rows of tables.paired_costs, of one method. A whisker that meets 0 shows no difference.
    """
    lengths = sorted(costs.bits.unique())
    order = costs[costs.bits == lengths[0]].sort_values("cost").variant
    size = frames.WIDTH / len(lengths), 0.32 * len(order) + 1.0
    look: dict[str, Any] = {"title": title, "framed": False, "sharey": True, "sharex": True}
    figure, axes = frames.panels(len(lengths), len(lengths), size, **look)
    for axis, bits in zip(axes, lengths, strict=True):
        rows = costs[costs.bits == bits].set_index("variant").reindex(order)
        whiskers = {"xerr": 100 * (rows.high - rows.cost), "ecolor": "#555555", "capsize": 3}
        axis.barh(order, 100 * rows.cost, color=frames.SKY, **whiskers)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_title(f"{bits} bits, {rows.seeds.max():.0f} seed(s)", fontsize=9)
    figure.supxlabel("mAP@all lost (points)", fontsize=10)
    return figure


def heat_maps(cells: pd.DataFrame, title: str) -> Figure:
    """mAP of networks by objectives, the value in each cell; a panel per regime and coder.

    cells: rows of tables.grid, of one code length. Colours span the values of a regime: brighter is
    higher, and the panels of one regime can be compared.
    """
    rows, columns = (list(cells[name].unique()) for name in ("network", "objective"))
    groups = list(cells.groupby(["trainable", "coder"], sort=False))
    names = [METHODS[name].title if name in METHODS else name for name in columns]
    size = frames.WIDTH, 0.3 * len(rows) + 0.45
    figure, axes = frames.panels(len(groups), 1, size, (0, 0.7), title=title, sharex=True)
    for axis, ((trainable, coder), own) in zip(axes, groups, strict=True):
        regime = 100 * cells[cells.trainable == trainable]["mean"]
        wide = own.pivot(index="network", columns="objective", values="mean")
        values = 100 * wide.reindex(index=rows, columns=columns).to_numpy()
        scale = {"vmin": regime.min(), "vmax": regime.max()}
        axis.imshow(values, cmap=HEAT, aspect="auto", **scale)
        write_values(axis, values, (regime.min() + regime.max()) / 2)
        axis.set_yticks(range(len(rows)), rows, fontsize=9)
        axis.set_xticks(range(len(columns)), names, fontsize=8)
        axis.set_title(f"trainable {trainable}, coder {coder}: mAP@all (%)", fontsize=9)
    return figure


def write_values(axis: Axes, values: np.ndarray, middle: float) -> None:
    """Write the values (R, C) into the cells, light on dark; a cell without one gets a dash."""
    for (row, column), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:.1f}"
        colour = "white" if value < middle else "black"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)


def seen_unseen(table: pd.DataFrame, title: str) -> Figure:
    """mAP on seen against unseen classes from the same code, one point per row of the table.

    table: from tables.seen_unseen; bars: the spread over folds. A line joins the rows that no other
    dominates, and they have their names beside them: up and to the right there is nothing.
    """
    figure, axis = frames.chart(title, 5.2, line=75)
    points = table.set_index("method")
    points[list(COORDINATES)] *= 100
    looks = styles(points.index)
    for name, look in looks.items():
        x, y, wide, high = points.loc[name, list(COORDINATES)]
        axis.errorbar(x, y, high, wide, fmt="none", color=look["color"], elinewidth=0.8)
        axis.plot(x, y, **{**look, "linestyle": "", "markersize": 7})
    front = points[~points.dominated].sort_values("seen@seen")
    axis.step(*front[list(COORDINATES[:2])].to_numpy().T, where="pre", color="#555555", zorder=1)
    for name, x, y in front[list(COORDINATES[:2])].itertuples():
        near: dict[str, Any] = {"xytext": (8, 5), "textcoords": "offset points", "fontsize": 8}
        axis.annotate(looks[name]["label"], (x, y), color=looks[name]["color"], **near)
    axis.set(xlabel="mAP@all, seen classes (%)", ylabel="mAP@all, unseen classes (%)")
    axis.margins(0.15)  # room for names
    frames.legend(figure, axis, "lower center", ncols=3)
    return figure
