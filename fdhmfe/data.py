"""Data sets through one door: every reader returns the same table of images.

A data set is a table with one row per image (columns `COLUMNS`) plus its class names. Split
`train` is what a network learns from, and the database unless there is a split `database`; split
`test` holds the queries; `unused` rows are out of reach.
"""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from PIL import Image

from fdhmfe import toy
from fdhmfe.config import REPOSITORY, Config, resolve
from fdhmfe.files import build_once, content_hash, file_hash

COLUMNS = ("path", "label", "split", "mask", "sha256")  # path, mask: relative to the root
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
LEEDS_SPECIES = (
    "Danaus plexippus",
    "Heliconius charitonius",
    "Heliconius erato",
    "Junonia coenia",
    "Lycaena phlaeas",
    "Nymphalis antiopa",
    "Papilio cresphontes",
    "Pieris rapae",
    "Vanessa atalanta",
    "Vanessa cardui",
)


class DataError(ValueError):
    """Something is wrong with the files of a data set; the message names them."""


@dataclass(frozen=True)
class Dataset:
    """A checked data set. `table` has one row per image and the columns `COLUMNS`.

    `learnable` are the rows of the data set's own train split, whatever the protocol makes of them.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    table: pd.DataFrame
    learnable: np.ndarray

    def rows(self, split: str) -> np.ndarray:
        """Table positions of one split's images, in table order; no database of its own: train."""
        found = np.flatnonzero(self.table.split == split)
        return self.rows("train") if split == "database" and not len(found) else found

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """Labels 0..Y-1 of the given table rows."""
        return self.table.label.to_numpy()[rows]

    def image(self, row: int) -> Image.Image:
        """The image of a table row, decoded to RGB."""
        return open_image(self.root / self.table.path.iat[row])

    def mask(self, row: int) -> np.ndarray:
        """The foreground mask (H, W) of a table row that has one."""
        return open_mask(self.root / self.table["mask"].iat[row])

    @property
    def images_hash(self) -> str:
        """Changes with any image's bytes or their order only."""
        return content_hash(self.table.sha256.tolist())

    @property
    def hash(self) -> str:
        """Changes with any image's bytes, label or split; not with where the files are."""
        return content_hash(self.table[["label", "split", "sha256"]].to_csv(index=False))


def open_dataset(config: Config) -> Dataset:
    """Read, hash and check the data set a configuration names.

    Raises DataError naming the files that are missing, unreadable or in two splits.
    """
    name, root, classes, table = READERS[config.dataset](config)
    table["sha256"] = hash_files(root, table.path)
    table = table[list(COLUMNS)].reset_index(drop=True)
    learnable = np.flatnonzero(table.split == "train")
    dataset = Dataset(name, root, tuple(classes), table, learnable)
    check(dataset)
    if config.protocol == "validation":
        dataset = carve_validation(dataset, config)
        check(dataset)
    if config.protocol == "unseen@unseen":
        dataset = hold_out_classes(dataset, config)
    return dataset


Reading = tuple[str, Path, list[str], pd.DataFrame]


def read_toy(config: Config) -> Reading:
    """The embedded set: drawn on first use below data/toy, in the official CUB layout."""
    sizes = dict(
        classes=config.toy_classes,
        train_per_class=config.toy_train,
        test_per_class=config.toy_test,
    )
    source = "".join(file_hash(p) for p in sorted(Path(toy.__file__).parent.glob("toy*.py")))
    folder = REPOSITORY / "data" / "toy" / content_hash(sizes, source)
    root = build_once(folder, lambda partial: toy.write_tree(partial, **sizes))
    return ("toy", root, *cub_lists(root))


def read_cub(config: Config) -> Reading:
    """The official CUB_200_2011 folder, or the folder that holds it."""
    root = required_folder(config)
    inner = root / "CUB_200_2011"
    root = inner if inner.is_dir() else root
    return ("cub200", root, *cub_lists(root))


