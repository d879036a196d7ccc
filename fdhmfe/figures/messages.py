"""The graph: one round of messages, who is heard, how far messages travel, what many rounds do."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from PIL import Image

from fdhmfe.figures import frames, overlays

KINDS = frames.SKY, frames.ORANGE
BOXES = *KINDS, frames.PURPLE
LABEL: Mapping[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}


def one_round(names: Sequence[str], kinds: Sequence[int], weights: np.ndarray) -> Figure:
    """A diagram: the first node hears all nodes, and adds the message to what it was.

    A sector of what it becomes has the colour of the other kind: how much it now holds of it.
    kinds (N,): which colour each node has, 0 or 1; weights (N,): the first node's row of A.
    """
    figure, (axis,) = frames.panels(1, 1, (frames.WIDTH, 3.0))
    heights = np.arange(len(names))[::-1].astype(float)
    middle = heights.mean()
    message, after = (2.6, middle), (4.6, heights[0])
    for name, kind, height, weight in zip(names, kinds, heights, weights, strict=True):
        start = (0.0, height)
        arrow(axis, start, message, width=0.8 + 8 * float(weight))
        place = 0.42 * np.array(message) + 0.58 * np.array(start)
        text = str(Fraction(float(weight)).limit_denominator(100))
        axis.text(*place, text, ha="center", va="center", fontsize=12, bbox=LABEL)
        circle(axis, start, name, KINDS[kind])
    arrow(axis, message, after, width=2)
    axis.text(3.55, middle + 0.55, "$W_1$", fontsize=12, ha="center", va="center", bbox=LABEL)
    arrow(axis, (0.0, heights[0]), after, width=2, bend=-0.18)
    axis.text(2.3, heights[0] + 0.42, "$W_2$", fontsize=12, ha="center", va="center", bbox=LABEL)
    circle(axis, message, "Σ", "white")
    circle(axis, after, f"{names[0]}′", KINDS[kinds[0]])
    other = float(weights[np.array(kinds) != kinds[0]].sum()) / 2  # of itself plus its message
    sector = Path.wedge(270 - 180 * other, 270 + 180 * other)
    look: dict[str, Any] = {"color": KINDS[1 - kinds[0]], "edgecolor": "black", "zorder": 3}
    axis.scatter(*after, s=620, marker=sector, **look)
    axis.text(message[0], middle - 0.6, "message", fontsize=12, ha="center", va="top")
    axis.set(xlim=(-0.4, 5.1), ylim=(-0.5, heights[0] + 0.7), aspect="equal")
    axis.axis("off")
    return figure


def circle(axis: Axes, place: tuple[float, float], name: str, colour: str) -> None:
    """A node with its name."""
    axis.scatter(*place, s=620, color=colour, edgecolor="black", zorder=3)
    axis.text(*place, name, fontsize=13, ha="center", va="center", zorder=4)


def arrow(
    axis: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    width: float,
    bend: float = 0,
) -> None:
    """An arrow between two nodes; bend: how much it curves."""
    look: dict[str, Any] = {"arrowstyle": "-|>", "lw": width, "color": frames.GREY}
    look |= {"shrinkA": 13, "shrinkB": 14, "mutation_scale": 14}
    look |= {"connectionstyle": f"arc3,rad={bend}"}
    axis.annotate("", end, start, arrowprops=look)


def listening(
    image: Image.Image,
    heard: Mapping[str, Sequence[np.ndarray]],
    shifts: Sequence[float],
    listeners: Mapping[str, tuple[int, int]],
) -> Figure:
    """What is listened to, over the photograph: a row of panels per title, a panel per stage.

    heard: title -> an array (S_l,) per stage, how much each token is heard, 1 if all were heard
    alike; NaN where a token is not in the graph: it gets no colour. listeners: title -> (stage,
    token) of the listener, which is framed; stages count from 0.
    """
    columns = len(shifts)
    size = (1.5, 1.6), (0.9, 0.2)
    figure, every = frames.panels(len(heard) * columns, columns, *size)
    axes = every.reshape(len(heard), columns)
    top = max(np.nanmax(array) for arrays in heard.values() for array in arrays)
    for row, (title, arrays) in zip(axes, heard.items(), strict=True):
        row[0].set_ylabel(title, fontsize=12)
        for axis, array, shift in zip(row, arrays, shifts, strict=True):
            overlays.photograph(axis, image, grey=True)
            side = math.isqrt(len(array))
            look: dict[str, Any] = {"cmap": "viridis", "alpha": 0.6, "norm": PowerNorm(0.5, 0, top)}
            drawn = overlays.over(axis, array.reshape(side, side), side, shift, **look)
        if title in listeners:
            stage, token = listeners[title]
            framed(row[stage], token, len(arrays[stage]), shifts[stage])
    for level, axis in enumerate(axes[0], start=1):
        axis.set_title(f"stage {level}", fontsize=12)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=25)
    assert bar.solids is not None  # it is an image's
    bar.solids.set_alpha(1)
    bar.set_label("weight (even weights: 1)", fontsize=12)
    bar.ax.tick_params(labelsize=11)
    return figure


def framed(axis: Axes, token: int, tokens: int, shift: float) -> None:
    """A white frame around one token's cell."""
    side = math.isqrt(tokens)
    corner = overlays.token_centres(np.array([token]), tokens, shift)[0] - 0.5 / side
    axis.add_patch(
        Rectangle(corner, 1 / side, 1 / side, fill=False, edgecolor="white", lw=2.2, zorder=4)
    )


def spans(lengths: Mapping[str, np.ndarray], title: str) -> Figure:
    """How far messages travel: a box per title over its images; lengths: title -> (B,)."""
    figure, axis = frames.chart("", 0.5 * len(lengths) + 1.1)
    axis.set_title(frames.wrapped(title, 45), fontsize=11)
    look: dict[str, Any] = {
        "patch_artist": True,
        "medianprops": {"color": "black"},
        "flierprops": {"ms": 3},
    }
    drawn = axis.boxplot(list(lengths.values()), orientation="horizontal", widths=0.55, **look)
    for box, colour in zip(drawn["boxes"], BOXES, strict=False):
        box.set_facecolor(colour)
    axis.set_yticks(range(1, len(lengths) + 1), list(lengths), fontsize=11)
    axis.invert_yaxis()
    axis.set_xlabel("mean length of an edge (image widths)", fontsize=11)
    axis.set_xlim(0, None)
    axis.tick_params(axis="x", labelsize=11)
    return figure


def rounds(cosines: Mapping[str, Sequence[float]], title: str) -> Figure:
    """How alike the nodes of an image are, after 0, 1, ... rounds of messages; a line per title."""
    figure, axis = frames.chart("", 3.8)
    axis.set_title(frames.wrapped(title, 45), fontsize=11)
    looks = zip((frames.VERMILION, frames.PURPLE, frames.BLUE), "s^o", strict=True)
    for (name, values), (colour, mark) in zip(cosines.items(), looks, strict=False):
        axis.plot(values, color=colour, marker=mark, label=name)
    axis.set_xlabel("rounds of messages", fontsize=11)
    axis.set_ylabel("mean cosine of two nodes", fontsize=11)
    axis.set_ylim(min(0, *map(min, cosines.values())), 1.02)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.tick_params(labelsize=11)
    frames.legend(figure, axis, "lower center", fontsize=11)
    return figure
