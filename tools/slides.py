"""Slides of the notebooks: python tools/slides.py --help.

They are the notebooks themselves, by nbconvert and reveal.js: executed copies of results/<profile>
where there are any, so that figures show. A rule says where a slide begins (`slide_types`); a
cell's metadata (`slideshow.slide_type`, as JupyterLab writes it) comes before the rule.
"""

import argparse
import html
import re
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import nbformat
from formulas import mathml
from nbconvert import SlidesExporter
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from nbformat import NotebookNode

from fdhmfe.config.profiles import PROFILES
from fdhmfe.config.settings import load
from fdhmfe.lessons.notebooks import ordered_notebooks
from fdhmfe.support.places import REPOSITORY

DOCS = REPOSITORY / "docs"
LOCAL_LINK = re.compile(r"\[([^\]]+)\]\(glossary\.md\)")  # nothing lies beside slides
FORMULA = re.compile(r"(<code.*?</code>)|\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)


def slide_types(cells: list[NotebookNode]) -> list[str]:
    """For each cell: slide (to the right), subslide (below), - (on the same one) or skip.

    A heading begins a slide. A slide has at most one cell of text and one of code, and nothing
    after a prediction: the answer is on the next one.
    """
    types: list[str] = []
    shown: list[NotebookNode] = []  # what the present slide has so far
    for cell in cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type") or rule(cell, shown)
        types.append(kind)
        if kind not in ("skip", "notes"):
            shown = [cell] if kind in ("slide", "subslide") else [*shown, cell]
    return types


def rule(cell: NotebookNode, shown: list[NotebookNode]) -> str:
    """The type of a cell that says nothing itself, after those that the slide has so far."""
    if is_frame(cell):
        return "skip"
    if cell.source.startswith("#") and cell.cell_type == "markdown":
        return "slide"
    if cell.source.startswith("|") and len(shown) == 1:
        return "-"  # needs and times, below the title
    asks = any("**Predict.**" in other.source for other in (*shown, cell))
    alike = any(other.cell_type == cell.cell_type for other in shown)
    return "subslide" if asks or alike else "-"


def is_frame(cell: NotebookNode) -> bool:
    """Parameters, set-up and stamp: a notebook needs them, an audience does not."""
    tags = cell.metadata.get("tags", [])
    by_tag = "parameters" in tags or "injected-parameters" in tags
    return by_tag or "lesson.begin(" in cell.source or cell.source == "lab.stamp()"


def draws(cell: NotebookNode) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def prepared(path: Path) -> NotebookNode:
    """The notebook with slide types; cells that draw show their figure alone, without code."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell, kind in zip(notebook.cells, slide_types(notebook.cells), strict=True):
        cell.metadata["slideshow"] = {"slide_type": kind}
        cell.source = LOCAL_LINK.sub(r"\1", cell.source)
        if draws(cell):
            cell.metadata["transient"] = {"remove_source": True}
            cell.outputs = [o for o in cell.outputs if not o.get("text", "").startswith("saved ")]
    return notebook


def rendered(source: str) -> str:
    """Markdown as HTML with formulas as MathML, which browsers draw by themselves."""

    def formula(match: re.Match) -> str:
        code, block, inline = match.groups()
        if code:
            return code
        markup = mathml(html.unescape(block or inline), bool(block))
        return f'<div class="math">{markup}</div>' if block else markup

    return FORMULA.sub(formula, markdown2html_mistune(source))


def build(output_dir: Path) -> list[Path]:
    """Write slides/NN_name.html for each notebook, with reveal.js beside them."""
    folder = output_dir / "slides"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(files("sphinx_revealjs") / "_static" / "revealjs", folder / "revealjs")
    shutil.copyfile(DOCS / "slides.css", folder / "slides.css")
    exporter = SlidesExporter(
        raw_template=(DOCS / "slides.html.j2").read_text(encoding="utf-8"),
        filters={"markdown2html": rendered},
        reveal_url_prefix="revealjs",
        reveal_theme="white",
        embed_images=True,
    )
    pages = []
    for path in ordered_notebooks():
        executed = output_dir / "notebooks" / path.name
        notebook = prepared(executed if executed.is_file() else path)
        notebook.metadata["title"] = re.match("# (.+)", notebook.cells[0].source)[1]
        text, _ = exporter.from_notebook_node(notebook)
        pages.append(folder / f"{path.stem}.html")
        pages[-1].write_text(text, encoding="utf-8")
    return pages


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python tools/slides.py", description=__doc__)
    parser.add_argument("--profile", default="quick", choices=tuple(PROFILES))
    parser.add_argument("--results-dir", default="", help="where <profile> is, if not in results")
    options = parser.parse_args(arguments)
    settings = load(options.profile, results_dir=options.results_dir)
    print(*build(settings.output_dir), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
