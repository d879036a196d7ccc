"""Data sets through one door: every reader returns the same checked table of images.

Run as a command, it fetches an official data set where its owner allows that, unpacks it, and
reports on it: python -m fdhmfe.data --help
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from fdhmfe.config import Config, load, resolve
from fdhmfe.dataset import COLUMNS, DataError, Dataset, first_ten, open_image, open_mask
from fdhmfe.layout import hash_files
from fdhmfe.obtain import obtain
from fdhmfe.readers import READERS
from fdhmfe.report import check_sizes, describe
from fdhmfe.sources import SOURCES
from fdhmfe.splits import carve_validation, hold_out_classes, set_aside_copies, shared_copies

__all__ = [  # the door: what notebooks and other modules take from here
    "COLUMNS",
    "DataError",
    "Dataset",
    "open_dataset",
    "open_image",
    "open_mask",
    "report",
]

DESCRIPTION = """Fetch an official data set into DIR where its owner allows that (else say what to
fetch and where to put it), compare checksums, unpack it safely, check its lists, files and sizes
against what is published, and report. A broken download goes on where it stopped; what is there
already is only checked."""


def open_dataset(config: Config) -> Dataset:
    """Read, hash and check the data set a configuration names.

    Raises DataError naming the files that are missing, unreadable or in two splits.
    """
    name, root, classes, table = READERS[config.dataset](config)
    table["sha256"] = hash_files(root, table.path)
    table = table[list(COLUMNS)].reset_index(drop=True)
    if name in SOURCES and SOURCES[name].own_split:
        table = set_aside_copies(table)
    learnable = np.flatnonzero(table.split == "train")
    dataset = Dataset(name, root, tuple(classes), table, learnable)
    check(dataset)
    check_sizes(dataset)
    if config.protocol == "validation":
        dataset = replace(dataset, table=carve_validation(table, config.validation_share))
        check(dataset)
    if config.protocol == "unseen@unseen":
        count = max(2, round(config.unseen_share * len(classes)))
        dataset = replace(dataset, table=hold_out_classes(table, count))
    return dataset


def check(dataset: Dataset) -> None:
    """Each class has images in both splits; no image is query and database at once."""
    table = dataset.table
    for split in ("train", "test"):
        present = set(table.label[table.split == split])
        empty = [name for label, name in enumerate(dataset.classes) if label not in present]
        if empty:
            raise DataError(f"{len(empty)} classes have no {split} image: {first_ten(empty)}")
    shared = table.path[shared_copies(table)].tolist()
    if shared:
        raise DataError(f"{len(shared)} files are in both splits by content: {first_ten(shared)}")


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
