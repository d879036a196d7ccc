"""The site of executed notebooks: built from small ones, opened in a real browser."""

import base64
import io
import re
import zipfile
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from browser import BROWSER, lab_notebooks, needs_browser
from conftest import tool
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

pytest.importorskip("myst_nb", reason="the site extra is not installed")
pytest.importorskip("sphinx_book_theme", reason="the site extra is not installed")
pytestmark = [
    pytest.mark.slow,  # Sphinx, a browser
    pytest.mark.filterwarnings("ignore:.*deprecated"),  # within Sphinx's extensions
]
build_site = tool("build_site")
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg"><text>mAP (%)</text><text>0.5</text>'
    "<text>mAP (%)</text><text>W<tspan>1</tspan></text></svg>"
)
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "Explorer()"}


def notebook(number: str, data: dict, printed: str = "") -> nbformat.NotebookNode:
    """An executed notebook with a formula, and one cell that shows `data` and prints."""
    text = f"# {number} A title\n\nBy the end you can read $\\lfloor (d-1)/2 \\rfloor$."
    text += "\n\n[Words](glossary.md), then `01_second`\n\n| | |\n|---|---|\n| **Time** | long |"
    outputs = [new_output("stream", name="stdout", text=printed)] if printed else []
    outputs.append(new_output("display_data", data=data))
    cells = [
        new_markdown_cell(text),
        new_markdown_cell("## A part\n\n$$\\mathcal{L} = \\sum_i \\frac{a_i}{2}$$"),
        new_code_cell("1 + 1", execution_count=1, outputs=outputs),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


@pytest.fixture
def output_dir(tmp_path, monkeypatch) -> Path:
    """results/smoke of a ladder of two notebooks, one with a figure and one with the explorer."""
    picture = io.BytesIO()
    Image.new("RGB", (40, 20), "teal").save(picture, "PNG")
    figure = {"image/png": base64.b64encode(picture.getvalue()).decode()}
    folder = tmp_path / "smoke"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "explorer").mkdir()
    (folder / "figures").mkdir()
    (folder / "figures" / "00_first-a.svg").write_text(DRAWING, encoding="utf-8")
    (folder / "explorer" / "run.html").write_text("<!doctype html><title>run</title>")
    ladder = {
        "00_first": notebook("00", figure, "saved results/smoke/figures/00_first-a.png, b.svg"),
        "01_second": notebook("01", WIDGET, "results/smoke/explorer/run.html 0.1 MB"),
    }
    for name, content in ladder.items():
        nbformat.write(content, folder / "notebooks" / f"{name}.ipynb")
    names = [Path(f"{name}.ipynb") for name in ladder]
    monkeypatch.setattr(build_site, "ordered_notebooks", lambda: names)
    return folder


def test_missing_notebooks_are_named_with_the_command(output_dir):
    (output_dir / "notebooks" / "01_second.ipynb").unlink()
    with pytest.raises(build_site.SiteError, match=r"notebooks 01 have not.*PROFILE=smoke"):
        build_site.build(output_dir, "smoke")
    assert not (output_dir / "site").exists()


def test_a_failed_notebook_is_not_shown_as_if_it_had_run(output_dir):
    path = output_dir / "notebooks" / "00_first.ipynb"
    content = nbformat.read(path, as_version=4)
    content.metadata["papermill"] = {"exception": True}
    nbformat.write(content, path)
    with pytest.raises(build_site.SiteError, match="notebooks 00 failed"):
        build_site.build(output_dir, "smoke")


def test_a_failed_build_leaves_the_site_that_is_there(output_dir):
    first = build_site.build(output_dir, "smoke")
    path = output_dir / "notebooks" / "00_first.ipynb"
    content = nbformat.read(path, as_version=4)
    content.cells[1].source = "$$\\nosuchcommand$$"
    nbformat.write(content, path)
    with pytest.raises(build_site.SiteError):
        build_site.build(output_dir, "smoke")
    assert first.is_file()


@needs_browser
def test_pages_open_from_disk_without_a_fault(output_dir):
    first = build_site.build(output_dir, "smoke")
    pages, faults = lab_notebooks.crawl(BROWSER, first)
    assert faults == []
    assert {"index.html", "00_first.html", "01_second.html", "run.html"} <= pages


def test_the_teacher_s_page_says_how_to_make_what_is_not_made(output_dir):
    page = build_site.build(output_dir, "smoke").with_name("teaching.html").read_text("utf-8")
    assert build_site.MADE not in page
    text = re.sub("<.*?>", "", page)
    for goal in ("slides", "cheatsheet", "handout"):
        assert text.count(f"not made yet, run make {goal}") == 1


