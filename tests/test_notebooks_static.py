"""The fixed skeleton of the notebooks, checked without running them."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from fdhmfe import config
from fdhmfe.lesson import NOTEBOOKS, declared_parameters

PATHS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
PARAMETERS = (
    *("profile", "dataset", "data_dir", "weights", "backbone", "method", "variant", "bits"),
    *("seed", "results_dir", "reuse", "run_dir", "pictures"),
)


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def cells(path):
    return nbformat.read(path, as_version=4).cells


def sources(cells, kind: str) -> list[str]:
    return [cell.source for cell in cells if cell.cell_type == kind]


def test_there_are_notebooks():
    assert [path.stem[:2] for path in PATHS] == sorted({path.stem[:2] for path in PATHS})
    assert PATHS


def test_opening_says_number_goal_needs_and_time(path, cells):
    number = path.stem[:2]
    assert re.match(rf"# {number} \S.*\n\nBy the end you can ", cells[0].source)
    for row in ("You need", "You get", "Time", "Writes", "Paper"):
        assert f"| **{row}** |" in cells[1].source


def test_parameters_are_literals_with_the_kit_s_names(path, cells):
    declared = declared_parameters(path)
    assert set(declared) <= set(PARAMETERS)
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    statements = ast.parse(tagged[0].source).body
    assert all(isinstance(statement, ast.AnnAssign) for statement in statements)
    assert all("#" in line for line in tagged[0].source.splitlines()), "each has a help comment"
    config.load(**{name: value for name, value in declared.items() if value != ""})


def test_setup_names_this_notebook(path, cells):
    setup = next(c.source for c in cells if "lesson.begin" in c.source)
    assert f'lab = lesson.begin("{path.stem}", globals())' in setup


def test_nothing_executed_is_stored(cells):
    for cell in cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
        assert "injected-parameters" not in cell.metadata.get("tags", [])


def test_cells_are_short(cells):
    for source in sources(cells, "code"):
        assert len(source.splitlines()) <= 25, source[:80]
    for source in sources(cells, "markdown"):
        if not source.startswith("|"):
            assert len(source.split()) <= 90, source[:80]


def test_teaches_by_prediction_and_checks(cells):
    prose, code = "\n".join(sources(cells, "markdown")), "\n".join(sources(cells, "code"))
    assert prose.count("**Predict.**") >= 2
    assert code.count("lab.check(") >= 2


def test_ends_with_recap_exercises_and_stamp(cells):
    prose = sources(cells, "markdown")
    recap = next(source for source in prose if source.startswith("## Recap"))
    assert recap.count("\n- ") == 3
    exercises = next(source for source in prose if source.startswith("## Exercises"))
    assert all(word in exercises for word in ("**Tweak.**", "**Extend.**", "**Invent.**"))
    assert any(source.startswith("## Where next") for source in prose)
    assert cells[-1].source == "lab.stamp()"


def test_no_magics_no_installing_no_network(cells):
    for source in sources(cells, "code"):
        assert not re.search(r"^\s*[!%]", source, flags=re.M)
        assert not re.search(r"\b(pip|urlopen|requests|wget|curl)\b", source)


def test_links_between_notebooks_hold(cells):
    prose = "\n".join(sources(cells, "markdown"))
    for name in re.findall(r"`(\d\d_\w+)`", prose):
        assert (NOTEBOOKS / f"{name}.ipynb").exists(), name


def test_kernel_is_python3(path):
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"
