"""Losses in the plane: with two bits, u is a point and its code is the quadrant it lies in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from fdhmfe.figures import frames

COLOURS, MARKS = (frames.BLUE, frames.VERMILION, frames.GREEN, frames.PURPLE), "os^D"
BITS = ("u₁ (bit 1)", "u₂ (bit 2)")
CLASSES = ("class 0", "class 1", "class 2", "class 3")


def descend(
    loss: Callable[[Tensor], Tensor], start: Tensor, *, steps: int, rate: float
) -> np.ndarray:
    """Gradient descent on points, without a network: start (M, 2) -> path (steps + 1, M, 2)."""
    points, path = start.clone().requires_grad_(), [start.numpy()]
    for _ in range(steps):
        (slope,) = torch.autograd.grad(loss(points), points)
        points = (points - rate * slope).detach().requires_grad_()
        path.append(points.detach().numpy())
    return np.stack(path)


def snapshots(path: np.ndarray, *steps: int) -> dict[str, np.ndarray]:
    """The first `steps` steps of a path, for each number of steps: panels for `trails`."""
    return {f"{step} steps" if step else "start": path[: step + 1] for step in steps}


def on_rings(path: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The path (T, M, 2) with each class on a circle of its own; directions stay as they are.

    Classes that lie in one direction do not hide each other then.
    """
    radius = 0.6 + 0.3 * labels
    return path / np.linalg.norm(path, axis=2, keepdims=True) * radius[:, None]


def trails(
    paths: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    proxies: np.ndarray | None = None,
    axes_names: tuple[str, str] = BITS,
    names: Sequence[str] = CLASSES,
    diagonal: str = "",
) -> Figure:
    """The paths of points, coloured by class, one panel per title; paths: title -> (T, M, 2).

    A mark is where a point ends; the line shows how it got there. labels (M,) index `names`: marks
    of the first lie on top. proxies (Y, 2) are drawn as stars, below the marks. diagonal: what the
    legend calls the line where both numbers are equal, which is drawn if it has a name.
    """
    figure, axes = square_panels(paths, axes_names)
    reach = max(1.3, 1.15 * max(np.abs(path).max() for path in paths.values()))
    for axis, path in zip(axes, paths.values(), strict=True):
        for label in np.unique(labels):
            colour, chosen = COLOURS[label], path[:, labels == label]  # (T, m, 2)
            axis.plot(*chosen.transpose(2, 0, 1), color=colour, lw=0.7, alpha=0.6)
            ends = {"marker": MARKS[label], "s": 34, "edgecolor": "white", "lw": 0.5, "alpha": 0.75}
            ends["zorder"] = 4 + 0.1 * (len(names) - label)
            axis.scatter(*chosen[-1].T, color=colour, label=names[label], **ends)
            if proxies is not None:
                star = {"marker": "*", "s": 190, "edgecolor": "black", "lw": 0.8, "zorder": 3}
                axis.scatter(*proxies[label], color=colour, **star)
        if diagonal:
            axis.axline((0, 0), slope=1, color="black", ls="--", lw=1, zorder=2, label=diagonal)
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach))
    frames.legend(figure, axes[0], "right center", fontsize=12)
    return figure


def field(
    losses: Mapping[str, Callable[[Tensor], Tensor]],
    *,
    proxies: np.ndarray | None = None,
    reach: float = 2.0,
) -> Figure:
    """The loss of a point as a function of its place, with arrows downhill; one panel per title.

    losses: title -> function of points (M, 2) that returns one loss per point (M,). Panels share
    one colour scale, finer where the loss is small.
    """
    figure, axes = square_panels(losses, BITS)
    ticks = torch.linspace(-reach, reach, 60)  # an even number: no point at the origin itself
    grid = torch.cartesian_prod(ticks, ticks)
    shades = [loss(grid).reshape(60, 60).T for loss in losses.values()]
    top = max(shade.max().item() for shade in shades)
    scale = {"levels": top * np.linspace(0, 1, 13) ** 2, "norm": PowerNorm(0.5, 0, top)}
    for axis, loss, shade in zip(axes, losses.values(), shades, strict=True):
        drawn = axis.contourf(ticks, ticks, shade, cmap="cividis", **scale)
        arrows(axis, loss, reach)
        if proxies is not None:
            own = {"color": "white", "edgecolor": "black", "marker": "*"}
            axis.scatter(*proxies[:1].T, s=190, zorder=4, **own)
            axis.scatter(*proxies[1:].T, s=60, zorder=4, color="white", marker="x")
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, format="%.2g")
    bar.set_label("loss", fontsize=12)
    bar.ax.tick_params(labelsize=12)
    return figure


