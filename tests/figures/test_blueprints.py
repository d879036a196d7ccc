"""The drawings of the network say its shapes."""

import numpy as np

from fdhmfe.figures import blueprints

SIZES = blueprints.Sizes(128, [(48, 8, 8), (96, 4, 4)], width=64, keep=12, nodes=40, bits=24)


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


def test_the_parts_of_the_image_vector_are_what_the_network_joins():
    assert SIZES.parts == {
        "graph": 64,
        "deep": 64,
        "whole": 96,
        "foreground 1": 48,
        "foreground 2": 96,
    }


def test_shapes_show_each_stage_and_no_more_nodes_than_it_has_tokens():
    said = texts(blueprints.network_shapes(SIZES))
    for shape in ("(B, 3, 128, 128)", "(B, 48, 8, 8)", "(B, 64, 64)", "(B, 40, 64)", "(B, 24)"):
        assert shape in said
    assert "(B, 16, 64);\n12 of them vote" in said
    assert "(B, 56, 64)" in said  # 40 + 16 nodes


def test_the_bar_of_the_vector_is_to_scale():
    bars = blueprints.network_shapes(SIZES).axes[0].containers
    widths = [bar.patches[0].get_width() for bar in bars]
    assert np.allclose(np.array(widths) / widths[0] * 64, list(SIZES.parts.values()))


def test_a_single_stage_has_no_neighbour_to_exchange_with():
    figure = blueprints.network_shapes(SIZES._replace(maps=[(96, 4, 4)]))
    assert "map 1" in texts(figure) and "map 2" not in texts(figure)


def test_training_steps_show_what_is_done_of_the_schedule():
    upper, lower = blueprints.training_steps([3.0, 2.0], [0.1, 0.2], [0.1, 0.2, 0.1, 0.0]).axes
    assert upper.get_lines()[0].get_ydata().tolist() == [3, 2]
    assert [len(line.get_xdata()) for line in lower.get_lines()] == [4, 2]


def test_sign_and_relaxed_draws_both():
    values = np.array([-1.0, 1.0])
    figure = blueprints.sign_and_relaxed(values, np.array([2, 1]), np.array([3, 1]))
    assert [line.get_ydata().tolist() for line in figure.axes[0].get_lines()] == [[2, 1], [3, 1]]
