"""Diagrams of what happens to tokens: fusion between stages, selection within one."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fdhmfe.figures import frames

STEPS = ("map", "same width", "top-down", "bottom-up")
CELL = 0.26  # width of a cell of a small grid


def small_grid(axis: Axes, centre: tuple[float, float], side: int, filled: dict[int, str]) -> None:
    """A grid of side x side cells around `centre`; `filled`: colours of some, by token number."""
    half = side * CELL / 2
    for token in range(side * side):
        corner = centre[0] - half + token % side * CELL, centre[1] + half - token // side * CELL
        look: dict[str, Any] = {
            "facecolor": filled.get(token, "white"),
            "edgecolor": frames.BLACK,
            "lw": 0.8,
        }
        axis.add_patch(Rectangle((corner[0], corner[1] - CELL), CELL, CELL, **look))


def arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    look = {"arrowstyle": "-|>", "color": colour, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=look)


def fusion_steps(stages: int) -> Figure:
    """The way of a token through fusion: one row per stage, the deepest on top, a column per step.

    An arrow across rows is a message. It goes to the cell at the same place, drawn in colour. The
    letters W, V and U name what is learned on the way.
    """
    figure, (axis,) = frames.panels(1, 1, (frames.WIDTH, 1.25 * stages + 0.5))
    gap, row, edge = 2.1, 1.5, 1.5 * CELL + 0.08
    for level in range(stages):
        y = level * row
        axis.text(-0.65, y, f"stage {level + 1}", ha="right", va="center", fontsize=12)
        for step in range(len(STEPS)):
            small_grid(axis, (step * gap, y), 3, {4: frames.SKY if step else frames.GREY})
            if step:
                arrow(axis, ((step - 1) * gap + edge, y), (step * gap - edge, y), frames.GREY)
        axis.text(gap / 2, y + 0.1, f"$W_{level + 1}$", ha="center", va="bottom", fontsize=12)
    for level in range(1, stages):
        low, high = (level - 1) * row, level * row
        for step, letter, start, end, colour in (
            (2, "V", high - edge, low + edge, frames.VERMILION),
            (3, "U", low + edge, high - edge, frames.BLUE),
        ):
            arrow(axis, (step * gap, start), (step * gap, end), colour)
            place = step * gap + 0.12, (low + high) / 2
            axis.text(*place, f"$+\\,{letter}_{level}$", va="center", fontsize=12)
    for step, title in enumerate(STEPS):
        axis.text(step * gap, (stages - 1) * row + 0.6, title, ha="center", fontsize=11)
    axis.set(xlim=(-1.9, 3 * gap + 0.85), ylim=(-0.6, (stages - 1) * row + 0.95), aspect="equal")
    axis.axis("off")
    return figure


def selection_steps(logits: np.ndarray, kept: np.ndarray) -> Figure:
    """Tokens -> vote -> scores -> kept or dropped, with the numbers of one small image.

    logits (S, Y) of S = side^2 tokens; kept (n,): positions of the kept tokens.
    """
    side, vote = math.isqrt(len(logits)), logits.mean(0)
    winner = int(vote.argmax())
    shifted = logits - logits.max(1, keepdims=True)
    scores = (shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))[:, winner]
    numbers = [f"{number}" for number in range(len(logits))]
    figure, axes = frames.panels(4, 2, (2.5, 1.75))
    titles = ("1. logits of each token", "2. the image votes", "3. scores", "4. kept or dropped")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=11)
        axis.tick_params(labelsize=11, length=0)
    table(axes[0], logits, numbers, [f"class {c}" for c in range(logits.shape[1])])
    bars = axes[1].bar(range(len(vote)), vote, color=frames.GREY, width=0.6)
    bars[winner].set_color(frames.BLUE)
    axes[1].bar_label(bars, [f"{value:.2f}" for value in vote], fontsize=11)
    axes[1].set_xticks(range(len(vote)), [f"class {c}" for c in range(len(vote))])
    axes[1].set(yticks=[], ylim=(min(0, 1.2 * vote.min()), 1.25 * vote.max()))
    axes[1].set_xlabel("mean logit", fontsize=11)
    table(axes[2], scores[:, None], numbers, [f"log P(class {winner})"])
    axes[3].set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), xticks=[], yticks=[])
    for token in range(len(logits)):
        chosen = token in kept
        x, y = token % side, token // side
        colour = frames.SKY if chosen else "#444444"
        axes[3].add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
        word = f"{token}\n{'kept' if chosen else 'dropped'}"
        look = {"ha": "center", "va": "center", "fontsize": 11}
        axes[3].text(x, y, word, color="black" if chosen else "white", **look)
    return figure


def table(axis: Axes, values: np.ndarray, rows: list[str], columns: list[str]) -> None:
    """Numbers (R, C) in cells, with a name per row and column."""
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), [f"token {row}" for row in rows])
    axis.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    for (y, x), value in np.ndenumerate(values):
        axis.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=11)
    axis.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
    axis.grid(which="minor", color="#999999", lw=0.5)
    axis.tick_params(which="minor", length=0)
