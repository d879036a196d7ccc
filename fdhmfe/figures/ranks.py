"""Charts of ranked results: how AP is computed, and how ties and classes change it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fdhmfe.figures import frames
from fdhmfe.figures.names import shown

TYPE = 11  # points: 7 where a column of 85 mm holds the figure


def precision_at_ranks(rankings: Mapping[str, np.ndarray]) -> Figure:
    """How AP is computed, one panel per ranking: precision at each rank, filled if it is right.

    rankings: title -> (N,) bool, True where the image at that rank is right.
    """
    figure, axes = frames.panels(
        len(rankings), 1, (frames.WIDTH, 2), (0, 0.3), framed=False, sharex=True
    )
    for axis, (title, right) in zip(axes, rankings.items(), strict=True):
        ranks = np.arange(1, len(right) + 1)
        precision = right.cumsum() / ranks
        axis.bar(ranks[right], precision[right], color=frames.BLUE, label="right")
        axis.bar(
            ranks[~right], precision[~right], color="none", edgecolor=frames.GREY, label="wrong"
        )
        for rank in ranks[right]:
            axis.text(rank, 0.03, f"{right[:rank].sum()}/{rank}", ha="center", color="white")
        axis.set(ylim=(0, 1.05), xticks=ranks, ylabel="precision so far")
        axis.set_title(f"{title}: AP {precision[right].mean():.3f}", fontsize=9)
    axes[-1].set_xlabel("rank")
    frames.legend(figure, axes[0])
    return figure


def tied_orders(orders: Mapping[str, np.ndarray], sizes: Sequence[int]) -> Figure:
    """Orders of the same images, one row each: those in one box are tied, so may change places.

    orders: title -> (N,) bool, True where the image at that rank is right; sizes: how many images
    are at distance 0, 1, 2, and so on, N in all.
    """
    count = sum(sizes)
    figure, (axis,) = frames.panels(1, 1, (frames.WIDTH, 0.5 * len(orders) + 0.9))
    for row, right in enumerate(orders.values()):
        for rank, ok in enumerate(right, start=1):
            look = {"color": frames.RIGHT if ok else frames.WRONG, "ha": "center", "va": "center"}
            axis.text(rank, row, "✓ right" if ok else "✗ wrong", fontsize=9, **look)
        for size, last in zip(sizes, np.cumsum(sizes), strict=True):
            place = (last - size + 0.55, row - 0.35)
            axis.add_patch(Rectangle(place, size - 0.1, 0.7, fill=False, edgecolor=frames.BLACK))
    middles = np.cumsum(sizes) - (np.array(sizes) - 1) / 2
    for distance, middle in enumerate(middles):
        axis.text(middle, -0.7, f"distance {distance}", fontsize=9, ha="center", color=frames.GREY)
    axis.set(xlim=(0.5, count + 0.5), ylim=(len(orders) - 0.5, -1), xlabel="rank")
    axis.set_xticks(range(1, count + 1))
    axis.set_yticks(range(len(orders)), list(orders))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


def tie_rules(table: pd.DataFrame, title: str) -> Figure:
    """mAP of the same codes under each tie rule; columns bits, best, expected, index, worst."""
    figure, axis = frames.chart("", 3.4)
    axis.set_title(frames.wrapped(title, 60), fontsize=TYPE)
    percent = 100 * table.set_index("bits")
    bits, label = percent.index, "worst to best"
    axis.fill_between(bits, percent.worst, percent.best, color=frames.BLUE, alpha=0.2, label=label)
    axis.plot(bits, percent.expected, "o-", color=frames.BLUE, label="expected")
    axis.plot(bits, percent["index"], "x", color=frames.VERMILION, label="index")
    axis.set(ylim=(0, 100), xticks=bits)
    axis.set_xlabel("bits used", fontsize=TYPE)
    axis.set_ylabel("mAP@all (%)", fontsize=TYPE)
    axis.tick_params(labelsize=TYPE)
    frames.legend(figure, axis, "lower center", ncols=3, fontsize=TYPE)
    return figure


def per_class(values: np.ndarray, names: Sequence[str], mean: float, title: str) -> Figure:
    """Mean AP of each class, as sorted by the caller, with the mean over all queries as a line.

    values (Y,); the first and last class are named.
    """
    figure, axis = frames.chart(title, 3)
    axis.bar(range(len(values)), 100 * values, color=frames.BLUE, width=0.9)
    axis.axhline(100 * mean, color=frames.VERMILION, linestyle="--", label="mAP@all")
    axis.set_xticks([0, len(values) - 1], [shown(names[0]), shown(names[-1])], fontsize=8)
    axis.set(xlabel="class, worst to best", ylabel="mean AP (%)", ylim=(0, 100))
    frames.legend(figure, axis)
    return figure
