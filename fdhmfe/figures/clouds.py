"""Figures of many values at once: a matrix as shades, embeddings as clouds of points.

Seaborn takes more than a second to import, so the figures that need it have their own module.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from fdhmfe.figures import frames
from fdhmfe.figures.names import shown

TURNS = 5  # classes are drawn in turns, a part of each, so that none hides another


def matrix(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], across: str, down: str
) -> Figure:
    """A small matrix as shades with its numbers written in; `across` and `down` name the axes."""
    figure, (axis,) = frames.panels(1, 1, (0.75 * len(columns) + 1.2, 0.6 * len(rows) + 0.9))
    shades = {"cmap": "cividis", "linewidths": 0.5, "cbar": False, "ax": axis}
    sns.heatmap(values, annot=True, fmt=".3f", xticklabels=columns, yticklabels=rows, **shades)
    axis.set(xlabel=across, ylabel=down)
    axis.tick_params(axis="y", rotation=0)
    return figure


def code_maps(
    maps: Sequence[np.ndarray],
    titles: Sequence[str],
    labels: np.ndarray,
    names: Sequence[str],
    protocol: str,
) -> Figure:
    """Two-dimensional embeddings side by side, the same classes in the same colours and marks.

    maps: arrays (M, 2); labels (M,) indices into `names`; protocol: data and settings, for the
    title. Axes have no unit: t-SNE keeps neighbourhoods, not distances.
    """
    columns = frames.panel_columns(len(maps))
    figure, axes = frames.panels(
        len(maps), columns, (2.4, 2.7), (0, 0.22 * -(-len(names) // columns))
    )
    figure.suptitle(frames.wrapped(protocol, 25 * columns), fontsize=12)
    colours, marks = sns.color_palette("colorblind", 8), "os^DvPX*"
    for axis, points, title in zip(axes, maps, titles, strict=True):
        for turn, (label, name) in product(range(TURNS), enumerate(names)):
            style = {"color": colours[label % 8], "marker": marks[(label + label // 8) % 8]}
            own = points[labels == label][turn::TURNS]
            text = shown(name) if turn == 0 else None
            axis.scatter(*own.T, s=9, label=text, linewidths=0, **style)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=12)
    frames.legend(figure, axes[0], "lower center", ncols=columns, fontsize=12, markerscale=2)
    return figure
