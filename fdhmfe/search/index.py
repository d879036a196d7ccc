"""What every search index promises, and the folder that it is saved in.

An index belongs to one identity: a code length, a model and a set of images. It cannot be opened
for another identity, or if a file is missing or damaged.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple, Self
from uuid import uuid4

import numpy as np

from fdhmfe.codes import Identity, pack
from fdhmfe.support.files import atomic, read_json, write_json

HEADER = "index.json"


class Hits(NamedTuple):
    """The items found for Q queries, nearest first; items at the same distance by id.

    An approximate search may find fewer than k. Then the last ids are -1, at distance K + 1.
    """

    ids: np.ndarray  # (Q, k) int64
    distances: np.ndarray  # (Q, k) int32, in bits

    def sorted(self) -> "Hits":
        """Each row by (distance, id)."""
        order = np.lexsort(self, axis=1)
        return Hits(*(np.take_along_axis(each, order, axis=1) for each in self))


class CodeIndex(ABC):
    """Codes (N, K) of -1/+1 under integer ids: add them, search them, save them."""

    kind: ClassVar[str]

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    @abstractmethod
    def __len__(self) -> int:
        """Number of codes held."""

    def add(self, ids: np.ndarray, codes: np.ndarray) -> None:
        """Add codes (M, K) under ids (M,) in ascending order; ids that it holds are skipped.

        Raises ValueError, and adds nothing, if ids are not ascending integers >= 0, or if codes
        are not -1/+1 or of another length.
        """
        ids = np.asarray(ids)
        if ids.ndim != 1 or len(ids) != len(codes) or ids.dtype.kind not in "iu":
            raise ValueError(f"ids must be {len(codes)} integers, not {ids.dtype} {ids.shape}")
        if len(ids) and (ids[0] < 0 or (ids[1:] <= ids[:-1]).any()):
            raise ValueError("ids must ascend from 0 or more, each once: sort ids and codes by id")
        self._add(ids.astype(np.int64), pack(codes, self.identity.bits))

    def search(self, codes: np.ndarray, k: int) -> Hits:
        """The min(k, N) nearest codes of each query (Q, K).

        Raises ValueError for an empty index, k < 1, or codes of another length.
        """
        if k < 1 or not len(self):
            raise ValueError(f"k is {k}, the index holds {len(self)} codes: both must be 1 or more")
        return self._search(pack(codes, self.identity.bits), min(k, len(self)))

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the index to a folder. An older one there stays usable until the new one is whole.

        Raises ValueError if the folder holds an index of another identity.
        """

    @abstractmethod
    def _add(self, ids: np.ndarray, words: np.ndarray) -> None:
        """Add packed codes (M, W) uint64."""

    @abstractmethod
    def _search(self, words: np.ndarray, k: int) -> Hits:
        """Search packed codes (Q, W) uint64, 1 <= k <= N."""


class LocalIndex(CodeIndex):
    """An index in this process: the code of ids[i] is at place i.

    Ties come by place, and should by id: `_add` raises ValueError for a new id below the largest.
    """

    file: ClassVar[str]  # what the codes are saved in

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.ids = np.zeros(0, np.int64)  # (N,)

    def __len__(self) -> int:
        return len(self.ids)

    def _add(self, ids: np.ndarray, words: np.ndarray) -> None:
        if not len(ids):
            return
        if not len(self):  # the usual case: no copy is made, for there may be ten million codes
            self._append(words)
            self.ids = ids
            return
        new = self.ids[np.searchsorted(self.ids, ids).clip(max=len(self) - 1)] != ids
        if not new.any():
            return
        if ids[new][0] < self.ids[-1]:
            raise ValueError(
                f"id {ids[new][0]} is new, but the index already holds {self.ids[-1]}: add codes "
                "in ascending order of their ids, or build the index anew from all of them"
            )
        self._append(words[new])
        self.ids = np.concatenate([self.ids, ids[new]])

    def save(self, folder: Path) -> None:
        parts = {"ids.npy": lambda file: np.save(file, self.ids), self.file: self._write}
        write_index(folder, self, parts)

    @classmethod
    def load(cls, folder: Path, identity: Identity, header: Mapping[str, Any]) -> Self:
        """Open a saved index. Its ids are memory-mapped."""
        index = cls(identity)
        index.ids = read_part(folder, header, "ids.npy", mapped)
        read_part(folder, header, cls.file, index._read)
        return index

    @abstractmethod
    def _append(self, words: np.ndarray) -> None:
        """Put packed codes (M, W) uint64 after the others."""

    @abstractmethod
    def _write(self, file: IO[bytes]) -> None:
        """Write the codes to an open file."""

    @abstractmethod
    def _read(self, path: Path) -> None:
        """Take the codes from what `_write` wrote."""


def write_index(
    folder: Path, index: CodeIndex, parts: Mapping[str, Callable[[IO[bytes]], Any]], **facts: Any
) -> None:
    """Save `parts` (file name -> function that writes it) under new names, then the header.

    The header names the files: from then on the new index counts. Old files are deleted last.
    """
    folder = Path(folder)
    before = read_header(folder, index.identity)["files"] if (folder / HEADER).exists() else {}
    token = uuid4().hex[:8]
    files = {}
    for name, write in parts.items():
        stem, suffix = name.split(".")
        path = folder / f"{stem}-{token}.{suffix}"
        with atomic(path) as partial, open(partial, "wb") as file:
            write(file)
        files[name] = {"file": path.name, "bytes": path.stat().st_size}
    header = {"kind": index.kind, "identity": index.identity._asdict(), "count": len(index)}
    write_json(folder / HEADER, {**header, "files": files, **facts})
    for old in before.values():
        (folder / old["file"]).unlink(missing_ok=True)


def read_header(folder: Path, identity: Identity) -> dict[str, Any]:
    """The header of a saved index.

    Raises FileNotFoundError where there is none, ValueError if it is of another identity.
    """
    path = folder / HEADER
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no index ({HEADER} is missing)")
    header = read_json(path)
    stored = Identity(**header["identity"])
    for name, have, want in zip(Identity._fields, stored, identity, strict=True):
        if have != want:
            raise ValueError(
                f"the index in {folder} is of {name} {have}, not {want}: codes of the two must not "
                f"be compared; build one for {name} {want} elsewhere"
            )
    return header


def read_part(
    folder: Path, header: Mapping[str, Any], name: str, read: Callable[[Path], Any]
) -> Any:
    """What `read` makes of a file of a saved index; ValueError if it is missing or damaged."""
    part = header["files"][name]
    path = folder / part["file"]
    size = path.stat().st_size if path.is_file() else 0
    wrong = f"has {size} of {part['bytes']} bytes"
    if size == part["bytes"]:
        try:
            return read(path)
        except (ValueError, RuntimeError, OSError) as error:
            wrong = f"cannot be read ({' '.join(str(error).split())[:200]})"
    raise ValueError(
        f"{path} {wrong}: the index is damaged; build it again and save it to the same folder"
    )


def mapped(path: Path) -> np.ndarray:
    """A stored array; each part is read from disk when it is used."""
    return np.load(path, mmap_mode="r")
