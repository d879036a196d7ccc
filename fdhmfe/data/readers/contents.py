"""What is in the files of a folder of one's own: their hashes, and whether they can be decoded."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from PIL import __version__ as pillow

from fdhmfe.data import picture
from fdhmfe.data.picture import Unreadable, decode, formats
from fdhmfe.data.readers import lists
from fdhmfe.support.files import content_hash, file_hash, read_json, write_json
from fdhmfe.support.identity import code_identity
from fdhmfe.support.places import home
from fdhmfe.support.progress import progress_of_many

MANY = 1000  # images (set by hand): from here on, what was decoded is remembered


def read_all(root: Path, paths: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """SHA-256 of each file, and why those that cannot be read cannot: name -> reason."""
    hashes: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    names = list(paths)
    with ThreadPoolExecutor() as pool:
        read = pool.map(partial(hashed, root), names)
        read = progress_of_many(read, "hashing images", total=len(names), many=lists.MANY)
        for name, (digest, why) in zip(names, read, strict=True):
            if why:
                unreadable[name] = why
            else:
                hashes[name] = digest
        by_content = {digest: root / name for name, digest in hashes.items()}
        bad = unreadable_contents(by_content, pool)
    return hashes, unreadable | {name: bad[h] for name, h in hashes.items() if h in bad}


def hashed(root: Path, name: str) -> tuple[str, str]:
    """(SHA-256 of a file, "") or ("", why it cannot be read)."""
    try:
        return file_hash(root / name), ""
    except OSError as error:
        return "", str(error.strerror)


def unreadable_contents(files: Mapping[str, Path], pool: ThreadPoolExecutor) -> dict[str, str]:
    """Which contents give no picture, and why; `files`: SHA-256 -> a file. Each is decoded once."""
    decoder = code_identity([Path(picture.__file__)])
    key = content_hash(sorted(files), decoder, pillow, formats())
    memory = home() / "data" / "cache" / "decoded" / f"{key}.json"
    if memory.is_file():
        return read_json(memory)
    tried = pool.map(why_unreadable, files.values())
    tried = progress_of_many(tried, "checking pictures", total=len(files), many=MANY)
    bad = {digest: why for digest, why in zip(files, tried, strict=True) if why}
    if len(files) >= MANY:
        with suppress(OSError):  # the place for caches may be full or read-only
            write_json(memory, bad)
    return bad


def why_unreadable(path: Path) -> str:
    """Why a file gives no picture; "" if it does."""
    try:
        decode(path)
    except Unreadable as error:
        return str(error)
    return ""
