"""Charts of where a gain comes from, read back from what was drawn."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fdhmfe.config.methods import METHODS, REFERENCES
from fdhmfe.figures import comparisons
from fdhmfe.figures.comparisons import VERDICTS

NONE = "cannot tell"


COSTS = ("variant", "bits", "cost", "low", "high", "seeds", "verdict")


def drawn_costs() -> Figure:
    rows = [
        *(("no-a", 12, 0.05, 0.03, 0.07, 3, "costs"), ("no-b", 12, 0.01, -0.02, 0.04, 3, NONE)),
        *(
            ("no-b", 48, -0.03, -0.04, -0.02, 3, "gains"),
            ("no-c", 48, 0.01, np.nan, np.nan, 1, NONE),
        ),
    ]
    pairs = [("no-a", 12, 0.04), ("no-a", 12, 0.06), ("no-b", 48, -0.03)]
    by_seed = pd.DataFrame(pairs, columns=["variant", "bits", "cost"])
    return comparisons.ablation(pd.DataFrame(rows, columns=COSTS), by_seed, "title")


def test_costs_are_points_with_intervals_and_each_seed_s_pair_a_panel_per_length():
    short, long = drawn_costs().axes
    assert [label.get_text() for label in short.get_yticklabels()] == [
        *("without b", "without a", "without c")  # the highest cost of the shortest code above
    ]
    assert short.get_title() == "12 bits, 3 seeds" and long.get_title() == "48 bits, 1 or 3 seeds"
    pairs, *lines = (line.get_xdata().tolist() for line in short.lines[:-1])
    assert pairs == pytest.approx([4, 6])
    assert lines == [pytest.approx(x) for x in ([3, 7], [5], [-2, 4], [1])]


def test_a_single_seed_has_a_mark_without_a_line_and_verdicts_differ_without_colour():
    figure = drawn_costs()
    lengths = [len(line.get_xdata()) for line in figure.axes[1].lines[:-1]]
    assert lengths == [1, 2, 1, 1]  # a pair; interval and mark of b; the mark of c
    looks = {name: (look["marker"], look.get("markerfacecolor")) for name, look in VERDICTS.items()}
    assert len(set(looks.values())) == 3
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*VERDICTS, "a pair of one seed"]


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
    control = table(0.01).replace("csq", "cosine")  # a reference is named although dominated
    axis = comparisons.seen_unseen(control, "title").axes[0]
    assert {text.get_text() for text in axis.texts} == {"ITQ", "FDH-MFE+, open", "cosine"}


NEAR = (0.05, 0.008), (0.05, -0.008), (-0.05, 0.008)  # right above, right below, left above


@pytest.mark.parametrize("taken", [1, 2, 3], ids=["above", "to the right", "on three sides"])
def test_a_name_keeps_clear_of_marks_and_of_other_names(taken):
    crowd = [("cosine", 0.7, 0.5, True)]
    crowd += [(m, 0.7 + x, 0.5 + y, True) for m, (x, y) in zip(METHODS, NEAR[:taken], strict=False)]
    rows = pd.DataFrame(crowd, columns=["method", "seen@seen", "unseen@unseen", "dominated"])
    rows = pd.concat([table(0), rows], ignore_index=True).fillna(0).drop_duplicates("method")
    figure = comparisons.seen_unseen(rows, "title")
    figure.draw_without_rendering()
    (axis,) = figure.axes
    boxes = [text.get_window_extent() for text in axis.texts]
    marks = axis.transData.transform(100 * rows[["seen@seen", "unseen@unseen"]])
    for box in boxes:
        assert box.count_contains(marks) == 0
        assert box.count_overlaps(boxes) == 1  # itself


def test_bars_are_the_spread_over_folds_seen_to_the_side_unseen_upwards():
    axis = comparisons.seen_unseen(table(0.01), "title").axes[0]
    ends = {tuple(np.ptp(s, axis=0).round(6)) for c in axis.collections for s in c.get_segments()}
    assert ends == {(2, 0), (0, 4)}
    figure = comparisons.seen_unseen(table(np.nan), "one fold")
    assert len(figure.legends[0].get_texts()) == 3
    figure.draw_without_rendering()


def drawn(methods: list[str]) -> Figure:
    cell = {"mean": 0.5, "min": 0.4, "max": 0.6}
    rows = [{"method": m, "bits": b, **cell} for m in methods for b in (12, 48)]
    return comparisons.map_by_bits(pd.DataFrame(rows), "title")


def test_map_by_bits_names_each_line_once_in_the_panel_of_its_family():
    figure = drawn(["semicon", "fdh-mfe", "lsh", "fdh-mfe+", "class-id"])
    named = {axis.get_title("left"): [t.get_text() for t in axis.texts] for axis in figure.axes[:4]}
    assert named == {
        **{"ours": ["FDH-MFE", "FDH-MFE+"], "projections": ["LSH"]},
        **{"parts": ["SEMICON"], "controls": ["class-id"]},
    }
    every = [*METHODS, *REFERENCES]
    assert sum(len(axis.texts) for axis in drawn(every).axes) == len(every)


def test_scores_fill_the_height_and_the_label_says_where_it_starts():
    cells = pd.DataFrame({"min": [0.85, 0.9], "max": [0.9, 0.917]})
    assert comparisons.score_range(cells) == (80, 100)
    assert comparisons.score_range(cells / 9) == (0, 20)
    assert drawn(["lsh"]).get_supylabel() == "mAP@all (%), not from 0"


def test_names_beside_lines_stand_apart_in_the_order_of_the_lines():
    moved = comparisons.apart(np.array([10.0, 11.0, 50.0]), 4)
    assert moved == pytest.approx([8.5, 12.5, 50])
    assert comparisons.apart(np.array([3.0]), 4) == pytest.approx([3])


def test_no_range_gives_no_whisker():
    rows = pd.DataFrame({"mean": [0.5, 0.5], "min": [0.5, 0.4], "max": [0.5, 0.5]})
    assert comparisons.seed_spread(rows) == pytest.approx(
        np.array([[np.nan, 10], [np.nan, 0]]), nan_ok=True
    )
