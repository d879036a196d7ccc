"""Which files below a folder are pictures: one rule for training, encoding, albums and checks.

Folders are searched at any depth, linked ones too. What systems leave behind is not looked at.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fdhmfe.data.dataset import DataError
from fdhmfe.data.picture import suffixes

# Besides hidden names: left by macOS, Windows, network storage and file systems; in lower case
JUNK = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "lost+found"})
JUNK |= {"$recycle.bin", "system volume information"}


class Tree(NamedTuple):
    """What is below a folder. Names are relative to it, with "/" between folders."""

    pictures: list[str]  # in the order of their names
    skipped: dict[str, str]  # other files and folders: why

    def by_reason(self) -> dict[str, list[str]]:
        """The names of what was skipped, for each reason."""
        names: dict[str, list[str]] = {}
        for name, why in self.skipped.items():
            names.setdefault(why, []).append(name)
        return dict(sorted(names.items()))


def is_junk(name: str) -> bool:
    """True for a file or folder that nobody put there: hidden, or one of `JUNK`."""
    return name.startswith(".") or name.lower() in JUNK


def read_tree(root: Path) -> Tree:
    """The pictures below a folder, by their suffixes; DataError if it cannot be listed."""
    pictures: list[str] = []
    skipped: dict[str, str] = {}
    for path, why in walk(str(root), ()):
        name = Path(path).relative_to(root).as_posix()
        if name == ".":
            raise DataError(f"{root} cannot be read ({why}): name another folder")
        if why:
            skipped[name] = why
        else:
            pictures.append(name)
    return Tree(sorted(pictures), skipped)


def walk(folder: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each file below a folder, and why it is no picture, or ""; also folders that are not read.

    `above`: the real paths of the folders it is in, to stop where a link leads back.
    """
    real = os.path.realpath(folder)
    if real in above:
        yield folder, "a link to a folder that it is in"
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield folder, str(error.strerror)
        return
    for entry in entries:
        if is_junk(entry.name):
            continue
        if os.path.isdir(entry.path):
            yield from walk(entry.path, (*above, real))
        else:
            yield entry.path, why_skipped(Path(entry.path))


def why_skipped(path: Path) -> str:
    """Why a path that is no folder is no picture; "" if it may be one."""
    if not path.is_file():
        return "a link to nothing" if path.is_symlink() else "no file"
    return "" if path.suffix.lower() in suffixes() else "no format that Pillow reads"


def folders(root: Path) -> list[Path]:
    """The folders directly inside a folder, by name, without junk."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not is_junk(path.name))
