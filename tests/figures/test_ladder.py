"""The ladder, read back from what was drawn."""

import numpy as np
import pandas as pd
import pytest

from fdhmfe.figures import frames, ladder


def scores(classes=("seen", "unseen")) -> pd.DataFrame:
    values = {"LSH": (0.2, 0.4, 0.7, 0.7), "CSQ-like": (0.8, 0.8, 0.5, 0.6)}
    rows = [
        (rung, rung != "LSH", name, value)
        for rung, row in values.items()
        for name, value in zip(("seen", "seen", "unseen", "unseen"), row, strict=True)
        if name in classes
    ]
    return pd.DataFrame(rows, columns=["rung", "labels", "classes", "mAP"])


def markers(axis, colour: str, size: int) -> list[list[tuple[float, float]]]:
    drawn = [line for line in axis.lines if line.get_marker() in ("o", "D")]
    own = [d for d in drawn if d.get_color() == colour and d.get_markersize() == size]
    return [list(map(tuple, d.get_xydata())) for d in own]


def test_rungs_climb_from_the_bottom_with_a_marker_per_kind_of_class():
    axis = ladder.rungs(scores(), "title").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["LSH", "CSQ-like"]
    assert markers(axis, frames.BLUE, 7) == [[pytest.approx((30, 0))], [pytest.approx((80, 1))]]
    means = [[pytest.approx((70, 0))], [pytest.approx((55, 1))]]
    assert markers(axis, frames.VERMILION, 7) == means


def test_single_seeds_stand_below_their_mean_which_is_written_with_half_of_their_range():
    axis = ladder.rungs(scores(), "title").axes[0]
    first, _ = markers(axis, frames.BLUE, 3)
    below = -ladder.SEEDS_BELOW
    assert first == [pytest.approx((20, below)), pytest.approx((40, below))]
    written = {text.get_text(): text.xy[1] for text in axis.texts}
    wanted = {"30.0 ±10.0": 0, "70.0 ±0.0": 0, "80.0 ±0.0": 1, "55.0 ±5.0": 1}
    assert {name: written[name] for name in wanted} == wanted


def test_one_run_has_no_range():
    axis = ladder.rungs(scores().iloc[::2], "title").axes[0]
    assert markers(axis, frames.BLUE, 3) == []
    assert {"20.0", "70.0", "80.0", "50.0"} <= {text.get_text() for text in axis.texts}


def test_the_axis_has_no_place_below_0_or_above_100():
    axis = ladder.rungs(scores(), "title").axes[0]
    assert axis.get_xlim() == (0, 100)
    drawn = [line for line in axis.lines if line.get_marker() in ("o", "D")]
    assert drawn and not any(line.get_clip_on() for line in drawn)  # whole at either end


def test_kinds_of_class_stand_over_their_columns_and_a_line_parts_the_groups():
    axis = ladder.rungs(scores(), "title").axes[0]
    columns = {text.get_text(): text.xyann[0] for text in axis.texts}
    assert columns["● seen"] == columns["30.0 ±10.0"] < columns["◇ unseen"]
    assert columns["◇ unseen"] == columns["70.0 ±0.0"]
    (border,) = (line for line in axis.lines if line.get_linestyle() == "--")
    assert border.get_ydata()[0] == 0.5


def test_a_group_is_named_where_it_is_high_enough():
    many = pd.concat(scores().assign(rung=lambda t, i=i: t.rung + str(i)) for i in range(4))
    texts = ladder.rungs(many.sort_values("labels", kind="stable"), "title").axes[0].texts
    places = {text.get_text(): text.xy[1] for text in texts}
    assert [places[name] for name in ladder.GROUPS] == [1.5, 5.5]
    few = {text.get_text() for text in ladder.rungs(scores(), "title").axes[0].texts}
    assert few.isdisjoint(ladder.GROUPS)


def test_the_reference_is_carried_through_the_chart():
    plain, marked = (ladder.rungs(scores(), "title", name).axes[0] for name in ("", "LSH"))
    dotted = [[a for a in axis.lines if a.get_linestyle() == ":"] for axis in (plain, marked)]
    assert dotted[0] == []
    assert sorted(line.get_xdata()[0] for line in dotted[1]) == pytest.approx([30, 70])


def test_without_unseen_classes_there_is_one_marker_per_rung():
    figure = ladder.rungs(scores(("seen",)), "title")
    assert markers(figure.axes[0], frames.VERMILION, 7) == []
    assert not any("unseen" in text.get_text() for text in figure.axes[0].texts)
    figure.draw_without_rendering()


def test_type_can_be_read_in_a_column():
    figure = ladder.rungs(scores(), "title")
    figure.draw_without_rendering()
    axis = figure.axes[0]
    texts = [*axis.texts, *axis.get_yticklabels(), *axis.get_xticklabels(), axis.xaxis.label]
    printed = {text.get_fontsize() * 85 / 25.4 / figure.get_figwidth() for text in texts}
    assert min(printed) >= 7


def test_steps_are_in_order_whatever_the_order_of_the_rows():
    rows = [(9, "seen", 0.5), (0, "seen", 0.1), (9, "unseen", 0.2), (0, "unseen", 0.3)]
    table = pd.DataFrame(rows, columns=["steps", "classes", "mAP"])
    axis = ladder.by_steps(table, "title").axes[0]
    assert [list(line.get_ydata()) for line in axis.lines] == [[10, 50], [30, 20]]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "9"]


def test_each_point_is_joined_to_the_corner_of_its_signs():
    points = np.array([[0.5, 0.2], [-0.5, 0.0]])
    axis = ladder.to_corners({"a": points}, np.array([0, 1])).axes[0]
    joined = [line.get_xydata().tolist() for line in axis.lines if line.get_linewidth() == 0.6]
    assert joined == [[[0.5, 0.2], [1, 1]], [[-0.5, 0], [-1, 1]]]
    assert [line.get_marker() for line in axis.lines if line.get_marker() in "o^"] == ["o", "^"]
