"""Readers of data sets whose owners list the images, in text files or MATLAB files.

Each reads the official layout below a folder, unchanged: see the module `own`.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fdhmfe.data.dataset import DataError
from fdhmfe.data.readers.lists import (
    Reading,
    by_class_folder,
    by_class_name,
    read_mat,
    read_names,
    read_pairs,
    table_of,
)


def read_nabirds(root: Path) -> Reading:
    """nabirds: the lists of CUB. classes.txt is a tree; only classes that have images are read."""
    classes, table = read_cub(root)
    table["label"], used = pd.factorize(table.label, sort=True)
    return [classes[label] for label in used], table


def read_cub(root: Path) -> Reading:
    """CUB_200_2011: images.txt, image_class_labels.txt, train_test_split.txt, classes.txt."""

    def read(file: str, value: str, *numbers: int) -> pd.Series:
        ids, values = zip(*read_pairs(root / file, f"<id> <{value}>", numbers), strict=True)
        return pd.Series(values, index=ids)

    images = read("images.txt", "path")
    labels = read("image_class_labels.txt", "label", 1).astype(int)
    is_train = read("train_test_split.txt", "train", 1).astype(int)
    names = read("classes.txt", "name", 0)
    for other, file in ((labels, "image_class_labels.txt"), (is_train, "train_test_split.txt")):
        if not images.index.equals(other.index):
            raise DataError(f"{root / file} and images.txt do not list the same image ids")
    order = {int(class_id): label for label, class_id in enumerate(names.index)}
    unknown = sorted(set(labels) - order.keys())
    if unknown:
        raise DataError(
            f"{root}/classes.txt has no name for class {unknown[0]} (of {len(unknown)})"
        )
    masks = "segmentations/" + images.str.replace(r"\.\w+$", ".png", regex=True)
    table = pd.DataFrame(
        {
            "path": "images/" + images,
            "label": labels.map(order),
            "split": np.where(is_train == 1, "train", "test"),
            "mask": masks if (root / "segmentations").is_dir() else "",
        }
    )
    return list(names), table


def read_aircraft(root: Path) -> Reading:
    """fgvc-aircraft-2013b: 100 variants, `trainval` against `test`."""
    lists = {"train": "images_variant_trainval.txt", "test": "images_variant_test.txt"}
    rows = [
        (f"data/images/{image}.jpg", variant, split)
        for split, file in lists.items()
        for image, variant in read_pairs(root / "data" / file, "<image> <variant>")
    ]
    return by_class_name(rows, root / "data" / "variants.txt")


def read_food101(root: Path) -> Reading:
    """food-101: images/<class>/<number>.jpg, lists in meta/."""
    rows = [
        (f"images/{image}.jpg", image.partition("/")[0], split)
        for split in ("train", "test")
        for image in read_names(root / "meta" / f"{split}.txt")
    ]
    return by_class_name(rows, root / "meta" / "classes.txt")


def read_vegfru(root: Path, train: tuple[str, ...] = ("train",)) -> Reading:
    """VegFru: vegfru_list/*.txt with lines "<path> <class number>"; `train` names train lists.

    The literature trains on `train` alone (dataset `vegfru`) or on `train` and `val`
    (`vegfru_trainval`). Their databases differ, so their numbers cannot be compared.
    """
    rows = [
        (path, int(number), "train" if file in train else "test")
        for file in (*train, "test")
        for path, number in read_pairs(
            root / "vegfru_list" / f"vegfru_{file}.txt", "<path> <class number>", [1]
        )
    ]
    return by_class_folder(rows)


def read_dogs(root: Path) -> Reading:
    """The Stanford Dogs archives in one folder: Images/, train_list.mat, test_list.mat."""
    rows = [
        (f"Images/{file}", int(number), split)
        for split in ("train", "test")
        for file, number in zip(
            *read_mat(root / f"{split}_list.mat", "file_list", "labels"), strict=True
        )
    ]
    return by_class_folder(rows)


def read_cars(root: Path) -> Reading:
    """The Stanford Cars archives in one folder, as torchvision expects them.

    cars_train/, cars_test/, devkit/, and beside them cars_test_annos_withlabels.mat.
    """
    (classes,) = read_mat(root / "devkit" / "cars_meta.mat", "class_names")
    lists = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    rows = []
    for split, file in lists.items():
        (annotations,) = read_mat(root / file, "annotations")
        if not {"fname", "class"} <= set(annotations.dtype.names or ()):
            raise DataError(f"{root / file} gives no class: take the file with labels")
        rows += [(f"cars_{split}/{a['fname']}", int(a["class"]) - 1, split) for a in annotations]
    wrong = [path for path, label, _ in rows if not 0 <= label < len(classes)]
    if wrong:
        raise DataError(f"{len(wrong)} images have a class that cars_meta.mat does not name")
    return [str(name) for name in classes], table_of(rows)