def arrows(axis: Axes, loss: Callable[[Tensor], Tensor], reach: float) -> None:
    """Arrows downhill on a coarse grid; their length is the slope, up to a bound."""
    ticks = torch.linspace(-0.9 * reach, 0.9 * reach, 10)
    points = torch.cartesian_prod(ticks, ticks).requires_grad_()
    (slope,) = torch.autograd.grad(loss(points).sum(), points)
    length = slope.norm(dim=1, keepdim=True)
    shown = -slope / length.clamp(min=1e-9) * length.clamp(max=length.quantile(0.7).item())
    axis.quiver(*points.detach().T.numpy(), *shown.T.numpy(), color="white", width=0.006)


def square_panels(
    titles: Mapping[str, object], names: tuple[str, str]
) -> tuple[Figure, np.ndarray]:
    """One square panel per title with the zero lines, which are where a bit changes its sign."""
    size = (1.7, 1.75) if len(titles) > 1 else (2.6, 2.6)
    layout = len(titles), frames.panel_columns(len(titles)), size, (1.2, 0.5)
    figure, axes = frames.panels(*layout, framed=False, sharex=True, sharey=True)
    for axis, title in zip(axes, titles, strict=True):
        axis.axhline(0, color="#999999", lw=0.8)
        axis.axvline(0, color="#999999", lw=0.8)
        axis.set_aspect("equal")
        axis.set_title(title, fontsize=13)
        axis.tick_params(labelsize=12)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))  # short numbers, not to meet
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.supxlabel(names[0], fontsize=12)
    figure.supylabel(names[1], fontsize=12)
    return figure, axes


def angles(
    paths: Mapping[str, np.ndarray],
    labels: np.ndarray,
    proxies: np.ndarray,
    names: Sequence[str] = CLASSES,
) -> Figure:
    """How far each point ends from the direction of its own proxy: a row of marks per title.

    paths: title -> (T, M, 2); labels (M,) index proxies (Y, 2). In a row each class has a line of
    its own. The black line is a row's mean.
    """
    figure, axis = frames.chart("", 0.62 * len(paths) + 1.2)
    own = proxies[labels] / np.linalg.norm(proxies[labels], axis=1, keepdims=True)
    for row, path in enumerate(paths.values()):
        ends = path[-1] / np.linalg.norm(path[-1], axis=1, keepdims=True)
        degrees = np.degrees(np.arccos((ends * own).sum(1).clip(-1, 1)))
        for label in np.unique(labels):
            chosen, height = degrees[labels == label], row + 0.17 * (label - 1.5)
            look: dict[str, Any] = {"color": COLOURS[label], "marker": MARKS[label], "alpha": 0.8}
            name = names[label] if row == 0 else None
            axis.scatter(chosen, np.full(len(chosen), height), s=28, lw=0, label=name, **look)
        axis.plot([degrees.mean()] * 2, [row - 0.38, row + 0.38], color="black", lw=1.6)
    axis.axvline(45, color="#999999", ls="--")
    axis.text(44.3, len(paths) - 0.55, "one bit flips", ha="right", va="bottom", fontsize=11)
    axis.set_yticks(range(len(paths)), list(paths), fontsize=11)
    axis.set_ylim(len(paths) - 0.5, -0.5)
    axis.set_xlim(0, None)
    axis.set_xlabel("angle from the own proxy (degrees)", fontsize=11)
    axis.tick_params(axis="x", labelsize=11)
    look = {"ncols": 4, "fontsize": 11, "columnspacing": 1, "handletextpad": 0.2}
    frames.legend(figure, axis, "lower center", **look)
    return figure


def closest_pairs(table: pd.DataFrame, title: str) -> Figure:
    """Minimum distance of class proxies against code length: coin flips with their range, max-min.

    table: columns `bits`, `max-min`, `coin flips, median`, `coin flips, low`, `coin flips, high`.
    """
    figure, axis = frames.chart("", 3.4)
    axis.set_title(title, fontsize=11)
    low, high = table["coin flips, low"], table["coin flips, high"]
    axis.plot(table.bits, table["max-min"], "o-", color=COLOURS[0], label="max-min")
    median = "coin flips, median"
    axis.plot(table.bits, table[median], "s--", color=COLOURS[1], label=median)
    axis.fill_between(table.bits, low, high, color=COLOURS[1], alpha=0.2, label="their range")
    axis.set_xlabel("code length (bits)", fontsize=11)
    axis.set_ylabel("closest pair (bits)", fontsize=11)
    axis.set(xticks=table.bits, ylim=(0, None))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(frameon=False, fontsize=11)
    axis.tick_params(labelsize=11)
    return figure
