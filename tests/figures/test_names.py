"""Class names as figures draw them: every letter has a glyph, and nothing is a formula."""

import warnings

import numpy as np
import pytest
from matplotlib.text import Text
from own_images import NAMES
from PIL import Image

from fdhmfe.figures import clouds, frames, names, ranks


def test_class_names_for_people():
    assert names.readable("001.Black_footed_Albatross") == "Black footed Albatross"
    assert names.readable("Danaus plexippus") == "Danaus plexippus"
    assert names.readable("_") == "_"


@pytest.mark.parametrize("name", ["St. Bernard", "v1.2", "3.5 mm", "E. coli", "7.", "蝴蝶.二"])
def test_a_name_is_not_cut_at_a_dot_that_is_its_own(name):
    assert names.readable(name) == name


def test_a_name_is_text_where_matplotlib_would_read_a_formula():
    drawn = Text(0, 0, names.shown("$a$ and_{b}"))
    assert drawn._preprocess_math(drawn.get_text()) == ("$a$ and {b}", False)


def test_a_long_name_loses_its_middle_and_keeps_both_ends():
    short = names.shown("begin" + 50 * "x" + "end 17", 20)
    assert short.startswith("begin") and short.endswith("end 17") and "…" in short
    assert names.width(short) <= 20
    assert names.shown("just as long", 12) == "just as long"


def test_lines_break_between_words_and_long_words_are_cut():
    assert names.in_lines("Black footed Albatross", 9) == "Black\nfooted\nAlbatross"
    lines = names.in_lines("x" * 40 + " 蝴" * 3, 9).splitlines()
    assert max(map(names.width, lines)) <= 12 and "".join(lines).count("x") == 40


def test_a_letter_that_no_font_has_is_spelled_out(monkeypatch):
    own = names.font_of
    monkeypatch.setattr(names, "font_of", lambda char: own(char) if char.isascii() else "")
    assert names.shown("蝴 é") == "U+8774 e"
    assert names.shown("🦋\ufe0f 1") == "[butterfly] 1"


def test_an_installed_font_is_used_where_matplotlib_s_own_lacks_a_letter():
    assert names.font_of("Ж") == names.OWN
    if not names.font_of("蝴"):
        pytest.skip("no font with Chinese letters is installed")
    figure, _ = frames.chart("蝴蝶 butterfly", 1)
    names.make_legible(figure)
    assert names.font_of("蝴") in figure.axes[0].title.get_fontfamily()


def figures_of(classes):
    """Every figure that draws names of classes."""
    count = len(classes)
    image, codes = Image.new("RGB", (8, 8)), np.where(np.eye(count, 12), 1, -1)
    points = np.arange(2.0 * count).reshape(count, 2)
    yield frames.contact_sheet([image] * count, classes, columns=4)
    yield frames.code_strips(codes, classes)
    yield clouds.code_maps([points], ["map"], np.arange(count), classes, "toy")
    yield frames.neighbours(
        [image], [[image] * count], ["$a$"], [classes], np.zeros((1, count), int)
    )
    yield ranks.per_class(np.linspace(0, 1, count), classes, 0.5, "title")


def test_no_figure_of_names_has_an_empty_box_or_a_formula(tmp_path):
    for number, figure in enumerate(figures_of(NAMES)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "Glyph 129419 missing from font(s) DejaVu Sans"
            _, svg, pdf = frames.save(figure, tmp_path / f"{number}")
        assert "$" in svg.read_text()  # else it began a formula
        assert b"/Type3" not in pdf.read_bytes()


def test_file_names_keep_every_letter_in_a_sheet():
    image = Image.new("RGB", (8, 8))
    names = ["001.a_b.jpg", "IMG_$1.png\n3 of 48 bits"]
    sheet = frames.contact_sheet([image, image], names, columns=2, side=3, files=True)
    assert [a.get_title() for a in sheet.axes] == ["001.a_b.jpg", "IMG_\\$1.png\n3 of 48 bits"]
    assert frames.contact_sheet([image], ["001.a_b"], 1).axes[0].get_title() == "a b"
