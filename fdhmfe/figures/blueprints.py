"""Drawings of FDH-MFE itself: the shapes on an image's way, and what replaces the sign."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from fdhmfe.figures import frames

LEFT, RIGHT = 1.5, 9.3  # what the boxes use of the drawing, which is 10.4 wide
BOX = 0.88  # width of a stage's box, as a share of its column
TOP = 3.85  # of the bar that is the image vector


class Sizes(NamedTuple):
    """The sizes that a network's shapes follow from."""

    image: int  # pixels per side
    maps: Sequence[tuple[int, int, int]]  # (C_l, H_l, W_l) of each stage, shallow to deep
    classes: int  # Y
    width: int  # D
    keep: int  # tokens per stage that are kept
    nodes: int  # tokens per stage that enter the graph
    bits: int  # K

    @property
    def parts(self) -> dict[str, int]:
        """The parts of the image vector, and how many numbers each has."""
        means = {f"foreground {level}": c for level, (c, _, _) in enumerate(self.maps, start=1)}
        return {"graph": self.width, "deep": self.width, "whole": self.maps[-1][0]} | means


def network_shapes(sizes: Sizes) -> Figure:
    """The way of B images through FDH-MFE, top to bottom, with the shape of each step."""
    figure, (axis,) = frames.panels(1, 1, (frames.WIDTH, 6.8))
    axis.set(xlim=(0, 10.4), ylim=(0, 13))
    axis.axis("off")
    middle, last = (LEFT + RIGHT) / 2, columns(sizes)[-1]
    text = f"images (B, 3, {sizes.image}, {sizes.image})"
    box(axis, middle, 12.6, RIGHT - LEFT, text, frames.GREY)
    for level, (c, h, w) in enumerate(sizes.maps):
        column(axis, level, (c, h, w), sizes)
    nodes = sum(min(sizes.nodes, h * w) for _, h, w in sizes.maps)
    text = f"nodes of all stages (B, {nodes}, {sizes.width}):\nmessages, then a weighted mean"
    box(axis, (LEFT + last) / 2, 5.6, last - LEFT, text, frames.GREEN)
    past_the_graph(axis, sizes, vector(axis, sizes.parts))
    box(axis, middle, 1.5, 5, f"relaxed code u (B, {sizes.bits})", frames.PURPLE)
    box(axis, middle, 0.4, 5, f"code (B, {sizes.bits}) of -1 and +1", frames.BLACK)
    arrow(axis, (middle, 2.3), (middle, 1.85))
    arrow(axis, (middle, 1.15), (middle, 0.75))
    names = ("backbone", "laterals,\nfusion", "selection", "graph", "image\nvector v")
    heights = (11.0, 9.2, 7.2, 5.6, 3.5)
    for name, y in zip((*names, "hash layer", "sign"), (*heights, 1.5, 0.4), strict=True):
        axis.text(0, y, name, fontsize=8, va="center", weight="bold")
    return figure


def columns(sizes: Sizes) -> list[float]:
    """Where the stages' boxes have their middle, from left to right."""
    step = (RIGHT - LEFT) / len(sizes.maps)
    return [LEFT + step * (level + 0.5) for level in range(len(sizes.maps))]


def column(axis: Axes, level: int, shape: tuple[int, int, int], sizes: Sizes) -> None:
    """One stage: its map, its fused tokens, what selection makes of them; the arrows between."""
    c, h, w = shape
    step = (RIGHT - LEFT) / len(sizes.maps)
    x, width = columns(sizes)[level], BOX * step
    nodes, kept = min(sizes.nodes, h * w), min(sizes.keep, h * w)
    box(axis, x, 11.0, width, f"map {level + 1}\n(B, {c}, {h}, {w})", frames.GREY)
    box(axis, x, 9.2, width, f"tokens\n(B, {h * w}, {sizes.width})", frames.BLUE)
    chosen = f"logits (B, {h * w}, {sizes.classes})\nnodes (B, {nodes}, {sizes.width})"
    box(axis, x, 7.2, width, f"{chosen}\nkept (B, {kept})", frames.VERMILION)
    for top, bottom in ((10.5, 9.7), (8.7, 7.9)):
        arrow(axis, (x, top), (x, bottom))
    arrow(axis, (x - width / 4, 6.5), (x - width / 4, 6.1))
    if level == 0:
        arrow(axis, (x, 12.25), (x, 11.5))
    else:  # from the stage before
        edges = x - step + width / 2, x - width / 2
        arrow(axis, (edges[0], 11.0), (edges[1], 11.0))
        arrow(axis, (edges[1], 9.35), (edges[0], 9.35))
        arrow(axis, (edges[0], 9.05), (edges[1], 9.05))


