"""Which images to encode: those below a folder, those that a list names, or one photograph.

A list is text with a path on each line, relative to the list's folder; or a table with a column of
paths, separated by commas, semicolons, tabs or spaces. Names in quotes, a header, a byte order mark
and any ends of lines are understood; empty lines and those that begin with # are left out.
"""

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fdhmfe.data.dataset import first_ten, shown
from fdhmfe.data.picture import Unreadable, decode, suffixes
from fdhmfe.data.tree import read_tree

SAMPLE = 200  # lines that are looked at to find out how a list is written
COLUMNS = 20  # of a table: paths are in one of the first


def list_images(images: Path) -> tuple[Path, list[str]]:
    """(root, names): all images below a folder, sorted; those of a list, in its order; or one.

    Names are relative to the root, each once. What is skipped is printed. Raises ValueError if
    there are none.
    """
    expected = "give a folder of images, a list of their paths, or one image"
    if not images.exists():
        raise ValueError(f"{images} is not there: {expected}")
    root, names = images.parent, [images.name]
    if images.is_dir():
        tree = read_tree(images)
        root, names = images, tree.pictures
        for why, some in tree.by_reason().items():
            print(f"skipped, {why}: {len(some)} ({first_ten(some)})")
    elif images.suffix.lower() not in suffixes() and not is_image(images):
        names = read_list(images)
    once = list(dict.fromkeys(names))
    if len(once) < len(names):
        print(f"{len(names) - len(once)} lines of {images} name an image again: left out")
    if not once:
        raise ValueError(f"{images} names no images: {expected}")
    return root.resolve(), once


def is_image(path: Path) -> bool:
    """True for an image whose suffix says nothing. Text is none: some formats are text too."""
    with open(path, "rb") as file:
        start = file.read(1 << 16)
    if not binary(start):
        return False
    try:
        decode(path)
    except Unreadable as error:
        raise ValueError(f"{path} is neither a list of paths nor an image ({error})") from error
    return True


def binary(content: bytes) -> bool:
    return b"\0" in content and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def read_list(path: Path) -> list[str]:
    """The images that a list names. ValueError if none of its lines is a file or looks like one."""
    content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode(
        "utf-16" if wide else "utf-8-sig", "replace" if wide else "surrogateescape"
    )

    def there(name: str) -> bool:
        return os.path.isfile(path.parent / name)

    def likely(name: str) -> bool:
        return Path(name).suffix.lower() in suffixes()

    def fit(names: Sequence[str]) -> tuple[int, int]:
        sample = [name for name in names if name][:SAMPLE]
        return sum(map(there, sample)), sum(map(likely, sample))

    names = max(readings(text), key=fit)  # of equal ones, the first
    names = [name for name in names if name and (there(name) or not name.startswith("#"))]
    if fit(names) == (0, 0):
        some = first_ten([line for line in lines_of(text) if line.strip()][:3])
        raise ValueError(
            f"{path} names no images (it begins: {some}): expected a path on each line, relative "
            f"to {path.parent}, or a table with a column of paths"
        )
    if not there(names[0]) and not likely(names[0]):
        print(f"{path}: {shown(names[0])!r} is taken for a header")
        names = names[1:]
    return names


def readings(text: str) -> Iterator[list[str]]:
    """The names in a list, in each way that it may be written; the plainest first."""
    lines = lines_of(text)
    yield [name_of(line) for line in lines]
    yield [unquoted(line) for line in lines]
    for delimiter in ",;\t":
        rows: list[list[str]] = []
        with suppress(csv.Error):
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)]
        width = max(map(len, rows), default=0)
        for column in range(min(width, COLUMNS) if width > 1 else 0):
            yield [row[column].strip() if len(row) > column else "" for row in rows]
    yield [line.strip().partition(" ")[2].strip() for line in lines]  # "<id> <path>"
    yield [line.strip().rpartition(" ")[0].strip() for line in lines]  # "<path> <label>"


def lines_of(text: str) -> list[str]:
    """The lines of a text. Other separators, such as U+2028, may be part of a name."""
    return re.split("\r\n|\n|\r", text)


def unquoted(line: str) -> str:
    """A name without the quotes round it, as tables and shells write them."""
    name = line.strip()
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        return name[1:-1].replace(name[0] * 2, name[0])
    return name


def line_of(name: str) -> str:
    r"""A name as one line of images.txt: itself, or a JSON string where a line cannot hold it.

    >>> print(line_of("a b.jpg"), line_of("a\nb.jpg"), line_of('"a".jpg'), line_of("caf\udce9.jpg"))
    a b.jpg "a\nb.jpg" "\"a\".jpg" "caf\udce9.jpg"
    """
    whole = name.splitlines() == [name] and name.strip() == name and name[0] != '"'
    try:
        name.encode()
    except UnicodeEncodeError:  # not UTF-8 on disk
        whole = False
    return name if whole else json.dumps(name)


def name_of(line: str) -> str:
    """The name that a line holds as `line_of` writes it."""
    line = line.strip()
    with suppress(json.JSONDecodeError):
        if line.startswith('"') and isinstance(name := json.loads(line), str):
            return name
    return line


def read_names(path: Path) -> list[str]:
    """The names in images.txt, by id."""
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return [name_of(line) for line in text.split("\n")[:-1]]
