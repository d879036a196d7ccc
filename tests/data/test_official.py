"""The official data sets: layouts read unchanged, wholeness, sizes, the report and the command."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import official
import pandas as pd
import pytest
from conftest import save_image
from official import (
    WRITERS,
    cells,
    write_aircraft,
    write_cars,
    write_cub200,
    write_dogs,
    write_food101,
    write_nabirds,
    write_vegfru,
)
from scipy.io import savemat
from torchvision import datasets as torchvision_datasets

from fdhmfe.__main__ import main
from fdhmfe.config.profiles import DATASETS
from fdhmfe.config.settings import load
from fdhmfe.data import report
from fdhmfe.data.dataset import DataError, Dataset
from fdhmfe.data.door import open_dataset
from fdhmfe.data.fetch.sources import SOURCES
from fdhmfe.data.readers.own import READERS
from fdhmfe.runs import experiment
from fdhmfe.support.places import REPOSITORY

NAMES = {
    "cub200": ("001.Species_1", "002.Species_2"),
    "aircraft": ("Cessna 172", "F/A-18"),
    "nabirds": ("Common Eider (Adult male)", "Dark-eyed Junco"),
    "vegfru_trainval": ("lotus_root", "banana"),
    "food101": ("apple_pie", "baby_back_ribs"),
    "dogs": ("n02085620-Chihuahua", "n02116738-African_hunting_dog"),
    "cars": ("AM General Hummer SUV 2000", "Acura RL Sedan 2012"),
}

LISTED = [name for name in WRITERS if name != "leeds_butterfly"]  # the owner lists the images


def opened(dataset: str, root: Path | str, **settings) -> Dataset:
    return open_dataset(load("quick", dataset=dataset, data_dir=str(root), **settings))


def test_every_name_has_a_reader_and_every_official_one_a_source():
    assert set(READERS) == set(DATASETS)
    assert set(SOURCES) == set(WRITERS) == set(DATASETS) - {"toy", "folder"}


def test_the_page_on_photographs_names_every_data_set():
    table = (REPOSITORY / "docs" / "photographs.md").read_text(encoding="utf-8")
    assert [name for name in DATASETS if f"`{name}`" not in table] == []


# Layouts


@pytest.mark.parametrize("name", NAMES)
def test_official_layout_becomes_the_table(name, tmp_path):
    root = WRITERS[name](tmp_path)
    dataset = opened(name, root)
    assert (dataset.name, dataset.root, dataset.classes) == (name, root, NAMES[name])
    assert dataset.table.groupby(["split", "label"]).size().to_dict() == {
        (split, label): 2 for split in ("train", "test") for label in (0, 1)
    }
    for row in range(8):  # the colour of an image says which class it was made for
        pixels = np.asarray(dataset.image(row)).mean((0, 1))
        assert (pixels[0] > 105) == (dataset.table.label.iat[row] == 1)


@pytest.mark.parametrize("name", WRITERS)
def test_folder_may_be_named_by_its_parent_and_moved(name, tmp_path):
    first = opened(name, WRITERS[name](tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    second = opened(name, tmp_path / "b")
    assert second.hash == first.hash
    assert second.root == tmp_path / "b" / SOURCES[name].folder


def in_torchvision(dataset: torchvision_datasets.VisionDataset, root: Path) -> list:
    """(path below root, label) in torchvision's order."""
    pairs = getattr(dataset, "_samples", None)
    pairs = pairs or zip(dataset._image_files, dataset._labels, strict=True)
    return [(str(Path(path).relative_to(root)), int(label)) for path, label in pairs]


