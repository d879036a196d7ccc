"""The diagram of the course: what it counts is what it draws."""

import pytest
from PIL import Image

from fdhmfe.figures import path
from fdhmfe.metrics import hamming_distance


def test_the_six_steps_are_named_and_their_numbers_are_counted():
    figure = path.course_path(Image.new("RGB", (8, 8)))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["1 image", "2 features", "3 code", "4 distance", "5 ranking", "6 score"]
    below = [axis.get_xlabel().splitlines()[0] for axis in figure.axes]
    apart = hamming_distance(path.CODES[:1], path.CODES[1:]).item()
    assert below[3] == f"{apart} bits differ"
    marked = [text.get_text() for text in figure.axes[3].texts]
    assert marked == ["≠"] * apart
    assert below[5] == "AP = 0.92"  # (1/1 + 2/2 + 3/4) / 3


def test_average_precision_by_hand():
    assert path.score((False, True)) == pytest.approx(0.5)
