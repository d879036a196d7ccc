"""Fetch, check and unpack an official data set, or say how to do that by hand."""

import os
import shutil
from pathlib import Path

from fdhmfe.data.dataset import DataError
from fdhmfe.data.fetch.download import fetch
from fdhmfe.data.fetch.extract import ExtractError, extract
from fdhmfe.data.fetch.sources import SOURCES, Archive, Source
from fdhmfe.data.fetch.verify import record, recorded
from fdhmfe.support.files import locked, writing


def obtain(name: str, root: Path, *, download: bool = True) -> None:
    """Unpack data set `name` into `root`, from archives in `root` or, if `download`, the internet.

    Does nothing if the data set is already there. Raises DataError, which says what you have to do
    by hand, DownloadError, ExtractError or StorageError.
    """
    source = SOURCES[name]
    if source.is_in(root):
        return  # before anything is written: the folder may be read-only
    with locked(root / f".{name}.lock"):
        if source.is_in(root):
            return
        if (root / source.folder).exists():
            raise DataError(
                f"{root / source.folder} lacks {source.marker}: it is not whole; add what is "
                "missing, or move it away"
            )
        archives = wanted(source, root, download)
        if not archives:
            raise DataError(instructions(name, root))
        try:
            for a in archives:
                known = fetch(a.url, root / a.name, checksum=a.checksum, size=a.size)
                print(f"{a.name}: {known}", flush=True)
            partial = root / f".{name}.partial"
            with writing(partial):
                unpack(source, archives, root, partial)
        except FileNotFoundError as error:
            raise ExtractError(
                f"{error.filename} vanished while it was in use: run the same command again"
            ) from error


def wanted(source: Source, root: Path, download: bool) -> list[Archive]:
    """The archives that are there or can be fetched; an empty list if a needed one is neither."""
    able = [a for a in source.archives if (root / a.name).exists() or (download and a.url)]
    return able if all(a in able or a.optional for a in source.archives) else []


def unpack(source: Source, archives: list[Archive], root: Path, partial: Path) -> None:
    """Unpack into `partial`, then move all to `root`: so the data set is whole or not there."""
    shutil.rmtree(partial, ignore_errors=True)
    for archive in archives:
        (partial / archive.into).mkdir(parents=True, exist_ok=True)
        if archive.name.endswith(".mat"):
            shutil.copyfile(root / archive.name, partial / archive.into / archive.name)
        else:
            extract(root / archive.name, partial / archive.into)
    if not (partial / source.folder / source.marker).exists():
        raise ExtractError(
            f"{root / archives[0].name} does not hold {source.folder}/{source.marker}: "
            "delete it and fetch it again"
        )
    for archive in archives:  # only now: the first copy to be recorded must be a whole one
        if not archive.checksum and not recorded(root / archive.name):
            print(f"{archive.name}: {record(root / archive.name)}", flush=True)
    # The data set's own folder goes last: if it is there, all is there.
    for entry in sorted(partial.iterdir(), key=lambda path: path.name == source.folder):
        os.replace(entry, root / entry.name)
    partial.rmdir()


def instructions(name: str, root: Path) -> str:
    """What you must fetch, from where, where to put it, and which command to run then."""
    source = SOURCES[name]
    lines = [f"{source.title} is not in {root}. {source.by_hand}".rstrip()]
    lines += [f"  from  {source.home}", f"  terms {source.terms}"]
    for archive in source.archives:
        facts = [f"{archive.size:,} bytes" if archive.size else "", archive.checksum]
        place = f"  put   {root / archive.name}"
        lines.append(f"{place} ({', '.join(fact for fact in facts if fact)})")
    lines.append(
        f"  or    unpack it yourself, so that there is {root / source.folder / source.marker}"
    )
    lines.append(f"  then  fdhmfe data {name} --root {root}")
    return "\n".join(lines)
