"""Write how long notebooks take to read into their Time rows and into docs/teaching.md.

    python tools/times.py

Run it again after any change of a notebook; what is right already stays as it is.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from pages import update

from fdhmfe.lessons.notebooks import NOTEBOOKS, ordered_notebooks, reading_minutes
from fdhmfe.support.places import REPOSITORY

TEACHING = REPOSITORY / "docs" / "teaching.md"
ROW = re.compile(r"(\| \*\*Time\*\* \| )(?:\d+ minutes to read; computing: )?")
PLAN_ROW = re.compile(r"^\|.*\| \d+ min \|$", re.MULTILINE)
PART = re.compile(r"`(\d\d_\w+)`(?: sections 1 to (\d+)| without section (\d+))?")


def timed(notebook: Path) -> str:
    """The notebook's text (JSON) with its reading time in the row that states its time."""
    words = rf"\g<1>{reading_minutes(notebook)} minutes to read; computing: "
    return ROW.sub(words, notebook.read_text(encoding="utf-8"), count=1)


def planned(page: str, minutes: Callable[[str, int | None, int | None], int]) -> str:
    """The page with the sum over what a row names at the end of each row of a plan.

    A row names notebooks, whole or in part: "sections 1 to 4", "without section 2". minutes: of a
    notebook up to a section, without one (None: all of it), as `reading_minutes` has it.
    """

    def summed(row: re.Match) -> str:
        named = [(name, *map(number, ends)) for name, *ends in PART.findall(row[0])]
        return re.sub(r"\d+ min \|$", f"{sum(minutes(*each) for each in named)} min |", row[0])

    return PLAN_ROW.sub(summed, page)


def minutes_of(name: str, last: int | None, without: int | None) -> int:
    return reading_minutes(NOTEBOOKS / f"{name}.ipynb", last, without)


def number(digits: str) -> int | None:
    return int(digits) if digits else None


def main() -> int:
    minutes = {path.stem: reading_minutes(path) for path in ordered_notebooks()}
    new = {path: timed(path) for path in ordered_notebooks()}
    new[TEACHING] = planned(TEACHING.read_text(encoding="utf-8"), minutes_of)
    for path, text in new.items():
        update(path, text)
    print(", ".join(f"{name} {value}" for name, value in minutes.items()), "minutes to read")
    return 0


if __name__ == "__main__":
    sys.exit(main())