def past_the_graph(axis: Axes, sizes: Sizes, parts: dict[str, tuple[float, float]]) -> None:
    """What enters the image vector, from the graph and past it; parts: (left, right) of each."""
    middles = {name: (left + right) / 2 for name, (left, right) in parts.items()}
    aside = 0.35 * BOX * (RIGHT - LEFT) / len(sizes.maps)
    arrow(axis, (middles["graph"], 5.1), (middles["graph"], TOP))
    # The deepest nodes
    x = columns(sizes)[-1] + aside
    wire(axis, [(x, 6.5), (x, 4.75), (middles["deep"], 4.75), (middles["deep"], TOP)])
    # The maps: their means are the grey parts. A bracket joins the foreground parts.
    first, end = parts["foreground 1"][0] + 0.05, RIGHT - 0.05
    axis.plot([first, first, end, end], [TOP, 4.0, 4.0, TOP], color=frames.BLACK, linewidth=0.9)
    for target, low in ((middles["whole"], TOP), ((first + end) / 2, 4.0)):
        wire(axis, [(RIGHT + 0.3, 4.4), (target, 4.4), (target, low)])
    starts = [x + aside for x in columns(sizes)]
    collected(axis, starts, 11.5, [(RIGHT + 0.3, 11.85), (RIGHT + 0.3, 4.4)], "-")
    collected(axis, starts, 7.9, [(RIGHT + 0.75, 8.25), (RIGHT + 0.75, 3.6)], "--")
    wire(axis, [(RIGHT + 0.75, 3.6), (RIGHT, 3.6)], "--")
    look: dict[str, Any] = {"rotation": 270, "fontsize": 8, "va": "center", "ha": "left"}
    axis.text(RIGHT + 0.38, 10.1, "means of the maps", **look)
    axis.text(RIGHT + 0.83, 6.0, "logits: weights", **look)


def vector(axis: Axes, parts: dict[str, int]) -> dict[str, tuple[float, float]]:
    """The image vector as a bar, each part as long as the numbers it has; where each one lies."""
    scale, start = (RIGHT - LEFT) / sum(parts.values()), LEFT
    colours = [frames.GREEN, frames.VERMILION, *[frames.GREY] * len(parts)]
    places = {}
    for (name, count), colour in zip(parts.items(), colours, strict=False):
        end = start + scale * count
        axis.barh(3.6, end - start, 0.45, start, color=colour, alpha=0.35, edgecolor="black")
        label, x = name.removeprefix("foreground "), (start + end) / 2
        if 0.14 * max(len(label), len(str(count))) < end - start:
            axis.text(x, 3.58, str(count), fontsize=8, ha="center", va="center")
            axis.text(x, 3.25, label, fontsize=8, ha="center", va="top")
        else:  # too short a part for text in it
            axis.text(x, 3.25, f"{label}: {count}", fontsize=8, ha="center", va="top", rotation=90)
        places[name] = start, end
        start = end
    x = (places["foreground 1"][0] + RIGHT) / 2
    axis.text(x, 2.95, "foreground means,\nby stage", fontsize=8, ha="center", va="top")
    x = sum(places["whole"]) / 2
    deepest = sum(name.startswith("foreground") for name in parts)
    axis.text(x, 2.95, f"(map {deepest})", fontsize=8, ha="center", va="top")
    return places


