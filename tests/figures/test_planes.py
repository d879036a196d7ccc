"""Descent and its pictures: points go where a hand-worked gradient sends them."""

import numpy as np
import pandas as pd
import pytest
import torch

from fdhmfe.figures import planes


def test_descend_follows_the_gradient_and_leaves_the_start_alone():
    start = torch.tensor([[1.0, -2.0]])
    path = planes.descend(lambda u: u.square().sum() / 2, start, steps=2, rate=0.5)
    assert path.tolist() == [[[1, -2]], [[0.5, -1]], [[0.25, -0.5]]]
    assert start.tolist() == [[1, -2]]


def test_snapshots_are_beginnings_of_the_path():
    path = np.zeros((11, 3, 2))
    shown = planes.snapshots(path, 0, 10)
    assert {title: len(part) for title, part in shown.items()} == {"start": 1, "10 steps": 11}


def test_trails_end_at_the_last_place_of_each_class():
    path = np.array([[[0, 0], [1, 1]], [[2, 0], [1, 3]]], float)
    figure = planes.trails({"a": path}, np.array([0, 1]), names=("kept", "dropped"))
    ends = [c.get_offsets().tolist() for c in figure.axes[0].collections]
    assert ends == [[[2, 0]], [[1, 3]]]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["kept", "dropped"]
    assert max(figure.axes[0].get_xlim()) > 3


def test_marks_of_the_first_class_lie_on_top():
    figure = planes.trails({"a": np.zeros((2, 2, 2))}, np.array([0, 1]), names=("kept", "dropped"))
    kept, dropped = (c.get_zorder() for c in figure.axes[0].collections)
    assert kept > dropped


def test_the_diagonal_is_drawn_and_named_in_every_panel_if_it_has_a_name():
    paths = {"a": np.zeros((2, 1, 2)), "b": np.zeros((2, 1, 2))}
    figure = planes.trails(paths, np.array([0]), names=("kept",), diagonal="z₁ = z₂")
    for axis in figure.axes:
        (line,) = (line for line in axis.lines if line.get_label() == "z₁ = z₂")
        assert (line.get_xy1(), line.get_slope()) == ((0, 0), 1)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["kept", "z₁ = z₂"]


def test_rings_keep_directions_and_set_classes_apart():
    path = np.array([[[3.0, 4.0], [6.0, 8.0]]])  # one direction, two classes
    (inner, outer) = planes.on_rings(path, np.array([0, 1]))[0]
    assert np.allclose(inner / np.linalg.norm(inner), [0.6, 0.8])
    assert np.allclose(outer / np.linalg.norm(outer), [0.6, 0.8])
    assert np.linalg.norm(outer) - np.linalg.norm(inner) > 0.2


def test_marks_lie_on_their_proxies_not_below():
    figure = planes.trails({"a": np.ones((1, 1, 2))}, np.array([0]), proxies=np.ones((1, 2)))
    mark, star = figure.axes[0].collections
    assert mark.get_zorder() > star.get_zorder()


def test_field_arrows_point_downhill():
    figure = planes.field({"bowl": lambda u: u.square().sum(1)})
    arrows = next(c for c in figure.axes[0].collections if hasattr(c, "U"))
    assert np.all(arrows.U * arrows.X <= 0) and np.all(arrows.V * arrows.Y <= 0)
    assert figure.axes[-1].get_ylabel() == "loss"


@pytest.mark.parametrize("bits", [(12,), (12, 48)])
def test_closest_pairs_draws_both_ways(bits):
    row = {"coin flips, median": 1, "coin flips, low": 0, "coin flips, high": 2, "max-min": 4}
    table = pd.DataFrame([{"bits": k, **row} for k in bits])
    axis = planes.closest_pairs(table, "title").axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    assert drawn == {"max-min": [4] * len(bits), "coin flips, median": [1] * len(bits)}


def test_angles_are_measured_from_the_own_proxy():
    proxies, labels = np.array([[1.0, 1.0], [-1.0, 1.0]]), np.array([0, 0, 1])
    path = np.array([[[2.0, 2.0], [1.0, 0.0], [0.0, 3.0]]])
    axis = planes.angles({"proxy": path}, labels, proxies).axes[0]
    drawn = [c.get_offsets()[:, 0].tolist() for c in axis.collections]
    assert [pytest.approx(x, abs=1e-4) for x in drawn] == [[0, 45], [45]]
    assert axis.lines[0].get_xdata()[0] == pytest.approx(30)


def test_angles_have_a_legend_and_a_line_for_each_class():
    proxies, labels = np.array([[1.0, 1.0], [-1.0, 1.0]]), np.array([0, 1])
    paths = {"a": np.ones((1, 2, 2)), "b": np.ones((1, 2, 2))}
    figure = planes.angles(paths, labels, proxies)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["class 0", "class 1"]
    heights = [c.get_offsets()[0, 1] for c in figure.axes[0].collections]
    assert len(set(heights)) == 4
