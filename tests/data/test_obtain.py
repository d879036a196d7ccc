"""Archives become folders, safely; the command brings whole data sets from a server."""

import dataclasses
import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest
from loopback import Site, lie, served, truncate
from official import WRITERS
from tenacity import wait_none

from fdhmfe.__main__ import main
from fdhmfe.config.settings import load
from fdhmfe.data import door, report
from fdhmfe.data.dataset import DataError
from fdhmfe.data.fetch import download, extract, obtain, verify
from fdhmfe.data.fetch.extract import ExtractError
from fdhmfe.data.fetch.sources import SOURCES, Archive
from fdhmfe.support.places import REPOSITORY

# Extraction


def tar(path: Path, *members: tuple[tarfile.TarInfo | str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as opened:
        for info, content in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for info, content in members:
            opened.writestr(info, content)
    return path


def special(kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("bird")
    info.type, info.linkname = kind, link
    return info


def zip_link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("bird")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


@pytest.mark.parametrize(("write", "name"), [(tar, "a.tgz"), (zipped, "a.zip")])
def test_plain_archive(write, name, tmp_path, folder):
    archive = write(tmp_path / name, ("CUB/images/1.jpg", b"one"), ("CUB/list.txt", b"two"))
    extract.extract(archive, folder)
    assert (folder / "CUB/images/1.jpg").read_bytes() == b"one"
    assert (folder / "CUB/list.txt").read_bytes() == b"two"


def test_modes_and_owners_of_an_archive_are_not_taken_over(tmp_path, folder):
    info = tarfile.TarInfo("run")
    info.mode = 0o6777
    extract.extract(tar(tmp_path / "a.tgz", (info, b"x")), folder)
    assert not (folder / "run").stat().st_mode & 0o6111


OUTSIDE = ["../outside", "a/../../outside", "/outside", "..\\outside", "C:/outside", "C:outside"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize(("write", "file"), [(tar, "a.tgz"), (zipped, "a.zip")])
def test_nothing_is_written_outside(write, file, name, tmp_path, folder):
    archive = write(tmp_path / file, ("fine.txt", b"fine"), (name, b"evil"))
    with pytest.raises(ExtractError, match="would be written outside"):
        extract.extract(archive, folder)
    assert list(folder.iterdir()) == [], "not even what came before it"
    assert sorted(path.name for path in tmp_path.iterdir()) == [file, "inside"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: tar(path, (special(tarfile.SYMTYPE, "/etc"), b"")),
        lambda path: tar(path, (special(tarfile.SYMTYPE, "images"), b"")),
        lambda path: tar(
            path, ("images/1.jpg", b"x"), (special(tarfile.LNKTYPE, "images/1.jpg"), b"")
        ),
        lambda path: tar(path, (special(tarfile.FIFOTYPE), b"")),
        lambda path: tar(path, (special(tarfile.CHRTYPE), b"")),
        lambda path: zipped(path, (zip_link(), b"/etc")),
    ],
    ids=["symlink out", "symlink in", "hard link", "pipe", "device", "link in a zip"],
)
def test_links_and_devices_are_refused(write: Callable, tmp_path, folder):
    with pytest.raises(ExtractError, match="'bird' is a link or a device"):
        extract.extract(write(tmp_path / "archive"), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("write", "name"), [(tar, "a.tgz"), (zipped, "a.zip")])
def test_bomb_is_refused_before_it_goes_off(write, name, tmp_path, folder, monkeypatch):
    monkeypatch.setattr(extract, "SLACK", 2**20)
    archive = write(tmp_path / name, ("zeros", bytes(3 * 2**20)))
    assert archive.stat().st_size < 2**14
    with pytest.raises(ExtractError, match=r"would grow to 3,145,728 bytes in 1 members"):
        extract.extract(archive, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("write", "name"), [(tar, "a.tgz"), (zipped, "a.zip")])
def test_too_many_members(write, name, tmp_path, folder, monkeypatch):
    monkeypatch.setattr(extract, "MOST_FILES", 3)
    archive = write(tmp_path / name, *((f"{number}.jpg", b"") for number in range(4)))
    with pytest.raises(ExtractError, match="members"):
        extract.extract(archive, folder)


@pytest.mark.parametrize(("write", "name"), [(tar, "a.tgz"), (zipped, "a.zip")])
@pytest.mark.parametrize("damage", ["cut", "flipped", "page"])
def test_damaged_archive_is_named(write, name, damage, tmp_path, folder):
    archive = write(tmp_path / name, ("1.jpg", os.urandom(5000)), ("2.jpg", os.urandom(5000)))
    content = bytearray(archive.read_bytes())
    content[2000:2100] = bytes(100)
    damaged = {"cut": content[:4000], "flipped": content, "page": b"<html>log in</html>"}
    archive.write_bytes(damaged[damage])
    with pytest.raises(ExtractError, match=f"(?s){name} is damaged .*: delete it"):
        extract.extract(archive, folder)


def test_damaged_bz2_is_named(tmp_path, folder):
    archive = tmp_path / "a.tar.bz2"
    with tarfile.open(archive, "w:bz2") as opened:
        info = tarfile.TarInfo("1.jpg")
        info.size = 2_000_000
        opened.addfile(info, io.BytesIO(os.urandom(info.size)))
    content = bytearray(archive.read_bytes())
    content[1_500_000:1_500_100] = bytes(100)
    archive.write_bytes(content)
    with pytest.raises(ExtractError, match=r"a\.tar\.bz2 is damaged .*: delete it"):
        extract.extract(archive, folder)
    assert list(folder.iterdir()) == []


def test_tar_that_ends_with_a_zip_is_a_tar(tmp_path, folder):
    inner = zipped(tmp_path / "inner.zip", ("evil.txt", b"x"))
    with tarfile.open(tmp_path / "a.tar", "w") as opened:
        opened.add(inner, "lists.zip")
    assert zipfile.is_zipfile(tmp_path / "a.tar")
    extract.extract(tmp_path / "a.tar", folder)
    assert [path.name for path in folder.iterdir()] == ["lists.zip"]


# The command, end to end


def packed(name: str, folder: Path) -> dict[str, bytes]:
    """The archives of a data set's small tree, under the names its owner gives them."""
    tree = WRITERS[name](folder)
    if name == "dogs":
        parts = {"images.tar": ["Images"], "lists.tar": ["train_list.mat", "test_list.mat"]}
        return {archive: tarred(tree, entries) for archive, entries in parts.items()}
    if name == "cars":
        label = "cars_test_annos_withlabels.mat"
        parts = {"cars_train.tgz": ["cars_train"], "cars_test.tgz": ["cars_test"]}
        parts["car_devkit.tgz"] = ["devkit"]
        archives = {archive: tarred(tree, entries) for archive, entries in parts.items()}
        return archives | {label: (tree / label).read_bytes()}
    if name == "leeds_butterfly":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as opened:
            for path in sorted(tree.rglob("*.png")):
                opened.write(path, path.relative_to(folder))
        return {"leedsbutterfly_dataset_v1.1.zip": buffer.getvalue()}
    (folder / "beside.txt").write_text("as attributes.txt beside CUB_200_2011 in the real one")
    return {SOURCES[name].archives[0].name: tarred(folder, [tree.name, "beside.txt"])}


def tarred(folder: Path, entries: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        for entry in entries:
            opened.add(folder / entry, entry)
    return buffer.getvalue()


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A function that serves a data set's small tree in place of the owner's archives."""
    monkeypatch.setattr(download, "WAIT", wait_none())
    with served(Site({})) as site:

        def offer(name: str) -> Site:
            site.content |= packed(name, tmp_path / "owner")
            archives = tuple(
                Archive(
                    archive.name,
                    archive.url and site.url(archive.name),
                    f"sha256:{hashlib.sha256(site.content[archive.name]).hexdigest()}"
                    if archive.checksum
                    else "",
                    len(site.content[archive.name]) if archive.size else 0,
                    archive.into,
                )
                for archive in SOURCES[name].archives
                if archive.name in site.content
            )
            changed = {name: dataclasses.replace(SOURCES[name], archives=archives)}
            for module in (door, obtain, report):
                monkeypatch.setattr(module, "SOURCES", MappingProxyType({**SOURCES, **changed}))
            return site

        yield offer


FETCHED = ["cub200", "aircraft", "food101", "dogs", "leeds_butterfly"]


@pytest.mark.parametrize("name", FETCHED)
def test_command_fetches_unpacks_and_reports(name, offered, tmp_path, capsys):
    site = offered(name)
    site.faults = [truncate]
    root = tmp_path / "here"
    assert main(["data", name, "--root", str(root)]) == 0
    out = capsys.readouterr().out
    for archive in site.content:
        assert f"{archive}: " in out
    assert f"({name}) in {root / SOURCES[name].folder}" in out
    assert (root / "beside.txt").exists() == (name in ("cub200", "aircraft", "food101"))
    assert not list(root.glob("*.partial*")) and not list(root.glob(".*.partial"))
    asked = len(site.asked)
    assert main(["data", name, "--root", str(root), "--verify"]) == 0
    assert len(site.asked) == asked, "what is there is only checked"
    assert "as published" in capsys.readouterr().out or name == "leeds_butterfly"


def test_unpublished_checksum_is_recorded_and_said(offered, tmp_path, capsys):
    offered("leeds_butterfly")
    root = tmp_path / "here"
    assert main(["data", "leeds_butterfly", "--root", str(root)]) == 0
    assert "no checksum is published; sha256" in capsys.readouterr().out
    archive = root / "leedsbutterfly_dataset_v1.1.zip"
    archive.write_bytes(archive.read_bytes() + b"x")
    assert main(["data", "leeds_butterfly", "--root", str(root), "--verify"]) == 1
    assert "delete it" in capsys.readouterr().err


def spoilt(content: bytes) -> bytes:
    """A zip whose list is whole, and whose first file is not."""
    return content[:90] + bytes(40) + content[130:]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (spoilt, "is damaged (Bad CRC-32 for file"),
        (lambda content: content[:-30], "is cut off or damaged, not an archive"),
        (lambda content: b"<title>Log in</title><body>", 'a web page titled "Log in"'),
        (lambda content: tarred(Path(__file__).parent, ["loopback.py"]), "does not hold"),
    ],
    ids=["spoilt", "cut off", "login page", "something else"],
)
def test_bad_first_copy_is_not_recorded(change, expected, offered, tmp_path, capsys):
    site, name = offered("leeds_butterfly"), "leedsbutterfly_dataset_v1.1.zip"
    root, good = tmp_path / "here", site.content[name]
    site.content[name] = change(good)
    assert main(["data", "leeds_butterfly", "--root", str(root)]) == 1
    said = capsys.readouterr()
    assert expected in said.err and "Traceback" not in said.err
    assert not (root / f"{name}.sha256").exists() and not (root / "leedsbutterfly").exists()
    (root / name).unlink(missing_ok=True)
    site.content[name] = good
    assert main(["data", "leeds_butterfly", "--root", str(root)]) == 0
    said = capsys.readouterr().out
    assert f"{name}: no checksum is published; sha256 {hashlib.sha256(good).hexdigest()}" in said
    assert main(["data", "leeds_butterfly", "--root", str(root), "--verify"]) == 0
    assert f"{name}: sha256 as recorded of the first copy" in capsys.readouterr().out


def test_record_of_a_bad_copy_does_not_lock_out_the_good_one(offered, tmp_path, capsys):
    site, name = offered("leeds_butterfly"), "leedsbutterfly_dataset_v1.1.zip"
    root = tmp_path / "here"
    root.mkdir()
    (root / name).write_bytes(spoilt(site.content[name]))
    verify.record(root / name)  # as older versions of the kit did
    (root / name).unlink()
    assert main(["data", "leeds_butterfly", "--root", str(root)]) == 1
    assert f"as recorded in {root / name}.sha256 (if there is a new" in capsys.readouterr().err
    (root / f"{name}.sha256").unlink()
    assert main(["data", "leeds_butterfly", "--root", str(root)]) == 0


def test_archive_that_vanishes_before_it_is_unpacked(offered, tmp_path, monkeypatch, capsys):
    offered("dogs")
    root = tmp_path / "here"

    def fetch_and_lose(*arguments, **published) -> str:
        known = download.fetch(*arguments, **published)
        (root / "images.tar").unlink(missing_ok=True)
        return known

    monkeypatch.setattr(obtain, "fetch", fetch_and_lose)
    assert main(["data", "dogs", "--root", str(root)]) == 1
    assert f"{root / 'images.tar'} vanished while it was in use" in capsys.readouterr().err


def test_nothing_is_unpacked_from_a_lying_server(offered, tmp_path, capsys):
    site = offered("aircraft")
    site.faults = [lie] * 9
    assert main(["data", "aircraft", "--root", str(tmp_path / "here")]) == 1
    assert "has sha256" in capsys.readouterr().err
    assert not [p for p in (tmp_path / "here").iterdir() if p.suffix != ".lock"]


@pytest.mark.parametrize("name", ["nabirds", "cars"])
def test_archives_brought_by_hand(name, offered, tmp_path, capsys):
    site = offered(name)
    root = tmp_path / "here"
    assert main(["data", name, "--root", str(root)]) == 2
    said = capsys.readouterr().err
    assert SOURCES[name].home in said
    for archive, content in site.content.items():
        assert f"put   {root / archive}" in said
        (root / archive).write_bytes(content)
    assert site.asked == []
    assert main(["data", name, "--root", str(root)]) == 0
    assert "as published" in capsys.readouterr().out


def test_wrong_archive_brought_by_hand(offered, tmp_path, capsys):
    site = offered("nabirds")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "nabirds.tar.gz").write_bytes(site.content["nabirds.tar.gz"][:-1])
    assert main(["data", "nabirds", "--root", str(tmp_path / "here")]) == 1
    assert "nabirds.tar.gz has sha256" in capsys.readouterr().err
    assert not (tmp_path / "here" / "nabirds").exists()


def test_vegfru_is_brought_by_hand_as_a_folder(tmp_path, capsys):
    assert main(["data", "vegfru", "--root", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "Baidu" in said and f"{tmp_path}/vegfru/vegfru_list/vegfru_train.txt" in said


def test_no_download_uses_archives_in_the_folder(offered, tmp_path, capsys):
    site = offered("dogs")
    root = tmp_path / "here"
    root.mkdir()
    (root / "images.tar").write_bytes(site.content["images.tar"])
    assert main(["data", "dogs", "--root", str(root), "--no-download"]) == 2
    assert f"put   {root / 'lists.tar'}" in capsys.readouterr().err
    (root / "lists.tar").write_bytes(site.content["lists.tar"])
    assert main(["data", "dogs", "--root", str(root), "--no-download"]) == 0
    assert site.asked == []


def test_half_a_folder_is_not_overwritten(offered, tmp_path, capsys):
    offered("aircraft")
    (tmp_path / "here" / "fgvc-aircraft-2013b").mkdir(parents=True)
    assert main(["data", "aircraft", "--root", str(tmp_path / "here")]) == 2
    assert "lacks data/variants.txt: it is not whole" in capsys.readouterr().err


def test_unpacking_that_is_killed_starts_afresh(offered, tmp_path):
    site = offered("dogs")
    root = tmp_path / "here"
    root.mkdir()
    for name, content in site.content.items():
        (root / name).write_bytes(content)
    script = f"""
import os, signal
from pathlib import Path
from fdhmfe.data.fetch import obtain
unpacking = obtain.extract
def dying(archive, folder):
    unpacking(archive, folder)
    os.kill(os.getpid(), signal.SIGKILL)
obtain.extract = dying
source, root = obtain.SOURCES["dogs"], Path({str(root)!r})
obtain.unpack(source, list(source.archives), root, root / ".dogs.partial")
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    left = root / ".dogs.partial" / "stanford_dogs"
    assert (left / "Images").is_dir() and not (root / "stanford_dogs").exists()
    (left / "Images" / "half.jpg").touch()
    assert main(["data", "dogs", "--root", str(root), "--no-download"]) == 0
    assert not left.exists()
    assert not (root / "stanford_dogs" / "Images" / "half.jpg").exists()


def test_archive_of_something_else(offered, tmp_path):
    site = offered("aircraft")
    (tmp_path / "here").mkdir()
    monkey = tarred(tmp_path / "owner", ["fgvc-aircraft-2013b/data/images"])
    archive = dataclasses.replace(obtain.SOURCES["aircraft"].archives[0], checksum="", size=0)
    source = dataclasses.replace(SOURCES["aircraft"], archives=(archive,))
    (tmp_path / "here" / archive.name).write_bytes(monkey)
    with pytest.raises(ExtractError, match="does not hold fgvc-aircraft-2013b/data/variants"):
        obtain.unpack(source, [archive], tmp_path / "here", tmp_path / "here" / "partial")
    assert site.asked == []


def test_two_commands_at_once_do_the_work_once(offered, tmp_path):
    site = offered("cub200")
    root, codes = tmp_path / "here", []
    threads = [
        threading.Thread(target=lambda: codes.append(main(["data", "cub200", "--root", str(root)])))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert len(site.asked) == 1


def test_report_without_a_folder_fetches_nothing():
    with pytest.raises(DataError, match="'dogs' needs data_dir"):
        door.report("dogs", "")


def test_unknown_data_set_lists_the_known(capsys):
    assert main(["data", "imagenet", "--root", "x"]) == 2
    assert "aircraft" in capsys.readouterr().err


def test_data_dir_that_is_not_there_names_the_command(tmp_path):
    with pytest.raises(DataError, match=r"fdhmfe data dogs --root"):
        door.open_dataset(load(dataset="dogs", data_dir=str(tmp_path / "nothing")))
