"""Charts of runs and tables: a tidy table in, a matplotlib Figure out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fdhmfe.config.methods import METHODS
from fdhmfe.figures import frames
from fdhmfe.metrics import evaluate, hamming_distance

# One colour per family of methods, after Okabe and Ito; within a family, markers and lines tell the
# methods apart. FDH-MFE and FDH-MFE+ have thick lines, FDH-MFE's is the only solid one.
COLOURS = {
    "ours": frames.BLUE,
    "controls": frames.VERMILION,
    "projections": frames.GREY,
    "pairs of images": frames.GREEN,
    "class codes": frames.ORANGE,
    "parts": frames.PURPLE,
    "references": frames.BLACK,
}
OWN_COLOURS = (frames.SKY, "#8C6D00", "#882255")  # of methods that the kit does not know
REFERENCES = {
    "class-id": "class id (reference)",
    "cosine": "features, unhashed (reference)",
    "unquantised": "unquantised (reference)",
}
MARKERS = "oPX^v<Ddsp*h1+>8H234x|_"
LINES = (":", "-.", "--")
CUTOFFS = (1, 2, 5, 10, 20, 50, 100)  # k of P@k


def styles(names: Iterable[str]) -> dict[str, dict[str, object]]:
    """Line style of each method, the same in every chart, in the order of a legend.

    Methods that the kit does not know come last, each with a colour and a marker of its own.
    """
    known = {m.name: (m.title, m.family) for m in METHODS.values()}
    known |= {name: (title, "references") for name, title in REFERENCES.items()}
    wanted = list(dict.fromkeys(names))
    own = [name for name in wanted if name not in known]
    colours = COLOURS | dict(zip(own, cycle(OWN_COLOURS)))
    known |= {name: (name, name) for name in own}
    found: dict[str, dict[str, object]] = {}
    seen: Counter[str] = Counter()
    for marker, (name, (title, family)) in zip(cycle(MARKERS), known.items()):
        ours = family == "ours"
        lines = ("-", "--") if ours else LINES
        found[name] = {
            "label": title,
            "color": colours[family],
            "marker": marker,
            "linestyle": lines[seen[family] % len(lines)],
            "linewidth": 2.5 if ours else 1.2,
            "markersize": 5,
            "zorder": 3 if ours else 2,
        }
        seen[family] += 1
    return {name: look for name, look in found.items() if name in wanted}


def proxy_distances(
    similarity: np.ndarray, proxies: Mapping[str, np.ndarray], title: str
) -> Figure:
    """Mean Hamming distance of two classes' proxies against how alike the classes are.

    similarity (Y, Y), symmetric; proxies: two names, each with its (Y, K). Each point is the mean
    over a tenth of the pairs. With fewer than ten pairs, each point is a pair.
    """
    pairs = np.triu_indices(len(similarity), 1)
    order = similarity[pairs].argsort()
    groups = np.array_split(order, min(10, len(order)))
    alike = [similarity[pairs][group].mean() for group in groups]
    figure, axis = frames.chart(title, 3, line=85)
    looks = (("o-", frames.BLUE), ("s--", frames.ORANGE))
    for (name, words), (line, colour) in zip(proxies.items(), looks, strict=True):
        apart = hamming_distance(words, words)[pairs]
        axis.plot(alike, [apart[group].mean() for group in groups], line, color=colour, label=name)
    axis.set(xlabel="likeness of two classes (cosine)", ylabel="distance of proxies (bits)")
    axis.legend(frameon=False, fontsize=8)
    return figure


def loss_curves(history: pd.DataFrame) -> Figure:
    """Each part of the loss over the epochs, one small panel each: own scale, same time axis."""
    parts = history.set_index("epoch")
    size = frames.WIDTH / 3, 1.5
    figure, axes = frames.panels(parts.shape[1], 3, size, (0, 0.3), sharex=True)
    for axis, (name, part) in zip(axes, parts.items(), strict=True):
        axis.plot(part, color=frames.BLUE, marker="o", markersize=3)
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.set_ylim(0, 1.1 * part.max() or 1)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("mean over the epoch", fontsize=9)
    return figure


def map_by_bits(cells: pd.DataFrame, title: str) -> Figure:
    """mAP@all against code length, one line per method; bars span the seeds.

    cells: one row per method and code length, from tables.map_cells. If more than half of
    them are above 95 %, a second panel shows the range 95-100 %.
    """
    crowded = (cells["mean"] > 0.95).mean() > 0.5
    limits = [(95, 100), (0, 95)] if crowded else [(0, min(100, 115 * cells["max"].max()))]
    size = frames.WIDTH, 3 if crowded else 4.6
    figure, axes = frames.panels(len(limits), 1, size, framed=False, sharex=True)
    for axis, limit in zip(axes, limits, strict=True):
        for method, look in styles(cells.method).items():
            rows = cells[cells.method == method].sort_values("bits")
            spread = seed_spread(rows)
            bars = {"yerr": spread, "capsize": 3} if spread.any() else {}
            axis.errorbar(rows.bits, 100 * rows["mean"], **bars, **look)
        axis.set(ylabel="mAP@all (%)", ylim=limit)
    axes[-1].set_xlabel("code length (bits)")
    axes[-1].set_xticks(sorted(cells.bits.unique()))
    axes[0].set_title(frames.wrapped(title), fontsize=8)
    frames.legend(figure, axes[0], "lower center", ncols=3)
    return figure


def seed_spread(rows: pd.DataFrame) -> np.ndarray:
    """Points of mAP below and above the mean (2, n), of columns mean, min and max (0..1)."""
    return 100 * np.array([rows["mean"] - rows["min"], rows["max"] - rows["mean"]])


def map_by_prefix(lengths: Sequence[int], values: Sequence[float], title: str) -> Figure:
    """mAP@all (0..1) of the first bits of one run's codes, against how many are used."""
    figure, axis = frames.chart(title, 3)
    axis.plot(lengths, 100 * np.asarray(values), color=frames.BLUE, marker="o", markersize=4)
    axis.set(xlabel="bits used (a prefix of the code)", ylabel="mAP@all (%)", ylim=(0, None))
    return figure


