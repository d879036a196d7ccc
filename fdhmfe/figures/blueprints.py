"""Drawings of FDH-MFE itself: the shapes on an image's way, and what replaces the sign."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from fdhmfe.figures import frames

LEFT, RIGHT = 1.5, 9.4  # what the boxes use of the drawing, which is 10 wide


class Sizes(NamedTuple):
    """The sizes that a network's shapes follow from."""

    image: int  # pixels per side
    maps: Sequence[tuple[int, int, int]]  # (C_l, H_l, W_l) of each stage, shallow to deep
    width: int  # D
    keep: int  # tokens per stage that vote
    nodes: int  # tokens per stage that enter the graph
    bits: int  # K

    @property
    def parts(self) -> dict[str, int]:
        """The parts of the image vector, and how many numbers each has."""
        means = {f"foreground {level}": c for level, (c, _, _) in enumerate(self.maps, start=1)}
        return {"graph": self.width, "deep": self.width, "whole": self.maps[-1][0]} | means


def network_shapes(sizes: Sizes) -> Figure:
    """The way of B images through FDH-MFE, top to bottom, with the shape of each step."""
    figure, (axis,) = frames.panels(1, 1, (frames.WIDTH, 6.4))
    axis.set(xlim=(0, 10), ylim=(0, 12.4))
    axis.axis("off")
    middle = (LEFT + RIGHT) / 2
    box(axis, middle, 12, RIGHT - LEFT, f"images (B, 3, {sizes.image}, {sizes.image})", frames.GREY)
    for level, (c, h, w) in enumerate(sizes.maps):
        column(axis, level, (c, h, w), sizes)
    nodes = sum(min(sizes.nodes, h * w) for _, h, w in sizes.maps)
    text = f"nodes of all stages (B, {nodes}, {sizes.width}): messages, then a weighted mean"
    box(axis, middle, 5.1, RIGHT - LEFT, text, frames.GREEN)
    arrow(axis, (LEFT + 0.3, 4.7), (LEFT + 0.3, 3.9))
    vector(axis, sizes.parts)
    box(axis, middle, 1.5, 5, f"relaxed code u (B, {sizes.bits})", frames.PURPLE)
    box(axis, middle, 0.4, 5, f"code (B, {sizes.bits}) of -1 and +1", frames.BLACK)
    arrow(axis, (middle, 2.35), (middle, 1.85))
    arrow(axis, (middle, 1.15), (middle, 0.75))
    names = ("backbone", "laterals,\nfusion", "selection", "graph", "image\nvector v")
    heights = (10.6, 8.9, 6.9, 5.1, 3.3)
    for name, y in zip((*names, "hash layer", "sign"), (*heights, 1.5, 0.4), strict=True):
        axis.text(0, y, name, fontsize=8, va="center", weight="bold")
    return figure


def column(axis: Axes, level: int, shape: tuple[int, int, int], sizes: Sizes) -> None:
    """One stage: its map, its fused tokens, those that selection takes; and the arrows between."""
    c, h, w = shape
    step = (RIGHT - LEFT) / len(sizes.maps)
    x, width = LEFT + step * (level + 0.5), 0.84 * step
    nodes, kept = min(sizes.nodes, h * w), min(sizes.keep, h * w)
    box(axis, x, 10.6, width, f"map {level + 1}\n(B, {c}, {h}, {w})", frames.GREY)
    box(axis, x, 8.9, width, f"tokens\n(B, {h * w}, {sizes.width})", frames.BLUE)
    chosen = f"best tokens\n(B, {nodes}, {sizes.width});\n{kept} of them vote"
    box(axis, x, 6.9, width, chosen, frames.VERMILION)
    for top, bottom in ((10.1, 9.4), (8.4, 7.6), (6.25, 5.45)):
        arrow(axis, (x, top), (x, bottom))
    if level == 0:
        arrow(axis, (x, 11.65), (x, 11.1))
    else:  # from the stage before
        edges = x - step + width / 2, x - width / 2
        arrow(axis, (edges[0], 10.6), (edges[1], 10.6))
        arrow(axis, (edges[0], 8.9), (edges[1], 8.9), "<->")
    if level == len(sizes.maps) - 1:  # the maps' means go past fusion, selection and graph
        edge = x + width / 2
        bend = [edge, 9.75, 9.75, RIGHT - 0.3], [10.6, 10.6, 4.3, 4.3]
        axis.plot(*bend, color=frames.BLACK, linewidth=0.9)
        arrow(axis, (RIGHT - 0.3, 4.33), (RIGHT - 0.3, 3.83))
        axis.text(9.85, 7.5, "means of the maps", rotation=270, fontsize=8, va="center")


