"""Figures of images: what is written over them."""

import numpy as np
from PIL import Image

from fdhmfe.figures import frames


def test_neighbours_say_right_or_wrong_and_the_distance_in_words():
    image = Image.new("RGB", (8, 8))
    right, distances = np.array([[True, False]]), np.array([[1, 0]])
    figure = frames.neighbours([image], [[image, image]], right, distances)
    assert [axis.get_title() for axis in figure.axes] == ["query", "✓ 1 bit", "✗ 0 bits"]