def cub_lists(root: Path) -> tuple[list[str], pd.DataFrame]:
    """Class names and table from images.txt, image_class_labels.txt, train_test_split.txt."""
    images = read_list(root, "images.txt", "path")
    labels = read_list(root, "image_class_labels.txt", "label").astype(int)
    is_train = read_list(root, "train_test_split.txt", "train").astype(int)
    names = read_list(root, "classes.txt", "name")
    for other, file in ((labels, "image_class_labels.txt"), (is_train, "train_test_split.txt")):
        if not images.index.equals(other.index):
            raise DataError(f"{root / file} and images.txt do not list the same image ids")
    unknown = sorted(set(labels) - {int(i) for i in names.index})
    if unknown:
        raise DataError(
            f"{root}/classes.txt has no name for class {unknown[0]} (of {len(unknown)})"
        )
    order = {int(class_id): label for label, class_id in enumerate(names.index)}
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


def read_list(root: Path, file: str, column: str) -> pd.Series:
    """An official "<id> <value>" list as a series; DataError if it is missing or malformed."""
    path = root / file
    if not path.is_file():
        raise DataError(f"{path} is missing: {root} is not a complete CUB_200_2011 folder")
    rows = [line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip()]
    numbers = 2 if column in ("label", "train") else 1  # leading fields that must be integers
    bad = [
        number
        for number, row in enumerate(rows, 1)
        if len(row) != 2 or not all(value.strip().isdecimal() for value in row[:numbers])
    ]
    if bad:
        raise DataError(f"{path}, line {bad[0]}: expected '<id> <{column}>'")
    return pd.Series([v.strip() for _, v in rows], index=[i for i, _ in rows], name=column)


def read_leeds(config: Config) -> Reading:
    """Leeds Butterfly: images/<class 3 digits><number>, a mask each; half of each class is train.

    The release has no official split; ours follows the hash of the file name.
    """
    root = required_folder(config)
    images = image_files(root / "images")
    numbers = [f"{label + 1:03d}" for label in range(len(LEEDS_SPECIES))]
    wrong = [p.name for p in images if p.name[:3] not in numbers]
    if wrong:
        raise DataError(f"{root}/images, no class 001 to {numbers[-1]}: {first_ten(wrong)}")
    labels = [numbers.index(p.name[:3]) for p in images]
    table = pd.DataFrame({"path": [f"images/{p.name}" for p in images], "label": labels})
    masked = (root / "segmentations").is_dir()
    table["mask"] = [f"segmentations/{p.stem}_seg0.png" if masked else "" for p in images]
    order = [hashlib.sha256(p.stem.encode()).hexdigest() for p in images]
    table["split"] = half_split(table.label, pd.Series(order))
    return "leeds_butterfly", root, list(LEEDS_SPECIES), table


def read_folder(config: Config) -> Reading:
    """Any ImageFolder tree: <root>/<class>/<image>, or <root>/{train,test}/<class>/<image>.

    Without train and test folders, half of each class (by content hash, so that copies of one
    image stay together) becomes the database.
    """
    root = required_folder(config)
    splits = {s: root / s for s in ("train", "test") if (root / s).is_dir()}
    official = len(splits) == 2
    parents = splits if official else {"": root}
    rows = [
        (str(path.relative_to(root)), folder.name, split)
        for split, parent in parents.items()
        for folder in sorted(p for p in parent.iterdir() if p.is_dir() and p.name[0] != ".")
        for path in image_files(folder)
    ]
    if not rows:
        raise DataError(f"{root} holds no class folders")
    table = pd.DataFrame(rows, columns=["path", "class", "split"])
    classes = sorted(table["class"].unique())
    table["label"] = table["class"].map({name: label for label, name in enumerate(classes)})
    table["mask"] = ""
    if not official:
        table["split"] = half_split(table.label, pd.Series(hash_files(root, table.path)))
    return "folder", root, classes, table


