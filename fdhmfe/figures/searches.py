"""Charts of search: the cost of bits, of recall and of database size. Tables in, a Figure out."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from fdhmfe.figures.curves import WIDTH, legend, wrapped
from fdhmfe.support.places import shipped

BENCHMARK = shipped("results/benchmarks/search.csv")  # by benchmarks/search.py

# Okabe and Ito's colours; markers tell the kinds apart without them
KINDS = {
    "flat": ("#000000", "s", "exact (flat)"),
    "ivf": ("#0072B2", "o", "lists (ivf)"),
    "hnsw": ("#D55E00", "^", "graph (hnsw)"),
    "milvus": ("#009E73", "D", "engine (milvus)"),
}
SIZE_COLOURS = ("#56B4E9", "#0072B2", "#000000")


def new(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.set_title(wrapped(title, 60), fontsize=8)
    return figure, axis


def recall_by_bits(table: pd.DataFrame, title: str) -> Figure:
    """Share of the true neighbours found, by code length, one line per database size.

    table: columns bits, n, found (0..1).
    """
    figure, axis = new(title)
    for (n, rows), colour, mark in zip(table.groupby("n"), SIZE_COLOURS, "os^", strict=False):
        label = f"{n:,} images"
        axis.plot(rows.bits, 100 * rows.found, color=colour, marker=mark, label=label)
    lengths = sorted(table.bits.unique())
    axis.set(xscale="log", xlabel="code length (bits)", ylim=(0, 100))
    axis.set_ylabel("neighbours found (%)")
    axis.set_xticks(lengths, [str(length) for length in lengths])
    axis.minorticks_off()
    legend(figure, axis)
    return figure


def recall_by_time(table: pd.DataFrame, title: str) -> Figure:
    """Recall against milliseconds per query, one line per kind, one marker per effort.

    table: columns kind, effort, cpu_ms, recall (0..1).
    """
    figure, axis = new(title)
    for kind, rows in table.groupby("kind", sort=False):
        colour, mark, name = KINDS[kind]
        axis.plot(rows.cpu_ms, 100 * rows.recall, color=colour, marker=mark, label=name)
        for row in rows[rows.effort != ""].itertuples():
            place = (row.cpu_ms, 100 * row.recall)
            axis.annotate(str(row.effort), place, (4, -10), textcoords="offset points", fontsize=8)
    axis.set(xscale="log", xlabel="processor time per query (ms)", ylabel="recall (%)")
    axis.set_ylim(100 * table.recall.min() - 8, 102)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    legend(figure, axis)
    return figure


def map_by_memory(table: pd.DataFrame, title: str) -> Figure:
    """mAP against bytes per image, codes beside floats.

    table: columns what (`codes` or `floats`), bytes, map (0..1).
    """
    figure, axis = new(title)
    styles = {"codes": ("#0072B2", "o", "-"), "floats": ("#D55E00", "^", "--")}
    for what, rows in table.groupby("what"):
        colour, mark, line = styles[what]
        style: dict[str, Any] = {"color": colour, "marker": mark, "linestyle": line}
        axis.plot(rows.bytes, 100 * rows["map"], label=what, **style)
    sizes = sorted(table.bytes.unique())
    top = min(100, 125 * table["map"].max())
    axis.set(xscale="log", xlabel="bytes per image", ylabel="mAP@all (%)", ylim=(0, top))
    axis.set_xticks(sizes, [f"{size:g}" for size in sizes], fontsize=8)
    axis.minorticks_off()
    legend(figure, axis)
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
    figure, axis = new(title)
    sizes = np.geomspace(measured.n.min(), largest, 60)
    inside = sizes <= measured.n.max()
    line = model[0] + model[1] * sizes
    axis.plot(sizes[inside], line[inside], color="#0072B2", label="model a + b N")
    axis.plot(sizes[~inside], line[~inside], color="#0072B2", linestyle=":", label="beyond")
    axis.scatter(measured.n, measured.cpu_ms, color="#000000", zorder=3, label="measured here")
    hollow: dict[str, Any] = {"facecolors": "none", "edgecolors": "#D55E00", "marker": "s"}
    axis.scatter(beside.n, beside.cpu_ms, zorder=3, label="committed benchmark", **hollow)
    axis.set(xscale="log", yscale="log", xlabel="codes in the database")
    axis.set_ylabel("processor time per query (ms)")
    axis.tick_params(labelsize=12)  # their exponents are smaller
    legend(figure, axis)
    return figure
