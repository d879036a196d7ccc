"""The ladder, read back from what was drawn."""

import numpy as np
import pandas as pd
import pytest

from fdhmfe.figures import ladder


def scores(classes=("seen", "unseen")) -> pd.DataFrame:
    values = {"LSH": (0.2, 0.4, 0.7, 0.7), "CSQ-like": (0.8, 0.8, 0.5, 0.6)}
    rows = [
        (rung, rung != "LSH", name, value)
        for rung, row in values.items()
        for name, value in zip(("seen", "seen", "unseen", "unseen"), row, strict=True)
        if name in classes
    ]
    return pd.DataFrame(rows, columns=["rung", "labels", "classes", "mAP"])


def means(axis) -> list[tuple[float, float]]:
    drawn = [line for line in axis.lines if line.get_marker() in ("o", "D")]
    return [tuple(line.get_xydata()[0]) for line in drawn]


def written(axis) -> list[str]:
    return [text.get_text().strip() for text in axis.texts]


def test_rungs_climb_from_the_bottom_and_no_panel_shows_both_kinds_of_class():
    seen, unseen = ladder.rungs(scores(), "title").axes
    assert [label.get_text() for label in seen.get_yticklabels()] == ["LSH", "CSQ-like"]
    assert means(seen) == [pytest.approx((30, 0)), pytest.approx((80, 1))]
    assert means(unseen) == [pytest.approx((70, 0)), pytest.approx((55, 1))]
    assert [axis.get_title() for axis in (seen, unseen)] == ["seen classes", "unseen classes"]
    assert written(seen) == ["30.0", "80.0"] and written(unseen) == ["70.0", "55.0"]


def test_a_bar_spans_the_seeds():
    seen, _ = ladder.rungs(scores(), "title").axes
    bars = [bar.get_segments()[0] for bar in seen.collections]
    assert bars[0].tolist() == [pytest.approx([20, 0]), pytest.approx([40, 0])]
    assert bars[1].tolist() == [pytest.approx([80, 1]), pytest.approx([80, 1])]


def test_bars_are_explained_where_there_are_seeds():
    for given, explained in ((scores(), True), (scores().iloc[::2], False)):
        below = ladder.rungs(given, "title").texts[-1].get_text()
        assert ("bar: range over seeds" in below) is explained


def test_axes_start_where_the_codes_are_and_end_at_100_at_most():
    assert ladder.limits(pd.DataFrame({"min": [40.0, 60], "max": [50.0, 90]})) == (36, 94)
    assert ladder.limits(pd.DataFrame({"min": [0.0], "max": [100.0]})) == (0, 100)
    assert ladder.limits(pd.DataFrame({"min": [7.0], "max": [7.0]})) == (6.5, 7.5)  # one score
    seen, _ = ladder.rungs(scores(), "title").axes
    drawn = [line for line in seen.lines if line.get_marker() == "o"]
    assert drawn and not any(line.get_clip_on() for line in drawn)  # whole at either end


def test_chance_does_not_stretch_the_axis_and_an_arrow_says_where_it_is():
    seen, unseen = ladder.rungs(scores(), "title", chance="LSH").axes
    assert seen.get_xlim() == (79.5, 80.5) and means(seen) == [pytest.approx((80, 1))]
    assert written(seen) == ["←", "30.0", "80.0"] and written(unseen)[0] == "→"


def test_a_line_parts_the_groups():
    for axis in ladder.rungs(scores(), "title").axes:
        (border,) = (line for line in axis.lines if line.get_linestyle() == "--")
        assert border.get_ydata()[0] == 0.5


def test_a_group_is_named_where_it_is_high_enough():
    many = pd.concat(scores().assign(rung=lambda t, i=i: t.rung + str(i)) for i in range(4))
    texts = ladder.rungs(many.sort_values("labels", kind="stable"), "title").axes[-1].texts
    places = {text.get_text(): text.xy[1] for text in texts}
    assert [places[name] for name in ladder.GROUPS] == [1.5, 5.5]
    assert set(written(ladder.rungs(scores(), "title").axes[-1])).isdisjoint(ladder.GROUPS)


def test_the_reference_is_carried_through_each_panel():
    for name, wanted in (("", []), ("LSH", [30, 70])):
        axes = ladder.rungs(scores(), "title", reference=name).axes
        dotted = [line for axis in axes for line in axis.lines if line.get_linestyle() == ":"]
        assert [line.get_xdata()[0] for line in dotted] == pytest.approx(wanted)


def test_without_unseen_classes_there_is_one_panel():
    figure = ladder.rungs(scores(("seen",)), "title")
    (axis,) = figure.axes
    assert means(axis) == [pytest.approx((30, 0)), pytest.approx((80, 1))]
    figure.draw_without_rendering()


def test_type_can_be_read_in_a_column():
    figure = ladder.rungs(scores(), "title")
    figure.draw_without_rendering()
    texts = list(figure.texts)
    for axis in figure.axes:
        texts += [*axis.texts, axis.title, *axis.get_xticklabels(), *axis.get_yticklabels()]
    printed = {text.get_fontsize() * 85 / 25.4 / figure.get_figwidth() for text in texts}
    assert min(printed) >= 7


def test_steps_are_in_order_and_both_panels_have_axes_of_one_length_within_0_to_100():
    rows = [(9, "seen", 0.5), (0, "seen", 0.1), (9, "unseen", 1.0), (0, "unseen", 1.0)]
    table = pd.DataFrame(rows, columns=["steps", "classes", "mAP"])
    axes = ladder.by_steps(table, "title").axes
    drawn = [list(line.get_ydata()) for axis in axes for line in axis.lines]
    assert drawn == [[10, 50], [100, 100]]
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["0", "9"]
    assert [axis.get_ylim() for axis in axes] == [pytest.approx((6, 54)), pytest.approx((52, 100))]


def test_each_point_is_joined_to_the_corner_of_its_signs():
    points = np.array([[0.5, 0.2], [-0.5, 0.0]])
    axis = ladder.to_corners({"a": points}, np.array([0, 1])).axes[0]
    joined = [line.get_xydata().tolist() for line in axis.lines if line.get_linewidth() == 0.6]
    assert joined == [[[0.5, 0.2], [1, 1]], [[-0.5, 0], [-1, 1]]]
    assert [line.get_marker() for line in axis.lines if line.get_marker() in "o^"] == ["o", "^"]
