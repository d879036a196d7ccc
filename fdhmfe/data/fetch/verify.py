"""Is a file the archive that it should be? Its kind, its size, its checksum."""

import hashlib
import re
import zipfile
from pathlib import Path

from fdhmfe.data.fetch.extract import is_tar
from fdhmfe.support.files import file_hash, write_text
from fdhmfe.support.sniff import HEAD, described


class DownloadError(OSError):
    """A file cannot be fetched, or is not the one expected; the message says what to do."""


def verify(path: Path, checksum: str = "", size: int = 0) -> str:
    """Check kind, size and checksum of a file; returns how (see `fault`).

    DownloadError if it is not the one expected. The message says what to delete.
    """
    if reason := fault(path, checksum, size):
        raise DownloadError(f"{path} {reason}: delete it and fetch it again")
    return proof(path, checksum)


def proof(path: Path, checksum: str) -> str:
    """How a file without fault was checked."""
    if checksum:
        return f"{checksum.partition(':')[0]} as published"
    if recorded(path):
        return "sha256 as recorded of the first copy; none is published"
    return "no checksum is published, and none is recorded yet"


def fault(path: Path, checksum: str = "", size: int = 0) -> str:
    """Why a file is not the one expected, as in "is empty"; an empty string if it may be.

    If no checksum is published, it is compared with the one that `record` wrote.
    """
    if reason := no_archive(path):
        return reason
    if size and path.stat().st_size != size:
        return f"has {path.stat().st_size:,} bytes, not the published {size:,}"
    algorithm, _, expected = (checksum or recorded(path) or "sha256:").partition(":")
    if not expected:
        return ""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found == expected:
        return ""
    reason = f"has {algorithm} {found}, not {expected}"
    if checksum:
        return f"{reason} as published"
    record = record_of(path)
    return f"{reason} as recorded in {record} (if there is a new version, delete {record.name})"


def no_archive(path: Path) -> str:
    """Why a file is no archive that can be read, or no MATLAB file; empty if it is one."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if path.name.removesuffix(".partial").endswith(".mat"):
        good = head.startswith(b"MATLAB")
    else:
        good = is_tar(path) or zipfile.is_zipfile(path)
    return "" if good else f"is {described(head) or 'cut off or damaged'}, not an archive"


def record(path: Path) -> str:
    """Record the SHA-256 of an archive beside it, in the form of sha256sum; returns what to say.

    Only of one that has been unpacked and found whole: later copies are compared with it.
    """
    found, place = file_hash(path), record_of(path)
    write_text(place, f"{found}  {path.name}\n")
    return f"no checksum is published; sha256 {found} recorded in {place.name}"


def recorded(path: Path) -> str:
    """The checksum that is recorded beside a file, "sha256:<hex>"; empty if there is none."""
    place = record_of(path)
    found = re.match(rb"[0-9a-f]{64}\b", place.read_bytes()) if place.exists() else None
    return f"sha256:{found[0].decode()}" if found else ""


def record_of(path: Path) -> Path:
    """Where the checksum of a file, or of what has arrived of it, is recorded."""
    return path.with_name(f"{path.name.removesuffix('.partial')}.sha256")
