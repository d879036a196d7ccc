"""A folder of pictures: checked, encoded."""

import shutil

import pytest
from conftest import save_image, write_folder

from fdhmfe.data.dataset import DataError
from fdhmfe.encoding.album import load_album
from fdhmfe.encoding.trained import open_run
from fdhmfe.explorer.folder import check_folder, encode_folder, write_sample


@pytest.fixture
def run(folder_run):
    return open_run(folder_run)


def test_pictures_find_themselves_after_saving_and_loading(run, tmp_path):
    root = write_folder(tmp_path / "own", classes=2, per_class=20, split=False)
    album = encode_folder(run, check_folder(root))
    album.save(tmp_path / "album.npz")
    again = load_album(tmp_path / "album.npz", run)
    assert again.names[0] == "class_0/0.jpg" and len(again.names) == 40  # more than one batch
    assert (again.bits, again.model_id) == (20, album.model_id)
    _, distances = again.search(album.codes, k=1)
    assert (distances == 0).all()


def test_a_folder_is_checked_file_by_file(tmp_path):
    root = write_folder(tmp_path / "own", classes=2, per_class=3, split=False)
    (root / "class_0" / "broken.jpg").write_text("not a picture")
    shutil.copy(root / "class_0" / "1.jpg", root / "class_1" / "again.jpg")
    (root / "notes.txt").write_text("not looked at")
    report = check_folder(root)
    assert len(report.pictures) == 6
    assert report.unreadable == ("class_0/broken.jpg",)
    assert report.copies == ("class_1/again.jpg",)
    assert "6 pictures in 2 classes" in str(report) and "class_0/broken.jpg" in str(report)


LAYOUTS = {  # files, and the class of each
    "deeper in a class": {"cat/1.jpg": "cat", "cat/old/2.jpg": "cat", "dog/3.jpg": "dog"},
    "train and test": {"train/cat/1.jpg": "cat", "test/cat/2.jpg": "cat"},
    "Train and Val": {"Train/cat/1.jpg": "cat", "Val/dog/a/2.jpg": "dog"},
    "a class called train": {"bus/1.jpg": "bus", "train/2.jpg": "train"},
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_picture_s_class_is_the_folder_that_it_is_below(kind, tmp_path):
    for seed, name in enumerate(LAYOUTS[kind]):
        save_image(tmp_path / name, seed)
    report = check_folder(tmp_path)
    assert dict(zip(report.pictures, report.classes, strict=True)) == LAYOUTS[kind]


def test_what_else_a_folder_holds_is_named(tmp_path):
    root = write_folder(tmp_path / "own", classes=2, per_class=3, split=False)
    save_image(root / "top.png", 70)
    (root / "class_0" / "._1.jpg").write_text("left by macOS")
    (root / "class_0" / "gone.jpg").symlink_to("nowhere")
    report = check_folder(root)
    assert len(report.pictures) == 6 and not report.unreadable
    said = str(report)
    assert "left out, in no class's folder (1;" in said and "top.png" in said
    assert "left out, skipped (1; a link to nothing): class_0/gone.jpg" in said
    assert "._1" not in said


def test_a_folder_without_pictures_says_what_is_expected(tmp_path):
    save_image(tmp_path / "flat" / "1.jpg", 0)
    with pytest.raises(DataError, match="<class>/<image>"):
        check_folder(tmp_path / "flat")
    (tmp_path / "bad" / "class").mkdir(parents=True)
    (tmp_path / "bad" / "class" / "1.jpg").write_text("")
    with pytest.raises(DataError, match="none of the 1 pictures"):
        check_folder(tmp_path / "bad")
    with pytest.raises(DataError, match="absent is not a folder: name one that holds"):
        check_folder(tmp_path / "absent")


def test_the_sample_holds_queries_only(run, tmp_path):
    write_sample(run, tmp_path / "sample", classes=2, pictures=3)
    report = check_folder(tmp_path / "sample")
    data = run.inputs.dataset
    queries = {data.table.path.iat[row] for row in data.rows("test")}
    assert len(report.pictures) == 6
    assert {f"test/{name}" for name in report.pictures} <= queries
    assert report._replace(copies=()) == report