def vector(axis: Axes, parts: dict[str, int]) -> None:
    """The image vector as a bar; each part is as long as the numbers it has."""
    scale, start = (RIGHT - LEFT) / sum(parts.values()), LEFT
    colours = [frames.GREEN, frames.VERMILION, *[frames.GREY] * len(parts)]
    for (name, count), colour in zip(parts.items(), colours, strict=False):
        axis.barh(3.6, scale * count, 0.45, start, color=colour, alpha=0.35, edgecolor="black")
        axis.text(start + scale * count / 2, 3.58, str(count), fontsize=8, ha="center", va="center")
        label = name.removeprefix("foreground ")
        axis.text(start + scale * count / 2, 3.25, label, fontsize=8, ha="center", va="top")
        start += scale * count
    first = start - scale * sum(n for name, n in parts.items() if name.startswith("foreground"))
    text = "foreground means,\nby stage"
    axis.text((first + start) / 2, 2.95, text, fontsize=8, ha="center", va="top")


def box(axis: Axes, x: float, y: float, width: float, text: str, colour: str) -> None:
    """A rounded box around lines of text, centred at (x, y)."""
    height = 0.3 + 0.36 * (1 + text.count("\n"))
    corner = x - width / 2, y - height / 2
    patch = FancyBboxPatch(corner, width, height, boxstyle="round,pad=0.02")
    patch.set(facecolor=f"{colour}22", edgecolor=colour)
    axis.add_patch(patch)
    axis.text(x, y, text, fontsize=8, ha="center", va="center")


def arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], head: str = "->"
) -> None:
    """A straight arrow from `start` to `end`."""
    look = {"arrowstyle": head, "linewidth": 0.9, "shrinkA": 2, "shrinkB": 2}
    axis.annotate("", end, start, arrowprops=look)


def sign_and_relaxed(values: np.ndarray, signed: np.ndarray, relaxed: np.ndarray) -> Figure:
    """The loss of a code against one of its numbers u_1: of the signs, and of the numbers (M,)."""
    figure, axis = frames.chart("the loss of one image when one number of its code moves", 2.4)
    axis.plot(values, signed, color=frames.VERMILION, linestyle="--", label="of the signs: flat")
    axis.plot(values, relaxed, color=frames.BLUE, label="of u itself: a slope")
    axis.set(xlabel="u₁ (its proxy's bit is +1)", ylabel="proxy loss")
    axis.legend(frameon=False, fontsize=8)
    return figure


def training_steps(
    losses: Sequence[float], rates: Sequence[float], schedule: Sequence[float]
) -> Figure:
    """The loss of each step so far; below it, the learning rate: so far, and of all the steps."""
    figure, (upper, lower) = frames.panels(2, 1, (frames.WIDTH, 1.6), framed=False)
    upper.plot(np.arange(1, len(losses) + 1), losses, color=frames.BLUE)
    upper.set(ylabel="loss of the batch", xlabel="step", ylim=(0, 1.1 * max(losses, default=1)))
    lower.plot(np.arange(1, len(schedule) + 1), schedule, color=frames.GREY, linestyle=":")
    lower.plot(np.arange(1, len(rates) + 1), rates, color=frames.BLUE, linewidth=2.5)
    lower.set(ylabel="learning rate", xlabel="step (dotted: the whole schedule)", ylim=(0, None))
    return figure
