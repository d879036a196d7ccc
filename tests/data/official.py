"""Small trees in the official layout of each data set, byte-true lists and MATLAB files included.

Every tree holds two classes with two train and two test images each, unless told otherwise.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from conftest import save_image, write_cub
from scipy.io import savemat

SPLITS = ("train", "train", "test", "test")


def images(classes: int = 2) -> Iterator[tuple[int, int, str]]:
    """(class, number, split) of every image."""
    return ((c, i, split) for c in range(classes) for i, split in enumerate(SPLITS))


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def cells(values: list[str]) -> np.ndarray:
    """A MATLAB column of cells, one string each."""
    column = np.empty((len(values), 1), dtype=object)
    column[:, 0] = values
    return column


def write_aircraft(root: Path) -> Path:
    """fgvc-aircraft-2013b/data: variants hold spaces and slashes; train + val make trainval."""
    data = root / "fgvc-aircraft-2013b" / "data"
    variants = ["Cessna 172", "F/A-18"]
    listed = {"train": [], "val": [], "test": []}
    for c, i, split in images():
        image = f"{1025794 + 100 * c + i:07d}"
        save_image(data / "images" / f"{image}.jpg", i, c)
        listed["val" if i == 1 else split].append(f"{image} {variants[c]}")
    listed["trainval"] = listed["train"] + listed["val"]
    for split, lines in listed.items():
        write_lines(data / f"images_variant_{split}.txt", lines)
    write_lines(data / "variants.txt", variants)
    return data.parent


def write_nabirds(root: Path) -> Path:
    """nabirds: ids with dashes, folders of four digits, and inner nodes among the classes."""
    root = root / "nabirds"
    names = {0: "Birds", 295: "Common Eider (Adult male)", 817: "Dark-eyed Junco"}
    lists = {name: [] for name in ("images", "image_class_labels", "train_test_split", "sizes")}
    for c, i, split in images():
        number, name = (295, 817)[c], uuid.UUID(int=1000 * c + i)
        path = f"{number:04d}/{name.hex}.jpg"
        save_image(root / "images" / path, i, c)
        lists["images"].append(f"{name} {path}")
        lists["image_class_labels"].append(f"{name} {number}")
        lists["train_test_split"].append(f"{name} {int(split == 'train')}")
        lists["sizes"].append(f"{name} 48 40")
    lists["classes"] = [f"{number} {name}" for number, name in names.items()]
    lists["hierarchy"] = ["295 0", "817 0"]
    for name, lines in lists.items():
        write_lines(root / f"{name}.txt", lines)
    return root


def write_vegfru(root: Path) -> Path:
    """vegfru: lists "<path> <class number>", class numbers from 0; one of two trains is in val."""
    root = root / "vegfru"
    lists = {"train": [], "val": [], "test": []}
    for c, i, split in images():
        folder, prefix = (("veg200_images/lotus_root", "v"), ("fru92_images/banana", "f"))[c]
        path = f"{folder}/{prefix}_01_01_{i:04d}.jpg"
        save_image(root / path, i, c)
        lists["val" if i == 1 else split].append(f"{path} {c}")
    for name, lines in lists.items():
        write_lines(root / "vegfru_list" / f"vegfru_{name}.txt", lines)
    return root


def write_food101(root: Path) -> Path:
    """food-101: images/<class>/<number>.jpg, and each list as text and as JSON."""
    root = root / "food-101"
    classes = ["apple_pie", "baby_back_ribs"]
    lists = {"train": {name: [] for name in classes}, "test": {name: [] for name in classes}}
    for c, i, split in images():
        image = f"{classes[c]}/{1005649 + i}"
        save_image(root / "images" / f"{image}.jpg", i, c)
        lists[split][classes[c]].append(image)
    for split, by_class in lists.items():
        write_lines(root / "meta" / f"{split}.txt", list(chain(*by_class.values())))
        (root / "meta" / f"{split}.json").write_text(json.dumps(by_class))
    write_lines(root / "meta" / "classes.txt", classes)
    write_lines(root / "meta" / "labels.txt", ["Apple pie", "Baby back ribs"])
    return root


def write_dogs(root: Path) -> Path:
    """stanford_dogs: Images/ and three MATLAB files with cells of names, class numbers from 1."""
    root = root / "stanford_dogs"
    breeds = ["n02085620-Chihuahua", "n02116738-African_hunting_dog"]
    lists = {"file": [], "train": [], "test": []}
    for c, i, split in images():
        name = f"{breeds[c]}/{breeds[c].partition('-')[0]}_{10074 + i}"
        save_image(root / "Images" / f"{name}.jpg", i, c)
        for listed in (lists["file"], lists[split]):
            listed.append((name, c + 1))
    for name, listed in lists.items():
        files = cells([f"{image}.jpg" for image, _ in listed])
        content = {"file_list": files, "annotation_list": cells([image for image, _ in listed])}
        content["labels"] = np.array([[c] for _, c in listed], dtype=np.uint8)
        savemat(root / f"{name}_list.mat", content)
    return root


def write_cars(root: Path) -> Path:
    """stanford_cars: both image folders number from 00001; annotations are MATLAB structs."""
    root = root / "stanford_cars"
    rows = {"train": [], "test": []}
    for c, _, split in images():
        name = f"{len(rows[split]) + 1:05d}.jpg"
        save_image(root / f"cars_{split}" / name, len(rows[split]), c + 3 * (split == "test"))
        rows[split].append((1, 2, 40, 30, c + 1, name))
    boxes = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]

    def annotations(kept: list[tuple], *more: str) -> dict[str, np.ndarray]:
        return {"annotations": np.array(kept, dtype=[(n, object) for n in [*boxes, *more]])}

    devkit = root / "devkit"
    devkit.mkdir()
    savemat(devkit / "cars_train_annos.mat", annotations(rows["train"], "class", "fname"))
    savemat(root / "cars_test_annos_withlabels.mat", annotations(rows["test"], "class", "fname"))
    unlabelled = [(*row[:4], row[5]) for row in rows["test"]]
    savemat(devkit / "cars_test_annos.mat", annotations(unlabelled, "fname"))
    names = cells(["AM General Hummer SUV 2000", "Acura RL Sedan 2012"])
    savemat(devkit / "cars_meta.mat", {"class_names": names.T})
    return root


def write_cub200(root: Path) -> Path:
    return write_cub(root / "CUB_200_2011", per_class=len(SPLITS))


def write_leeds_butterfly(root: Path) -> Path:
    """leedsbutterfly: ten species, photographs as PNG."""
    root = root / "leedsbutterfly"
    for c in range(10):
        for i in range(4):
            save_image(root / "images" / f"{c + 1:03d}{i + 1:04d}.png", i, c)
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {
    "cub200": write_cub200,
    "aircraft": write_aircraft,
    "nabirds": write_nabirds,
    "vegfru": write_vegfru,
    "vegfru_trainval": write_vegfru,
    "food101": write_food101,
    "dogs": write_dogs,
    "cars": write_cars,
    "leeds_butterfly": write_leeds_butterfly,
}
