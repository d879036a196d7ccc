"""Data sets through one door: every reader returns the same checked table of images."""

from dataclasses import replace

import numpy as np

from fdhmfe.config.settings import Config, load
from fdhmfe.data.dataset import COLUMNS, DataError, Dataset, first_ten
from fdhmfe.data.fetch.obtain import obtain
from fdhmfe.data.fetch.sources import SOURCES
from fdhmfe.data.readers.lists import given_folder, hash_files
from fdhmfe.data.readers.own import READERS, toy_folder
from fdhmfe.data.report import check_sizes, describe
from fdhmfe.data.splits import carve_validation, hold_out_classes, set_aside_copies, shared_copies
from fdhmfe.support.places import resolve


def open_dataset(config: Config) -> Dataset:
    """Read, hash and check the data set a configuration names.

    Raises DataError naming the files that are missing, unreadable or in two splits.
    """
    name = config.dataset
    root = toy_folder(config) if name == "toy" else given_folder(config)
    classes, table = READERS[name](root)
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
