"""Every reader on real files, good and broken."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import save_image, write_cub, write_folder
from PIL import ExifTags, Image

from fdhmfe.config.settings import load
from fdhmfe.data.dataset import COLUMNS, DataError, Dataset, open_image, open_mask
from fdhmfe.data.door import open_dataset
from fdhmfe.data.readers.own import LEEDS_SPECIES
from fdhmfe.data.splits import half_split


def opened(dataset: str, root: Path | str, **settings) -> Dataset:
    return open_dataset(load("quick", dataset=dataset, data_dir=str(root), **settings))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def splits(dataset: Dataset) -> dict[str, str]:
    """path -> split, with `train/` and `test/` left in the path."""
    return dict(zip(dataset.table.path, dataset.table.split, strict=True))


# CUB_200_2011


def test_cub_tree_becomes_the_table(cub):
    dataset = opened("cub200", cub)
    assert tuple(dataset.table.columns) == COLUMNS
    assert dataset.classes == ("001.Species_1", "002.Species_2")
    assert dataset.table.label.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert dataset.rows("train").tolist() == [0, 1, 4, 5]
    assert dataset.rows("test").tolist() == [2, 3, 6, 7]
    assert dataset.labels(np.array([3, 4])).tolist() == [0, 1]
    assert set(dataset.table["mask"]) == {""}
    assert (dataset.image(0).mode, dataset.image(0).size) == ("RGB", (48, 40))


def test_cub_masks_are_listed_where_there_are_segmentations(cub):
    (cub / "segmentations").mkdir()
    mask = opened("cub200", cub).table["mask"].iat[5]
    assert mask == "segmentations/002.Species_2/002.Species_2_1.png"


def test_class_ids_need_not_be_consecutive(cub):
    (cub / "classes.txt").write_text("7 seven\n150 many words\n")
    labels = "".join(f"{i} {7 if i < 5 else 150}\n" for i in range(1, 9))
    (cub / "image_class_labels.txt").write_text(labels)
    dataset = opened("cub200", cub)
    assert dataset.classes == ("seven", "many words")
    assert dataset.table.label.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "file", ["images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"]
)
def test_missing_list_is_named(cub, file):
    (cub / file).unlink()
    with pytest.raises(DataError, match=f"{file} is missing"):
        opened("cub200", cub)


@pytest.mark.parametrize(
    ("file", "line", "wrong", "message"),
    [
        *(
            (file, "8 ", "9 ", f"{file} and images.txt do not list the same image ids")
            for file in ("image_class_labels.txt", "train_test_split.txt")
        ),
        (
            *("images.txt", "3 001.Species_1/001.Species_1_2.jpg", "3"),
            r"images\.txt, line 3: expected '<id> <path>'",
        ),
        ("image_class_labels.txt", "3 1", "3 one", r"image_class_labels\.txt, line 3"),
        ("image_class_labels.txt", "8 2", "8 5", r"classes\.txt has no name for class 5"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(cub, file, line, wrong, message):
    edit(cub / file, line, wrong)
    with pytest.raises(DataError, match=message):
        opened("cub200", cub)


def test_class_without_images(cub):
    with open(cub / "classes.txt", "a") as file:
        file.write("3 003.Nobody\n")
    with pytest.raises(DataError, match=r"1 classes have no train image: 003\.Nobody"):
        opened("cub200", cub)


def test_class_without_queries(cub):
    (cub / "train_test_split.txt").write_text("".join(f"{i} {int(i != 3)}\n" for i in range(1, 9)))
    with pytest.raises(DataError, match=r"1 classes have no test image: 002\.Species_2"):
        opened("cub200", cub)


def test_missing_image_is_named(cub):
    (cub / "images/002.Species_2/002.Species_2_3.jpg").unlink()
    with pytest.raises(DataError, match=r"1 images are missing .*002\.Species_2_3\.jpg$"):
        opened("cub200", cub)


def test_many_missing_images_first_ten_and_the_count(tmp_path):
    root = write_cub(tmp_path / "cub", classes=3, per_class=4)
    for path in (root / "images").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(DataError, match="12 images are missing") as error:
        opened("cub200", root)
    assert str(error.value).count(".jpg") == 10
    assert str(error.value).endswith(", ...")


def test_train_copy_of_a_query_is_set_aside_where_the_split_is_the_owners(cub):
    folder = cub / "images/001.Species_1"
    shutil.copy(folder / "001.Species_1_0.jpg", folder / "001.Species_1_3.jpg")
    with pytest.warns(UserWarning, match=r"1 train images are.*001\.Species_1_0\.jpg"):
        dataset = opened("cub200", cub)
    assert dataset.table.split.tolist()[:4] == ["unused", "train", "test", "test"]
    assert dataset.learnable.tolist() == dataset.rows("train").tolist() == [1, 4, 5]


def test_the_same_bytes_in_both_splits_of_a_folder(tmp_path):
    root = write_folder(tmp_path)
    shutil.copy(root / "train/class_0/1.jpg", root / "test/class_1/copy.jpg")
    with pytest.raises(DataError, match="the same picture in train and test") as error:
        opened("folder", root)
    assert "train/class_0/1.jpg" in str(error.value)
    assert "test/class_1/copy.jpg" in str(error.value)


def test_image_listed_twice(cub):
    edit(cub / "images.txt", "001.Species_1_3", "001.Species_1_0")
    with pytest.raises(DataError, match="1 files are listed twice"):
        opened("cub200", cub)


def test_hash_follows_content_label_and_split_but_not_the_place(cub, tmp_path):
    first = opened("cub200", cub)
    moved = opened("cub200", shutil.copytree(cub, tmp_path / "elsewhere"))
    assert (moved.hash, moved.images_hash) == (first.hash, first.images_hash)
    edit(tmp_path / "elsewhere/train_test_split.txt", "3 0", "3 1")
    resplit = opened("cub200", tmp_path / "elsewhere")
    assert resplit.hash != first.hash
    assert resplit.images_hash == first.images_hash
    save_image(cub / "images/001.Species_1/001.Species_1_0.jpg", seed=99)
    redrawn = opened("cub200", cub)
    assert redrawn.hash != first.hash
    assert redrawn.images_hash != first.images_hash


# data_dir


@pytest.mark.parametrize("dataset", ["cub200", "leeds_butterfly", "folder"])
def test_data_dir_not_given(dataset):
    with pytest.raises(DataError, match=f"'{dataset}' needs data_dir"):
        opened(dataset, "")


@pytest.mark.parametrize("dataset", ["cub200", "leeds_butterfly", "folder"])
def test_data_dir_is_not_a_folder(dataset, tmp_path):
    (tmp_path / "file").touch()
    for wrong in ("file", "absent"):
        with pytest.raises(DataError, match=f"{wrong} is not a folder"):
            opened(dataset, tmp_path / wrong)


@pytest.mark.parametrize("dataset", ["cub200", "leeds_butterfly", "folder"])
def test_data_dir_is_empty(dataset, tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        opened(dataset, tmp_path)


# Folders


def test_folder_with_train_and_test(tmp_path):
    dataset = opened("folder", write_folder(tmp_path))
    assert dataset.classes == ("class_0", "class_1", "class_2")
    assert all(path.startswith(split) for path, split in splits(dataset).items())
    assert dataset.table.groupby(["split", "label"]).size().tolist() == [4] * 6


def test_folder_without_train_and_test_gets_half_of_each_class(tmp_path):
    dataset = opened("folder", write_folder(tmp_path, per_class=7, split=False))
    sizes = dataset.table.groupby(["split", "label"]).size()
    assert sizes["train"].tolist() == [4] * 3
    assert sizes["test"].tolist() == [3] * 3


def test_split_of_a_folder_does_not_depend_on_names_or_order(tmp_path):
    first = opened("folder", write_folder(tmp_path / "a", split=False))
    for path in (tmp_path / "a").rglob("*.jpg"):
        renamed = tmp_path / "b" / path.parent.name / f"{9 - int(path.stem)}.jpg"
        renamed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, renamed)
    second = opened("folder", tmp_path / "b")
    by_content = [dict(zip(d.table.sha256, d.table.split, strict=True)) for d in (first, second)]
    assert by_content[0] == by_content[1]
    assert first.table.sha256.tolist() != second.table.sha256.tolist()


def test_copies_in_a_folder_stay_in_one_split(tmp_path):
    write_folder(tmp_path, split=False)
    for i in range(8):
        shutil.copy(tmp_path / f"class_1/{i}.jpg", tmp_path / f"class_1/copy_{i}.jpg")
    dataset = opened("folder", tmp_path)
    assert dataset.table.groupby("sha256").split.nunique().max() == 1
    assert (dataset.table.label == 1).sum() == 16


def test_hidden_folders_and_other_files_are_no_classes(tmp_path):
    write_folder(tmp_path, split=False)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "README.txt").touch()
    (tmp_path / "class_0" / "notes.txt").touch()
    assert len(opened("folder", tmp_path).table) == 24


def test_half_split_by_hand():
    labels = pd.Series([0, 0, 0, 1, 1, 1, 1])
    order = pd.Series(["c", "a", "b", "x", "x", "z", "y"])
    expected = ["test", "train", "train", "train", "train", "test", "train"]
    assert half_split(labels, order).tolist() == expected


# Leeds Butterfly


def write_leeds(root: Path, suffix: str, *, palette: bool, per_class: int = 4) -> Path:
    """images/<class><number> and segmentations/*_seg0.png: the left half is foreground."""
    (root / "segmentations").mkdir(parents=True)
    for c in range(len(LEEDS_SPECIES)):
        for i in range(per_class):
            name = f"{c + 1:03d}{i + 1:04d}"
            save_image(root / "images" / f"{name}{suffix}", i, c)
            values = np.zeros((40, 48), np.uint8)
            values[:20, :24], values[20:, :24], values[:, 24:36] = 1, 3, 2
            mask = Image.fromarray(values)
            if palette:
                mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
            else:
                mask = Image.fromarray(np.uint8(255 * np.isin(values, (1, 3))))
            mask.save(root / "segmentations" / f"{name}_seg0.png")
    return root


@pytest.mark.parametrize(("suffix", "palette"), [(".jpg", False), (".png", True)])
def test_leeds_photographs_and_masks_of_both_kinds(tmp_path, suffix, palette):
    dataset = opened("leeds_butterfly", write_leeds(tmp_path, suffix, palette=palette))
    assert dataset.classes == LEEDS_SPECIES
    assert dataset.table.groupby(["split", "label"]).size().tolist() == [2] * 20
    row = int(np.flatnonzero(dataset.table.path == f"images/0100003{suffix}")[0])
    assert dataset.table.label.iat[row] == 9
    assert dataset.image(row).mode == "RGB"
    mask = open_mask(tmp_path / dataset.table["mask"].iat[row])
    assert mask.dtype == bool
    assert mask[:, :24].all()
    assert not mask[:, 24:].any()


def test_leeds_split_does_not_depend_on_the_image_format(tmp_path):
    by_name = []
    for suffix in (".jpg", ".png"):
        root = write_leeds(tmp_path / suffix, suffix, palette=False)
        dataset = opened("leeds_butterfly", root)
        by_name.append({Path(p).stem: s for p, s in splits(dataset).items()})
    assert by_name[0] == by_name[1]


@pytest.mark.parametrize("name", ["butterfly.jpg", "0000001.jpg", "0110001.jpg"])
def test_leeds_file_of_no_class_is_named(tmp_path, name):
    save_image(write_leeds(tmp_path, ".jpg", palette=False) / "images" / name, seed=99)
    with pytest.raises(DataError, match=name):
        opened("leeds_butterfly", tmp_path)


# Broken images


@pytest.mark.parametrize("kept", [0, 20, 0.6])
def test_truncated_jpeg_is_named(tmp_path, kept):
    path = save_image(tmp_path / "bird.jpg", seed=0)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(DataError, match=r"bird\.jpg cannot be read"):
        open_image(path)


def test_file_that_is_no_image_is_named(tmp_path):
    for name, function in (("bird.jpg", open_image), ("mask.png", open_mask)):
        (tmp_path / name).write_text("<html>not found</html>")
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            function(tmp_path / name)


def test_a_photograph_that_a_phone_stored_lying_stands_upright(tmp_path):
    lying = Image.new("RGB", (8, 4), "white")
    lying.paste("black", (0, 0, 4, 4))  # the left half is the top of the scene
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turn by 90 degrees clockwise to see it upright
    lying.save(tmp_path / "phone.png", exif=exif)
    image = np.asarray(open_image(tmp_path / "phone.png"))
    assert image.shape == (8, 4, 3)
    assert (image[:4] == 0).all()
    assert (image[4:] == 255).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_colour_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.new("RGB", (6, 5), (200, 10, 10)).convert(mode).save(path)
    image = open_image(path)
    assert (image.mode, image.size) == ("RGB", (6, 5))


# Validation


def validation(root: Path, **settings) -> Dataset:
    return opened("folder", root, protocol="validation", **settings)


def test_validation_is_carved_from_train_only_and_leaves_the_queries_unused(tmp_path):
    root = write_folder(tmp_path, per_class=20)
    official, carved = opened("folder", root), validation(root)
    assert carved.table.drop(columns="split").equals(official.table.drop(columns="split"))
    was_train = official.table.split == "train"
    assert set(carved.table.split[~was_train]) == {"unused"}
    assert set(carved.table.split[was_train]) == {"train", "test"}
    queries = carved.table[carved.table.split == "test"]
    assert queries.groupby("label").size().tolist() == [2, 2, 2]  # 20 % of 10
    assert carved.hash != official.hash


def test_validation_share_is_taken_from_each_class(tmp_path):
    root = write_folder(tmp_path, per_class=20)
    table = validation(root, validation_share=0.5).table
    assert table[table.split == "test"].groupby("label").size().tolist() == [5, 5, 5]


def test_copies_stay_on_one_side_of_the_validation_split(tmp_path):
    root = write_folder(tmp_path, per_class=20)
    for path in sorted((root / "train" / "class_0").iterdir()):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    table = validation(root, validation_share=0.45).table
    assert table.groupby("sha256").split.nunique().max() == 1


def test_validation_that_would_empty_a_class_is_refused(tmp_path):
    root = write_folder(tmp_path)
    for path in sorted((root / "train" / "class_1").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="no train image: class_1"):
        validation(root)


# Real photographs


def test_cub100(shared_data):
    dataset = opened("cub200", shared_data("cub100"))
    assert (len(dataset.rows("train")), len(dataset.rows("test"))) == (2999, 2903)
    assert len(dataset.classes) == 100
    assert dataset.image(0).size == (227, 227)


def test_leeds_butterfly(shared_data):
    dataset = opened("leeds_butterfly", shared_data("leeds_butterfly"))
    assert len(dataset.table) == 832
    assert dataset.table.label.nunique() == 10
    masks = [open_mask(dataset.root / m) for m in dataset.table["mask"].iloc[::80]]
    assert all(0.02 < mask.mean() < 0.9 for mask in masks)
    assert masks[0].shape == dataset.image(0).size[::-1]


def test_leeds_without_masks_has_none(tmp_path):
    for number in range(1, 11):
        for image in range(4):
            save_image(
                tmp_path / "images" / f"{number:03d}000{image}.png", seed=image, label=number
            )
    dataset = opened("leeds_butterfly", tmp_path)
    assert set(dataset.table["mask"]) == {""}
