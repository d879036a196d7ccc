"""Unpack an archive from the internet safely: no links, no paths outside the folder, no bombs.

All entries are checked before the first byte is written, so a refused archive leaves no files.
"""

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from fdhmfe.support.progress import progress

MOST_FILES = 1_000_000
EXPANSION, SLACK = 3, 2**28  # set by hand: photographs hardly shrink, so more is a bomb

DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error),
    *(EOFError, RuntimeError),  # RuntimeError: a zip with a password or an odd method
    ValueError,  # odd numbers in a header
)


class ExtractError(OSError):
    """An archive is damaged, or holds what it should not; the message names the archive."""


def extract(archive: Path, folder: Path) -> None:
    """Unpack a .tar, .tar.gz, .tgz or .zip into `folder`; ExtractError if it is not safe or whole.

    Owners, permissions and times are not restored; links and devices are refused.
    """
    label = f"unpacking {archive.name}"
    try:
        if zipfile.is_zipfile(archive) and not is_tar(archive):  # a tar may end with a zip
            with zipfile.ZipFile(archive) as zipped:
                infos = zipped.infolist()
                for info in infos:
                    kind = stat.S_IFMT(info.external_attr >> 16)
                    check_member(archive, info.filename, info.is_dir() or kind in (0, stat.S_IFREG))
                check_size(archive, [info.file_size for info in infos], folder)
                for info in progress(infos, label):
                    zipped.extract(info, folder)
        else:
            with tarfile.open(archive) as tarred:
                members = list_members(archive, tarred)
                check_size(archive, [member.size for member in members], folder)
                # Not as an argument: Python 3.11.3 and older do not have it.
                tarred.extraction_filter = getattr(tarfile, "data_filter", None)
                for member in progress(members, label):
                    tarred.extract(member, folder, set_attrs=False)
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and (error.errno or isinstance(error, ExtractError)):
            raise  # of the system, or ours; bz2 has no error of its own for damage
        reason = " ".join(str(error).split())[:200]
        raise ExtractError(
            f"{archive} is damaged ({reason}): delete it and fetch it again"
        ) from error


def is_tar(archive: Path) -> bool:
    """True if a file begins as a tar does, packed or not."""
    try:
        return tarfile.is_tarfile(archive)
    except (*DAMAGE, OSError) as error:
        if getattr(error, "errno", None):
            raise
        return False


def list_members(archive: Path, tarred: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Every entry of a tar. Reads all of it, so that damage is found before anything is written."""
    found: list[tarfile.TarInfo] = []
    for member in tarred:
        check_member(archive, member.name, member.isdir() or member.isreg())
        found.append(member)
        if len(found) > MOST_FILES:
            raise ExtractError(f"{archive} has more than {MOST_FILES:,} members: not unpacked")
    while tarred.fileobj.read(2**20):  # to the end, where gzip compares its checksum
        pass
    return found


def check_member(archive: Path, name: str, plain: bool) -> None:
    """ExtractError if a name leads outside, on any system, or is not `plain`: a file or folder."""
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    if path.is_absolute() or ".." in windows.parts or "\\" in name or windows.drive or "\0" in name:
        raise ExtractError(f"{archive}: {name!r} would be written outside: not unpacked")
    if not plain:
        raise ExtractError(f"{archive}: {name!r} is a link or a device: not unpacked")


def check_size(archive: Path, sizes: list[int], folder: Path) -> None:
    """ExtractError if files of these sizes are too many, too big, or more than the disk holds."""
    total = sum(sizes)
    if len(sizes) > MOST_FILES or total > EXPANSION * archive.stat().st_size + SLACK:
        raise ExtractError(
            f"{archive} would grow to {total:,} bytes in {len(sizes):,} members: not unpacked"
        )
    if total > shutil.disk_usage(folder).free:
        raise ExtractError(f"{folder} has no room for the {total / 1e9:.1f} GB in {archive.name}")
