"""What teachers get: reading times, the plan, the glossary, slides, the sheet, the handout."""

import json
import re
import zipfile
from pathlib import Path

import nbformat
import pytest
from browser import BROWSER, lab_notebooks, needs_browser
from conftest import ROOT, tool
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fdhmfe.lessons.notebooks import GLOSSARY, NOTEBOOKS, ordered_notebooks, reading_minutes

PATHS = ordered_notebooks()
WORDS = GLOSSARY.read_text(encoding="utf-8")
TERMS = re.findall(r"^\| \*\*(.+?)\*\* (.+?) `(\d\d_\w+)` \| (.+) \| (.+) \|$", WORDS, re.M)
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJg"
    "gg=="
)


def prose(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_reading_counts_english_words_and_code_cells(tmp_path):
    words = new_markdown_cell(
        " ".join(["word"] * 360) + " — $+$\n\n一 二 三 四\n| **Time** | a b c |"
    )
    path = tmp_path / "00_a.ipynb"
    nbformat.write(new_notebook(cells=[words, new_code_cell("1"), new_code_cell("2")]), path)
    assert reading_minutes(path) == 3


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_states_its_reading_time_and_takes_45_minutes_at_most(path):
    minutes = reading_minutes(path)
    assert minutes <= 45
    stated = f"| **Time** | {minutes} minutes to read; computing: "
    assert stated in prose(path), "run `make times`"


def test_stating_the_time_again_changes_nothing_else(tmp_path):
    times = tool("times")
    path = tmp_path / PATHS[0].name
    old = PATHS[0].read_text(encoding="utf-8")
    path.write_text(re.sub(r"\d+ minutes to read; computing: ", "", old), encoding="utf-8")
    once = times.timed(path)
    path.write_text(once, encoding="utf-8")
    assert times.timed(path) == once
    assert len(set(once.splitlines()) ^ set(old.splitlines())) <= 2
    assert json.loads(once)


def test_the_plan_adds_up():
    times, page = tool("times"), (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
    assert times.planned(page, times.minutes_of) == page, "run `make times`"
    row = "| 1 | `00_a`, `01_b` sections 1 to 4, `02_c` without section 2 | 0 min |"
    minutes = {("00_a", None, None): 5, ("01_b", 4, None): 7, ("02_c", None, 2): 11}
    assert times.planned(row, lambda *part: minutes[part]) == row.replace("0 min", "23 min")


def test_what_a_plan_skips_is_not_counted(tmp_path):
    text = " ".join(["word"] * 180)
    heads = ("# 00 A title", "## 1. One", "## 2. Two", "## 3. Three", "## Recap")
    cells = [new_markdown_cell(f"{head}\n\n{text}") for head in heads]
    path = tmp_path / "00_a.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    assert [reading_minutes(path, *part) for part in ((), (2,), (None, 2), (2, 1))] == [5, 3, 4, 2]


def test_sections_out_of_order_are_no_plan_s_sections(tmp_path):
    path = tmp_path / "00_a.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("## 2. Two")]), path)
    with pytest.raises(ValueError, match="section 2 comes after section 0"):
        reading_minutes(path)


def test_plans_name_sections_that_are_there():
    page = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
    named = tool("times").PART.findall(page)
    assert any(last for _, last, _ in named) and any(without for *_, without in named)
    for name, last, without in named:
        for section in filter(None, (last, without)):
            assert f"\n## {section}. " in "\n" + prose(NOTEBOOKS / f"{name}.ipynb")


def test_the_glossary_has_each_term_once_in_two_languages():
    assert len(TERMS) == len(re.findall(r"^\| \*\*", WORDS, re.M)) >= 40
    assert len({term for term, *_ in TERMS}) == len(TERMS)
    introduced = [name for _, _, name, _, _ in TERMS]
    assert introduced == sorted(introduced), "the order of the course"
    for term, _, _, english, chinese in TERMS:
        assert english.endswith(".") and chinese.endswith("。"), term
        assert len(english.split()) >= 4 and re.search("[\u4e00-\u9fff]", chinese), term


@pytest.mark.parametrize("term, name", [(row[0], row[2]) for row in TERMS])
def test_a_term_occurs_in_the_notebook_that_introduces_it(term, name):
    path = NOTEBOOKS / f"{name}.ipynb"
    assert path.is_file()
    assert term.lower() in prose(path).lower()


def test_a_handout_has_notebooks_and_the_glossary_they_link_to_and_no_solutions(tmp_path):
    handout = tool("handout")
    first, again = tmp_path / "a.zip", tmp_path / "b.zip"
    names = handout.pack(first)
    handout.pack(again)
    assert names == [f"notebooks/{path.name}" for path in (*PATHS, GLOSSARY)]
    assert first.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(first) as archive:
        for name in names[:-1]:
            assert b"solutions/" not in archive.read(name)
            nbformat.reads(archive.read(name).decode(), as_version=4)


@pytest.fixture
def slides():
    pytest.importorskip("sphinx_revealjs", reason="the site extra is not installed")
    return tool("slides")


def lesson(executed: bool = True) -> nbformat.NotebookNode:
    """A small notebook with all that the rule tells apart."""
    figure = new_output("display_data", data={"image/png": PIXEL})
    saved = new_output("stream", name="stdout", text="saved a.png")
    cells = [
        new_markdown_cell("# 00 A title\n\nBy the end you can read $\\frac{a}{2}$, not `$HOME`."),
        new_markdown_cell(
            "| | |\n|---|---|\n| **Time** | long |\n| **Words** | [all](glossary.md) |"
        ),
        new_code_cell("bits = 12", metadata={"tags": ["parameters"]}),
        new_code_cell('lab = lesson.begin("00_a", globals())'),
        new_markdown_cell("## 1. A part\n\n**Predict.** What is $1 + 1$?"),
        new_code_cell("answer = 1 + 1"),
        new_markdown_cell("It is two."),
        new_code_cell("draw()", outputs=[saved, figure] if executed else []),
        new_markdown_cell("Only for me.", metadata={"slideshow": {"slide_type": "skip"}}),
        new_code_cell("\n".join(["high"] * 40)),
        new_code_cell("lab.stamp()"),
    ]
    return new_notebook(cells=cells)


def test_the_rule_of_slides(slides):
    assert slides.slide_types(lesson().cells) == [
        *("slide", "-", "skip", "skip", "slide", "subslide", "-", "subslide"),
        *("skip", "subslide", "skip"),
    ]


@pytest.mark.slow
@needs_browser
def test_slides_show_executed_cells_in_a_browser_without_a_network(slides, tmp_path, monkeypatch):
    plain, output = tmp_path / "00_a.ipynb", tmp_path / "smoke"
    nbformat.write(lesson(executed=False), plain)
    monkeypatch.setattr(slides, "ordered_notebooks", lambda: [plain])
    (output / "notebooks").mkdir(parents=True)
    nbformat.write(lesson(), output / "notebooks" / plain.name)
    (made,) = slides.build(output)
    with lab_notebooks.browser_page(BROWSER) as page:
        faults = lab_notebooks.watch(page)
        page.goto(made.as_uri())
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        assert page.locator("section.present mfrac").is_visible()
        assert "$HOME" in page.locator("section.present code").first.inner_text()
        shown = []
        for _ in range(page.evaluate("Reveal.getTotalSlides()")):
            shown.append(page.evaluate("Reveal.getCurrentSlide().innerText"))
            slide = "(({scrollHeight, clientHeight}) => scrollHeight - clientHeight)"
            assert page.evaluate(f"{slide}(Reveal.getCurrentSlide())") <= 1, shown[-1]
            page.evaluate("Reveal.next()")
        assert [page.locator("img").count(), len(shown), faults] == [1, 5, []]
    assert "Words\tall" in shown[0] and "glossary.md" not in made.read_text(encoding="utf-8")
    assert "Predict" in shown[1] and "answer" not in shown[1]
    assert "answer" in shown[2] and "It is two." in shown[2]
    for left_out in ("bits = 12", "lesson.begin", "Only for me", "stamp", "draw()", "saved"):
        assert left_out not in "".join(shown)


@pytest.mark.slow
@needs_browser
def test_the_sheet_is_one_page_and_nothing_sticks_out(slides, tmp_path):
    sheet = tool("cheatsheet")
    sheet.print_sheet(BROWSER, tmp_path / "sheet.pdf")
    pages = re.findall(rb"/Type\s*/Page\b(?!s)", (tmp_path / "sheet.pdf").read_bytes())
    assert len(pages) == 1
    with lab_notebooks.browser_page(BROWSER) as page:
        page.set_viewport_size({"width": 1054, "height": 726})  # A4 less its margins
        page.set_content(sheet.page((ROOT / "docs" / "cheatsheet.md").read_text(encoding="utf-8")))
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0