@pytest.mark.parametrize(
    ("name", "reference", "train"),
    [
        ("aircraft", torchvision_datasets.FGVCAircraft, "trainval"),
        ("food101", torchvision_datasets.Food101, "train"),
        ("cars", torchvision_datasets.StanfordCars, "train"),
    ],
)
def test_torchvision_reads_the_same(name, reference, train, tmp_path):
    dataset = opened(name, WRITERS[name](tmp_path))
    for ours, theirs in (("train", train), ("test", "test")):
        expected = reference(tmp_path, split=theirs)
        rows = dataset.table[dataset.table.split == ours]
        assert sorted(zip(rows.path, rows.label, strict=True)) == sorted(
            in_torchvision(expected, dataset.root)
        )
        assert tuple(expected.classes) == dataset.classes


def test_vegfru_trains_on_its_train_list_or_on_train_and_val(tmp_path):
    write_vegfru(tmp_path)
    alone, both = opened("vegfru", tmp_path), opened("vegfru_trainval", tmp_path)
    assert (len(alone.rows("train")), len(both.rows("train"))) == (2, 4)
    assert (
        alone.table.path[alone.rows("test")].tolist() == both.table.path[both.rows("test")].tolist()
    )
    assert alone.hash != both.hash


def test_nabirds_counts_only_classes_with_images(tmp_path):
    root = write_nabirds(tmp_path)
    assert "0 Birds" in (root / "classes.txt").read_text()
    assert set(opened("nabirds", root).table.label) == {0, 1}


def test_a_list_of_one_image_is_a_list(tmp_path):
    root = write_dogs(tmp_path)
    one = {"file_list": cells(["n02085620-Chihuahua/n02085620_10076.jpg"]), "labels": [[1]]}
    savemat(root / "test_list.mat", one)
    with pytest.raises(DataError, match="1 classes have no test image: n02116738-African"):
        opened("dogs", root)


# The owner's split, two data sets in one folder, our split and masks; past the door all are alike
@pytest.mark.parametrize("name", ["cub200", "vegfru_trainval", "leeds_butterfly"])
def test_a_data_set_of_each_kind_can_be_trained_on(name, tmp_path, own_cache, monkeypatch):
    monkeypatch.setattr(official, "SPLITS", ("train",) * 6 + ("test",) * 6)  # enough for P@10
    WRITERS[name](tmp_path / "data")
    small = dict(image_size=32, grid=4, views=2, embedded_epochs=1, epochs=1, batch_size=2)
    small |= dict(width=8, keep=2, bits=12, results_dir=str(tmp_path / "results"))
    folder = experiment.run(load("smoke", dataset=name, data_dir=str(tmp_path / "data"), **small))
    metrics = pd.read_csv(folder / "metrics.csv")
    assert set(metrics.dataset) == {name}
    expected = opened(name, tmp_path / "data")
    assert set(metrics.n_query) == {len(expected.rows("test"))}
    assert set(metrics.n_database) == {len(expected.rows("train"))}


# Wrong and incomplete trees


@pytest.mark.parametrize("name", LISTED)
def test_missing_images_are_named_first_ten_and_counted(name, tmp_path):
    root = WRITERS[name](tmp_path)
    paths = opened(name, root).table.path.tolist()
    for path in paths:
        (root / path).unlink()
    with pytest.raises(DataError, match=f"{len(paths)} images are missing below") as error:
        opened(name, root)
    assert paths[0] in str(error.value)


LISTS = {
    "aircraft": ["data/variants.txt", "data/images_variant_trainval.txt"],
    "nabirds": ["images.txt", "classes.txt", "train_test_split.txt", "image_class_labels.txt"],
    "vegfru": ["vegfru_list/vegfru_train.txt", "vegfru_list/vegfru_test.txt"],
    "vegfru_trainval": ["vegfru_list/vegfru_val.txt"],
    "food101": ["meta/train.txt", "meta/test.txt", "meta/classes.txt"],
    "dogs": ["train_list.mat", "test_list.mat"],
    "cars": [
        *("devkit/cars_meta.mat", "devkit/cars_train_annos.mat"),
        "cars_test_annos_withlabels.mat",
    ],
}
# Half a text list is a subset, which only the published sizes tell; half a MATLAB file is damage.
DAMAGED = [
    (name, file, damage)
    for name, files in LISTS.items()
    for file in files
    for damage in ("absent", "empty", *(("cut", "garbled") if file.endswith(".mat") else ()))
]


