"""Charts that ask where a gain comes from, and what it costs: tidy tables in, Figures out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

from fdhmfe.config.methods import METHODS, REFERENCES
from fdhmfe.figures import frames
from fdhmfe.figures.curves import COLOURS, styles

VERDICTS: Mapping[str, Mapping[str, Any]] = {  # of tables.paired_costs, and their marks
    "costs": dict(color=frames.BLUE, marker="o", linestyle="", markersize=7),
    "gains": dict(color=frames.VERMILION, marker="s", linestyle="", markersize=7),
    "cannot tell": dict(
        color=frames.GREY, marker="o", linestyle="", markersize=7, markerfacecolor="white"
    ),
}
NAME_GAP = 0.1  # between two names beside lines, as a share of the axis
LOST = "points of mAP lost without the part (left of 0: won)"
HEAT = "cividis"  # the same to eyes that see no red or green
SIDES = (8, 3), (-8, 3), (8, -3), (-8, -3)  # of a mark, in points: where its name may begin or end
MARK = 3  # points from the middle of a mark to its rim
COORDINATES = ("seen@seen", "unseen@unseen", "seen@seen sd", "unseen@unseen sd")


def ablation(costs: pd.DataFrame, by_seed: pd.DataFrame, title: str) -> Figure:
    """What each variant costs, in points of mAP, a panel per code length, the highest cost on top.

    costs: rows of tables.paired_costs, of one method; by_seed: of tables.paired_differences. Lines:
    95 % intervals. A hollow mark says that its interval holds 0, or that one seed gives none.
    """
    lengths = sorted(costs.bits.unique())
    order = list(dict.fromkeys(costs.sort_values(["bits", "cost"]).variant))
    size = frames.WIDTH / len(lengths), 0.36 * len(order) + 1.1
    look: dict[str, Any] = {"title": title, "framed": False, "sharey": True, "sharex": True}
    figure, axes = frames.panels(len(lengths), len(lengths), size, **look)
    for axis, bits in zip(axes, lengths, strict=True):
        rows, each = (table[table.bits == bits] for table in (costs, by_seed))
        places = each.variant.map(order.index) - 0.28
        axis.plot(100 * each.cost, places, "|", color=frames.GREY, markersize=6)
        for row in rows.itertuples():
            mark_cost(axis, row, order.index(row.variant))
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_yticks(range(len(order)), [without(name) for name in order])
        seeds = " or ".join(map(str, sorted(rows.seeds.unique())))
        axis.set_title(f"{bits} bits, {seeds} seed{'' if seeds == '1' else 's'}", fontsize=9)
        axis.set_xlabel("points of mAP lost" if len(lengths) > 1 else LOST, fontsize=9)
    met = [name for name in VERDICTS if name in set(costs.verdict)]
    marks = {name: Line2D([], [], **VERDICTS[name]) for name in met}
    marks["a pair of one seed"] = Line2D([], [], color=frames.GREY, marker="|", linestyle="")
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": 4, "frameon": False}
    figure.legend(marks.values(), marks.keys(), fontsize=8, **place)
    return figure


def mark_cost(axis: Axes, row: Any, place: int) -> None:
    """The cost of a row of tables.paired_costs; its interval, if it has several seeds."""
    look = VERDICTS[row.verdict]
    if row.seeds > 1:
        axis.plot([100 * row.low, 100 * row.high], [place, place], color=look["color"], zorder=1)
    axis.plot(100 * row.cost, place, **look)


def without(variant: str) -> str:
    """How a chart names a variant: "no-graph" is "without graph"."""
    return variant.replace("no-", "without ", 1) if variant.startswith("no-") else variant


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


def map_by_bits(cells: pd.DataFrame, title: str, measure: str = "mAP@all") -> Figure:
    """A score against code length: a panel per family of methods, each line with its name.

    cells: one row per method and code length, from tables.map_cells; whiskers span the seeds, where
    there are several. Thin lines are the methods of the other panels, FDH-MFE's in blue.
    """
    looks = styles(cells.method)
    colours = list(dict.fromkeys(look["color"] for look in looks.values()))
    families = {colour: family for family, colour in COLOURS.items()}
    size = frames.WIDTH / 2, 1.8
    low, top = score_range(cells)
    shared: dict[str, Any] = {"sharex": True, "sharey": True, "framed": False}
    figure, axes = frames.panels(len(colours), 2, size, title=title, **shared)
    lines = {name: cells[cells.method == name].sort_values("bits") for name in looks}
    for axis, colour in zip(axes, colours, strict=True):
        own = {name: look for name, look in looks.items() if look["color"] == colour}
        for name in looks.keys() - own.keys():
            faint = frames.SKY if name == "fdh-mfe" else "#DDDDDD"
            axis.plot(lines[name].bits, 100 * lines[name]["mean"], color=faint, linewidth=0.8)
        for name, look in own.items():
            rows = lines[name]
            spread = seed_spread(rows)
            axis.errorbar(rows.bits, 100 * rows["mean"], spread, capsize=2, **look)
        ends = {look["label"]: 100 * lines[n]["mean"].iloc[-1] for n, look in own.items()}
        write_beside(axis, cells.bits.max(), ends, NAME_GAP * (top - low))
        axis.set_title(families.get(colour, ""), fontsize=9, loc="left")
        axis.tick_params(labelbottom=True, labelsize=8)
    axes[0].set_xticks(sorted(cells.bits.unique()))
    axes[0].set_ylim(low, top)
    figure.supxlabel("code length (bits)", fontsize=9)
    figure.supylabel(f"{measure} (%)" + (", not from 0" if low else ""), fontsize=9)
    return figure


def score_range(cells: pd.DataFrame) -> tuple[float, float]:
    """Tens of percent, 0..100, between which all scores (0..1) lie, with room for names."""
    low, top = 100 * cells["min"].min(), 100 * cells["max"].max()
    room = max(1, 0.05 * (top - low))
    return max(0.0, 10 * np.floor((low - room) / 10)), min(100.0, 10 * np.ceil((top + room) / 10))


def seed_spread(rows: pd.DataFrame) -> np.ndarray:
    """Points of mAP below and above the mean (2, n); NaN, so that nothing is drawn, for no range.

    rows: with the columns mean, min and max (0..1).
    """
    spread = 100 * np.array([rows["mean"] - rows["min"], rows["max"] - rows["mean"]])
    return np.where(spread.sum(0) > 0, spread, np.nan)


def write_beside(axis: Axes, x: float, ends: Mapping[str, float], gap: float) -> None:
    """Write names to the right of where lines end, in the same order, at least `gap` apart."""
    names = sorted(ends, key=lambda name: ends[name])
    look: dict[str, Any] = {"fontsize": 8, "va": "center", "annotation_clip": False}
    for name, height in zip(names, apart(np.sort([*ends.values()]), gap), strict=True):
        axis.annotate(name, (x, height), xytext=(6, 0), textcoords="offset points", **look)


def apart(heights: np.ndarray, gap: float) -> np.ndarray:
    """Ascending heights moved apart to at least `gap`, each group about its own middle."""
    steps = gap * np.arange(len(heights))
    return isotonic_regression(heights - steps).x + steps


def seen_unseen(table: pd.DataFrame, title: str) -> Figure:
    """mAP on seen against unseen classes from the same code, one point per row of the table.

    table: from tables.seen_unseen; bars: the spread over folds. A line joins the rows that no other
    dominates: up and to the right there is nothing. These and the references have their names
    beside them.
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
    axis.set(xlabel="mAP@all, seen classes (%)", ylabel="mAP@all, unseen classes (%)")
    axis.margins(0.2, 0.1)  # room for names
    frames.legend(figure, axis, "lower center", ncols=3)
    figure.draw_without_rendering()  # only now each mark has its place
    marks = axis.transData.transform(crosses(points[list(COORDINATES)].fillna(0).to_numpy()))
    written: list[Bbox] = []
    for name in points.index[~points.dominated | points.index.isin(REFERENCES)]:
        look = {"color": looks[name]["color"], "fontsize": 8}
        place = tuple(points.loc[name, list(COORDINATES[:2])])
        written.append(write_near(axis, looks[name]["label"], place, marks, written, **look))
    return figure


