"""What a network looks at, drawn over the photograph: scores and kept regions.

A stage of S = side^2 tokens is a side x side grid, row by row; each token stands for one cell.
`shifts` say, per stage, by how many cells the grid is moved (see `receptive_field.stage_views`).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from fdhmfe.figures import frames


def token_centres(index: np.ndarray, tokens: int, shift: float) -> np.ndarray:
    """Centres (n, 2) of the given tokens as fractions of width and height; index (n,)."""
    side = math.isqrt(tokens)
    return (np.stack([index % side, index // side], axis=1) + 0.5 + shift) / side


def photograph(axis: Axes, image: Image.Image, *, grey: bool = False) -> None:
    """An image on the unit square, so that fractions of it are coordinates."""
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    axis.imshow(pixels, extent=(0, 1, 1, 0), cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0), autoscale_on=False)


def over(axis: Axes, cells: np.ndarray, side: int, shift: float, **look: Any) -> AxesImage:
    """A stage's grid over the photograph: cells (side, side, ..), or more if there is a rim."""
    start = (shift - (len(cells) - side) / 2) / side
    end = start + len(cells) / side
    return axis.imshow(cells, extent=(start, end, end, start), **look)


def rows_of_panels(
    images: Sequence[Image.Image], titles: Sequence[str]
) -> tuple[Figure, np.ndarray]:
    """A row per image: the photograph, then an empty panel per title."""
    rows, columns = len(images), len(titles) + 1
    figure, every = frames.panels(rows * columns, columns, (1.1, 1.15), (0.55, 0.3))
    axes = np.reshape(every, (rows, columns))
    for axis, title in zip(axes[0], ["image", *titles], strict=True):
        axis.set_title(title, fontsize=13)
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

    values: per image, one array (S,) per title. `marked`: a token to frame in each row.
    """
    figure, axes = rows_of_panels(images, titles)
    every = np.concatenate([array for row in values for array in row])
    low, high = every.min(), every.max()
    for row, image, arrays in zip(axes, images, values, strict=True):
        for axis, array, shift in zip(row[1:], arrays, shifts, strict=True):
            photograph(axis, image, grey=True)
            side = math.isqrt(len(array))
            look = {"cmap": "viridis", "alpha": 0.65, "vmin": low, "vmax": high}
            drawn = over(axis, array.reshape(side, side), side, shift, **look)
            if marked is not None:
                corner = token_centres(np.array([marked]), len(array), shift)[0] - 0.5 / side
                cell = Rectangle(corner, 1 / side, 1 / side, fill=False, edgecolor="white", lw=2)
                axis.add_patch(cell)
    bar = figure.colorbar(drawn, ax=axes, aspect=25, ticks=MaxNLocator(5))
    assert bar.solids is not None  # it is an image's
    bar.solids.set_alpha(1)
    bar.set_label(unit, fontsize=13)
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
    figure, axes = rows_of_panels(images, titles)
    for row, image, stages in zip(axes, images, kept, strict=True):
        for axis, index, count, shift in zip(row[1:], stages, tokens, shifts, strict=True):
            photograph(axis, image)
            side = math.isqrt(count)
            shade = np.full(count, 0.78)
            shade[index] = 0
            # The rim covers what a shifted grid leaves of the image: no token looks there.
            shade = np.pad(shade.reshape(side, side), 1, constant_values=0.78)
            black = np.zeros((*shade.shape, 3))
            over(axis, np.dstack([black, shade]), side, shift)
    return figure
