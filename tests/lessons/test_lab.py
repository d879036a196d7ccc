"""A real JupyterLab: all cells run, the explorer answers, and the glossary is one click away."""

import re
import shutil

import nbformat
import pytest
from browser import BROWSER, lab_notebooks, needs_browser
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


def test_the_explorer_s_notebook_runs_and_the_explorer_answers(served):
    address, _ = served
    with lab_notebooks.browser_page(BROWSER) as page:
        assert lab_notebooks.run_all(page, address, "13_explorer.ipynb") == []
        explorer = page.locator(".fdhmfe-explorer")
        explorer.scroll_into_view_if_needed()
        query = explorer.locator(".query")
        first = query.inner_text()
        explorer.locator(".queries label").nth(1).click()
        assert query.inner_text() != first
        answer_to_an_upload(page, explorer, query)


def answer_to_an_upload(page, explorer, query) -> None:
    """A picture of one's own is encoded by the kernel; what is none is refused in words."""
    picture = page.screenshot(clip={"x": 0, "y": 0, "width": 90, "height": 60})
    upload = explorer.locator("input[type=file]")
    upload.set_input_files({"name": "own.png", "mimeType": "image/png", "buffer": picture})
    query.get_by_text("own.png").wait_for()
    assert "class unknown" in query.inner_text()
    assert re.search(r"\d+ database images? within \d+ bits?\.", explorer.inner_text())
    upload.set_input_files({"name": "no.png", "mimeType": "image/png", "buffer": b"none"})
    explorer.get_by_role("alert").get_by_text("no.png cannot be read").wait_for()


def test_a_click_on_the_glossary_shows_it_rendered(served):
    address, _ = served
    with lab_notebooks.browser_page(BROWSER) as page:
        page.goto(f"{address}/lab/tree/13_explorer.ipynb?reset")
        page.locator(".jp-NotebookPanel").get_by_role("link", name="glossary").click()
        term = page.locator(".jp-MarkdownViewer").get_by_role(
            "cell", name="Hamming distance 汉明距离"
        )
        term.wait_for()


def test_a_failing_cell_is_reported(served):
    address, folder = served
    cell = new_code_cell("raise ValueError('on purpose')")
    later = new_code_cell("1")
    nbformat.write(new_notebook(cells=[cell, later], metadata=KERNEL), folder / "fails.ipynb")
    with lab_notebooks.browser_page(BROWSER) as page:
        errors = lab_notebooks.run_all(page, address, "fails.ipynb")
    assert errors == ["ValueError: on purpose"]