@pytest.mark.parametrize(("name", "file", "damage"), DAMAGED)
def test_missing_or_damaged_list_is_named(name, file, damage, tmp_path):
    path = WRITERS[name](tmp_path) / file
    content = path.read_bytes()
    path.unlink()
    if damage != "absent":
        noise = np.random.default_rng(0).bytes(200)
        left = {"empty": b"", "cut": content[:-40], "garbled": content[:128] + noise}
        path.write_bytes(left[damage])
    with pytest.raises(DataError, match=re.escape(path.name)):
        opened(name, tmp_path)


@pytest.mark.parametrize("name", ["aircraft", "food101"])
def test_class_that_is_not_listed(name, tmp_path):
    root = WRITERS[name](tmp_path)
    (names,) = [p for p in (root / "data/variants.txt", root / "meta/classes.txt") if p.exists()]
    names.write_text(names.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match=f"{names.name} does not list 1 classes: {NAMES[name][1]}"):
        opened(name, root)


def test_folder_with_two_class_numbers(tmp_path):
    root = write_vegfru(tmp_path)
    file = root / "vegfru_list" / "vegfru_test.txt"
    file.write_text(file.read_text().replace("0003.jpg 1", "0003.jpg 7"))
    with pytest.raises(DataError, match=r"banana as 1, fru92_images/banana as 7"):
        opened("vegfru", root)


def test_cars_test_list_without_labels_is_refused(tmp_path):
    root = write_cars(tmp_path)
    shutil.copy(root / "devkit/cars_test_annos.mat", root / "cars_test_annos_withlabels.mat")
    with pytest.raises(DataError, match="take the file with labels"):
        opened("cars", root)


def test_cars_class_beyond_the_names(tmp_path):
    root = write_cars(tmp_path)
    savemat(root / "devkit/cars_meta.mat", {"class_names": cells(["Only one"]).T})
    with pytest.raises(DataError, match="4 images have a class that cars_meta"):
        opened("cars", root)


def test_list_that_names_an_image_twice(tmp_path):
    root = write_food101(tmp_path)
    file = root / "meta" / "train.txt"
    file.write_text(file.read_text() + "apple_pie/1005649\n")
    with pytest.raises(DataError, match=r"1 files are listed twice: images/apple_pie/1005649"):
        opened("food101", root)


# Published sizes


def listed(name: str, train: int, test: int, classes: int | None = None) -> Dataset:
    """A data set that is only a list, of any size."""
    split = ["train"] * train + ["test"] * test
    classes = classes or SOURCES[name].classes
    table = pd.DataFrame({"split": split, "label": 0})
    names = tuple(f"class {number}" for number in range(classes))
    return Dataset(name, Path("somewhere"), names, table, np.arange(train))


@pytest.mark.parametrize("name", LISTED)
def test_published_sizes_are_complete_and_one_less_is_a_subset(name):
    sizes = SOURCES[name].sizes
    train, test = sizes["train"], sizes.get("test", 100_000)
    whole = listed(name, train, test)
    report.check_sizes(whole)
    assert not report.is_subset(whole)
    for part in (listed(name, train - 1, test), listed(name, train, test, whole.classes and 10)):
        report.check_sizes(part)
        assert report.is_subset(part)
    with pytest.raises(DataError, match="has more than"):
        report.check_sizes(listed(name, train + 1, test))


def test_a_caption_says_that_classes_are_missing():
    assert report.classes_told(listed("cub200", 9, 9, 100)) == "100 of 200 classes"
    assert report.classes_told(listed("cub200", 9, 9, 200)) == "200 classes"
    assert report.classes_told(listed("folder", 9, 9, 3)) == "3 classes"