@needs_browser
def test_the_teacher_s_page_links_slides_sheet_and_handout(output_dir, monkeypatch):
    slides = tool("slides")
    monkeypatch.setattr(slides, "ordered_notebooks", build_site.ordered_notebooks)
    slides.build(output_dir)
    tool("cheatsheet").print_sheet(BROWSER, output_dir.parent / "cheatsheet.pdf")
    names = tool("handout").pack(output_dir.parent / "handout.zip")
    first = build_site.build(output_dir, "smoke")
    pages, faults = lab_notebooks.crawl(BROWSER, first)
    assert faults == []
    with lab_notebooks.browser_page(BROWSER) as page:
        page.goto(first.with_name("teaching.html").as_uri())
        for name in ("cheatsheet.pdf", "handout.zip"):
            target = page.get_by_role("link", name=name).evaluate("a => a.href")
            assert target == first.with_name(name).as_uri()
        page.get_by_role("link", name="00_first").last.click()
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        assert page.url.startswith((first.parent / "slides" / "00_first.html").as_uri())
        assert "00 A title" in page.locator("section.present").last.inner_text()
    assert first.with_name("cheatsheet.pdf").read_bytes().startswith(b"%PDF")
    with zipfile.ZipFile(first.with_name("handout.zip")) as archive:
        assert archive.namelist() == names


@needs_browser
def test_formulas_figures_and_search_work_from_disk(output_dir):
    site = build_site.build(output_dir, "smoke").parent
    with lab_notebooks.browser_page(BROWSER) as page:
        faults = lab_notebooks.watch(page)
        page.goto((site / "00_first.html").as_uri())
        words = page.locator("article").get_by_role("link", name="Words")
        assert words.get_attribute("href") == "glossary.html"
        assert page.locator("math").count() == 2
        fraction = page.locator("math mfrac").bounding_box()
        assert fraction["height"] > fraction["width"], "drawn as a fraction"
        assert page.locator(".cell_output img").bounding_box()["width"] == 40
        page.goto((site / "search.html").as_uri() + "?q=title")
        found = page.locator("#search-results li a")
        found.first.wait_for()
        assert found.count() >= 2
        assert faults == []


@needs_browser
def test_text_leads_to_the_notebooks_it_names_and_figures_have_words(output_dir):
    path = output_dir / "notebooks" / "00_first.ipynb"
    content = nbformat.read(path, as_version=4)
    again = new_output("display_data", data=content.cells[2].outputs[1].data)
    content.cells.append(new_code_cell("figure", execution_count=2, outputs=[again]))
    nbformat.write(content, path)
    first = build_site.build(output_dir, "smoke")
    with lab_notebooks.browser_page(BROWSER) as page:
        page.goto(first.with_name("00_first.html").as_uri())
        words = [figure.get_attribute("alt") for figure in page.locator(".cell_output img").all()]
        assert words == ["Figure 00_first-a: mAP (%); W1", build_site.UNNAMED]
        page.locator("article").get_by_role("link", name="01_second").click()
        assert page.url == first.with_name("01_second.html").as_uri()


@needs_browser
def test_a_wide_table_keeps_its_head_and_scrolls_by_itself_on_a_phone(output_dir):
    path = output_dir / "notebooks" / "00_first.ipynb"
    content = nbformat.read(path, as_version=4)
    frame = pd.DataFrame([[0.123456] * 12], columns=[f"column {i}" for i in range(12)])
    shown = new_output("display_data", data={"text/html": frame.to_html()})
    content.cells.append(new_code_cell("frame", execution_count=2, outputs=[shown]))
    nbformat.write(content, path)
    first = build_site.build(output_dir, "smoke")
    with lab_notebooks.browser_page(BROWSER) as page:
        page.set_viewport_size({"width": 390, "height": 900})
        page.goto(first.with_name("00_first.html").as_uri())
        assert page.get_by_role("columnheader", name="column 11").is_visible()
        assert not page.locator("article thead").first.is_visible(), "an opening has no head"
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        around = page.locator(".output.text_html")
        assert around.evaluate("e => e.scrollWidth > e.clientWidth + 100")
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        filters = page.locator(".cell_output img").evaluate("e => getComputedStyle(e).filter")
        assert "contrast" not in filters, "colours stay those that the text names"
