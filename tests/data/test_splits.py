"""Protocols on tables of a few rows, and on real files through the door."""

import numpy as np
import pandas as pd
import pytest
from conftest import write_folder

from fdhmfe.config.settings import load
from fdhmfe.data.dataset import DataError, Dataset
from fdhmfe.data.door import open_dataset, split_by_protocol
from fdhmfe.data.splits import half_classes, hold_out_classes, leave_out_classes, seen_first


def table_of(classes: int) -> pd.DataFrame:
    """Of each class a train and a test image, class by class."""
    labels = np.repeat(np.arange(classes), 2)
    names = [f"{label}{split}" for label in range(classes) for split in ("train", "test")]
    columns = {"path": names, "label": labels, "split": ["train", "test"] * classes}
    return pd.DataFrame({**columns, "mask": "", "sha256": names})


def dataset_of(classes: int, tmp_path) -> Dataset:
    table = table_of(classes)
    names = tuple(f"class {label}" for label in range(classes))
    return Dataset("folder", tmp_path, names, table, np.flatnonzero(table.split == "train"))


def split(dataset: Dataset, protocol: str, **settings) -> Dataset:
    return split_by_protocol(dataset, load("quick", protocol=protocol, **settings))


def test_held_out_classes_are_database_and_query_and_not_train():
    table = hold_out_classes(table_of(3), np.array([1]))
    assert table.split.tolist() == ["train", "test", "database", "test", "train", "test"]
    assert table.label.tolist() == [0, 0, 1, 1, 2, 2]


def test_classes_left_out_are_unused():
    table = leave_out_classes(table_of(3), np.array([0, 2]))
    assert table.split.tolist() == ["unused", "unused", "train", "test", "unused", "unused"]


def test_labels_are_renumbered_seen_then_unseen_then_unused_each_in_order():
    table = hold_out_classes(leave_out_classes(table_of(5), np.array([0])), np.array([1, 3]))
    numbered, order = seen_first(table, 5)
    assert order.tolist() == [2, 4, 1, 3, 0]
    assert numbered.label.tolist() == [4, 4, 2, 2, 0, 0, 3, 3, 1, 1]
    assert numbered.split.equals(table.split)


@pytest.mark.parametrize(("classes", "trained"), [(4, [0, 1]), (5, [0, 1, 2])])
def test_half_classes_train_on_all_images_of_the_first_half(classes, trained):
    table = table_of(classes)
    table.loc[0, "split"] = "unused"
    found = half_classes(table, classes)
    assert found.split[0] == "unused"
    assert set(found.label[found.split == "train"]) == set(trained)
    assert (found.split[found.label > trained[-1]] == "test").all()
    assert found.split[1] == "train"  # a test image of the data set's own split


@pytest.mark.parametrize(("fold", "unseen"), [(0, [0, 5, 10]), (3, [3, 8])])
def test_a_fold_holds_out_every_fifth_class(tmp_path, fold, unseen):
    whole = dataset_of(12, tmp_path)
    found = split(whole, "folds", fold=fold)
    seen = [label for label in range(12) if label not in unseen]
    assert found.classes == tuple(f"class {label}" for label in [*seen, *unseen])
    assert found.table.path.equals(whole.table.path)
    names = [found.classes[label] for label in found.table.label]
    assert names == [f"class {label}" for label in whole.table.label]
    assert found.labels(found.rows("train")).tolist() == list(range(len(seen)))
    held = np.flatnonzero(found.table.split == "database")
    assert whole.labels(held).tolist() == unseen
    assert found.rows("database").tolist() == whole.rows("train").tolist()
    assert found.rows("test").tolist() == whole.rows("test").tolist()
    assert found.learnable.tolist() == whole.rows("train").tolist()


def test_every_class_is_unseen_in_one_fold(tmp_path):
    whole = dataset_of(13, tmp_path)
    folds = [split(whole, "folds", fold=fold) for fold in range(5)]
    held = [whole.labels(np.flatnonzero(fold.table.split == "database")) for fold in folds]
    assert sorted(np.concatenate(held)) == list(range(13))
    assert len({fold.hash for fold in folds}) == 5


def test_halves_retrieve_among_all_images_of_the_second_half(tmp_path):
    found = split(dataset_of(4, tmp_path), "half")
    assert found.rows("train").tolist() == found.learnable.tolist() == [0, 1, 2, 3]
    assert found.rows("test").tolist() == found.rows("database").tolist() == [4, 5, 6, 7]
    assert found.classes == ("class 0", "class 1", "class 2", "class 3")


@pytest.mark.parametrize("protocol", ["folds", "half"])
def test_a_train_image_that_is_also_held_out_is_not_learnt(tmp_path, protocol):
    whole = dataset_of(10, tmp_path)
    whole.table.loc[2, "sha256"] = whole.table.sha256[14]  # train images of classes 1 and 7
    with pytest.warns(UserWarning, match="1 train images are, byte for byte, in another split"):
        found = split(whole, protocol, fold=2)
    assert found.table.split[2] == "unused"
    assert 2 not in [*found.rows("train"), *found.rows("database")]


@pytest.mark.parametrize(("protocol", "fold", "classes"), [("folds", 4, 9), ("half", 0, 3)])
def test_too_few_classes_are_refused(tmp_path, protocol, fold, classes):
    with pytest.raises(DataError, match=f"{classes} classes are too few"):
        split(dataset_of(classes, tmp_path), protocol, fold=fold)


def test_validation_inside_a_fold_sees_neither_its_unseen_classes_nor_the_queries(tmp_path):
    root = write_folder(tmp_path, classes=10, per_class=20)
    settings = dict(dataset="folder", data_dir=str(root), fold=1)
    own, fold, carved = (
        open_dataset(load("quick", protocol=protocol, **settings))
        for protocol in ("all-classes", "folds", "folds-validation")
    )
    label, was = own.table.label, own.table.split
    used = carved.table.split != "unused"
    assert not used[was == "test"].any()
    assert set(label[used]) == {0, 2, 3, 4, 5, 7, 8, 9}  # 1 and 6 are unseen in fold 1
    assert set(fold.classes[8:]) == set(carved.classes[8:]) == {"class_1", "class_6"}
    # Of the eight seen ones the first and the sixth are held out: 0 and 7.
    assert carved.classes[6:8] == ("class_0", "class_7")
    assert set(label[carved.table.split == "database"]) == {0, 7}
    assert set(label[carved.table.split == "train"]) == {2, 3, 4, 5, 8, 9}
    queries = carved.table[carved.table.split == "test"]
    assert queries.groupby("label").size().tolist() == [2] * 8  # 20 % of 10 train images
    assert carved.labels(carved.rows("train")).max() == 5
    assert len(carved.rows("database")) == 8 * 8
