"""Write into each notebook where it opens without an installation: python tools/badges.py

That is a row with links to Colab and Binder, and a cell that installs the package where it is
missing, and only there. The repository's address is in pyproject.toml; run this again after a
change of it. Binder makes its environment from environment.yml.
"""

import sys
import tomllib
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from pages import update

from fdhmfe.lessons.notebooks import ordered_notebooks
from fdhmfe.support.places import REPOSITORY

ROW = "| **Open in** | "
INSTALL = """\
# Where the package is missing, as on Colab, this installs it; elsewhere it does nothing
from importlib.util import find_spec

if find_spec("fdhmfe") is None:
    import subprocess
    import sys

    print(f"fdhmfe is not in {{sys.prefix}}: installing it there", flush=True)
    source = "git+{address}"
    subprocess.run([sys.executable, "-m", "pip", "install", source], check=True)"""
# Folded in JupyterLab and on Colab, absent from slides and site
FOLDED = {
    "tags": ["install", "remove-cell"],
    "jupyter": {"source_hidden": True},
    "cellView": "form",
    "slideshow": {"slide_type": "skip"},
}


def address() -> str:
    """The address of the public repository, https://github.com/ACCOUNT/NAME."""
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return content["project"]["urls"]["Repository"]


def row(name: str, repository: str) -> str:
    """The row of a notebook's opening table that links to Colab and Binder."""
    place, path = repository.removeprefix("https://github.com/"), f"notebooks/{name}.ipynb"
    colab = f"https://colab.research.google.com/github/{place}/blob/main/{path}"
    binder = f"https://mybinder.org/v2/gh/{place}/main?labpath={quote(path, safe='')}"
    return f"{ROW}[Colab]({colab}), [Binder]({binder}): nothing to install |"


def opened(notebook: NotebookNode, name: str, repository: str) -> NotebookNode:
    """The notebook with the row at the end of its opening table and the cell after that."""
    notebook.cells = [c for c in notebook.cells if "install" not in c.metadata.get("tags", ())]
    table = notebook.cells[1]
    lines = [line for line in table.source.splitlines() if not line.startswith(ROW)]
    table.source = "\n".join([*lines, row(name, repository)])
    cell = new_code_cell(INSTALL.format(address=repository), id="install", metadata=FOLDED)
    notebook.cells.insert(2, cell)
    return notebook


def written(path: Path) -> str:
    """The text of a notebook as it should be."""
    notebook = nbformat.read(path, as_version=4)
    return nbformat.writes(opened(notebook, path.stem, address())) + "\n"


def main() -> int:
    for path in ordered_notebooks():
        update(path, written(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
