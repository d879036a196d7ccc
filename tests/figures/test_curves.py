"""Figures tell every method apart, also without colour."""

import numpy as np
import pandas as pd
import pytest

from fdhmfe.config.methods import METHODS, REFERENCES
from fdhmfe.figures import curves, frames, ranks

ROWS = {*METHODS, *REFERENCES}


def test_every_method_has_a_name_and_a_look_of_its_own():
    looks = curves.styles(ROWS)
    assert set(looks) == ROWS
    for part in (("label",), ("marker",), ("color", "linestyle")):
        assert len({tuple(look[key] for key in part) for look in looks.values()}) == len(ROWS)


def test_ours_stand_out():
    looks = curves.styles([*METHODS, "fdh-mfe+, open"])
    ours = [looks.pop(name) for name in ("fdh-mfe", "fdh-mfe+", "fdh-mfe+, open")]
    for key in ("color", "linestyle", "linewidth"):
        assert {own[key] for own in ours}.isdisjoint(look[key] for look in looks.values())
    assert [own["linestyle"] for own in ours].count("-") == 1


def test_a_variant_follows_its_method_with_a_hollow_marker_and_a_line_of_its_own():
    looks = curves.styles(["softmax, open", "csq", "softmax"])
    assert [look["label"] for look in looks.values()] == ["softmax", "softmax, open", "CSQ"]
    own, variant = looks["softmax"], looks["softmax, open"]
    assert (variant["color"], variant["marker"]) == (own["color"], own["marker"])
    assert variant["markerfacecolor"] == "white" != own["markerfacecolor"]
    assert variant["linestyle"] != own["linestyle"]


def test_methods_of_one_s_own_come_last_and_look_like_no_other():
    looks = curves.styles(["mine", *METHODS, "yours"])
    assert list(looks) == [*METHODS, "mine", "yours"]
    for key in ("marker", "color"):
        others = {looks[name][key] for name in METHODS}
        assert {looks["mine"][key], looks["yours"][key]}.isdisjoint(others)
        assert looks["mine"][key] != looks["yours"][key]


def test_proxy_distances_fall_where_classes_are_alike_and_have_near_proxies():
    similarity = np.array([[0, 0.5, -0.2], [0.5, 0, -0.4], [-0.2, -0.4, 0]])
    words = np.array([[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]], np.int8)
    figure = curves.proxy_distances(similarity, {"arranged": words, "as drawn": words[::-1]}, "")
    arranged, drawn = figure.axes[0].get_lines()
    assert arranged.get_xdata() == pytest.approx([-0.4, -0.2, 0.5])
    assert arranged.get_ydata() == pytest.approx([3, 4, 1])
    assert drawn.get_ydata() == pytest.approx([1, 4, 3])


def test_curves_show_precision_at_each_cutoff_the_database_allows():
    codes = np.array([[1, 1], [1, -1], [-1, -1]], np.int8)
    arrays = (codes[:1], codes, np.array([0]), np.array([0, 1, 0]))
    upper, lower = curves.curves({"fdh-mfe": arrays}, "title").axes
    (line,) = upper.get_lines()
    assert line.get_xdata().tolist() == [1, 2]  # cut-offs above 3 items are left out
    assert line.get_ydata().tolist() == [100, 50]
    (line,) = lower.get_lines()
    assert line.get_xdata().tolist() == [50, 50, 100]  # recall at radius 0, 1, 2


def test_precision_at_ranks_shows_the_average_precision():
    figure = ranks.precision_at_ranks({"ranking": np.array([True, False, True])})
    assert figure.axes[0].get_title() == "ranking: AP 0.833"
    assert [text.get_text() for text in figure.axes[0].texts] == ["1/1", "2/3"]


def test_tie_rules_draw_expected_inside_the_band():
    row = {"best": 0.9, "expected": 0.5, "index": 0.6, "worst": 0.2}
    table = pd.DataFrame([{"bits": 4, **row}, {"bits": 8, **row}])
    figure = ranks.tie_rules(table, "t")
    (axis,), (legend,) = figure.axes, figure.legends
    assert {line.get_label(): line.get_ydata()[0] for line in axis.lines} == {
        "expected": 50,
        "index": 60,
    }
    labels = [axis.xaxis.label, axis.yaxis.label, *axis.get_xticklabels()]
    sizes = {text.get_fontsize() for text in (*labels, axis.title, *legend.get_texts())}
    assert min(sizes) * 85 / 25.4 / frames.WIDTH >= 7  # points, in a column of 85 mm


@pytest.mark.parametrize("classes", [2, 10])
def test_per_class_names_the_ends(classes):
    values = np.linspace(0.1, 0.9, classes)
    figure = ranks.per_class(values, [f"c{i}" for i in range(classes)], 0.5, "title")
    named = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert named == ["c0", f"c{classes - 1}"]
    assert [bar.get_height() for bar in figure.axes[0].patches] == list(100 * values)


def test_tied_orders_boxes_join_the_ranks_of_one_distance():
    orders = {"best": np.array([True, True, False]), "worst": np.array([True, False, True])}
    axis = ranks.tied_orders(orders, sizes=[1, 2]).axes[0]
    assert [round(box.get_width(), 1) for box in axis.patches] == [0.9, 1.9] * 2
    assert [text.get_text()[0] for text in axis.texts if text.get_text()[0] in "✓✗"] == [*"✓✓✗✓✗✓"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["best", "worst"]


def test_a_prefix_curve_has_a_band_of_other_orders_if_there_are_any():
    others = np.array([[0.1, 0.5], [0.3, 0.4]])
    assert not curves.map_by_prefix([1, 2], [0.2, 0.6], "").axes[0].collections
    (band,) = curves.map_by_prefix([1, 2], [0.2, 0.6], "", others).axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((10, 50))