def curves(codes: Mapping[str, tuple[np.ndarray, ...]], title: str) -> Figure:
    """P@k against k, and precision against recall by Hamming radius, one line per method.

    codes: method -> (query codes, database codes, query labels, database labels).
    """
    figure, (upper, lower) = frames.panels(2, 1, (frames.WIDTH, 3), title=title, framed=False)
    looks = styles(codes)
    for method, arrays in codes.items():
        cutoffs = [k for k in CUTOFFS if k <= len(arrays[1])]
        scores = evaluate(*arrays, cuts=cutoffs)
        hits = [scores.hits["expected", k].mean() / k for k in cutoffs]
        upper.plot(cutoffs, 100 * np.array(hits), **looks[method])
        _, precision, recall = scores.curve
        found = recall > 0
        lower.plot(100 * recall[found], 100 * precision[found], markevery=8, **looks[method])
    upper.set(xscale="log", xlabel="k (images looked at)", ylabel="P@k (%)", ylim=(0, 100))
    upper.set_xticks(CUTOFFS, [str(k) for k in CUTOFFS], minor=False)
    lower.set(xlabel="recall (%)", ylabel="precision (%)", xlim=(0, 100), ylim=(0, 100))
    frames.legend(figure, upper, "lower center", ncols=3)
    return figure


def ablation(table: pd.DataFrame, title: str) -> Figure:
    """What each variant costs against the reference, in points of mAP; whiskers: the seed spread.

    table: rows of tables.ablation_table.
    """
    ordered = table.sort_values("cost")
    size = frames.WIDTH, 0.32 * len(ordered) + 1.2
    figure, (axis,) = frames.panels(1, 1, size, title=title, framed=False)
    whiskers = {"xerr": 100 * ordered.spread, "ecolor": "#555555", "capsize": 2}
    axis.barh(ordered.variant, 100 * ordered.cost, color=frames.BLUE, **whiskers)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel("mAP@all lost (points)")
    return figure


def sensitivity(table: pd.DataFrame, title: str) -> Figure:
    """mAP@all against the value of one setting at a time, a panel each; bars span the seeds.

    table: columns setting, value, mean, min, max (mAP in 0..1). All panels share their scale.
    """
    settings = table.groupby("setting", sort=False)
    columns = min(2, len(settings))
    size, look = (frames.WIDTH / columns, 1.7), {"sharey": True, "framed": False}
    figure, axes = frames.panels(len(settings), columns, size, (0, 0.5), title=title, **look)
    for axis, (name, points) in zip(axes, settings, strict=True):
        points = points.sort_values("value")
        places = np.arange(len(points))
        bars = {"yerr": seed_spread(points), "capsize": 3, "color": frames.BLUE, "marker": "o"}
        axis.errorbar(places, 100 * points["mean"], **bars)
        axis.set_xticks(places, [f"{value:g}" for value in points.value])
        axis.set_xlabel(name)
    figure.supylabel("mAP@all (%)", fontsize=10)
    return figure
