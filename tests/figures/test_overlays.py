"""Tokens land where they belong on the photograph."""

import numpy as np
from PIL import Image

from fdhmfe.figures import overlays

IMAGE = Image.new("RGB", (40, 30), "white")


def test_token_centres_are_fractions_row_by_row():
    centres = overlays.token_centres(np.array([0, 3, 5]), 16, 0.0)
    assert centres.tolist() == [[0.125, 0.125], [0.875, 0.125], [0.375, 0.375]]
    moved = overlays.token_centres(np.array([0, 3, 5]), 16, -0.5)
    assert moved.tolist() == [[0, 0], [0.75, 0], [0.25, 0.25]]


def test_dropped_cells_are_shaded_and_kept_ones_are_not():
    figure = overlays.kept_panels([IMAGE], [[np.array([0, 3])]], [4], ["a"], [-0.5])
    shade = figure.axes[1].images[1]
    bright = (shade.get_array()[..., 3] == 0).tolist()  # a rim of dark cells all around
    assert bright == [
        [False] * 4,
        [False, True, False, False],
        [False, False, True, False],
        [False] * 4,
    ]
    # Cell 0 begins at -1/4: half of it is seen.
    assert shade.get_extent() == [-0.75, 1.25, 1.25, -0.75]
    assert figure.axes[1].get_xlim() == (0, 1)


def test_heat_maps_share_one_scale_and_frame_the_token_in_each_image():
    values = [[np.arange(4.0), np.arange(4.0, 8)]] * 2
    figure = overlays.heat_maps([IMAGE] * 2, values, ["a", "b"], [0.0, -0.5], "score", 3)
    left, right = (figure.axes[i].images[1] for i in (1, 2))
    assert left.get_clim() == right.get_clim() == (0, 7)
    assert left.get_array().tolist() == [[0, 1], [2, 3]]
    assert left.get_extent() == [0, 1, 1, 0] and right.get_extent() == [-0.25, 0.75, 0.75, -0.25]
    for row in (figure.axes[1:3], figure.axes[4:6]):
        assert [axis.patches[0].get_xy() for axis in row] == [(0.5, 0.5), (0.25, 0.25)]
    assert figure.axes[-1].get_ylabel() == "score"
