"""The drawings of the network say its shapes."""

import numpy as np

from fdhmfe.figures import blueprints

SIZES = blueprints.Sizes(
    128, [(48, 8, 8), (96, 4, 4)], classes=10, width=64, keep=12, nodes=40, bits=24
)


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
    assert "logits (B, 16, 10)\nnodes (B, 16, 64)\nkept (B, 12)" in said
    assert "(B, 56, 64)" in said  # 40 + 16 nodes


def test_the_bar_of_the_vector_is_to_scale():
    bars = blueprints.network_shapes(SIZES).axes[0].containers
    widths = [bar.patches[0].get_width() for bar in bars]
    assert np.allclose(np.array(widths) / widths[0] * 64, list(SIZES.parts.values()))


def ends_of_arrows(figure) -> list[tuple[float, float]]:
    return [text.xy for text in figure.axes[0].texts if hasattr(text, "arrow_patch")]


def test_each_part_of_the_vector_has_an_arrow_and_the_deep_one_starts_below_selection():
    figure = blueprints.network_shapes(SIZES)
    axis = figure.axes[0]
    bars = {name: bar.patches[0] for name, bar in zip(SIZES.parts, axis.containers, strict=True)}
    entered = [x for x, y in ends_of_arrows(figure) if 3.8 < y < 4.1]
    for name in ("graph", "deep", "whole"):
        left, width = bars[name].get_x(), bars[name].get_width()
        assert sum(left < x < left + width for x in entered) == 1, name
    assert max(entered) > bars["foreground 1"].get_x()
    deep = bars["deep"].get_x() + bars["deep"].get_width() / 2
    (line,) = [x for x in axis.lines if np.allclose(x.get_xdata()[-1:], deep)]
    start = line.get_xydata()[0]
    assert start[0] > blueprints.columns(SIZES)[-1] and start[1] > 6, "the last stage's selection"


def test_parts_too_short_for_text_have_it_below():
    narrow = blueprints.network_shapes(SIZES._replace(maps=[(96, 8, 8), (1280, 4, 4)]))
    turned = [t.get_text() for t in narrow.axes[0].texts if t.get_rotation() == 90]
    assert turned == ["graph: 64", "deep: 64", "1: 96"]


def test_a_single_stage_has_no_neighbour_to_exchange_with():
    figure = blueprints.network_shapes(SIZES._replace(maps=[(96, 4, 4)]))
    assert "map 1" in texts(figure) and "map 2" not in texts(figure)


def test_training_steps_show_what_is_done_of_the_schedule_on_one_axis():
    figure = blueprints.training_steps([3.0, 2.0], [0.1, 0.2], [0.1, 0.2, 0.1, 0.0])
    upper, lower = figure.axes
    assert upper.get_lines()[0].get_ydata().tolist() == [3, 2]
    assert [len(line.get_xdata()) for line in lower.get_lines()] == [4, 2]
    assert upper.get_xlim() == lower.get_xlim()


def test_the_schedule_is_shaded_as_far_as_the_loop_goes():
    axis = blueprints.learning_rates([0.1, 0.2, 0.1, 0.0], 2).axes[0]
    shade = axis.patches[0]
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (1, 2)
    assert axis.get_lines()[0].get_ydata().tolist() == [0.1, 0.2, 0.1, 0.0]


def test_sign_and_relaxed_draws_both():
    values = np.array([-1.0, 1.0])
    figure = blueprints.sign_and_relaxed(values, np.array([2, 1]), np.array([3, 1]))
    assert [line.get_ydata().tolist() for line in figure.axes[0].get_lines()] == [[2, 1], [3, 1]]