def test_swapped_nabirds_lists_are_recognised():
    with pytest.raises(DataError, match=r"swapped \(train has 24,633 images, published are 23,929"):
        report.check_sizes(listed("nabirds", train=24_633, test=23_929))


def test_own_images_are_no_official_data_set():
    with pytest.raises(DataError, match="a data set of your own is dataset 'folder'"):
        report.check_sizes(listed("leeds_butterfly", train=833, test=0))


# The report and the command


def test_report_of_a_subset(tmp_path, capsys):
    write_cub200(tmp_path)
    save_image(tmp_path / "CUB_200_2011/images/001.Species_1/new.jpg", seed=77)
    assert main(["data", "cub200", "--root", str(tmp_path), "--no-download", "--verify"]) == 0
    out = capsys.readouterr().out
    assert "train           4 of 5,994 published" in out
    assert "classes         2 of 200 published" in out
    assert "unlisted        1 on disk, in no list: images/001.Species_1/new.jpg" in out
    assert "decoded         8 images and masks, all readable" in out
    assert "a subset: usable" in out
    assert len(out.splitlines()) <= 24, "one screen"
    assert not list(tmp_path.glob(".*")), "what is there is only looked at"


def test_report_names_unreadable_files_first_ten_and_count(tmp_path, capsys):
    root = WRITERS["leeds_butterfly"](tmp_path)
    broken = sorted((root / "images").iterdir())[:12]
    for number, path in enumerate(broken):
        path.write_bytes(path.read_bytes()[: 200 + number])
    assert main(["data", "leeds_butterfly", "--root", str(tmp_path), "--verify"]) == 2
    error = capsys.readouterr().err
    assert "12 files below" in error and "are unreadable: images/0010001.png" in error
    assert error.count(".png") == 10


@pytest.mark.parametrize("name", WRITERS)
def test_command_reports_on_every_data_set(name, tmp_path, capsys):
    WRITERS[name](tmp_path)
    assert main(["data", name, "--root", str(tmp_path), "--no-download"]) == 0
    assert f"({name}) in {tmp_path / SOURCES[name].folder}" in capsys.readouterr().out


def test_set_aside_copies_are_counted(tmp_path, capsys):
    root = write_aircraft(tmp_path)
    shutil.copy(root / "data/images/1025794.jpg", root / "data/images/1025797.jpg")
    with pytest.warns(UserWarning, match="1 train images are"):
        assert main(["data", "aircraft", "--root", str(tmp_path), "--no-download"]) == 0
    out = capsys.readouterr().out
    assert "train           4 of 6,667 published" in out
    assert "copies          1 train images set aside" in out


def test_sources_are_whole():
    for name, source in SOURCES.items():
        assert source.archives or source.by_hand, name
        for archive in source.archives:
            fields = dataclasses.asdict(archive)
            assert archive.url or source.by_hand, fields
            algorithm, _, digest = archive.checksum.partition(":")
            assert len(digest) == {"sha256": 64, "md5": 32, "": 0}[algorithm], fields


IN_FULL = {  # folder: name, and what the report says
    "cub100": (
        *("cub200", "classes       100 of 200 published", "train       2,999 of 5,994 published"),
        *("test        2,903 of 5,794 published", "decoded     5,902 images", "verdict   a subset"),
    ),
    "leeds_butterfly": (
        *("leeds_butterfly", "all           832 of 832 published"),
        *("decoded     1,664 images and masks", "verdict   complete"),
    ),
}


@pytest.mark.parametrize("folder", IN_FULL)
def test_photographs_in_full(shared_data, capsys, folder):
    name, *lines = IN_FULL[folder]
    root = shared_data(folder)
    assert main(["data", name, "--root", root, "--no-download", "--verify"]) == 0
    out = capsys.readouterr().out
    assert [line for line in lines if line not in out] == []
