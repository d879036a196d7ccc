"""Folders as people have them: what is trained on, what is left out, and what is refused."""

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import save_image, write_folder

from fdhmfe.__main__ import main
from fdhmfe.config.settings import load
from fdhmfe.data.dataset import DataError, Dataset
from fdhmfe.data.door import open_dataset
from fdhmfe.data.readers import contents
from fdhmfe.data.readers.folder import survey
from fdhmfe.data.tree import read_tree


def opened(root: Path) -> Dataset:
    return open_dataset(load("quick", dataset="folder", data_dir=str(root)))


def told(root: Path, capsys) -> tuple[int, str]:
    """The exit code of fdhmfe check, and what it says."""
    code = main(["check", str(root)])
    return code, capsys.readouterr().out


# Junk, links and depth: the same files for everyone


def put(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        save_image(root / name, 100 + seed)


def link(root: Path, name: str, target: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(target)


IGNORED = [
    *("cat/._x.jpg", "._cat/x.jpg", "__MACOSX/cat/x.jpg", "cat/__MACOSX/x.jpg", ".hidden.jpg"),
    *(".ipynb_checkpoints/x.jpg", "cat/.ipynb_checkpoints/x-checkpoint.jpg", "cat/.DS_Store"),
    *("Thumbs.db", "cat/thumbs.db", "cat/ehthumbs.db", "cat/desktop.ini", "cat/@eaDir/x.jpg"),
    *("$RECYCLE.BIN/x.jpg", "System Volume Information/x.jpg", ".git/x.png", "cat/.x.jpg.swp"),
    *("cat/.thumbnails/x.png", "lost+found/x.jpg"),
]


@pytest.mark.parametrize("name", IGNORED)
def test_what_systems_leave_behind_is_ignored(name, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"no picture")
    put(tmp_path, "cat/x.jpg")
    assert read_tree(tmp_path) == (["cat/x.jpg"], {})


def test_a_hidden_folder_that_is_named_is_read(tmp_path):
    put(tmp_path, ".cache/cat/x.jpg")
    assert read_tree(tmp_path / ".cache").pictures == ["cat/x.jpg"]


TAKEN: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "flat": (lambda r: put(r, "b.jpg", "a.png"), ["a.png", "b.jpg"]),
    "nested": (lambda r: put(r, "c/d/e/f.jpg", "c/a.jpg"), ["c/a.jpg", "c/d/e/f.jpg"]),
    "upper case": (lambda r: put(r, "A.JPG", "B.JPEG"), ["A.JPG", "B.JPEG"]),
    "linked file": (
        lambda r: (put(r, "a.jpg"), link(r, "b/c.jpg", "../a.jpg")),
        ["a.jpg", "b/c.jpg"],
    ),
    "linked folder": (
        lambda r: (put(r.parent / "far", "a.jpg"), link(r, "near", str(r.parent / "far"))),
        ["near/a.jpg"],
    ),
    "a folder named as a picture": (lambda r: put(r, "x.jpg/a.jpg"), ["x.jpg/a.jpg"]),
    "odd names": (
        lambda r: put(r, "a\nb.jpg", "c\u2028d.jpg", "e f.jpg", "caf\udce9.jpg", "#,;'\".jpg"),
        sorted(["a\nb.jpg", "c\u2028d.jpg", "e f.jpg", "caf\udce9.jpg", "#,;'\".jpg"]),
    ),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_pictures_at_any_depth_and_behind_links(kind, tmp_path):
    write, names = TAKEN[kind]
    write(tmp_path / "own")
    assert read_tree(tmp_path / "own") == (names, {})


SKIPPED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "text": (lambda r: (r / "notes.txt").write_text("x"), "notes.txt", "no format that Pillow"),
    "raw": (lambda r: (r / "x.cr2").write_text("x"), "x.cr2", "no format that Pillow reads"),
    "video": (lambda r: (r / "x.mp4").write_text("x"), "x.mp4", "no format that Pillow reads"),
    "no suffix": (lambda r: (r / "photo").write_text("x"), "photo", "no format that Pillow reads"),
    "dangling": (lambda r: link(r, "x.jpg", "gone.jpg"), "x.jpg", "a link to nothing"),
    "dangling folder": (lambda r: link(r, "cats", "gone"), "cats", "a link to nothing"),
    "itself": (lambda r: link(r, "x.jpg", "x.jpg"), "x.jpg", "a link to nothing"),
    "loop": (lambda r: link(r, "c/up", ".."), "c/up", "a link to a folder that it is in"),
    "pipe": (lambda r: os.mkfifo(r / "x.jpg"), "x.jpg", "no file"),
}


@pytest.mark.parametrize("kind", SKIPPED)
def test_what_is_skipped_is_listed_with_the_reason(kind, tmp_path, capsys):
    write, name, reason = SKIPPED[kind]
    write_folder(tmp_path, classes=2, per_class=4, split=False)
    write(tmp_path)
    (skipped,) = read_tree(tmp_path).skipped.items()
    assert skipped[0] == name and reason in skipped[1]
    code, said = told(tmp_path, capsys)
    assert code == 0 and f"left out: skipped (1; {reason}" in said and f"    {name}\n" in said
    with pytest.warns(UserWarning, match=name):
        assert len(opened(tmp_path).table) == 8


def test_links_that_lead_to_each_other_end(tmp_path):
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    link(tmp_path, "a/to_b", "../b")
    link(tmp_path, "b/to_a", "../a")
    found = read_tree(tmp_path)
    assert found.pictures == ["a/1.jpg", "a/to_b/2.jpg", "b/2.jpg", "b/to_a/1.jpg"]
    assert set(found.skipped) == {"a/to_b/to_a", "b/to_a/to_b"}


# What training makes of a folder


def tree(root: Path) -> Path:
    return write_folder(root, classes=3, per_class=4, split=False)


LEFT_OUT: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "one broken picture": (
        lambda r: (r / "class_0/bad.jpg").write_text("<html>"),
        ["unreadable", "class_0/bad.jpg (cannot identify"],
    ),
    "a truncated picture": (
        lambda r: (r / "class_0/cut.jpg").write_bytes((r / "class_0/1.jpg").read_bytes()[:400]),
        ["unreadable", "class_0/cut.jpg ("],
    ),
    "an empty file": (lambda r: (r / "class_0/0.png").touch(), ["unreadable", "class_0/0.png"]),
    "an empty class": (lambda r: (r / "empty").mkdir(), ["classes without a picture", "empty"]),
    "a class of broken pictures": (
        lambda r: ((r / "poor").mkdir(), (r / "poor/x.jpg").touch()),
        ["classes without a picture", "poor", "unreadable", "poor/x.jpg"],
    ),
    "a class of one": (
        lambda r: save_image(r / "lonely/x.jpg", 99),
        ["classes of one picture, thus no query", "lonely"],
    ),
    "a class of one and its copy": (
        lambda r: (
            save_image(r / "lonely/x.jpg", 99),
            shutil.copy(r / "lonely/x.jpg", r / "lonely/y.jpg"),
        ),
        ["classes of one picture, thus no query", "lonely"],
    ),
    "a picture at the top": (lambda r: put(r, "top.jpg"), ["in no class's folder", "top.jpg"]),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_training_leaves_out_what_it_can_do_without_and_says_so(kind, tmp_path, capsys):
    write, words = LEFT_OUT[kind]
    write(tree(tmp_path))
    code, said = told(tmp_path, capsys)
    assert code == 0 and "12 pictures in 3 classes (6 test, 6 train)" in said
    with pytest.warns(UserWarning) as warned:
        dataset = opened(tmp_path)
    assert len(dataset.table) == 12 and dataset.classes == ("class_0", "class_1", "class_2")
    for word in words:
        assert word in said and word in str(warned[0].message)


def test_left_out_pictures_change_nothing_for_the_others(tmp_path):
    clean = opened(tree(tmp_path / "a"))
    (tree(tmp_path / "b") / "class_1/bad.jpg").touch()
    with pytest.warns(UserWarning, match="unreadable"):
        assert opened(tmp_path / "b").hash == clean.hash


FATAL: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "one picture in two classes": (
        lambda r: shutil.copy(tree(r) / "class_0/1.jpg", r / "class_2/again.jpg"),
        ["the same picture in two classes (1; remove", "class_0/1.jpg = class_2/again.jpg"],
    ),
    "one picture in train and test": (
        lambda r: shutil.copy(write_folder(r) / "train/class_0/1.jpg", r / "test/class_0/x.jpg"),
        ["the same picture in train and test", "train/class_0/1.jpg = test/class_0/x.jpg"],
    ),
    "nothing": (lambda r: r.mkdir(exist_ok=True), ["no class to train on", "<class>/<image>"]),
    "flat": (lambda r: put(r, "a.jpg", "b.jpg"), ["no class to train on", "fdhmfe encode"]),
    "one class": (
        lambda r: put(r, *(f"cat/{i}.jpg" for i in range(4))),
        ["one class alone (1; expected", "cat"],
    ),
    "one folder too high": (
        lambda r: tree(r / "birds"),
        ["one class alone", "if the folders in it are the classes, name", "/birds"],
    ),
    "classes of one": (
        lambda r: put(r, "a/1.jpg", "b/2.jpg", "c/3.jpg"),
        ["no class to train on", "classes of one picture", "a", "b", "c"],
    ),
    "train alone": (lambda r: tree(r / "train"), ["holds train: expected folders train and test"]),
    "test and val": (
        lambda r: (tree(r / "test"), tree(r / "val")),
        ["holds test, val: expected folders train and test"],
    ),
    "all at once": (
        lambda r: (
            put(tree(r), "lonely/x.jpg", "top.jpg"),
            (r / "empty").mkdir(),
            (r / "class_1/bad.jpg").touch(),
            link(r, "class_1/gone.jpg", "nowhere"),
            shutil.copy(r / "class_0/1.jpg", r / "class_2/again.jpg"),
        ),
        [
            *("class_0/1.jpg = class_2/again.jpg", "unreadable", "class_1/bad.jpg", "empty"),
            *("a link to nothing", "class_1/gone.jpg", "lonely", "top.jpg"),
        ],
    ),
}


