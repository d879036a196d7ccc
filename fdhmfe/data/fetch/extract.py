"""Unpack an archive from the internet: only files and folders, below one folder, of sane size.

All headers are checked before the first byte is written, so a refused archive leaves nothing.
"""

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple, cast

from fdhmfe.support.progress import progress

MOST_FILES = 1_000_000
EXPANSION, SLACK = 3, 2**28  # set by hand: photographs hardly shrink; more is a bomb

DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error),
    *(EOFError, RuntimeError),  # the latter: a zip with a password or an odd method
)


class ExtractError(OSError):
    """An archive is damaged, or holds what it should not; the message names the member."""


class Member(NamedTuple):
    """An entry of an archive, whatever its kind."""

    name: str
    size: int
    is_folder: bool
    is_file: bool
    open: Callable[[], IO[bytes]]


def extract(archive: Path, folder: Path) -> None:
    """Unpack a .tar, .tar.gz, .tgz or .zip into `folder`; ExtractError if it is not safe or whole.

    Owners, permissions and times are not restored; links and devices are refused.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                write_members(archive, zip_members(opened), folder)
        else:
            with tarfile.open(archive) as opened:
                write_members(archive, tar_members(archive, opened), folder)
    except DAMAGE as error:
        raise ExtractError(
            f"{archive} is damaged ({error}): delete it and fetch it again"
        ) from error


def tar_members(archive: Path, opened: tarfile.TarFile) -> list[Member]:
    """Every entry of a tar; reads it all once, so that damage shows before anything is written."""
    found = []
    for info in opened:
        content = cast(Callable[[], IO[bytes]], partial(opened.extractfile, info))  # if a file
        found.append(Member(info.name, info.size, info.isdir(), info.isreg(), content))
        if len(found) > MOST_FILES:
            raise ExtractError(f"{archive} has more than {MOST_FILES:,} members: not unpacked")
    while opened.fileobj.read(2**20):  # to the end, where gzip compares its checksum
        pass
    return found


def zip_members(opened: zipfile.ZipFile) -> list[Member]:
    return [
        Member(
            info.filename,
            info.file_size,
            info.is_dir(),
            stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG),
            partial(opened.open, info),
        )
        for info in opened.infolist()
    ]


def write_members(archive: Path, members: list[Member], folder: Path) -> None:
    """Check every member, then write them all."""
    for member in members:
        check_name(archive, member.name)
        if not (member.is_folder or member.is_file):
            raise ExtractError(f"{archive}: {member.name!r} is a link or a device: not unpacked")
    total = sum(member.size for member in members)
    most = EXPANSION * archive.stat().st_size + SLACK
    if len(members) > MOST_FILES or total > most:
        raise ExtractError(
            f"{archive} would grow to {total:,} bytes in {len(members):,} members: not unpacked"
        )
    if total > shutil.disk_usage(folder).free:
        raise ExtractError(f"{folder} has no room for the {total / 1e9:.1f} GB in {archive.name}")
    for member in progress(members, f"unpacking {archive.name}"):
        target = folder / member.name
        if member.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file, 2**20)


def check_name(archive: Path, name: str) -> None:
    """ExtractError for a name that might lead outside, on any system."""
    path = PurePosixPath(name)
    windows = PureWindowsPath(name)
    if path.is_absolute() or ".." in windows.parts or "\\" in name or windows.drive or "\0" in name:
        raise ExtractError(f"{archive}: {name!r} would be written outside: not unpacked")
