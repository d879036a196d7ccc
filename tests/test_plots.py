"""Figures tell every method apart, also without colour."""

import pandas as pd

from fdhmfe import plots
from fdhmfe.config import METHODS


def drawn(methods: tuple[str, ...]) -> plots.Figure:
    rows = [{"method": m, "bits": b, "value": 0.5} for m in methods for b in (12, 48)]
    return plots.map_by_bits(pd.DataFrame(rows), "title")


def test_every_method_has_a_name_and_a_look_of_its_own():
    tables = (plots.METHOD_COLOURS, plots.METHOD_MARKERS, plots.METHOD_LINES)
    for table in (plots.METHOD_NAMES, *tables):
        assert set(table) == set(METHODS)
    assert len(set(plots.METHOD_NAMES.values())) == len(METHODS)
    assert len(set(plots.METHOD_MARKERS.values())) == len(METHODS)
    looks = {(plots.METHOD_COLOURS[m], plots.METHOD_LINES[m]) for m in METHODS}
    assert len(looks) == len(METHODS)


def test_fdh_mfe_stands_out():
    colours, lines = plots.METHOD_COLOURS, plots.METHOD_LINES
    others = set(METHODS) - {"fdh-mfe"}
    assert colours["fdh-mfe"] not in {colours[m] for m in others}
    assert lines["fdh-mfe"] not in {lines[m] for m in others}


def test_map_by_bits_shows_the_methods_there_are_in_one_order():
    figure = drawn(("semicon", "fdh-mfe", "lsh"))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["FDH-MFE", "LSH", "SEMICON"]
    assert len(drawn(METHODS).legends[0].get_texts()) == len(METHODS)
