"""Charts of the ladder of ideas: what each idea scores, and what a rotation does to points."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fdhmfe.figures import frames

TYPE = 11  # points: 7 where a column of 85 mm holds the figure
LOOKS: Mapping[str, dict[str, Any]] = {  # told apart by form and filling, too
    "seen": {"color": frames.BLUE, "marker": "o"},
    "unseen": {"color": frames.VERMILION, "marker": "D", "markerfacecolor": "white"},
}
GROUPS = ("without labels", "learned from labels")
ROOM = 4  # rungs: the name of a group is as high
MARKS = (("o", frames.BLUE), ("^", frames.ORANGE), ("s", frames.GREEN), ("D", frames.BLACK))


def rungs(scores: pd.DataFrame, title: str, reference: str = "") -> Figure:
    """mAP on seen and on unseen classes, a line per rung, the first at the bottom, as on a ladder.

    scores: columns rung, labels (bool: does it learn from labels?), classes ("seen", "unseen"), mAP
    (0..1); one row per seed. Markers: the mean over the seeds; thick lines: lowest to highest.
    reference: the rung that dotted lines carry through the chart, if any.
    """
    order = list(scores.rung.unique())
    cells = 100 * scores.groupby(["rung", "classes"]).mAP.agg(["mean", "min", "max"])
    figure, axis = frames.chart("", 0.36 * len(order) + 1.5)
    figure.suptitle(frames.wrapped(title, 66), fontsize=TYPE)
    for name, mean in cells.loc[reference]["mean"].items() if reference else ():
        axis.axvline(mean, color=LOOKS[str(name)]["color"], linewidth=0.8, linestyle=":", zorder=0)
    for height, rung in enumerate(order):
        own = cells.loc[rung].sort_values("mean")
        axis.hlines(height, own["mean"].min(), own["mean"].max(), color=frames.GREY, linewidth=1)
        for place, (name, mean, low, high) in enumerate(own.itertuples()):
            left = place < len(own) - 1
            look, edge = LOOKS[name], low if left else high
            axis.hlines(height, low, high, color=look["color"], linewidth=5, alpha=0.35)
            axis.plot(mean, height, linestyle="", markersize=7, **look)
            beside(axis, f"{mean:.1f}", (edge, height), left, 0, look["color"])
            if height == len(order) - 1:
                beside(axis, name, (mean, height), left, 15, look["color"])
    axis.set_yticks(range(len(order)), order, fontsize=TYPE)
    axis.set(xlim=(-18, 124), ylim=(-0.6, len(order) - 0.05))
    axis.set_xticks(range(0, 101, 20))
    axis.tick_params(axis="x", labelsize=TYPE)
    axis.set_xlabel("mAP@all (%)", fontsize=TYPE)
    name_groups(axis, scores.groupby("rung", sort=False).labels.first().to_numpy())
    return figure


def beside(
    axis: Axes, text: str, place: tuple[float, float], left: bool, up: float, colour: str
) -> None:
    """Write text beside a marker, `up` points above it."""
    side: dict[str, Any] = {"xytext": (-7 if left else 7, up), "ha": "right" if left else "left"}
    look: dict[str, Any] = {
        "textcoords": "offset points",
        "va": "center",
        "fontsize": TYPE,
        "color": colour,
    }
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    axis.annotate(text, place, **side, **look, bbox=ground)


def name_groups(axis: Axes, labels: np.ndarray) -> None:
    """Part the rungs that learn from labels from the others, and name groups that have room."""
    start = 0
    for name, count in zip(GROUPS, (int((~labels).sum()), int(labels.sum())), strict=True):
        if count >= ROOM:
            look: dict[str, Any] = {"rotation": 270, "va": "center", "fontsize": TYPE}
            middle = start + (count - 1) / 2
            axis.text(1.01, middle, name, transform=axis.get_yaxis_transform(), **look)
        if start and count:
            axis.axhline(start - 0.5, color=frames.BLACK, linewidth=0.8, linestyle="--")
        start += count


def by_steps(table: pd.DataFrame, title: str) -> Figure:
    """mAP on seen and on unseen classes while a layer is trained: columns steps, classes, mAP."""
    figure, axis = frames.chart("", 3.2)
    figure.suptitle(frames.wrapped(title, 66), fontsize=TYPE)
    places = sorted(table.steps.unique())
    for name, rows in table.groupby("classes", sort=False):
        heights = 100 * rows.sort_values("steps").mAP.to_numpy()
        axis.plot(range(len(places)), heights, **LOOKS[str(name)])
        last = len(places) - 1, heights[-1]
        beside(axis, str(name), last, False, 0, LOOKS[str(name)]["color"])
    axis.set_xticks(range(len(places)), [str(each) for each in places])
    axis.set(ylim=(0, 100), xlim=(-0.3, len(places) + 0.3))
    axis.tick_params(labelsize=TYPE)
    axis.set_xlabel("training steps", fontsize=TYPE)
    axis.set_ylabel("mAP@all (%)", fontsize=TYPE)
    return figure


def to_corners(panels: Mapping[str, np.ndarray], groups: np.ndarray) -> Figure:
    """Points in the plane, and from each a line to the corner that its two signs name.

    panels: title -> points (M, 2); groups (M,): small integers, each with its marker and colour.
    """
    side = frames.WIDTH / len(panels)
    figure, axes = frames.panels(len(panels), len(panels), (side, side + 0.5))
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        corners = np.where(points >= 0, 1.0, -1.0)
        for point, corner in zip(points, corners, strict=True):
            axis.plot(*zip(point, corner, strict=True), color=frames.GREY, linewidth=0.6, zorder=1)
        for group, (marker, colour) in zip(np.unique(groups), MARKS, strict=False):
            axis.plot(*points[groups == group].T, marker, color=colour, markersize=5)
        axis.axhline(0, color=frames.BLACK, linewidth=0.8)
        axis.axvline(0, color=frames.BLACK, linewidth=0.8)
        axis.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal", xticks=(-1, 1), yticks=(-1, 1))
        axis.tick_params(labelsize=TYPE)
        axis.set_title(title, fontsize=TYPE)
    return figure
