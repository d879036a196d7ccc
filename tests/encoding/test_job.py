"""Encoding at scale: real runs, real files, real processes that are killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import save_image, write_folder
from safetensors.torch import save_file
from torchvision.models import get_model

from fdhmfe import config, search
from fdhmfe.__main__ import main
from fdhmfe.encoding import job
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
