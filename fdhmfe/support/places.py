"""Where the kit's files are, and the nearest valid name for one that is not known."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def suggest(name: Any, known: Iterable[str]) -> str:
    """The tail of an error message: the nearest known name, then all of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"{hint} Known: {', '.join(names)}"


def resolve(path: str) -> Path:
    """An absolute path; a relative one starts at the repository root, not the working folder."""
    return REPOSITORY / Path(path).expanduser()
