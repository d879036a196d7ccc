"""Figures of images: what is written over them, and how every figure is saved."""

import re

import numpy as np
import pytest
from PIL import Image

from fdhmfe.figures import frames


@pytest.fixture
def figure():
    """Letters of two kinds of font, signs of neighbours and a picture."""
    figure, axis = frames.chart("mAP@all ± spread, ✓ right, ✗ wrong, $x^2$", 2)
    axis.plot([0, 1], [1, 0], label="fdh-mfe")
    axis.imshow(np.eye(4))
    frames.legend(figure, axis)
    return figure


def test_a_figure_is_saved_in_three_formats_the_same_bytes_each_time(figure, tmp_path, monkeypatch):
    paths = frames.save(figure, tmp_path / "map.v2")
    assert [path.name for path in paths] == ["map.v2.png", "map.v2.svg", "map.v2.pdf"]
    first = [path.read_bytes() for path in paths]
    assert [data[:4] for data in first] == [b"\x89PNG", b"<?xm", b"%PDF"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # as another day would be
    assert [path.read_bytes() for path in frames.save(figure, tmp_path / "again")] == first
    assert b"Date" not in first[2]


def test_fonts_in_a_pdf_are_truetype_and_its_text_is_text(figure, tmp_path):
    data = frames.save(figure, tmp_path / "map")[2].read_bytes()
    fonts = set(re.findall(rb"/Subtype /(Type0|Type1|Type3|TrueType|CIDFontType\d)\b", data))
    assert fonts == {b"Type0", b"CIDFontType2"}  # a composite font, of TrueType glyphs
    assert b"/FontFile2" in data  # the font is inside
    assert b"/ToUnicode" in data  # its letters can be searched


def test_neighbours_say_right_or_wrong_and_the_distance_in_words():
    image = Image.new("RGB", (8, 8))
    right, distances = np.array([[True, False]]), np.array([[1, 0]])
    figure = frames.neighbours([image], [[image, image]], right, distances)
    assert [axis.get_title() for axis in figure.axes] == ["query", "✓ 1 bit", "✗ 0 bits"]
