"""The way of an image through the course, as one diagram: image to score in six steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from PIL import Image

from fdhmfe.figures import frames
from fdhmfe.metrics import average_precision

CODES = np.array([[1, -1, 1, 1, -1, 1, -1, -1], [1, 1, 1, 1, -1, 1, 1, -1]])  # 2 bits apart
RANKING = (True, True, False, True)
STEPS = (  # what a step gives, in words, and the notebooks about it
    ("1 image", "H × W pixels", "data"),
    ("2 features", "many real numbers", "stages, graph"),
    ("3 code", "the signs: K bits", "losses, train"),
    ("4 distance", "{apart} bits differ", "metrics, search"),
    ("5 ranking", "nearest first", "explorer"),
    ("6 score", "AP = {score:.2f}", "metrics, tables"),
)


def course_path(image: Image.Image) -> Figure:
    """Six steps in two rows: image, features, code; distance, ranking, score.

    The codes are small ones, made by hand, so that the distance and the score can be counted.
    """
    figure, axes = frames.panels(6, 3, (frames.WIDTH / 3, 1.65))
    facts = {"apart": int((CODES[0] != CODES[1]).sum()), "score": score(RANKING)}
    for axis, (name, words, notebooks) in zip(axes, STEPS, strict=True):
        axis.set(xticks=[], yticks=[], anchor="N")
        axis.spines[:].set_visible(False)
        axis.set_title(name, fontsize=12, weight="bold")
        axis.set_xlabel(f"{words.format(**facts)}\n({notebooks})", fontsize=11)
    axes[0].imshow(image, extent=(2, 6, 4, 0))
    shades = np.random.default_rng(0).normal(size=(4, 8))
    axes[1].imshow(shades, extent=(0, 8, 4, 0), cmap="cividis")
    strip(axes[2], CODES[0], 1.5)
    strip(axes[3], CODES[0], 0.6)
    strip(axes[3], CODES[1], 2.4)
    for bit in np.flatnonzero(CODES[0] != CODES[1]):
        axes[3].text(bit + 0.5, 2, "≠", ha="center", va="center", color=frames.WRONG, fontsize=12)
    ranked(axes[4])
    precisions(axes[5])
    for axis in axes:
        axis.set(xlim=(-1.2, 9.2), ylim=(4, 0), aspect="equal")
    for left, right in ((0, 1), (1, 2), (3, 4), (4, 5)):
        arrow(figure, axes[left], axes[right])
    return figure


def score(right: Sequence[bool]) -> float:
    """The average precision of a ranking, by the metric itself: image i gets distance i."""
    codes = 1 - 2 * np.tri(len(right), k=-1, dtype=np.int8)  # i times -1
    labels = [1], np.array(right, int)
    return average_precision(np.ones((1, len(right)), np.int8), codes, *labels).item()


def strip(axis: Axes, code: np.ndarray, top: float) -> None:
    """A code as a row of black (-1) and white (+1) cells."""
    axis.imshow(code[None], extent=(0, 8, top + 1, top), cmap="gray", vmin=-1, vmax=1)
    axis.vlines(range(9), top, top + 1, color="#999999", lw=0.8)
    axis.hlines((top, top + 1), 0, 8, color="#999999", lw=0.8)


def ranked(axis: Axes) -> None:
    """The ranking: a tick for each right image, a cross for a wrong one."""
    for rank, right in enumerate(RANKING):
        colour = frames.RIGHT if right else frames.WRONG
        place = (2 * rank + 1, 2)
        box: dict[str, Any] = {
            "boxstyle": "square,pad=0.25",
            "facecolor": "none",
            "edgecolor": colour,
            "lw": 2,
        }
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 13, "color": colour}
        axis.text(*place, "✓" if right else "✗", bbox=box, **style)


def precisions(axis: Axes) -> None:
    """Precision at each right image, as a fraction of its rank, above a bar."""
    for rank, right in enumerate(RANKING, 1):
        hits = sum(RANKING[:rank])
        if right:
            axis.bar(2 * rank - 1, -3 * hits / rank, 1.5, bottom=4, color=frames.BLUE)
            top = 4 - 3 * hits / rank
            axis.text(2 * rank - 1, top - 0.2, f"{hits}/{rank}", ha="center", fontsize=11)


def arrow(figure: Figure, left: Axes, right: Axes) -> None:
    """An arrow between two panels of a row."""
    style: dict[str, Any] = {
        "arrowstyle": "-|>",
        "mutation_scale": 14,
        "lw": 1.5,
        "color": "#333333",
    }
    ends: dict[str, Any] = {"xyA": (8.3, 2), "xyB": (-0.3, 2), "axesA": left, "axesB": right}
    figure.add_artist(ConnectionPatch(coordsA="data", coordsB="data", **ends, **style))
