"""The ordered notebooks as files: where they are, how they are numbered, what they declare."""

import ast
import json
from pathlib import Path
from typing import Any

from fdhmfe.support.places import REPOSITORY

NOTEBOOKS = REPOSITORY / "notebooks"


def ordered_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """The numbered notebooks in `folder`, in the order in which they are read and run."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def chosen(notebooks: list[Path], only: list[str] | None) -> list[Path]:
    """Those of the given numbers (06; None: all); ValueError for a number there is none of."""
    numbers = [path.name[:2] for path in notebooks]
    unknown = sorted(set(only or []) - set(numbers))
    if unknown:
        raise ValueError(f"there is no notebook {unknown[0]}; there are {', '.join(numbers)}")
    return [path for path in notebooks if not only or path.name[:2] in only]


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """Names and defaults in the cell tagged `parameters`, without running it."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = [
        "".join(cell["source"])
        for cell in cells
        if "parameters" in cell.get("metadata", {}).get("tags", [])
    ]
    if len(sources) != 1:
        raise ValueError(f"{notebook} must have one cell tagged 'parameters'")
    return {
        statement.target.id: ast.literal_eval(statement.value)
        for statement in ast.parse(sources[0]).body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.value
    }
