"""Write how long notebooks take to read into their Time rows and into docs/teaching.md.

    python tools/times.py

Run it again after any change of a notebook; what is right already stays as it is.
"""

import re
import sys
from pathlib import Path

from fdhmfe.lessons.notebooks import ordered_notebooks, reading_minutes
from fdhmfe.support.files import atomic
from fdhmfe.support.places import REPOSITORY

TEACHING = REPOSITORY / "docs" / "teaching.md"
ROW = re.compile(r"(\| \*\*Time\*\* \| )(?:\d+ minutes to read; computing: )?")
PLAN_ROW = re.compile(r"^\|.*\| \d+ min \|$", re.MULTILINE)


def timed(notebook: Path) -> str:
    """The notebook's text (JSON) with its reading time in the row that states its time."""
    words = rf"\g<1>{reading_minutes(notebook)} minutes to read; computing: "
    return ROW.sub(words, notebook.read_text(encoding="utf-8"), count=1)


def planned(page: str, minutes: dict[str, int]) -> str:
    """The page with the sum over the notebooks a row names at the end of each row of a plan."""

    def summed(row: re.Match) -> str:
        total = sum(minutes.get(name, 0) for name in re.findall(r"`(\d\d_\w+)`", row[0]))
        return re.sub(r"\d+ min \|$", f"{total} min |", row[0])

    return PLAN_ROW.sub(summed, page)


def main() -> int:
    minutes = {path.stem: reading_minutes(path) for path in ordered_notebooks()}
    new = {path: timed(path) for path in ordered_notebooks()}
    new[TEACHING] = planned(TEACHING.read_text(encoding="utf-8"), minutes)
    for path, text in new.items():
        if text != path.read_text(encoding="utf-8"):
            with atomic(path) as partial:
                partial.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(REPOSITORY)}")
    print(", ".join(f"{name} {value}" for name, value in minutes.items()), "minutes to read")
    return 0


if __name__ == "__main__":
    sys.exit(main())
