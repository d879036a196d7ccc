"""Figures of many values at once: a matrix as shades, embeddings as clouds of points.

Seaborn takes more than a second to import, so the figures that need it have their own module.
"""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from fdhmfe.figures.frames import panel_grid


def matrix(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], across: str, down: str
) -> Figure:
    """A small matrix as shades with its numbers written in; `across` and `down` name the axes."""
    size = 0.75 * len(columns) + 1.2, 0.6 * len(rows) + 0.9
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    shades = {"cmap": "cividis", "linewidths": 0.5, "cbar": False, "ax": axis}
    sns.heatmap(values, annot=True, fmt=".3f", xticklabels=columns, yticklabels=rows, **shades)
    axis.set(xlabel=across, ylabel=down)
    axis.tick_params(axis="y", rotation=0)
    return figure


def code_maps(
    maps: Sequence[np.ndarray], titles: Sequence[str], labels: np.ndarray, names: Sequence[str]
) -> Figure:
    """Two-dimensional embeddings side by side, the same classes in the same colours and marks.

    maps: arrays (M, 2); labels (M,) indices into `names`. Axes have no unit: t-SNE keeps
    neighbourhoods, not distances.
    """
    rows, columns = panel_grid(len(maps))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.6 * rows + 0.22 * lines), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    colours = sns.color_palette("colorblind", 8)
    marks = "os^DvPX*"
    for axis, points, title in zip(axes, maps, titles, strict=True):
        for label, name in enumerate(names):
            chosen = points[labels == label]
            style = {"color": colours[label % 8], "marker": marks[(label + label // 8) % 8]}
            axis.scatter(*chosen.T, s=24, label=name, linewidths=0, **style)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=12)
    below = {"loc": "outside lower center", "ncols": columns, "fontsize": 12, "frameon": False}
    figure.legend(*axes[0].get_legend_handles_labels(), **below)
    return figure
