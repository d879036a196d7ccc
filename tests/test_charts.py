"""Figures tell every method apart, also without colour."""

import pandas as pd

from fdhmfe import charts
from fdhmfe.config import METHODS
from fdhmfe.tables import REFERENCES

ROWS = {*METHODS, *REFERENCES}


def drawn(methods: tuple[str, ...]) -> charts.Figure:
    cell = {"mean": 0.5, "min": 0.4, "max": 0.6}
    rows = [{"method": m, "bits": b, **cell} for m in methods for b in (12, 48)]
    return charts.map_by_bits(pd.DataFrame(rows), "title")


def test_every_method_has_a_name_and_a_look_of_its_own():
    tables = (charts.METHOD_COLOURS, charts.METHOD_MARKERS, charts.METHOD_LINES)
    for table in (charts.METHOD_NAMES, *tables):
        assert set(table) == ROWS
    assert len(set(charts.METHOD_NAMES.values())) == len(ROWS)
    assert len(set(charts.METHOD_MARKERS.values())) == len(ROWS)
    looks = {(charts.METHOD_COLOURS[m], charts.METHOD_LINES[m]) for m in METHODS}
    assert len(looks) == len(METHODS)


def test_fdh_mfe_stands_out():
    colours, lines = charts.METHOD_COLOURS, charts.METHOD_LINES
    others = set(METHODS) - {"fdh-mfe"}
    assert colours["fdh-mfe"] not in {colours[m] for m in others}
    assert lines["fdh-mfe"] not in {lines[m] for m in others}


def test_map_by_bits_shows_the_methods_there_are_in_one_order():
    figure = drawn(("semicon", "fdh-mfe", "lsh"))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["FDH-MFE", "LSH", "SEMICON"]
    assert len(drawn(METHODS).legends[0].get_texts()) == len(METHODS)
