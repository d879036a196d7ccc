"""Pages that tools write a part of."""

from pathlib import Path

from fdhmfe.support.files import write_text
from fdhmfe.support.places import REPOSITORY


def replaced(page: str, new: str, start: str, end: str) -> str:
    """The page with `new`, marks included, for what stands from one mark to the other.

    Raises ValueError naming the mark that the page lacks.
    """
    before, opened, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not closed:
        raise ValueError(f"the page has no {(end if opened else start).strip()}")
    return before + new + after


def update(path: Path, text: str) -> None:
    """Write a file of the repository, and say so, if it is not as it should be."""
    if text != path.read_text(encoding="utf-8"):
        write_text(path, text)
        print(f"wrote {path.relative_to(REPOSITORY)}")