def box(axis: Axes, x: float, y: float, width: float, text: str, colour: str) -> None:
    """A rounded box around lines of text, centred at (x, y)."""
    height = 0.3 + 0.36 * (1 + text.count("\n"))
    corner = x - width / 2, y - height / 2
    patch = FancyBboxPatch(corner, width, height, boxstyle="round,pad=0.02")
    patch.set(facecolor=f"{colour}22", edgecolor=colour)
    axis.add_patch(patch)
    axis.text(x, y, text, fontsize=8, ha="center", va="center")


def arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A straight arrow from `start` to `end`."""
    look = {"arrowstyle": "->", "linewidth": 0.9, "shrinkA": 2, "shrinkB": 2}
    axis.annotate("", end, start, arrowprops=look)


def wire(axis: Axes, corners: Sequence[tuple[float, float]], line: str = "-") -> None:
    """An arrow around corners."""
    axis.plot(*zip(*corners[:-1], strict=True), color=frames.BLACK, linewidth=0.9, linestyle=line)
    look = {"arrowstyle": "->", "linewidth": 0.9, "linestyle": line, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", corners[-1], corners[-2], arrowprops=look)


def collected(
    axis: Axes, starts: Sequence[float], y: float, corners: list[tuple[float, float]], line: str
) -> None:
    """A line without a head, around corners; on its way it takes in `starts` at height y."""
    level = corners[0][1]
    look: dict[str, Any] = {"color": frames.BLACK, "linewidth": 0.9, "linestyle": line}
    axis.plot(*zip((starts[0], level), *corners, strict=True), **look)
    for x in starts:
        axis.plot([x, x], [y, level], **look)
        axis.plot(x, y, "o", color=frames.BLACK, markersize=3)


def sign_and_relaxed(values: np.ndarray, signed: np.ndarray, relaxed: np.ndarray) -> Figure:
    """The loss of a code against one of its numbers u_1: of the signs, and of the numbers (M,)."""
    figure, axis = frames.chart("the loss of one image when one number of its code moves", 2.4)
    axis.plot(values, signed, color=frames.VERMILION, linestyle="--", label="of the signs: flat")
    axis.plot(values, relaxed, color=frames.BLUE, label="of u itself: a slope")
    axis.axvspan(-0.4, -0.3, color=frames.GREY, alpha=0.3, lw=0, label="from -0.4 to -0.3")
    axis.set(xlabel="u₁ (its proxy's bit is +1)", ylabel="proxy loss")
    axis.title.set_fontsize(10)
    axis.legend(frameon=False, fontsize=10)
    return figure


def learning_rates(schedule: Sequence[float], shown: int) -> Figure:
    """The learning rate of all steps; the first ones, which the loop takes, are shaded."""
    figure, axis = frames.chart(f"the learning rate of all steps; grey: the first {shown}", 1.9)
    axis.axvspan(1, max(shown, 1), color=frames.GREY, alpha=0.25, linewidth=0)
    axis.plot(np.arange(1, len(schedule) + 1), schedule, color=frames.BLUE)
    axis.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    return figure


def training_steps(
    losses: Sequence[float], rates: Sequence[float], schedule: Sequence[float]
) -> Figure:
    """The loss of each step so far; below it, on the same axis, the learning rate.

    schedule: the rates of all steps that are to be taken, drawn as dots until they are.
    """
    layout = 2, 1, (frames.WIDTH, 1.5)
    figure, (upper, lower) = frames.panels(*layout, framed=False, sharex=True)
    upper.plot(np.arange(1, len(losses) + 1), losses, color=frames.BLUE)
    upper.set(ylabel="loss of the batch", ylim=(0, 1.1 * max(losses, default=1)))
    lower.plot(np.arange(1, len(schedule) + 1), schedule, color=frames.GREY, linestyle=":")
    lower.plot(np.arange(1, len(rates) + 1), rates, color=frames.BLUE, linewidth=2.5)
    lower.set(ylabel="learning rate", xlabel="step", ylim=(0, None))
    figure.align_ylabels()
    return figure
