"""The fixed skeleton of the notebooks, checked without running them."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell

from fdhmfe import config
from fdhmfe.lessons import lesson
from fdhmfe.lessons.notebooks import HAN, NOTEBOOKS, declared_parameters, ordered_notebooks

PATHS = ordered_notebooks()
SOLUTIONS = ordered_notebooks(NOTEBOOKS / "solutions")
CONCEPTS = ("04_stages", "05_background", "06_graph", "07_losses", "02_metrics")
CLAIM = re.compile(r"lab\.(check|observe)\(")
# What is no prose: code, formulas, links and what they point at, rows of tables, names of papers.
NO_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$\$?[^$]+\$\$?|\]\([^)]*\)|^\|.*$|(?i:arxiv|doi):?\s*[\d.]+\S*",
    re.S | re.M,
)
RESULT = re.compile(
    r"(?<![\w.])\d*\.\d+(?!\d)(?! ?(?:[GMkT]?B|bytes)\b)"  # .578, 0.85; not the size of a file
    r"|\d+ of (?:the )?\d+|\d+ ?(?:%|percent|per cent|ms\b|points?\b)(?! interval)"
)
PARAMETERS = (
    *("profile", "dataset", "data_dir", "weights", "backbone", "trainable"),
    *("method", "variant", "network", "objective", "coder", "bits"),
    *("seed", "results_dir", "reuse", "run_dir", "pictures"),
)


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def cells(path):
    return read(path)


@pytest.fixture(params=SOLUTIONS, ids=lambda path: path.stem)
def solution(request) -> Path:
    return request.param


@pytest.fixture(params=[*PATHS, *SOLUTIONS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def either(request) -> Path:
    return request.param


def read(path: Path) -> list:
    return nbformat.read(path, as_version=4).cells


def quoted_results(cells: list) -> list[str]:
    """Digits in prose that look like a result, each with its cell.

    A cell that works something out may have any: it, or the heading above it, says "by hand" or
    "pencil". Elsewhere a number that is no result (a definition) is written as a formula: $0.01$.
    """
    found, heading = [], ""
    for cell in cells:
        if cell.cell_type != "markdown":
            continue
        heading = cell.source.splitlines()[0] if cell.source.startswith("#") else heading
        if not re.search("by hand|pencil", f"{heading}\n{cell.source}", re.I):
            prose = re.sub(NO_PROSE, lambda match: "|" if match[0][0] == "]" else " ", cell.source)
            found += [f"{cell.id}: {match[0]}" for match in RESULT.finditer(prose)]
    return found


def sources(cells, kind: str) -> list[str]:
    return [cell.source for cell in cells if cell.cell_type == kind]


def test_there_are_notebooks():
    assert [path.stem[:2] for path in PATHS] == sorted({path.stem[:2] for path in PATHS})
    assert PATHS


def test_opening_says_number_goal_needs_and_time(path, cells):
    number = path.stem[:2]
    assert re.match(rf"# {number} \S.*\n\nBy the end you can ", cells[0].source)
    for row in ("You need", "You get", "Time", "Writes", "Paper", "Words", "Open in"):
        assert f"| **{row}** |" in cells[1].source


def test_opening_links_to_the_glossary_beside_it(path, cells):
    assert re.search(r"\| \*\*Words\*\* \| \[.+\]\(glossary\.md\)", cells[1].source)
    assert (path.parent / "glossary.md").is_file()


def test_parameters_are_literals_with_the_kit_s_names(either):
    declared = declared_parameters(either)
    cells = read(either)
    assert set(declared) <= set(PARAMETERS)
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    statements = ast.parse(tagged[0].source).body
    assert all(isinstance(statement, ast.AnnAssign) for statement in statements)
    assert all("#" in line for line in tagged[0].source.splitlines()), "each has a help comment"
    config.load(**{name: value for name, value in declared.items() if value != ""})


def test_setup_names_this_notebook(path, cells):
    setup = next(c.source for c in cells if "lesson.begin" in c.source)
    assert f'lab = lesson.begin("{path.stem}", globals())' in setup


def test_a_failing_import_says_what_to_start(either):
    setup = next(c.source for c in read(either) if "lesson.begin" in c.source)
    hint, *code = setup.splitlines()
    assert hint.startswith("# ModuleNotFoundError") and "`make lab`" in hint
    assert code[0].startswith(("import ", "from "))


def test_nothing_executed_is_stored(either):
    for cell in read(either):
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
        assert "injected-parameters" not in cell.metadata.get("tags", [])


def test_cells_are_short(either):
    cells = read(either)
    for source in sources(cells, "code"):
        assert len(source.splitlines()) <= 25, source[:80]
    for source in sources(cells, "markdown"):
        if not source.startswith("|"):
            assert len(source.split()) <= 90, source[:80]


def test_formulas_can_be_drawn_by_the_site(either):
    maths = pytest.importorskip("docutils.utils.math.latex2mathml", reason="needs the site extra")
    for source in sources(read(either), "markdown"):
        for formula in re.findall(r"\$\$?([^$]+)\$", source):
            assert maths.tex2mathml(formula)


def test_teaches_by_prediction_and_checks(cells):
    prose, code = "\n".join(sources(cells, "markdown")), "\n".join(sources(cells, "code"))
    assert prose.count("**Predict.**") >= 2
    assert len(CLAIM.findall(code)) >= 2


def test_ends_with_recap_exercises_and_stamp(cells):
    prose = sources(cells, "markdown")
    recap = next(source for source in prose if source.startswith("## Recap"))
    assert recap.count("\n- ") == 3
    exercises = next(source for source in prose if source.startswith("## Exercises"))
    assert all(word in exercises for word in ("**Tweak.**", "**Extend.**", "**Invent.**"))
    assert any(source.startswith("## Where next") for source in prose)
    assert cells[-1].source == "lab.stamp()"


def test_no_magics_no_installing_no_network(either):
    cells = [c for c in read(either) if "install" not in c.metadata.get("tags", [])]
    for source in sources(cells, "code"):
        assert not re.search(r"^\s*[!%]", source, flags=re.M)
        assert not re.search(r"\b(pip|urlopen|requests|wget|curl)\b", source)


def test_class_names_are_not_cut_by_hand(either):
    for source in sources(read(either), "code"):  # figures take them as they are; else `readable`
        assert not re.search(r"classes\[[^\]]+\]\.", source), source[:80]


def test_links_between_notebooks_hold(either):
    prose = "\n".join(sources(read(either), "markdown"))
    for name in re.findall(r"`(\d\d_\w+)`", prose):
        assert (NOTEBOOKS / f"{name}.ipynb").exists(), name
    for name in re.findall(r"`(solutions/\w+\.ipynb)`", prose):
        assert (NOTEBOOKS / name).exists(), name


def test_prose_quotes_no_result(either):
    assert quoted_results(read(either)) == []


def test_the_search_for_results_in_prose():
    results = [".578", "0.85", "57.7", "23 of 24", "12 of the 48", "40 %", "5.27 ms", "3 points"]
    for text in results:
        assert quoted_results([new_markdown_cell(f"It finds {text} here.")]), text
    allowed = ["$0.85$", "`0.85`", "| 0.85 |", "[a](https://arxiv.org/abs/1412.6980)", "1.15 GB"]
    allowed += [
        "arXiv 2109.14449",
        "a 95 % interval",
        "section 8. Then",
        "By hand: 0.85",
        "48 bits",
    ]
    for text in allowed:
        assert not quoted_results([new_markdown_cell(text)]), text


def test_kernel_is_python3(either):
    assert nbformat.read(either, as_version=4).metadata.kernelspec.name == "python3"


def test_sections_are_numbered_from_one_and_each_has_code(path, cells):
    heads = [i for i, c in enumerate(cells) if re.match(r"## (\d+\.|Recap)", c.source)]
    numbers = [re.match(r"## (\d+)\.", cells[i].source) for i in heads]
    assert [int(n[1]) for n in numbers if n] == list(range(1, len(heads)))
    for start, end in pairwise(heads):
        assert any(cell.cell_type == "code" for cell in cells[start:end]), cells[start].source[:60]


def test_draws_and_saves_figures(path, cells):
    code = "\n".join(sources(cells, "code"))
    names = re.findall(r"lab\.save\(figure, f?\"([^\"]+)\"", code)
    assert names and len(set(names)) == len(names)


def test_exercises_come_in_three_sizes_one_of_each(path, cells):
    exercises = next(c.source for c in cells if c.source.startswith("## Exercises"))
    sizes = re.findall(r"^(\d)\. \*\*(\w+)\.\*\*", exercises, flags=re.M)
    assert sizes == [("1", "Tweak"), ("2", "Extend"), ("3", "Invent")]


def test_opening_and_recap_are_bilingual(path, cells):
    recap = next(c.source for c in cells if c.source.startswith("## Recap"))
    for source, word in ((cells[0].source, "**目标。**"), (recap, "**小结。**")):
        assert len(HAN.findall(source.split(word)[1])) >= 15


@pytest.mark.parametrize("name", CONCEPTS)
def test_concept_notebooks_have_pencil_shapes_and_a_figure_per_idea(name):
    cells = read(NOTEBOOKS / f"{name}.ipynb")
    prose, code = ("\n".join(sources(cells, kind)) for kind in ("markdown", "code"))
    assert "by hand" in prose.lower() or "pencil" in prose
    assert prose.count("**Predict.**") >= 5 and len(CLAIM.findall(code)) >= 6
    assert len(re.findall(r"\([A-Z](, [\w ]+)+\)", prose + code)) >= 3, "shapes, as (B, S, C)"
    assert code.count("lab.save(") >= 3
    counts = [len(source.splitlines()) for source in sources(cells, "code")]
    assert 15 <= len(counts) <= 36 and sorted(counts)[len(counts) // 2] <= 10


def test_every_exercise_has_a_solution(path, cells):
    assert f"`solutions/{path.name}`" in "\n".join(sources(cells, "markdown"))
    answers = read(NOTEBOOKS / "solutions" / path.name)
    heads = [i for i, c in enumerate(answers) if c.source.startswith("## ")] + [len(answers)]
    titles = [answers[i].source.splitlines()[0] for i in heads[:-1]]
    wanted = ["Tweak", "Extend", "Invent"]
    assert [re.match(r"## \d\. (\w+): ", title)[1] for title in titles] == wanted
    for start, end in pairwise(heads):
        code = "\n".join(sources(answers[start:end], "code"))
        assert code, titles


def test_solutions_belong_to_notebooks_check_themselves_and_stamp(solution):
    cells = read(solution)
    assert (NOTEBOOKS / solution.name).exists()
    assert re.match(rf"# {solution.stem[:2]} \S.*: solutions\n", cells[0].source)
    code = sources(cells, "code")
    assert any(f'lab = lesson.begin("solutions/{solution.stem}", globals())' in c for c in code)
    assert sum(len(CLAIM.findall(c)) for c in code) >= 3
    assert code[-1] == "lab.stamp()"


def test_a_run_opened_by_its_folder_may_have_moved_data():
    namespace = {"profile": "smoke", "run_dir": "a", "data_dir": "moved", "weights": "w.pth"}
    lab = lesson.begin("13_explorer", namespace)
    assert lab.given == {"profile": "smoke"}
    with pytest.raises(ValueError, match="dataset 'toy' draws its own images"):
        lesson.begin("13_explorer", {"data_dir": "moved"})


def test_an_observation_that_fails_is_said_and_stops_nothing(capsys):
    lab = lesson.Lesson("08_train", config.load("smoke"), {})
    lab.observe("it is so", True, "Or not.")
    lab.observe("it is so", False, "Or not.")
    said = capsys.readouterr().out.splitlines()
    assert said == ["✓ here: it is so", "✗ not here: it is so", "  → Or not."]
