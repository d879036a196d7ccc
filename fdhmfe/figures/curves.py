"""Charts of runs and tables: a tidy table in, a matplotlib Figure out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fdhmfe.config.methods import METHODS, REFERENCES
from fdhmfe.figures import frames
from fdhmfe.metrics import evaluate, hamming_distance

# One colour per family of methods, after Okabe and Ito; within a family, markers and lines tell the
# methods apart. Ours are thick, and FDH-MFE's line is the only solid one.
COLOURS = {
    "ours": frames.BLUE,
    "projections": frames.GREY,
    "pairs of images": frames.GREEN,
    "class codes": frames.ORANGE,
    "parts": frames.PURPLE,
    "controls": frames.VERMILION,
    "references": frames.BLACK,
}
OWN_COLOURS = (frames.SKY, "#8C6D00", "#882255")  # of methods that the kit does not know
MARKERS = "oPX^v<DHsp*>1+hd8234x|_"
LINES = (":", "-.", "--", (0, (5, 1, 1, 1, 1, 1)))
OUR_LINES = ("-", (0, (4, 1)), (0, (2, 1)))
CUTOFFS = (1, 2, 5, 10, 20, 50, 100)  # k of P@k


def styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Line style of each method, the same in every chart, in the order of a legend.

    A variant ("fdh-mfe+, open") follows its method: its colour and its marker, hollow. Methods that
    the kit does not know come last, each with a colour and a marker of its own.
    """
    known = {m.name: (m.title, m.family) for m in METHODS.values()}
    known |= {name: (name, family) for name, family in REFERENCES.items()}
    wanted = list(dict.fromkeys(names))
    variants = {name: name.partition(", ")[0] for name in wanted if name not in known}
    variants = {name: method for name, method in variants.items() if method in METHODS}
    own = [name for name in wanted if name not in known and name not in variants]
    colours = COLOURS | dict(zip(own, cycle(OWN_COLOURS)))
    known |= {name: (name, name) for name in own}
    found: dict[str, dict[str, Any]] = {}
    seen: Counter[str] = Counter()
    for marker, (name, (title, family)) in zip(cycle(MARKERS), known.items()):
        for each in (name, *(v for v, method in variants.items() if method == name)):
            ours = family == "ours"
            lines = OUR_LINES if ours else LINES
            found[each] = {
                "label": title + each.removeprefix(name),
                "color": colours[family],
                "marker": marker,
                "markerfacecolor": colours[family] if each == name else "white",
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


def map_by_prefix(
    lengths: Sequence[int], values: Sequence[float], title: str, others: np.ndarray | None = None
) -> Figure:
    """mAP@all (0..1) of the first bits of one run's codes, against how many are used.

    others: (orders, lengths), the same with the bits in other orders, drawn as a band.
    """
    figure, axis = frames.chart(title, 3)
    if others is not None:
        low, high = 100 * others.min(axis=0), 100 * others.max(axis=0)
        label = f"{len(others)} random orders"
        axis.fill_between(lengths, low, high, color=frames.GREY, alpha=0.35, label=label)
    look: dict[str, Any] = {"color": frames.BLUE, "marker": "o", "markersize": 4}
    axis.plot(lengths, 100 * np.asarray(values), label="given order", **look)
    axis.set(xlabel="bits used (the first of each order)", ylabel="mAP@all (%)", ylim=(0, None))
    if others is not None:
        axis.legend(loc="lower right", frameon=False, fontsize=8)
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
