"""Fetch, check and describe an official data set: python -m fdhmfe.data --help."""

import argparse
import sys
from pathlib import Path

from fdhmfe.config.settings import load
from fdhmfe.data.dataset import DataError
from fdhmfe.data.door import open_dataset
from fdhmfe.data.fetch.obtain import obtain
from fdhmfe.data.fetch.sources import SOURCES
from fdhmfe.data.report import describe
from fdhmfe.support.places import resolve

DESCRIPTION = """Fetch an official data set into DIR where its owner allows that (else say what to
fetch and where to put it), compare checksums, unpack it safely, check its lists, files and sizes
against what is published, and report. A broken download goes on where it stopped; what is there
already is only checked."""


def report(name: str, folder: str, *, download: bool = True, decode: bool = False) -> str:
    """Bring an official data set into `folder`, unless it is there, check it, and describe it.

    `decode` also reads every image and the archives. Raises DataError, or OSError from a transfer.
    """
    config = load(dataset=name, data_dir=folder)
    if folder:  # without one, open_dataset says how to give it
        obtain(name, resolve(folder), download=download)
    return describe(open_dataset(config), resolve(folder), decode=decode)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fdhmfe.data", description=DESCRIPTION)
    parser.add_argument("name", choices=tuple(SOURCES), metavar="NAME", help=", ".join(SOURCES))
    parser.add_argument("--root", required=True, metavar="DIR", help="folder to keep it in")
    parser.add_argument(
        "--no-download", action="store_true", help="use only archives and folders already in DIR"
    )
    parser.add_argument(
        "--verify", action="store_true", help="also read every image and compare the archives"
    )
    options = parser.parse_args(arguments)
    try:
        folder = str(Path(options.root).expanduser().resolve())
        online = not options.no_download
        print(report(options.name, folder, download=online, decode=options.verify))
    except (DataError, OSError) as error:
        print(f"data: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("data: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
