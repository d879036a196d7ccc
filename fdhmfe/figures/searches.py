"""Charts of search: the cost of bits, of recall and of database size. Tables in, a Figure out."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from fdhmfe.figures import frames
from fdhmfe.support.places import shipped

BENCHMARK = shipped("results/benchmarks/search.csv")  # by benchmarks/search.py

KINDS = {  # markers tell them apart without the colours
    "flat": (frames.BLACK, "s", "exact (flat)"),
    "ivf": (frames.BLUE, "o", "lists (ivf)"),
    "hnsw": (frames.VERMILION, "^", "graph (hnsw)"),
}
STORED = {  # ways to store an image's description
    "codes": (frames.BLUE, "o", "codes"),
    "float32": (frames.GREY, "^", "PCA, float32"),
    "int8": (frames.VERMILION, "s", "PCA, int8"),
    "int4": (frames.GREEN, "D", "PCA, int4"),
}
BELOW = "lower center"  # of a legend: the panel keeps the whole width
SIZE_COLOURS = (frames.SKY, frames.BLUE, frames.BLACK)


def recall_by_bits(table: pd.DataFrame, title: str) -> Figure:
    """Share of the true neighbours found, by code length, one line per database size.

    table: columns bits, n, found (0..1).
    """
    figure, axis = frames.chart(title, 3.6)
    for (n, rows), colour, mark in zip(table.groupby("n"), SIZE_COLOURS, "os^", strict=False):
        label = f"{n:,} vectors"
        axis.plot(rows.bits, 100 * rows.found, color=colour, marker=mark, label=label)
    lengths = sorted(table.bits.unique())
    axis.set(xscale="log", xlabel="code length (bits)")
    axis.set(ylabel="neighbours found (%)", ylim=(0, 100))
    axis.set_xticks(lengths, [str(length) for length in lengths])
    axis.minorticks_off()
    frames.legend(figure, axis, BELOW, ncols=4)
    return figure


def recall_by_time(table: pd.DataFrame, title: str) -> Figure:
    """Recall against milliseconds per query, one line per kind, one marker per effort.

    table: columns kind, effort, cpu_ms, recall (0..1).
    """
    figure, axis = frames.chart(title, 3.6)
    for kind, rows in table.groupby("kind", sort=False):
        colour, mark, name = KINDS[kind]
        axis.plot(rows.cpu_ms, 100 * rows.recall, color=colour, marker=mark, label=name)
        for row in rows[rows.effort != ""].itertuples():
            place = (row.cpu_ms, 100 * row.recall)
            axis.annotate(str(row.effort), place, (4, -10), textcoords="offset points", fontsize=8)
    axis.set(xscale="log", xlabel="processor time per query (ms)", ylabel="recall (%)")
    axis.set_ylim(max(0, 10 * np.floor(10 * table.recall.min() - 0.5)), 101)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    frames.legend(figure, axis, BELOW, ncols=4)
    return figure


def map_by_memory(table: pd.DataFrame, title: str) -> Figure:
    """mAP against bytes per image, codes beside numbers that are stored in several ways.

    table: columns what (a key of STORED), bytes, map (0..1). A dotted line marks the codes' height.
    """
    figure, axis = frames.chart(title, 3.6)
    for what, rows in table.groupby("what", sort=False):
        colour, mark, label = STORED[what]
        size = 10 if what == "codes" else 5
        look: dict[str, Any] = {"color": colour, "marker": mark, "markersize": size, "label": label}
        axis.plot(rows.bytes, 100 * rows["map"], zorder=3 if what == "codes" else 2, **look)
    code = 100 * table[table.what == "codes"]["map"].item()
    axis.axhline(code, color=frames.BLUE, linestyle=":", linewidth=1)
    top = min(100, 125 * table["map"].max())
    axis.set(xlabel="bytes per image", ylabel="mAP@all (%)", ylim=(0, top))
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    frames.legend(figure, axis, BELOW, ncols=4)
    return figure


def projection(
    measured: pd.DataFrame,
    beside: pd.DataFrame,
    model: tuple[float, float],
    largest: int,
    title: str,
) -> Figure:
    """Time per query against database size: measured points, and a linear model of them.

    measured, beside: columns n, cpu_ms. The model ms = a + b N, given as (a, b), was fitted to
    `measured`; its line is dotted beyond. `beside` are points that it was not fitted to.
    """
    figure, axis = frames.chart(title, 3.6)
    sizes = np.geomspace(measured.n.min(), largest, 60)
    inside = sizes <= measured.n.max()
    line = model[0] + model[1] * sizes
    axis.plot(sizes[inside], line[inside], color=frames.BLUE, label="model a + b N")
    axis.plot(sizes[~inside], line[~inside], color=frames.BLUE, linestyle=":", label="beyond")
    axis.scatter(measured.n, measured.cpu_ms, color=frames.BLACK, zorder=3, label="measured here")
    hollow: dict[str, Any] = {"facecolors": "none", "edgecolors": frames.VERMILION, "marker": "s"}
    axis.scatter(beside.n, beside.cpu_ms, zorder=3, label="committed benchmark", **hollow)
    axis.set(xscale="log", yscale="log", xlabel="codes in the database")
    axis.set_ylabel("processor time per query (ms)")
    axis.tick_params(labelsize=13)  # their exponents are smaller
    frames.legend(figure, axis, BELOW, ncols=2)
    return figure
