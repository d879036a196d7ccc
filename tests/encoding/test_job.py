"""Encoding at scale: real runs, real files, real processes that are killed."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from conftest import save_image, write_folder
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import get_model

from fdhmfe import config, search
from fdhmfe.__main__ import main
from fdhmfe.data.dataset import DataError
from fdhmfe.encoding import job
from fdhmfe.encoding.listing import read_names
from fdhmfe.encoding.trained import TrainedRun, open_run
from fdhmfe.runs import experiment
from fdhmfe.support.places import REPOSITORY

pytestmark = pytest.mark.slow  # jobs that are killed


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """70 images in subfolders, two of them unreadable, and a file that is none."""
    root = tmp_path_factory.mktemp("photographs")
    for i in range(70):
        save_image(root / f"album {i % 3}" / f"{i:03d}.jpg", i, i % 3)
    whole = (root / "album 0" / "000.jpg").read_bytes()
    (root / "album 0" / "003.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "album 1" / "070.png").write_bytes(b"no image")
    (root / "notes.txt").write_text("no image either")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run on a backbone of random weights, which needs no cache of the kit's."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = get_model("mobilenet_v3_small", weights=None)
    save_file(
        {k: v.contiguous() for k, v in network.state_dict().items()}, folder / "w.safetensors"
    )
    settings = config.load(
        "smoke",
        **{"dataset": "folder", "data_dir": str(write_folder(folder / "images"))},
        **{"backbone": "mobilenet_v3_small", "weights": str(folder / "w.safetensors")},
        **{"image_size": 64, "bits": 12, "epochs": 1, "results_dir": str(folder / "results")},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDHMFE_HOME", str(folder))
        return experiment.run(settings)


def command(run: Path, images: Path, out: Path, *more: str) -> list[str]:
    sized = ["--shard-size", "4", *more]
    return [sys.executable, "-m", "fdhmfe", "encode", str(run), str(images), str(out), *sized]


def start(*arguments, **streams) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(*arguments), env=env, cwd=REPOSITORY, text=True, **streams)


def shards(out: Path) -> list[Path]:
    return sorted((out / "shards").glob("*.npz"))


@pytest.fixture(scope="module")
def uninterrupted(run, photographs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "codes"
    assert main(command(run, photographs, out)[3:]) == 0
    return out


def contents(out: Path) -> list[bytes]:
    return [path.read_bytes() for path in shards(out)]


def test_every_readable_image_gets_a_code_and_the_rest_are_listed(uninterrupted, photographs):
    parts = list(job.read_encoded(uninterrupted))
    ids = np.concatenate([ids for ids, _ in parts])
    names = (uninterrupted / "images.txt").read_text().splitlines()
    assert len(names) == 71 and "notes.txt" not in names
    listed = pd.read_csv(uninterrupted / "unreadable.csv")
    assert sorted(listed.path) == ["album 0/003.jpg", "album 1/070.png"]
    assert listed.reason.str.contains("cannot be read").all()
    assert {names[i] for i in ids} == set(names) - set(listed.path)
    codes = np.concatenate([codes for _, codes in parts])
    assert codes.shape == (69, 12) and set(np.unique(codes)) == {-1, 1}


def test_killed_three_times_it_ends_with_identical_shards(
    run, photographs, uninterrupted, tmp_path
):
    out = tmp_path / "codes"
    for _ in range(3):
        before = len(shards(out))
        process = start(run, photographs, out, stdout=subprocess.DEVNULL)
        while len(shards(out)) <= before and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
    assert 3 <= len(shards(out)) < len(shards(uninterrupted))
    assert not (out / "encoded.json").exists()
    with pytest.raises(FileNotFoundError, match="is not finished"):
        job.read_identity(out)
    last = start(run, photographs, out, stdout=subprocess.PIPE)
    told, _ = last.communicate(timeout=300)
    assert "images/s" in told and "s left" in told
    assert contents(out) == contents(uninterrupted)
    assert job.read_identity(out) == job.read_identity(uninterrupted)
    assert not list(out.rglob("*.partial"))


def test_a_kill_of_the_command_ends_its_processes_and_it_goes_on(
    run, photographs, uninterrupted, tmp_path
):
    out = tmp_path / "codes"
    process = start(run, photographs, out, "--processes", "2", stdout=subprocess.DEVNULL)
    while not shards(out) and process.poll() is None:
        time.sleep(0.01)
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert started
    assert not psutil.wait_procs(started, timeout=30)[1]
    assert main(command(run, photographs, out)[3:]) == 0
    assert contents(out) == contents(uninterrupted)


def test_processes_share_the_list(run, photographs, uninterrupted, tmp_path):
    out = tmp_path / "codes"
    processes = [start(run, photographs, out, "--processes", "2"), start(run, photographs, out)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    assert contents(out) == contents(uninterrupted)
    assert (out / "encoded.json").exists()


def test_a_list_file_names_images_relative_to_itself(run, photographs, uninterrupted, tmp_path):
    names = (uninterrupted / "images.txt").read_text().splitlines()
    listing = photographs / "some.lst"
    listing.write_text("".join(f"{name}\n" for name in names[:4]))
    assert main(command(run, listing, tmp_path / "codes")[3:]) == 0
    assert contents(tmp_path / "codes") == contents(uninterrupted)[:1]


def test_codes_go_into_an_index_that_knows_what_they_are(uninterrupted):
    identity = job.read_identity(uninterrupted)
    (ids, codes), *rest = job.read_encoded(uninterrupted)
    index = search.build("flat", identity, ids, codes)
    for part in rest:
        index.add(*part)
    assert len(index) == 69
    assert index.search(codes[:1], 1).ids == [[ids[0]]]


def test_a_folder_begun_with_other_images_is_refused(run, photographs, tmp_path, capsys):
    out = tmp_path / "codes"
    (tmp_path / "one").mkdir()
    save_image(tmp_path / "one" / "a.jpg", 1)
    assert main(command(run, tmp_path / "one", out)[3:]) == 0
    before = contents(out)
    assert main(command(run, photographs, out)[3:]) == 2
    assert "was begun with other images: none of its 1, such as a.jpg" in capsys.readouterr().err
    assert contents(out) == before


# Folders that change between two commands


A = (1, 4, 7, 10, 13, 16, 19, 22)


@pytest.fixture(scope="module")
def encoded(run, photographs, tmp_path_factory) -> Path:
    """own/: ten of the photographs, one of them unreadable; codes/: encoded in shards of four."""
    place = tmp_path_factory.mktemp("encoded")
    for name in ["album 0/000.jpg", "album 0/003.jpg", *(f"album 1/{i:03d}.jpg" for i in A)]:
        (place / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photographs / name, place / "own" / name)
    assert main(command(run, place / "own", place / "codes")[3:]) == 0
    return place


@pytest.fixture
def album(encoded, tmp_path) -> Path:
    """A copy of these photographs, with a copy of their codes beside it."""
    shutil.copytree(encoded, tmp_path, dirs_exist_ok=True)
    return tmp_path / "own"


@pytest.fixture(scope="module")
def opened(run) -> TrainedRun:
    return open_run(run)


def expected(opened: TrainedRun, root: Path) -> dict[str, bytes]:
    """The code of each readable image below a folder, without any job."""
    codes: dict[str, bytes] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        with suppress(DataError):
            codes[path.relative_to(root).as_posix()] = opened.encode([path])[0].tobytes()
    return codes


def by_name(out: Path) -> dict[str, bytes]:
    """The code of each image, by its name."""
    names = read_names(out / "images.txt")
    parts = list(job.read_encoded(out))
    assert len({i for ids, _ in parts for i in ids}) == sum(len(ids) for ids, _ in parts)
    return {
        names[i]: code.tobytes() for ids, codes in parts for i, code in zip(ids, codes, strict=True)
    }


def ids_of(out: Path) -> dict[str, int]:
    return {name: i for i, name in enumerate(read_names(out / "images.txt"))}


def add(root: Path) -> None:
    save_image(root / "aaa first by name.jpg", 500)


def replace(root: Path) -> None:
    save_image(root / "album 1/004.jpg", 501)


def replace_alike(root: Path) -> None:
    """Another picture of the same size in bytes, with the old time."""
    path = root / "album 1/007.jpg"
    before = path.stat()
    Image.new("RGB", (48, 40), "red").save(path)
    content = path.read_bytes()
    path.write_bytes(content + b"\0" * (before.st_size - len(content)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def remove(root: Path) -> None:
    (root / "album 1/010.jpg").unlink()


def mend(root: Path) -> None:
    save_image(root / "album 0/003.jpg", 503)


def spoil(root: Path) -> None:
    (root / "album 1/022.jpg").write_bytes(b"no image any more")


def rename(root: Path) -> None:
    (root / "album 1/013.jpg").rename(root / "album 1/renamed.jpg")


def touch(root: Path) -> None:
    os.utime(root / "album 1/016.jpg")


def many(root: Path) -> None:
    for change in (add, replace, remove, mend, spoil, rename, touch):
        change(root)


CHANGES = [add, replace, replace_alike, remove, mend, spoil, rename, touch, many]


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_command_takes_up_what_has_changed(change, run, opened, album, tmp_path, capsys):
    out = tmp_path / "codes"
    before = ids_of(out)
    change(album)
    assert main(command(run, album, out)[3:]) == 0
    said = capsys.readouterr().out
    assert ("1 images are new" in said) == (change in (add, rename))
    assert ("1 images are gone" in said) == (change in (remove, rename))
    codes = expected(opened, album)
    assert by_name(out) == codes
    there = {p.relative_to(album).as_posix() for p in album.rglob("*.jpg")}
    assert set(pd.read_csv(out / "unreadable.csv").path) == there - codes.keys()
    assert before.items() <= ids_of(out).items(), "what has an id keeps it"
    assert not list(out.rglob("*.kept"))
    last = contents(out)
    assert main(command(run, album, out)[3:]) == 0
    assert contents(out) == last


def test_only_what_has_changed_is_read_again(run, album, tmp_path, monkeypatch):
    read: list[str] = []
    whole = TrainedRun.read
    monkeypatch.setattr(
        TrainedRun,
        "read",
        lambda self, images: read.extend(Path(i).name for i in images) or whole(self, images),
    )
    for change, names in [(touch, []), (many, ["004.jpg", "022.jpg", "aaa first by name.jpg"])]:
        read.clear()
        change(album)
        assert main(command(run, album, tmp_path / "codes")[3:]) == 0
        assert sorted(set(read) - {"003.jpg", "renamed.jpg"}) == names


def test_an_image_that_comes_back_has_its_old_id(run, album, tmp_path):
    out = tmp_path / "codes"
    before, ids = by_name(out), ids_of(out)
    away = (album / "album 1/010.jpg").rename(tmp_path / "away.jpg")
    assert main(command(run, album, out)[3:]) == 0
    assert by_name(out) == {k: v for k, v in before.items() if k != "album 1/010.jpg"}
    shutil.copy(away, album / "album 1/010.jpg")
    assert main(command(run, album, out)[3:]) == 0
    assert (by_name(out), ids_of(out)) == (before, ids)


def test_changed_between_kills(run, opened, album, tmp_path):
    out = tmp_path / "codes"
    for change in (add, many):
        change(album)
        process = start(run, album, out, stdout=subprocess.DEVNULL)
        while not list(out.rglob("*.kept")) and process.poll() is None:
            time.sleep(0.01)  # shards are set aside
        process.kill()
        process.wait()
    assert main(command(run, album, out)[3:]) == 0
    assert by_name(out) == expected(opened, album)
    assert not list(out.rglob("*.kept")) and not list(out.rglob("*.partial"))


def test_a_job_of_an_earlier_version_goes_on(run, album, tmp_path):
    out = tmp_path / "codes"
    before = by_name(out)
    for path in (out / "shards").glob("*.seen"):
        path.unlink()
    add(album)
    assert main(command(run, album, out)[3:]) == 0
    assert before.items() < by_name(out).items()


def test_names_of_every_kind_keep_their_ids(run, opened, tmp_path):
    album, out = tmp_path / "own", tmp_path / "codes"
    names = ["a\nb.jpg", "a\u2028b.jpg", "caf\udce9.jpg", '"q".jpg', " x.jpg", "z.jpg"]
    for seed, name in enumerate(names):
        save_image(album / name, seed)
    (album / "bad\n\udcff.jpg").touch()
    assert main(command(run, album, out)[3:]) == 0
    assert by_name(out) == expected(opened, album)
    assert set(by_name(out)) == set(names)
    assert pd.read_csv(out / "unreadable.csv").path.tolist() == ['"bad\\n\\udcff.jpg"']
    assert main(command(run, out / "images.txt", tmp_path / "no")[3:]) == 2, "files are elsewhere"


@pytest.mark.parametrize("kind", ["one photo", "a flat folder", "CSV", "other formats"])
def test_other_inputs(kind, run, photographs, tmp_path):
    album, out = tmp_path / "own", tmp_path / "codes"
    album.mkdir()
    for i in (1, 4):
        shutil.copy(photographs / f"album 1/{i:03d}.jpg", album / f"{i}.jpg")
    given, names = album, ["1.jpg", "4.jpg"]
    if kind == "one photo":
        given, names = album / "4.jpg", ["4.jpg"]
    elif kind == "CSV":
        given = album / "list.csv"
        given.write_text("\ufeffpath,label\r\n4.jpg,1\r\n1.jpg,0\r\n", encoding="utf-8")
        names = ["4.jpg", "1.jpg"]
    elif kind == "other formats":
        for suffix in (".tif", ".gif", ".webp", ".JFIF", ".avif"):
            save_image(album / f"x{suffix}", 3)
        names += ["x.JFIF", "x.avif", "x.gif", "x.tif", "x.webp"]
    assert main(command(run, given, out)[3:]) == 0
    assert list(by_name(out)) == names


@pytest.mark.parametrize("given", ["folder", "list", "photo"])
def test_a_job_that_encodes_nothing_fails(given, run, tmp_path, capsys):
    album, out = tmp_path / "own", tmp_path / "codes"
    album.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (album / name).write_text("no image")
    (album / "list.txt").write_text("gone.jpg\na.jpg\n")
    images = {"folder": album, "list": album / "list.txt", "photo": album / "a.jpg"}[given]
    for _ in range(2):
        assert main(command(run, images, out)[3:]) == 2
        assert "images can be read (unreadable.csv); the first: " in capsys.readouterr().err
        assert not (out / "encoded.json").exists()
        assert len(pd.read_csv(out / "unreadable.csv")) == (1 if given == "photo" else 2)
    save_image(album / "a.jpg", 0)
    assert main(command(run, images, out)[3:]) == 0
    assert list(by_name(out)) == ["a.jpg"]


@pytest.mark.parametrize("wrong", ["run", "images"])
def test_a_wrong_folder_is_named(wrong, run, photographs, tmp_path, capsys):
    places = {"run": run, "images": photographs} | {wrong: tmp_path / "nothing"}
    assert main(command(places["run"], places["images"], tmp_path / "out")[3:]) == 2
    assert str(tmp_path / "nothing") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_damaged_shard_is_named(uninterrupted, tmp_path):
    folder = tmp_path / "codes" / "shards"
    folder.mkdir(parents=True)
    (folder / "00000.npz").write_bytes(shards(uninterrupted)[0].read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"00000.npz cannot be read .* delete it"):
        list(job.read_shards(tmp_path / "codes"))


@pytest.mark.parametrize("damage", ["missing", "empty", "cut short", "a list"])
@pytest.mark.parametrize("name", ["job.json", "images.txt"])
def test_a_damaged_record_of_a_job_is_named_and_the_advice_helps(
    run, encoded, album, tmp_path, capsys, name, damage
):
    out = tmp_path / "codes"
    content = (out / name).read_bytes()
    changed = {"empty": b"", "cut short": content[: len(content) // 2], "a list": b"[1, 2]\n"}
    (out / name).unlink()
    if damage != "missing":
        (out / name).write_bytes(changed[damage])
    assert main(command(run, album, out)[3:]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fdhmfe encode: {out / name} is ")
    assert line.endswith(f": delete the folder {out} and encode again")
    shutil.rmtree(out)
    assert main(command(run, album, out)[3:]) == 0
    assert by_name(out) == by_name(encoded / "codes")


def test_a_kill_between_the_names_and_the_record_of_a_job_is_no_damage(run, album, tmp_path):
    out = tmp_path / "codes"
    before, record = ids_of(out), (out / "job.json").read_bytes()
    add(album)
    assert main(command(run, album, out)[3:]) == 0
    (out / "job.json").write_bytes(record)  # as it was before there was one more image
    assert main(command(run, album, out)[3:]) == 0
    assert before.items() < ids_of(out).items()
    assert len(by_name(out)) == 10


@pytest.mark.parametrize("name", ["00000.npz", "00000.seen", "encoded.json", "unreadable.csv"])
@pytest.mark.parametrize("damage", ["empty", "cut short"])
def test_after_the_advice_on_any_other_file_the_command_goes_on(
    run, encoded, album, tmp_path, capsys, name, damage
):
    out = tmp_path / "codes"
    (path,) = out.rglob(name)
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2 if damage != "empty" else 0])
    code = main(command(run, album, out)[3:])
    if code:
        assert f"{path} cannot be read" in (said := capsys.readouterr().err)
        assert "delete it and encode again" in said
        path.unlink()
        assert main(command(run, album, out)[3:]) == 0
    assert by_name(out) == by_name(encoded / "codes")
    assert job.read_identity(out) == job.read_identity(encoded / "codes")
