"""Where the kit's files are, and what to suggest for a name that is not known."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
REPOSITORY = PACKAGE.parent  # where the package lies in a checkout of it


def in_checkout() -> bool:
    """Whether the package lies in a checkout of the repository, not installed from a wheel."""
    return (REPOSITORY / "pyproject.toml").is_file() and (REPOSITORY / "notebooks").is_dir()


def home() -> Path:
    """The folder that holds data/cache, data/toy and results.

    The one that the variable FDHMFE_HOME names, else the checkout, else the working folder.
    """
    if named := os.environ.get("FDHMFE_HOME"):
        return resolve(named)
    return REPOSITORY if in_checkout() else Path.cwd()


def shipped(name: str) -> Path:
    """The path of a file or folder of the repository; in a wheel, that of the copy it holds."""
    return (REPOSITORY if in_checkout() else PACKAGE / "shipped") / name


def suggest(name: Any, known: Iterable[str]) -> str:
    """The tail of an error message: the nearest known name, then all of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"{hint} Known: {', '.join(names)}"


def resolve(path: str) -> Path:
    """An absolute path; a relative one starts at the working folder."""
    return Path(path).expanduser().absolute()
