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


@pytest.mark.parametrize(
    "kind, title, lines",
    [
        (
            "between facts",
            "ties in expectation; toy, 48 classes",
            ["ties in expectation;", "toy, 48 classes"],
        ),
        ("two in a line", "one; two; a third fact, longer", ["one; two;", "a third fact, longer"]),
        ("lines stay", "one\ntwo", ["one", "two"]),
        (
            "a long fact",
            "a fact of more letters than a line",
            ["a fact of more letters", "than a line"],
        ),
        ("hyphens", "protocol of all-classes", ["protocol of all-classes"]),
    ],
)
def test_titles_break_between_facts(kind, title, lines):
    assert frames.wrapped(title, 24).splitlines() == lines


@pytest.fixture
def neighbours():
    """A query with a right and a wrong hit; names as data sets spell them."""
    image = Image.new("RGB", (8, 8))
    asked, found = ["001.Black_footed_Albatross"], [["001.Black_footed_Albatross", "St. Bernard"]]
    return frames.neighbours([image], [[image, image]], asked, found, np.array([[1, 0]]))


def test_neighbours_say_right_or_wrong_and_the_distance_in_words(neighbours):
    assert [axis.get_title() for axis in neighbours.axes] == ["query", "✓ 1 bit", "✗ 0 bits"]


def test_neighbours_name_the_class_of_the_query_and_of_wrong_hits(neighbours):
    names = [axis.get_xlabel().split() for axis in neighbours.axes]
    assert names == [["Black", "footed", "Albatross"], [], ["St.", "Bernard"]]


def test_neighbours_of_any_shape_stand_in_squares_of_one_size():
    images = [Image.new("RGB", size) for size in ((8, 30), (30, 8), (20, 20))]
    figure = frames.neighbours(images[:1], [images[1:]], ["a"], [["a", "b"]], np.array([[1, 12]]))
    figure.draw_without_rendering()
    sides = {round(side) for axis in figure.axes for side in axis.get_window_extent().size}
    assert len(sides) == 1
    for axis, image in zip(figure.axes, images, strict=True):
        (low, high), (down, up) = axis.get_xlim(), axis.get_ylim()
        assert (high - low, down - up) == (max(image.size), max(image.size))
        assert (high + low, down + up) == (image.width - 1, image.height - 1)  # in the middle


def test_what_stands_above_a_neighbour_does_not_touch_its_frame(neighbours):
    neighbours.draw_without_rendering()
    for axis in neighbours.axes:
        thick = axis.spines["top"].get_linewidth() / 72 * neighbours.dpi
        edge = axis.spines["top"].get_window_extent().y1 + thick / 2
        assert axis.title.get_window_extent().y0 > edge + 1
