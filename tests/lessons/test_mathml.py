"""Formulas of notebooks and cheat sheet: where MathML is not what TeX would draw."""

import re

import pytest
from conftest import tool

pytest.importorskip("docutils", reason="the site extra is not installed")
mathml = tool("formulas").mathml
THIN = "<mspace>"
ROWS = [
    ("a space behind a function", r"\log Y", f"<mi>log{THIN}<mi>Y"),
    ("and before it", r"2 \log Y", f"<mn>2{THIN}<mi>log{THIN}<mi>Y"),
    ("none before a bracket", r"\log(Y)", "<mi>log<mo>(<mi>Y<mo>)"),
    ("none behind the last one", r"(\cos)", "<mo>(<mi>cos<mo>)"),
    ("no second one", r"\log\,Y", f"<mi>log{THIN}<mi>Y"),
    ("a sign behind a bracket", r"\{-1, +1\}", "<mo>{<mo prefix>−<mn>1<mo>,<mo prefix>+<mn>1<mo>}"),
    ("a sign behind a relation", r"a = -1", "<mi>a<mo>=<mo prefix>−<mn>1"),
    ("a difference", r"a - 1", "<mi>a<mo>−<mn>1"),
    ("an index of an accented letter", r"\bar n_L", "<msub><mover><mi>n<mo>ˉ<mi>L"),
    ("a longer one", r"\hat y_{s,c}", "<msub><mover><mi>y<mo>ˆ<mrow><mi>s<mo>,<mi>c"),
    ("an accent alone", r"\bar x", "<mover><mi>x<mo>ˉ"),
]


def test_brackets_do_not_grow_with_what_stands_beside_them():
    growing = re.findall(r"<mo>([^<]*)</mo>", mathml(r"\{-1\}^K + |x| + \lfloor x \rfloor"))
    assert growing == ["+", "+"]


@pytest.mark.parametrize("kind, formula, expected", ROWS, ids=[row[0] for row in ROWS])
def test_formulas_are_spaced_as_in_print(kind, formula, expected):
    markup = re.sub(r"</\w+>|\s*\n\s*|</?math[^>]*>|<mo>&ApplyFunction;", "", mathml(formula))
    markup = markup.replace('<mo form="prefix">', "<mo prefix>")
    assert re.sub(r"<(\w+) \w+=[^>]*>", r"<\1>", markup) == expected
