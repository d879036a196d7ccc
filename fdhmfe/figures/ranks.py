"""Charts of ranked results: how AP is computed, and how ties and classes change it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fdhmfe.figures.curves import BLUE, WIDTH, legend, wrapped


def precision_at_ranks(rankings: Mapping[str, np.ndarray]) -> Figure:
    """How AP is computed, one panel per ranking: precision at each rank, filled if it is right.

    rankings: title -> (N,) bool, True where the image at that rank is right.
    """
    figure = Figure(figsize=(WIDTH, 2 * len(rankings) + 0.3), layout="constrained")
    axes = figure.subplots(len(rankings), 1, squeeze=False, sharex=True)[:, 0]
    for axis, (title, right) in zip(axes, rankings.items(), strict=True):
        ranks = np.arange(1, len(right) + 1)
        precision = right.cumsum() / ranks
        axis.bar(ranks[right], precision[right], color=BLUE, label="right")
        axis.bar(ranks[~right], precision[~right], color="none", edgecolor="#7F7F7F", label="wrong")
        for rank in ranks[right]:
            axis.text(rank, 0.03, f"{right[:rank].sum()}/{rank}", ha="center", color="white")
        axis.set(ylim=(0, 1.05), xticks=ranks, ylabel="precision so far")
        axis.set_title(f"{title}: AP {precision[right].mean():.3f}", fontsize=9)
    axes[-1].set_xlabel("rank")
    legend(figure, axes[0])
    return figure


def tie_rules(table: pd.DataFrame, title: str) -> Figure:
    """mAP of the same codes under each tie rule; columns bits, best, expected, index, worst."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axis = figure.subplots()
    percent = 100 * table.set_index("bits")
    axis.fill_between(
        percent.index, percent.worst, percent.best, color=BLUE, alpha=0.2, label="worst to best"
    )
    axis.plot(percent.index, percent.expected, "o-", color=BLUE, label="expected")
    axis.plot(percent.index, percent["index"], "x", color="#D55E00", label="index")
    axis.set(xlabel="bits used", ylabel="mAP@all (%)", ylim=(0, 100))
    axis.set_xticks(percent.index)
    axis.set_title(wrapped(title, 55), fontsize=8)
    legend(figure, axis)
    return figure


def per_class(values: np.ndarray, names: Sequence[str], mean: float, title: str) -> Figure:
    """Mean AP of each class, as sorted by the caller, with the mean over all queries as a line.

    values (Y,); the first and last class are named.
    """
    figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(values))
    axis.bar(places, 100 * values, color=BLUE, width=0.9)
    axis.axhline(100 * mean, color="#D55E00", linestyle="--", label="mAP@all")
    axis.set_xticks([0, places[-1]], [names[0], names[-1]], fontsize=8)
    axis.set(xlabel="class, worst to best", ylabel="mean AP (%)", ylim=(0, 100))
    axis.set_title(title, fontsize=8)
    legend(figure, axis)
    return figure
