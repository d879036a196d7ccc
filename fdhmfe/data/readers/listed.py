"""Readers of data sets whose owners list the images, in text files or MATLAB files.

Each reads the official layout unchanged and returns what the module `own` describes.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fdhmfe.config.settings import Config
from fdhmfe.data.dataset import DataError
from fdhmfe.data.readers.lists import (
    by_class_folder,
    by_class_name,
    official_folder,
    read_mat,
    read_names,
    read_pairs,
    table_of,
)

Reading = tuple[str, Path, list[str], pd.DataFrame]  # name, root, class names, table


def read_cub(config: Config) -> Reading:
    """The official CUB_200_2011 folder, or the folder that holds it."""
    root = official_folder(config, "CUB_200_2011")
    return ("cub200", root, *cub_lists(root))


def read_nabirds(config: Config) -> Reading:
    """The official nabirds folder: the same lists as CUB.

    classes.txt is a tree, of which only the classes that have images are read.
    """
    root = official_folder(config, "nabirds")
    classes, table = cub_lists(root)
    used = sorted(set(table.label))
    table["label"] = table.label.map({old: new for new, old in enumerate(used)})
    return "nabirds", root, [classes[label] for label in used], table


def cub_lists(root: Path) -> tuple[list[str], pd.DataFrame]:
    """Class names and table from images.txt, image_class_labels.txt, train_test_split.txt."""

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


def read_aircraft(config: Config) -> Reading:
    """The official fgvc-aircraft-2013b folder: 100 variants, `trainval` against `test`."""
    root = official_folder(config, "fgvc-aircraft-2013b")
    lists = {"train": "images_variant_trainval.txt", "test": "images_variant_test.txt"}
    rows = [
        (f"data/images/{image}.jpg", variant, split)
        for split, file in lists.items()
        for image, variant in read_pairs(root / "data" / file, "<image> <variant>")
    ]
    names = root / "data" / "variants.txt"
    classes = read_names(names)
    return "aircraft", root, classes, by_class_name(rows, classes, names)


def read_food101(config: Config) -> Reading:
    """The official food-101 folder: images/<class>/<number>.jpg, lists in meta/."""
    root = official_folder(config, "food-101")
    rows = [
        (f"images/{image}.jpg", image.partition("/")[0], split)
        for split in ("train", "test")
        for image in read_names(root / "meta" / f"{split}.txt")
    ]
    names = root / "meta" / "classes.txt"
    classes = read_names(names)
    return "food101", root, classes, by_class_name(rows, classes, names)


def read_vegfru(config: Config) -> Reading:
    """The official VegFru folder: vegfru_list/*.txt with lines "<path> <class number>".

    The literature trains on `train` alone (dataset `vegfru`) or on `train` and `val`
    (`vegfru_trainval`). Their databases differ, so their numbers cannot be compared.
    """
    root = official_folder(config, "vegfru")
    lists = {"train": "train", "test": "test"}
    if config.dataset == "vegfru_trainval":
        lists = {"train": "train", "val": "train", "test": "test"}
    rows = [
        (path, int(number), split)
        for file, split in lists.items()
        for path, number in read_pairs(
            root / "vegfru_list" / f"vegfru_{file}.txt", "<path> <class number>", [1]
        )
    ]
    return (config.dataset, root, *by_class_folder(rows))


def read_dogs(config: Config) -> Reading:
    """The official Stanford Dogs archives in one folder: Images/, train_list.mat, test_list.mat."""
    root = official_folder(config, "stanford_dogs")
    rows = [
        (f"Images/{file}", int(number), split)
        for split in ("train", "test")
        for file, number in zip(
            *read_mat(root / f"{split}_list.mat", "file_list", "labels"), strict=True
        )
    ]
    return ("dogs", root, *by_class_folder(rows))


def read_cars(config: Config) -> Reading:
    """The official Stanford Cars archives in one folder, as torchvision expects them.

    cars_train/, cars_test/, devkit/, and beside them cars_test_annos_withlabels.mat.
    """
    root = official_folder(config, "stanford_cars")
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
    return "cars", root, [str(name) for name in classes], table_of(rows)
