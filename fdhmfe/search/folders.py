"""The folder that an index is saved in: the one place that writes it and the one that judges it.

A folder comes from a disk that may be damaged, or from people one does not know. So nothing in it
is believed before it is checked, and no file outside it is read or removed.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import psutil

from fdhmfe.codes import Identity
from fdhmfe.support.files import atomic, file_hash, locked, read_json, write_json

HEADER = "index.json"
FORMAT = 2  # 1, without this number, held each item's code
OURS = r"(codes|starts|ids|faiss)-[0-9a-f]{8}\.(npy|index)"
PARTIAL = rf"\.{OURS}\..*\.(?P<process>[0-9]+)\.partial"  # `atomic` names them


def save(
    folder: Path,
    kind: str,
    identity: Identity,
    count: int,
    parts: Mapping[str, Callable[[IO[bytes]], Any]],
    **facts: Any,
) -> None:
    """Save `parts` (file name -> function that writes it) under new names, then the header.

    The header names the files: from then on the new index counts. Then all others of an index go,
    those of killed saves too.
    """
    folder = Path(folder)
    with locked(folder / ".index.lock"):
        refuse_others(folder, identity)
        token = uuid4().hex[:8]
        files: dict[str, dict[str, Any]] = {}
        for name, write in parts.items():
            stem, suffix = name.split(".")
            path = folder / f"{stem}-{token}.{suffix}"
            with atomic(path) as partial, open(partial, "wb") as file:
                write(file)
            size, digest = path.stat().st_size, file_hash(path)
            files[name] = {"file": path.name, "bytes": size, "sha256": digest}
        header = {"format": FORMAT, "kind": kind, "identity": identity._asdict(), "count": count}
        write_json(folder / HEADER, {**header, "files": files, **facts})
        sweep(folder, {part["file"] for part in files.values()})


def sweep(folder: Path, kept: set[str]) -> None:
    """Remove files of older indexes and of killed saves; nothing with a name of another kind."""
    for path in folder.iterdir():
        partial = re.fullmatch(PARTIAL, path.name)
        dead = partial is not None and not psutil.pid_exists(int(partial["process"]))
        if (dead or re.fullmatch(OURS, path.name)) and path.name not in kept and path.is_file():
            path.unlink(missing_ok=True)


def refuse_others(folder: Path, identity: Identity) -> None:
    """Raise ValueError if the folder holds an index of another identity; a damaged one may go."""
    try:
        known = stored_identity(read_json(folder / HEADER))
    except (FileNotFoundError, ValueError):
        return
    if known:
        compare(folder, known, identity)


def stored_identity(header: Any) -> Identity | None:
    """The identity that a header names, None if it names none."""
    stored = header.get("identity") if isinstance(header, dict) else None
    if not isinstance(stored, dict) or set(stored) != set(Identity._fields):
        return None
    whole = [type(stored[name]) for name in Identity._fields] == [int, str, str]
    return Identity(**stored) if whole else None


def compare(folder: Path, stored: Identity, wanted: Identity) -> None:
    """Raise ValueError for an index of another identity."""
    for name, have, want in zip(Identity._fields, stored, wanted, strict=True):
        if have != want:
            raise ValueError(
                f"the index in {folder} is of {name} {have}, not {want}: codes of the two must not "
                f"be compared; build one for {name} {want} elsewhere"
            )


def read_header(
    folder: Path, identity: Identity, kinds: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """The header of a saved index. `kinds` names the files of each kind of index.

    Raises FileNotFoundError where there is none, ValueError if it is of another identity, another
    version, or damaged.
    """
    path = folder / HEADER
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no index ({HEADER} is missing)")
    header = read_json(path)
    if not isinstance(header, dict):
        raise damaged(path, "is not an object of JSON")
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{path} is of another version of this program: build the index anew and save it to "
            "the same folder"
        )
    stored = stored_identity(header)
    if stored is None:
        raise damaged(path, f"names the identity {header.get('identity')!r}")
    compare(folder, stored, identity)
    kind, count = header.get("kind"), header.get("count")
    if not isinstance(kind, str) or kind not in kinds:
        raise damaged(path, f"names the kind {kind!r}")
    if type(count) is not int or count < 0:
        raise damaged(path, f"counts {count!r} items")
    check_files(path, header.get("files"), kinds[kind])
    return header


def check_files(path: Path, files: Any, names: tuple[str, ...]) -> None:
    """Raise ValueError unless a header's `files` are `names`, each in a file of the folder."""
    if not isinstance(files, dict) or set(files) != set(names):
        raise damaged(path, f"does not name the files {', '.join(names) or '(none)'}")
    for name, part in files.items():
        stem, suffix = name.split(".")
        facts = part if isinstance(part, dict) else {}
        own = re.fullmatch(rf"{stem}-[0-9a-f]{{8}}\.{suffix}", str(facts.get("file")))
        if not own or type(facts.get("bytes")) is not int or type(facts.get("sha256")) is not str:
            raise damaged(path, f"says of {name}: {str(part)[:80]}")


def read(folder: Path, header: Mapping[str, Any], name: str, load: Callable[[Path], Any]) -> Any:
    """What `load` makes of a file of a saved index; ValueError if it is not what was saved."""
    part = header["files"][name]
    path = folder / part["file"]
    if path.is_symlink():
        raise damaged(path, "is a link")
    if not path.is_file():
        raise damaged(path, "is missing")
    size = path.stat().st_size
    if size != part["bytes"]:
        raise damaged(path, f"has {size} of {part['bytes']} bytes")
    if file_hash(path) != part["sha256"]:
        raise damaged(path, "has other content than was saved")
    try:
        return load(path)
    except Exception as error:  # a damaged file raises anything
        raise damaged(path, f"cannot be read ({' '.join(str(error).split())[:200]})") from error


def damaged(path: Path, wrong: str) -> ValueError:
    """The one error for a folder that does not hold what was saved."""
    return ValueError(
        f"{path} {wrong}: the index is damaged; build it again and save it to the same folder"
    )
