"""What a network looks at, drawn over the photograph: scores, kept regions, edges between tokens.

A stage of S = side^2 tokens is a side x side grid, row by row; each token stands for one cell.
`shifts` say, per stage, by how many cells the grid is moved (see `receptive_field.stage_views`).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

STAGE_COLOURS = ("#56B4E9", "#E69F00", "#CC79A7", "#009E73")  # Okabe and Ito's
STAGE_MARKS = "os^D"
WITHIN, ACROSS = "-", (0, (4, 2))  # lines of edges inside a stage, and from stage to stage


def token_centres(index: np.ndarray, tokens: int, shift: float) -> np.ndarray:
    """Centres (n, 2) of the given tokens as fractions of width and height; index (n,)."""
    side = math.isqrt(tokens)
    return (np.stack([index % side, index // side], axis=1) + 0.5 + shift) / side


def strongest(weights: np.ndarray, allowed: np.ndarray, count: int) -> np.ndarray:
    """(row, column) of the `count` largest allowed weights: (count, 2); both arguments (N, N)."""
    order = np.where(allowed, weights, -np.inf).ravel().argsort(kind="stable")[::-1]
    return np.stack(np.unravel_index(order[: min(count, allowed.sum())], weights.shape), axis=1)


def photograph(axis: Axes, image: Image.Image, *, grey: bool = False) -> None:
    """An image on the unit square, so that fractions of it are coordinates."""
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    axis.imshow(pixels, extent=(0, 1, 1, 0), cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))


def outline(axis: Axes, token: int, tokens: int, shift: float, colour: str) -> None:
    """A frame round the cell of one token."""
    cell = 1 / math.isqrt(tokens)
    corner = token_centres(np.array([token]), tokens, shift)[0] - cell / 2
    axis.add_patch(Rectangle(corner, cell, cell, fill=False, edgecolor=colour, lw=2))


def extent(tokens: int, shift: float) -> tuple[float, float, float, float]:
    """Where a stage's grid lies: left, right, bottom, top, as fractions of width and height."""
    start = shift / math.isqrt(tokens)
    return start, 1 + start, 1 + start, start


def panels(images: Sequence[Image.Image], titles: Sequence[str]) -> tuple[Figure, np.ndarray]:
    """A row per image: the photograph, then an empty panel per title."""
    rows, columns = len(images), len(titles) + 1
    figure = Figure(figsize=(1.75 * columns + 0.6, 1.75 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, title in zip(axes[0], ["image", *titles], strict=True):
        axis.set_title(title, fontsize=12)
    for axis, image in zip(axes[:, 0], images, strict=True):
        photograph(axis, image)
    return figure, axes


def heat_maps(
    images: Sequence[Image.Image],
    values: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    shifts: Sequence[float],
    unit: str,
    marked: int | None = None,
) -> Figure:
    """One number per token over each photograph; all panels share one colour scale, named `unit`.

    values: per image, one array (S,) per title. `marked`: a token to frame in the first row.
    """
    figure, axes = panels(images, titles)
    every = np.concatenate([array for row in values for array in row])
    low, high = np.percentile(every, [1, 99])
    for row, image, arrays in zip(axes, images, values, strict=True):
        for axis, array, shift in zip(row[1:], arrays, shifts, strict=True):
            photograph(axis, image, grey=True)
            grid = array.reshape(2 * [math.isqrt(len(array))])
            look = {"cmap": "viridis", "alpha": 0.65, "vmin": low, "vmax": high}
            drawn = axis.imshow(grid, extent=extent(len(array), shift), **look)
            axis.set(xlim=(0, 1), ylim=(1, 0))
    if marked is not None:
        for axis, array, shift in zip(axes[0, 1:], values[0], shifts, strict=True):
            outline(axis, marked, len(array), shift, "white")
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=25)
    assert bar.solids is not None  # it is an image's
    bar.solids.set_alpha(1)
    bar.set_label(unit, fontsize=12)
    bar.ax.tick_params(labelsize=12)
    return figure


def kept_panels(
    images: Sequence[Image.Image],
    kept: Sequence[Sequence[np.ndarray]],
    tokens: Sequence[int],
    titles: Sequence[str],
    shifts: Sequence[float],
) -> Figure:
    """Kept cells as they are, dropped cells darkened.

    kept: for each image, the kept positions (n,) per stage. tokens: S_l of each stage.
    """
    figure, axes = panels(images, titles)
    for row, image, stages in zip(axes, images, kept, strict=True):
        for level, (axis, index) in enumerate(zip(row[1:], stages, strict=True)):
            side = math.isqrt(tokens[level])
            photograph(axis, image)
            shade = np.full(side * side, 0.78)
            shade[index] = 0
            # The rim covers what a shifted grid leaves of the image: no token looks there.
            shade = np.pad(shade.reshape(side, side), 1, constant_values=0.78)
            black = np.zeros((*shade.shape, 3))
            start = (shifts[level] - 1) / side
            end = start + 1 + 2 / side
            axis.imshow(np.dstack([black, shade]), extent=(start, end, end, start))
            axis.set(xlim=(0, 1), ylim=(1, 0))
    return figure


def graph_over(
    image: Image.Image,
    places: np.ndarray,
    stage: np.ndarray,
    edges: Mapping[str, np.ndarray],
    weights: np.ndarray,
) -> Figure:
    """Nodes over the photograph, coloured by stage, and one panel of edges per title.

    places (N, 2) as fractions, stage (N,) from 0, edges: title -> (E, 2) rows (receiver, sender),
    weights (N, N). An arrow points to the receiver; its width shows the weight. Edges between
    stages are dashed. Stages share a grid, so each is drawn a little beside the other.
    """
    places = places + np.outer(stage - stage.mean(), (0.03, 0))
    figure = Figure(figsize=(3.1 * len(edges) + 1.2, 3.4), layout="constrained")
    axes = figure.subplots(1, len(edges), squeeze=False)[0]
    for axis, (title, pairs) in zip(axes, edges.items(), strict=True):
        photograph(axis, image, grey=True)
        axis.set_title(title, fontsize=12)
        for listener, heard in pairs:
            same = stage[listener] == stage[heard]
            arrow(axis, places[heard], places[listener], weights[listener, heard], same=same)
        for level in np.unique(stage):
            look = {"color": STAGE_COLOURS[level], "marker": STAGE_MARKS[level]}
            chosen = places[stage == level]
            axis.scatter(
                *chosen.T, s=26, edgecolor="black", lw=0.5, label=f"stage {level + 1}", **look
            )
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=12)
    return figure


def arrow(
    axis: Axes, start: np.ndarray, end: np.ndarray, weight: float, *, same: bool = True
) -> None:
    """An edge from the sender of a message to its receiver; the weight is in 0..1."""
    style = {
        "arrowstyle": "-|>",
        "color": "#D55E00",
        "lw": 0.6 + 2.4 * float(weight),
        "linestyle": WITHIN if same else ACROSS,
        "connectionstyle": "arc3,rad=0.15",
        "shrinkA": 4,
        "shrinkB": 4,
    }
    axis.annotate("", xy=tuple(end), xytext=tuple(start), arrowprops=style)
