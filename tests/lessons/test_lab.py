"""A real JupyterLab: all cells run, the explorer answers, and the glossary is one click away."""

import re
import shutil

import nbformat
import pytest
from browser import BROWSER, drop, lab_notebooks, needs_browser
from nbformat.v4 import new_code_cell, new_notebook

from fdhmfe.lessons.notebooks import GLOSSARY, NOTEBOOKS

pytestmark = [pytest.mark.slow, needs_browser]
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A JupyterLab with the explorer's notebook, its parameters edited, and the glossary."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    shutil.copy(GLOSSARY, folder / "notebooks")
    given = {"profile": "smoke", "results_dir": str(folder / "results")}
    notebook = NOTEBOOKS / "13_explorer.ipynb"
    lab_notebooks.copy_with_parameters(notebook, folder / "notebooks", **given)
    with lab_notebooks.jupyter_lab(folder / "notebooks") as address:
        yield address, folder / "notebooks"


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests: the explorer's page stays open while others open theirs."""
    with lab_notebooks.browser_page(BROWSER) as page:
        yield page.context.browser


def new_page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(120_000)  # a busy machine is slow, not wrong
    return page


@pytest.fixture(scope="module")
def explorer(served, browser):
    """The explorer in a notebook whose cells have all run, its radius at the end."""
    address, _ = served
    page = new_page(browser)
    assert lab_notebooks.run_all(page, address, "13_explorer.ipynb") == []
    explorer = page.locator(".fdhmfe-explorer")
    explorer.scroll_into_view_if_needed()
    explorer.get_by_role("slider", name="Radius").press("End")
    return explorer


def picture(explorer) -> bytes:
    """A PNG of one's own."""
    return explorer.page.screenshot(clip={"x": 0, "y": 0, "width": 90, "height": 60})


def test_the_explorer_s_notebook_runs_and_the_explorer_answers(explorer):
    query = explorer.locator(".query")
    first = query.inner_text()
    explorer.locator(".queries label").nth(1).click()
    assert query.inner_text() != first


@pytest.mark.parametrize("way", ["chosen", "dropped"])
def test_a_photo_is_encoded_by_the_kernel_and_its_neighbours_have_names(explorer, way):
    name, content = f"{way}.png", picture(explorer)
    if way == "chosen":
        upload = explorer.locator("input[type=file]")
        upload.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
    else:
        drop(explorer, {name: content})
    query = explorer.locator(".query")
    query.get_by_text(name).wait_for()
    assert "class unknown" in query.inner_text()
    assert re.search(r"\d+ database images? within \d+ bits?\.", explorer.inner_text())
    names = explorer.locator(".hits .file").all_inner_texts()
    assert len(names) == 24 and all(name.endswith(".jpg") for name in names)
    assert explorer.page.locator(".fdhmfe-explorer.over").count() == 0


FAILS = {
    "no image": (lambda good: {"x.png": b"none"}, "x.png cannot be read as an image"),
    "damaged": (lambda good: {"x.png": good[:-99]}, "x.png cannot be read as an image"),
    "too large": (lambda good: {"x.png": bytes(9_100_000)}, "x.png has 9.1 MB, and 9 MB is"),
    "two files": (lambda good: {"x.png": good, "y.png": good}, "One photo at a time"),
    "nothing": (lambda good: {}, ""),
}


@pytest.mark.parametrize("kind", FAILS)
def test_a_drop_that_fails_clears_the_old_result_and_says_what_to_do(explorer, kind):
    files, said = FAILS[kind]
    explorer.locator(".queries label").first.click()
    hits = explorer.locator(".hits button")
    assert hits.count() == 24
    drop(explorer, files(picture(explorer)))
    if not said:  # a text that is dragged is not ours
        assert hits.count() == 24 and explorer.get_by_role("alert").count() == 0
        return
    alert = explorer.get_by_role("alert").filter(has_text=said)
    alert.wait_for()
    assert "Give another photo, such as a JPEG or PNG" in alert.inner_text()
    assert hits.count() == 0
    assert not [kind for kind in (".query", ".outcome") if explorer.locator(kind).is_visible()]
    assert explorer.locator("input[type=radio]:checked").count() == 0
    explorer.locator(".queries label").first.click()
    assert hits.count() == 24 and alert.count() == 0, "the next choice works as before"


def test_a_click_on_the_glossary_shows_it_rendered(served, browser):
    address, _ = served
    page = new_page(browser)
    page.goto(f"{address}/lab/tree/13_explorer.ipynb?reset")
    page.locator(".jp-NotebookPanel").get_by_role("link", name="glossary").click()
    shown = page.locator(".jp-MarkdownViewer")
    shown.get_by_role("cell", name="Hamming distance 汉明距离").wait_for()


def test_a_failing_cell_is_reported(served, browser):
    address, folder = served
    cell = new_code_cell("raise ValueError('on purpose')")
    later = new_code_cell("1")
    nbformat.write(new_notebook(cells=[cell, later], metadata=KERNEL), folder / "fails.ipynb")
    errors = lab_notebooks.run_all(new_page(browser), address, "fails.ipynb")
    assert errors == ["ValueError: on purpose"]
