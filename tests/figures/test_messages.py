"""Figures of the graph: widths are weights, heard tokens lie where they belong."""

import numpy as np
import pytest
from PIL import Image

from fdhmfe.figures import messages

IMAGE = Image.new("RGB", (40, 30), "white")


def test_the_diagram_writes_each_weight_and_draws_it_as_wide():
    figure = messages.one_round("ABC", [0, 0, 1], np.array([0.5, 0.375, 0.125]))
    axis = figure.axes[0]
    sector = axis.collections[-1].get_paths()[0].vertices  # B and C hold 1/8: half goes to A′
    turn = np.degrees(np.arctan2(*np.abs(sector[1])))
    assert turn == pytest.approx(180 * 0.125 / 2)
    written = [text.get_text() for text in axis.texts]
    assert {"1/2", "3/8", "1/8", "A", "B", "C", "A′", "$W_1$", "$W_2$"} <= set(written)
    widths = [
        text.arrow_patch.get_linewidth() for text in axis.texts if hasattr(text, "arrowprops")
    ]
    assert widths[:3] == sorted(widths[:3], reverse=True) and len(widths) == 5


def test_what_is_heard_is_drawn_per_stage_and_the_listener_is_framed():
    heard = {"all": [np.arange(4.0), np.zeros(9)], "one": [np.zeros(4), np.arange(9.0)]}
    figure = messages.listening(IMAGE, heard, [0.0, -0.5], {"one": (1, 4)})
    panels = figure.axes[:4]
    assert panels[0].images[1].get_array().tolist() == [[0, 1], [2, 3]]
    assert [panel.images[1].get_clim() for panel in panels] == [(0, 8)] * 4
    assert [len(panel.patches) for panel in panels] == [0, 0, 0, 1]
    assert panels[3].patches[0].get_xy() == pytest.approx((1 / 6, 1 / 6))
    assert [panel.get_ylabel() for panel in panels] == ["all", "", "one", ""]


def test_tokens_outside_the_graph_get_no_colour():
    heard = {"all": [np.array([np.nan, 1, 2, 8.0])]}
    drawn = messages.listening(IMAGE, heard, [0.0], {}).axes[0].images[1]
    assert drawn.get_array().mask.tolist() == [[True, False], [False, False]]
    assert drawn.get_clim() == (0, 8)


def test_spans_start_at_zero_with_the_first_title_on_top():
    axis = messages.spans({"a": np.array([0.2, 0.4]), "b": np.array([0.3])}, "title").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert axis.get_xlim()[0] == 0 and axis.yaxis_inverted()


def test_rounds_draw_a_line_per_way_and_keep_negative_cosines_in_sight():
    axis = messages.rounds({"a": [-0.1, 0.4], "b": [-0.1, 0.9]}, "title").axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    assert drawn == {"a": [-0.1, 0.4], "b": [-0.1, 0.9]}
    assert axis.get_ylim()[0] <= -0.1
