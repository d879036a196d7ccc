"""Charts of where a gain comes from, read back from what was drawn."""

import numpy as np
import pandas as pd
import pytest

from fdhmfe.figures import comparisons


def test_ablation_bars_are_costs_in_points_with_a_panel_per_length():
    rows = [("a", 12, 0.05, 0.07), ("b", 12, -0.01, 0.01), ("b", 48, 0.03, 0.04)]
    costs = pd.DataFrame(rows, columns=["variant", "bits", "cost", "high"]).assign(seeds=3)
    short, long = comparisons.ablation(costs, "title").axes
    assert [label.get_text() for label in short.get_yticklabels()] == ["b", "a"]  # a on top
    assert [bar.get_width() for bar in short.patches] == pytest.approx([-1, 5])
    assert short.get_title() == "12 bits, 3 seed(s)"
    assert [bar.get_width() for bar in long.patches] == pytest.approx([3, np.nan], nan_ok=True)
    ends = [path[:, 0].tolist() for path in short.collections[0].get_segments()]
    assert ends == [pytest.approx([-3, 1]), pytest.approx([3, 7])]


def test_heat_maps_write_each_value_and_a_dash_for_none():
    rows = [
        *(("none", "sign", "parts", "csq", 0.2), ("none", "sign", "FDH-MFE", "csq", 0.4)),
        *(("none", "sign", "FDH-MFE", "dpsh", 0.3), ("tail", "sign", "parts", "csq", 0.8)),
    ]
    names = ["trainable", "coder", "network", "objective", "mean"]
    figure = comparisons.heat_maps(pd.DataFrame(rows, columns=names), "title")
    frozen, tail = figure.axes
    assert [text.get_text() for text in frozen.texts] == ["20.0", "–", "40.0", "30.0"]
    assert [text.get_text() for text in tail.texts] == ["80.0", "–", "–", "–"]
    assert [label.get_text() for label in frozen.get_yticklabels()] == ["parts", "FDH-MFE"]
    assert [label.get_text() for label in tail.get_xticklabels()] == ["CSQ", "DPSH"]
    assert frozen.images[0].get_clim() == (20, 40)  # of its own regime


def table(spread: float) -> pd.DataFrame:
    rows = [("fdh-mfe+, open", 0.8, 0.6, False), ("csq", 0.7, 0.5, True), ("itq", 0.3, 0.7, False)]
    made = pd.DataFrame(rows, columns=["method", "seen@seen", "unseen@unseen", "dominated"])
    return made.assign(**{"seen@seen sd": spread, "unseen@unseen sd": 2 * spread})


def test_rows_that_no_other_dominates_are_joined_and_named():
    axis = comparisons.seen_unseen(table(0.01), "title").axes[0]
    (front,) = (line for line in axis.lines if line.get_drawstyle() == "steps-pre")
    assert front.get_xydata().tolist() == [pytest.approx([30, 70]), pytest.approx([80, 60])]
    assert {text.get_text() for text in axis.texts} == {"ITQ", "FDH-MFE+, open"}


def test_bars_are_the_spread_over_folds_seen_to_the_side_unseen_upwards():
    axis = comparisons.seen_unseen(table(0.01), "title").axes[0]
    ends = {tuple(np.ptp(s, axis=0).round(6)) for c in axis.collections for s in c.get_segments()}
    assert ends == {(2, 0), (0, 4)}
    figure = comparisons.seen_unseen(table(np.nan), "one fold")
    assert len(figure.legends[0].get_texts()) == 3
    figure.draw_without_rendering()
