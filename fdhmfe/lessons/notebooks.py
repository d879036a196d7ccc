"""The numbered notebooks as files: where they are, and which parameters they declare."""

import ast
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fdhmfe.config.settings import TYPES
from fdhmfe.support.places import shipped

NOTEBOOKS = shipped("notebooks")
# Beside the notebooks: one link serves JupyterLab and the site
GLOSSARY = NOTEBOOKS / "glossary.md"
WORDS_A_MINUTE, MINUTES_A_CODE_CELL = 180, 0.5
HAN = re.compile("[\u4e00-\u9fff]")


def ordered_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """The numbered notebooks in `folder`, in the order to read and run them."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def chosen(notebooks: list[Path], only: Collection[str]) -> list[Path]:
    """The notebooks with these numbers or names (none: all); ValueError for one that is not there.

    08_train.ipynb has the number 08 and the names train and 08_train.
    """
    if not notebooks:
        raise ValueError(f"there are no notebooks in {NOTEBOOKS}: install the kit anew")
    known = {name: path for path in notebooks for name in (path.stem, *path.stem.split("_", 1))}
    unknown = sorted(set(only) - set(known))
    if unknown:
        stems = ", ".join(path.stem for path in notebooks)
        raise ValueError(f"there is no notebook {unknown[0]}; there are {stems}")
    asked = {known[name] for name in only} or notebooks
    return [path for path in notebooks if path in asked]


def settings_taken() -> list[str]:
    """Settings that some notebook has a parameter for; ValueError if there are no notebooks."""
    taken = all_parameters(chosen(ordered_notebooks(NOTEBOOKS), ()))
    return [name for name in TYPES if name in taken]


def all_parameters(notebooks: Iterable[Path]) -> set[str]:
    return {name for path in notebooks for name in declared_parameters(path)}


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """Names and defaults in the cell tagged `parameters`, read without running it.

    Not by papermill.inspect_notebook: it gives defaults as text, and its import takes 1.7 s.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = [cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
    if len(tagged) != 1:
        raise ValueError(f"{notebook} must have one cell tagged 'parameters'")
    return {
        ast.unparse(line.target): ast.literal_eval(line.value)
        for line in ast.parse("".join(tagged[0])).body
        if isinstance(line, ast.AnnAssign) and line.value
    }


def reading_minutes(notebook: Path, last: int | None = None, without: int | None = None) -> int:
    """Minutes to read a notebook's English prose and its code, without the time to run it.

    last: stop after this section; without: skip this one. The row that states the time does not
    count: what it says must not change what it should say.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    parts = zip(sections(cells), cells, strict=True)
    cells = [c for at, c in parts if (last is None or at <= last) and at != without]
    prose = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    lines = [line for text in prose for line in text.splitlines() if "| **Time** |" not in line]
    english = " ".join(line for line in lines if not HAN.search(line))
    words = sum(any(map(str.isalnum, word)) for word in english.split())
    code = sum(cell["cell_type"] == "code" for cell in cells)
    return round(words / WORDS_A_MINUTE + MINUTES_A_CODE_CELL * code)


def sections(cells: Iterable[Mapping[str, Any]]) -> Iterator[float]:
    """The number of the section that each cell is in: 0 before the first, infinite after the last.

    Raises ValueError if a section's number is not one more than that of the section before.
    """
    now: float = 0
    for cell in cells:
        text = "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
        if heading := re.match(r"## (\d+)\. ", text):
            if int(heading[1]) != now + 1:
                raise ValueError(f"section {heading[1]} comes after section {now}")
            now = int(heading[1])
        elif text.startswith("## "):
            now = math.inf
        yield now
