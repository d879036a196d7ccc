"""A method of one's own is one file: it trains, and tables and figures show it like any other."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import python_blocks, small_run

from fdhmfe.figures import comparisons, curves
from fdhmfe.runs import tables
from fdhmfe.runs.results import read_metrics
from fdhmfe.runs.sweep import sweep

(FILE,) = python_blocks("own_method")


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_file_is_a_method(root: Path, monkeypatch: pytest.MonkeyPatch, jobs: int):
    (root / "brightest.py").write_text(FILE, encoding="utf-8")
    monkeypatch.syspath_prepend(root)
    names = ["brightest:METHOD", "orthohash"]
    configs = [small_run(root, method=name, bits=bits) for name in names for bits in (12, 16)]
    table = pd.concat([read_metrics(folder) for folder in sweep(configs, jobs=jobs)])
    cells = tables.map_cells(table)
    assert set(cells.method) == {"brightest", "orthohash"}
    assert tables.pivot_cells(cells).index.tolist().count(("others", "brightest")) == 1
    looks = curves.styles(cells.method)
    for key in ("marker", "color", "label"):
        assert looks["brightest"][key] != looks["orthohash"][key]
    figure = comparisons.map_by_bits(cells, "title")
    assert "brightest" in {text.get_text() for axis in figure.axes for text in axis.texts}
