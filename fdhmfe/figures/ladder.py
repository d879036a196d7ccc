"""Charts of the ladder of ideas: what each idea scores, and what a rotation does to points."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fdhmfe.figures import frames

TYPE = 11  # points: 7 where a column of 85 mm holds the figure
LOOKS: Mapping[str, dict[str, Any]] = {  # told apart by form and filling, too
    "seen": {"color": frames.BLUE, "marker": "o"},
    "unseen": {"color": frames.VERMILION, "marker": "D", "markerfacecolor": "white"},
}
GROUPS = ("without labels", "learned from labels")
ROOM = 4  # rungs: the name of a group is as high
MARKS = (("o", frames.BLUE), ("^", frames.ORANGE), ("s", frames.GREEN), ("D", frames.BLACK))


def rungs(scores: pd.DataFrame, title: str, *, reference: str = "", chance: str = "") -> Figure:
    """mAP of each rung, the first at the bottom, as on a ladder; seen and unseen classes apart.

    scores: columns rung, labels (bool: does it learn from labels?), classes ("seen", "unseen"), mAP
    (0..1); one row per seed. A marker is their mean, written beside; a bar is their range.
    reference: the rung that a dotted line carries through each panel, if any. chance: a rung that
    does not stretch the axes; where it is off them, an arrow says so.
    """
    order = list(scores.rung.unique())
    kinds = [name for name in LOOKS if name in set(scores.classes)]
    size = frames.WIDTH / len(kinds), 0.3 * len(order) + 1.4
    figure, axes = frames.panels(len(kinds), len(kinds), size, framed=False, sharey=True)
    figure.suptitle(frames.wrapped(title, 66), fontsize=TYPE)
    for axis, name in zip(axes, kinds, strict=True):
        own = scores[scores.classes == name].groupby("rung").mAP.agg(["mean", "min", "max"])
        own = 100 * own.loc[order]
        one_side(axis, own, limits(own.drop(index=[chance] if chance else [])), LOOKS[name])
        axis.set_title(f"{name} classes", fontsize=TYPE, color=LOOKS[name]["color"])
        if reference:
            look = {"color": frames.BLACK, "linewidth": 0.8, "linestyle": ":", "zorder": 0}
            axis.axvline(own["mean"][reference], **look)
    axes[0].set_yticks(range(len(order)), order, fontsize=TYPE)
    for axis in axes[1:]:
        axis.tick_params(axis="y", length=0)
    axes[0].set_ylim(-0.6, len(order) - 0.4)
    told = "; bar: range over seeds" if scores.duplicated(["rung", "classes"]).any() else ""
    told += f"; dotted: {reference}" if reference else ""
    figure.supxlabel(f"mAP@all (%){told}", fontsize=TYPE)
    name_groups(axes, scores.groupby("rung", sort=False).labels.first().to_numpy())
    return figure


def limits(own: pd.DataFrame) -> tuple[float, float]:
    """Ends of an axis with all of own's ranges and a rim, within 0..100, one point wide or more."""
    low, high = own["min"].min(), own["max"].max()
    rim = max(0.5, 0.08 * (high - low))
    return max(0.0, low - rim), min(100.0, high + rim)


def one_side(
    axis: Axes, own: pd.DataFrame, ends: tuple[float, float], look: Mapping[str, Any]
) -> None:
    """A marker and a bar per rung of own (columns mean, min, max), and the mean to the right."""
    for height, (mean, low, high) in enumerate(own.to_numpy()):
        if ends[0] <= mean <= ends[1]:
            # Not clipped: a marker at 100 is as large as any.
            axis.plot(mean, height, markersize=5.5, linestyle="", clip_on=False, **look)
            axis.hlines(height, low, high, color=look["color"], linewidth=2.5)
        else:
            side, arrow = (1, "→") if mean > ends[1] else (0, "←")
            place: dict[str, Any] = {"transform": axis.get_yaxis_transform(), "va": "center"}
            place["ha"] = ("left", "right")[side]
            axis.text(side, height, arrow, **place, fontsize=TYPE, color=look["color"])
        shift: dict[str, Any] = {"xytext": (9, 0), "textcoords": "offset points", "va": "center"}
        written = f"{mean:.1f}".rjust(4, "\N{FIGURE SPACE}")
        edge = {"xycoords": axis.get_yaxis_transform(), "color": look["color"], "fontsize": TYPE}
        axis.annotate(written, (1, height), **shift, **edge)
    axis.set_xlim(*ends)
    axis.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axis.tick_params(axis="x", labelsize=TYPE)


def name_groups(axes: np.ndarray, labels: np.ndarray) -> None:
    """Part the rungs that learn from labels from the others, and name groups that have room."""
    start = 0
    for name, count in zip(GROUPS, (int((~labels).sum()), int(labels.sum())), strict=True):
        if count >= ROOM:
            place: dict[str, Any] = {"xytext": (44, 0), "textcoords": "offset points"}
            place |= {"xycoords": axes[-1].get_yaxis_transform(), "rotation": 270, "va": "center"}
            axes[-1].annotate(name, (1, start + (count - 1) / 2), fontsize=TYPE, **place)
        for axis in axes if start and count else ():
            axis.axhline(start - 0.5, color=frames.BLACK, linewidth=0.8, linestyle="--")
        start += count


def by_steps(table: pd.DataFrame, title: str) -> Figure:
    """mAP while a layer is trained, a panel for seen and one for unseen classes.

    table: columns steps, classes, mAP. The axes have the same length in points of mAP, so slopes
    can be compared; they start where each curve is.
    """
    kinds = list(table.classes.unique())
    size = frames.WIDTH / len(kinds), 3.2
    figure, axes = frames.panels(len(kinds), len(kinds), size, framed=False)
    figure.suptitle(frames.wrapped(title, 66), fontsize=TYPE)
    heights = 100 * table.pivot(index="steps", columns="classes", values="mAP")  # steps in order
    reach = 0.6 * max(1.0, (heights.max() - heights.min()).max())
    for axis, name in zip(axes, kinds, strict=True):
        middle = (heights[name].max() + heights[name].min()) / 2
        middle = min(max(middle, reach), 100 - reach)
        axis.plot(range(len(heights)), heights[name], clip_on=False, **LOOKS[name])
        axis.set_ylim(middle - reach, middle + reach)
        axis.set_xticks(range(len(heights)), heights.index.astype(str), rotation=60)
        axis.tick_params(labelsize=TYPE)
        axis.set_title(f"{name} classes", fontsize=TYPE, color=LOOKS[name]["color"])
    figure.supxlabel("training steps (not to scale)", fontsize=TYPE)
    axes[0].set_ylabel("mAP@all (%)", fontsize=TYPE)
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
        axis.set_xlabel("v₁ (bit 1)", fontsize=TYPE)
    axes[0].set_ylabel("v₂ (bit 2)", fontsize=TYPE)
    return figure
