"""Data sets through one door: every reader returns the same checked table of images."""

from dataclasses import replace

import numpy as np

from fdhmfe.config.settings import FOLDS, Config, load
from fdhmfe.data.dataset import COLUMNS, DataError, Dataset, first_ten
from fdhmfe.data.fetch.obtain import obtain
from fdhmfe.data.fetch.sources import SOURCES
from fdhmfe.data.readers.lists import given_folder, hash_files
from fdhmfe.data.readers.own import READERS, toy_folder
from fdhmfe.data.report import check_sizes, describe
from fdhmfe.data.splits import (
    carve_validation,
    half_classes,
    hold_out_classes,
    leave_out_classes,
    seen_first,
    set_aside_copies,
    shared_copies,
)
from fdhmfe.support.places import resolve


def open_dataset(config: Config) -> Dataset:
    """Read, hash and check the data set a configuration names, and split it by its protocol.

    Raises DataError naming the files that are missing, unreadable or in two splits, or if there are
    too few classes for the protocol.
    """
    name = config.dataset
    root = toy_folder(config) if name == "toy" else given_folder(config)
    classes, table = READERS[name](root)
    if "sha256" not in table:
        table["sha256"] = hash_files(root, table.path)
    table = table[list(COLUMNS)].reset_index(drop=True)
    if name in SOURCES and SOURCES[name].own_split:
        table = set_aside_copies(table)
    learnable = np.flatnonzero(table.split == "train")
    dataset = Dataset(name, root, tuple(classes), table, learnable)
    check(dataset)
    check_sizes(dataset)
    return split_by_protocol(dataset, config)


def split_by_protocol(dataset: Dataset, config: Config) -> Dataset:
    """A data set with its own splits, split as `config.protocol` asks."""
    if config.protocol in ("validation", "folds-validation"):
        table = carve_validation(dataset.table, config.validation_share)
        dataset = replace(dataset, table=table)
        check(dataset)
    if config.protocol == "folds":
        return with_unseen(dataset, np.arange(len(dataset.classes))[config.fold :: FOLDS])
    if config.protocol == "folds-validation":
        return fold_validation(dataset, config.fold)
    return halves(dataset) if config.protocol == "half" else dataset


def fold_validation(dataset: Dataset, fold: int) -> Dataset:
    """Leave out the unseen classes of a fold; in their place, hold out every fifth of the others.

    So settings can be chosen for a fold without a look at its unseen classes.
    """
    classes = np.arange(len(dataset.classes))
    left_out = classes[fold::FOLDS]
    dataset = replace(dataset, table=leave_out_classes(dataset.table, left_out))
    return with_unseen(dataset, np.delete(classes, left_out)[::FOLDS])


def with_unseen(dataset: Dataset, unseen: np.ndarray) -> Dataset:
    """Hold the classes with these labels out of training, and number them after the others."""
    if len(unseen) < 2:
        raise DataError(f"{len(dataset.classes)} classes are too few: a fold holds out two or more")
    table = set_aside_copies(hold_out_classes(dataset.table, unseen))
    table, order = seen_first(table, len(dataset.classes))
    classes = tuple(dataset.classes[label] for label in order)
    return replace(dataset, classes=classes, table=table, retrieved=("train", "database"))


def halves(dataset: Dataset) -> Dataset:
    """Train on all images of the first half of the classes, retrieve among those of the second."""
    if len(dataset.classes) < 4:
        raise DataError(f"{len(dataset.classes)} classes are too few: each half needs two or more")
    table = set_aside_copies(half_classes(dataset.table, len(dataset.classes)))
    learnable = np.flatnonzero(table.split == "train")
    return replace(dataset, table=table, learnable=learnable, retrieved=("test",))


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