def crosses(points: np.ndarray) -> np.ndarray:
    """Many places (m, 2) on the bars of points (n, 4): x, y, and half of what each bar spans."""
    middle, half = points[:, :2], points[:, 2:]
    along = np.linspace(-1, 1, 41)[:, None, None]
    return np.concatenate([middle + along * half * side for side in np.eye(2)]).reshape(-1, 2)


def write_near(
    axis: Axes, name: str, place: tuple, marks: np.ndarray, written: Sequence[Bbox], **look: Any
) -> Bbox:
    """Write a name at a mark, on the side where it meets fewest of the marks and names there are.

    marks: (n, 2) in pixels; written: the boxes of the names, to which the returned one belongs.
    """
    text = axis.annotate(name, place, xytext=SIDES[0], textcoords="offset points", **look)

    def box_at(side: tuple[int, int]) -> Bbox:
        text.set(position=side, ha="left" if side[0] > 0 else "right")
        text.set(va="bottom" if side[1] > 0 else "top")
        return text.get_window_extent()

    def met(side: tuple[int, int]) -> int:
        box = box_at(side).padded(MARK * axis.figure.dpi / 72)
        inside = axis.bbox.containsx(box.x0) and axis.bbox.containsx(box.x1)
        return box.count_contains(marks) + box.count_overlaps(written) + (not inside)

    return box_at(min(SIDES, key=met))
