"""The official data sets, as sources.toml beside this file lists them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """A file to fetch. Without a `url`, a person must fetch it. `size` is in bytes; 0: unknown.

    It is unpacked into the folder `into`, which is inside the data set's `root`.
    """

    name: str
    url: str = ""
    checksum: str = ""  # "sha256:<hex>" or "md5:<hex>"
    size: int = 0
    into: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Source:
    """An official data set. It is there if the file `marker` is in `folder`, or in `root` itself.

    `sizes`: images per split, or `all` of them if the owner gives no split. `by_hand` says what a
    person must do if a program is not allowed, or not able, to fetch the archives.
    """

    title: str
    home: str
    terms: str
    folder: str
    marker: str
    classes: int
    sizes: Mapping[str, int]
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""

    @property
    def own_split(self) -> bool:
        """True if the owner says which images are train and which are test."""
        return "all" not in self.sizes

    def is_in(self, root: Path) -> bool:
        """True if `root` is the data set's folder, or holds it."""
        return any((folder / self.marker).exists() for folder in (root / self.folder, root))


def read_sources(file: Path) -> Mapping[str, Source]:
    """The data sets of a TOML file by name, in its order; TypeError for an unknown field."""
    sources = {}
    for name, table in tomllib.loads(file.read_text(encoding="utf-8")).items():
        archives = tuple(Archive(**archive) for archive in table.pop("archives", ()))
        sources[name] = Source(**table, archives=archives)
    return sources


SOURCES = read_sources(Path(__file__).with_name("sources.toml"))