@pytest.mark.parametrize("kind", FATAL)
def test_what_stops_training_is_said_in_one_list(kind, tmp_path, capsys):
    write, words = FATAL[kind]
    root = tmp_path / "own"
    write(root)
    with pytest.raises(DataError) as error:
        opened(root)
    code = main(["check", str(root)])
    said = "".join(capsys.readouterr())
    assert code == 2
    for word in words:
        assert word in str(error.value) and word in said, word


def test_no_work_is_done_before_the_check(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FDHMFE_HOME", str(tmp_path / "home"))
    root = tree(tmp_path / "own")
    shutil.copy(root / "class_0/1.jpg", root / "class_2/again.jpg")
    words = ["--profile=smoke", "--dataset=folder", f"--data-dir={root}"]
    assert main(["train", *words]) == 2
    assert "the same picture in two classes" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_check_names_every_file_and_training_the_first_ten(tmp_path, capsys):
    root = tree(tmp_path)
    for number in range(14):
        (root / f"class_0/bad {number:02d}.jpg").touch()
    assert told(root, capsys)[1].count("bad ") == 14
    with pytest.warns(UserWarning, match="names every file") as warned:
        opened(root)
    assert str(warned[0].message).count("bad ") == 10


# Split folders

LAYOUTS = {  # folders: (which becomes train, which test, which is left out)
    ("train", "test"): ("train", "test", ""),
    ("Train", "Test"): ("Train", "Test", ""),
    ("TRAIN", "TEST"): ("TRAIN", "TEST", ""),
    ("training", "testing"): ("training", "testing", ""),
    ("train", "val"): ("train", "val", ""),
    ("train", "valid"): ("train", "valid", ""),
    ("train", "validation"): ("train", "validation", ""),
    ("train", "val", "test"): ("train", "test", "val"),
    ("Train", "Validation", "Test"): ("Train", "Test", "Validation"),
}


@pytest.mark.parametrize("names", LAYOUTS)
def test_split_folders_of_every_name(names, tmp_path, capsys):
    train, test, unused = LAYOUTS[names]
    for part, name in enumerate(names):
        for label in range(2):
            for i in range(3):
                save_image(tmp_path / name / f"class_{label}" / f"{i}.jpg", 10 * part + i, label)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = opened(tmp_path).table
    assert table.split.value_counts().to_dict() == {"train": 6, "test": 6}
    assert set(table.path[table.split == "train"].str.split("/").str[0]) == {train}
    assert set(table.path[table.split == "test"].str.split("/").str[0]) == {test}
    code, said = told(tmp_path, capsys)
    assert code == 0 and ("for validation (6; the queries are in test)" in said) == bool(unused)


def test_a_class_may_be_called_train(tmp_path):
    for label, name in enumerate(("bus", "car", "train")):
        for i in range(4):
            save_image(tmp_path / name / f"{i}.jpg", i, label)
    assert opened(tmp_path).classes == ("bus", "car", "train")


def test_classes_that_are_only_in_one_split_are_left_out(tmp_path):
    root = write_folder(tmp_path)
    save_image(root / "train/new/x.jpg", 50)
    save_image(root / "test/other/x.jpg", 51)
    with pytest.warns(UserWarning, match="without a query.*new") as warned:
        assert opened(root).classes == ("class_0", "class_1", "class_2")
    assert "classes of nothing but queries (1; add some to train): other" in str(warned[0].message)


def test_an_official_set_may_lie_in_one_more_folder(cub, tmp_path):
    (tmp_path / "archive").mkdir()
    shutil.move(cub, tmp_path / "archive" / "CUB_200_2011")
    for place in (tmp_path, tmp_path / "archive", tmp_path / "archive/CUB_200_2011"):
        dataset = open_dataset(load("quick", dataset="cub200", data_dir=str(place)))
        assert len(dataset.table) == 8


# Cost


def test_a_large_folder_is_decoded_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FDHMFE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(contents, "MANY", 12)
    root = tree(tmp_path / "own")
    (root / "class_0/bad.jpg").touch()
    decoded: list[Path] = []
    whole = contents.why_unreadable
    monkeypatch.setattr(
        contents, "why_unreadable", lambda path: decoded.append(path) or whole(path)
    )
    first, second = survey(root), survey(root)
    assert len(decoded) == 13, "by content, not again"
    assert first.told() == second.told() and "class_0/bad.jpg" in second.told()
    save_image(root / "class_0/new.jpg", 60)
    assert len(survey(root).table) == 13
    assert len(decoded) == 27
