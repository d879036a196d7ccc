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


def markers(axis, colour: str) -> list[tuple[float, float]]:
    drawn = [line for line in axis.lines if line.get_marker() in ("o", "D")]
    return [tuple(d.get_xydata()[0]) for d in drawn if d.get_color() == colour]


def test_rungs_climb_from_the_bottom_with_a_marker_per_kind_of_class():
    axis = ladder.rungs(scores(), "title").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["LSH", "CSQ-like"]
    assert markers(axis, frames.BLUE) == [pytest.approx((30, 0)), pytest.approx((80, 1))]
    assert markers(axis, frames.VERMILION) == [pytest.approx((70, 0)), pytest.approx((55, 1))]
    spans = [tuple(c.get_segments()[0][:, 0]) for c in axis.collections if c.get_linewidth() == 5]
    wanted = [(20, 40), (70, 70), (50, 60), (80, 80)]
    assert spans == [pytest.approx(each) for each in wanted]


def test_values_stand_outside_the_pair_and_a_line_parts_the_groups():
    axis = ladder.rungs(scores(), "title").axes[0]
    sides = {text.get_text(): text.get_ha() for text in axis.texts}
    values = {"30.0": "right", "70.0": "left", "55.0": "right", "80.0": "left"}
    assert {name: sides[name] for name in values} == values
    assert (sides["unseen"], sides["seen"]) == ("right", "left")  # above the top rung
    (border,) = (line for line in axis.lines if line.get_linestyle() == "--")
    assert border.get_ydata()[0] == 0.5


def test_a_group_is_named_where_it_is_high_enough():
    many = pd.concat(scores().assign(rung=lambda t, i=i: t.rung + str(i)) for i in range(4))
    texts = ladder.rungs(many.sort_values("labels", kind="stable"), "title").axes[0].texts
    places = {text.get_text(): text.get_position()[1] for text in texts}
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
    assert markers(figure.axes[0], frames.VERMILION) == []
    assert "unseen" not in {text.get_text() for text in figure.axes[0].texts}
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
