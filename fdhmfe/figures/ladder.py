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
SEEDS_BELOW = 0.27  # rungs: single seeds stand so far below their mean
COLUMN = 69  # points: a mean with its range is as wide
MARKS = (("o", frames.BLUE), ("^", frames.ORANGE), ("s", frames.GREEN), ("D", frames.BLACK))


def rungs(scores: pd.DataFrame, title: str, reference: str = "") -> Figure:
    """mAP on seen and on unseen classes, a line per rung, the first at the bottom, as on a ladder.

    scores: columns rung, labels (bool: does it learn from labels?), classes ("seen", "unseen"), mAP
    (0..1); one row per seed. Large markers: the mean over the seeds, written beside the chart with
    half of their range; small ones, just below: the single seeds.
    reference: the rung that dotted lines carry through the chart, if any.
    """
    order = list(scores.rung.unique())
    cells = 100 * scores.groupby(["rung", "classes"]).mAP.agg(["mean", "min", "max"])
    figure, axis = frames.chart("", 0.36 * len(order) + 1.7)
    figure.suptitle(frames.wrapped(title, 66), fontsize=TYPE)
    for name, mean in cells.loc[reference]["mean"].items() if reference else ():
        axis.axvline(mean, color=LOOKS[str(name)]["color"], linewidth=0.8, linestyle=":", zorder=0)
    kinds = [name for name in LOOKS if name in set(scores.classes)]
    for height, rung in enumerate(order):
        own = cells.loc[rung]
        axis.hlines(height, own["mean"].min(), own["mean"].max(), color=frames.GREY, linewidth=1)
        for column, name in enumerate(kinds):
            values = 100 * scores.mAP[(scores.rung == rung) & (scores.classes == name)]
            # Not clipped: a marker at 100 is as large as any.
            whole: dict[str, Any] = {**LOOKS[name], "linestyle": "", "clip_on": False}
            axis.plot(own["mean"][name], height, markersize=7, **whole)
            if len(values) > 1:
                below = np.full(len(values), height - SEEDS_BELOW)
                axis.plot(values, below, markersize=3, **whole)
            aside(axis, spread(values), height, column, LOOKS[name]["color"])
    for column, name in enumerate(kinds):
        sign = {"o": "●", "D": "◇"}[LOOKS[name]["marker"]]
        aside(axis, f"{sign} {name}", len(order) - 0.2, column, LOOKS[name]["color"])
    axis.set_yticks(range(len(order)), order, fontsize=TYPE)
    axis.set(xlim=(0, 100), ylim=(-0.6, len(order) - 0.4))
    axis.set_xticks(range(0, 101, 25))
    axis.tick_params(axis="x", labelsize=TYPE)
    axis.set_xlabel("mAP@all (%)", fontsize=TYPE)
    name_groups(axis, scores.groupby("rung", sort=False).labels.first().to_numpy(), len(kinds))
    return figure


def spread(values: pd.Series) -> str:
    """The mean, and half of the range if there is more than one value."""
    half = (values.max() - values.min()) / 2
    mean = f"{values.mean():.1f}".rjust(4, "\N{FIGURE SPACE}")
    return mean + (f" ±{half:.1f}" if len(values) > 1 else "")


def aside(axis: Axes, text: str, height: float, column: int, colour: str, **look: Any) -> None:
    """Write text to the right of the chart, in one of the columns there."""
    shift: dict[str, Any] = {"xytext": (9 + COLUMN * column, 0), "textcoords": "offset points"}
    look = {"va": "center_baseline", "fontsize": TYPE, "color": colour, **shift, **look}
    axis.annotate(text, (1, height), xycoords=axis.get_yaxis_transform(), **look)


def beside(axis: Axes, text: str, place: tuple[float, float], colour: str) -> None:
    """Write text to the right of a marker."""
    shift: dict[str, Any] = {"xytext": (7, 0), "textcoords": "offset points"}
    axis.annotate(text, place, **shift, va="center", fontsize=TYPE, color=colour)


def name_groups(axis: Axes, labels: np.ndarray, column: int) -> None:
    """Part the rungs that learn from labels from the others, and name groups that have room."""
    start = 0
    for name, count in zip(GROUPS, (int((~labels).sum()), int(labels.sum())), strict=True):
        if count >= ROOM:
            middle = start + (count - 1) / 2
            aside(axis, name, middle, column, frames.BLACK, rotation=270, va="center")
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
        beside(axis, str(name), (len(places) - 1, heights[-1]), LOOKS[str(name)]["color"])
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