READERS: Mapping[str, Callable[[Config], Reading]] = MappingProxyType(
    {"toy": read_toy, "cub200": read_cub, "leeds_butterfly": read_leeds, "folder": read_folder}
)


def required_folder(config: Config) -> Path:
    """The folder `data_dir` names; DataError saying how to give it otherwise."""
    if not config.data_dir:
        raise DataError(
            f"dataset {config.dataset!r} needs data_dir, the folder it is in "
            "(make ... DATA_DIR=FOLDER, or -p data_dir FOLDER); dataset 'toy' needs none"
        )
    root = resolve(config.data_dir)
    if not root.is_dir():
        raise DataError(f"data_dir {root} is not a folder")
    return root


def image_files(folder: Path) -> list[Path]:
    """Image files directly inside a folder, by name; DataError when there are none."""
    found = folder.is_dir() and sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES
    )
    if not found:
        raise DataError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def half_split(labels: pd.Series, order: pd.Series) -> np.ndarray:
    """`train` for the first half of each class in the given order, `test` for the rest.

    Rows of equal order (copies) go to the same half.
    """
    rank = order.groupby(labels).rank(method="dense")
    half = rank.groupby(labels).transform("max") / 2
    return np.where(rank <= np.ceil(half), "train", "test")


def hash_files(root: Path, paths: pd.Series) -> list[str]:
    """SHA-256 of each file; DataError naming the first ten that are missing, and their count."""
    missing = [p for p in paths if not (root / p).is_file()]
    if missing:
        raise DataError(f"{len(missing)} images are missing below {root}: {first_ten(missing)}")
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda p: file_hash(root / p), paths))


def check(dataset: Dataset) -> None:
    """Each class has images in both splits, and no image is query and database at once."""
    table = dataset.table
    for split in ("train", "test"):
        present = set(table.label[table.split == split])
        empty = [name for label, name in enumerate(dataset.classes) if label not in present]
        if empty:
            raise DataError(f"{len(empty)} classes have no {split} image: {first_ten(empty)}")
    splits = table.groupby("sha256").split.nunique()
    shared = table.path[table.sha256.isin(splits[splits > 1].index)].tolist()
    if shared:
        raise DataError(f"{len(shared)} files are in both splits by content: {first_ten(shared)}")


def first_ten(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def carve_validation(dataset: Dataset, config: Config) -> Dataset:
    """Put the official queries out of reach and make a share of each train class the queries.

    Rows keep their place; what was split `test` becomes `unused`.
    """
    table = dataset.table.copy()
    train = table.split == "train"
    rank = table[train].groupby("label").sha256.rank(method="dense", pct=True)
    table.loc[~train, "split"] = "unused"
    table.loc[rank.index[rank > 1 - config.validation_share], "split"] = "test"
    return replace(dataset, table=table)


def hold_out_classes(dataset: Dataset, config: Config) -> Dataset:
    """Keep the last classes out of training; queries and database are theirs alone.

    Rows keep their place: unseen classes' train images become the `database`, the other classes'
    test images `unused`. After DSH_Analysis, which holds out the last 5 % of the classes.
    """
    table = dataset.table.copy()
    count = max(2, round(config.unseen_share * len(dataset.classes)))
    unseen = table.label >= len(dataset.classes) - count
    table.loc[unseen & (table.split == "train"), "split"] = "database"
    table.loc[~unseen & (table.split == "test"), "split"] = "unused"
    return replace(dataset, table=table)


def open_image(path: Path) -> Image.Image:
    """Decode one image to RGB; DataError naming the file when it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): replace or remove it") from error


def open_mask(path: Path) -> np.ndarray:
    """Foreground mask (H, W) bool: white, or palette entries 1 and 3 (official Leeds release)."""
    try:
        with Image.open(path) as image:
            values = np.asarray(image if image.mode == "P" else image.convert("L"))
            return np.isin(values, (1, 3)) if image.mode == "P" else values > 127
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read ({error}): replace or remove it") from error
