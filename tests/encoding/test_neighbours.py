"""From a photograph to the nearest pictures of a folder: with a run, and with nothing trained."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import save_image
from PIL import Image

from fdhmfe.__main__ import main
from fdhmfe.codes import hamming, pack
from fdhmfe.encoding import neighbours
from fdhmfe.encoding.trained import open_run

BEETLES = ("--backbone", "embedded")


@pytest.fixture
def place(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photo, and an album of 12 pictures with a copy of the photo and a broken file."""
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "photo.jpg", 100, 1)
    for i in range(12):
        save_image(tmp_path / "album" / f"day {i % 3}" / f"{i:02d}.jpg", i, i % 3)
    shutil.copy(tmp_path / "photo.jpg", tmp_path / "album" / "same.jpg")
    (tmp_path / "album" / "day 0" / "broken.jpg").write_bytes(b"no image")
    return tmp_path


def ask(place: Path, *more: str) -> pd.DataFrame:
    """What the command writes to neighbours.csv."""
    assert main(["search", "photo.jpg", "--in", "album", "--out", "answer", *more]) == 0
    return pd.read_csv(place / "answer" / "neighbours.csv")


def test_a_run_finds_the_nearest_codes_and_equally_near_ones_by_name(place, folder_run, capsys):
    found = ask(place, "--run", str(folder_run), "--k", "7")
    names = sorted(str(p.relative_to("album")) for p in Path("album").glob("day*/[0-9]*.jpg"))
    run = open_run(folder_run)
    query, codes = run.encode(["photo.jpg"]), run.encode([f"album/{name}" for name in names])
    distances = hamming(pack(query), pack(codes))[0]
    nearest = np.argsort(distances, kind="stable")[:7]
    assert found.name.tolist() == [names[i] for i in nearest]
    assert found.distance.tolist() == distances[nearest].tolist()
    assert found["rank"].tolist() == list(range(1, 8))
    said = capsys.readouterr().out
    assert "1 copies of the photograph itself" in said and "1 unreadable" in said


def test_the_answer_is_a_sheet_a_table_and_json(place, folder_run):
    found = ask(place, "--run", str(folder_run), "--k", "3")
    stored = json.loads((place / "answer" / "neighbours.json").read_text())
    assert stored["neighbours"] == found.to_dict("records")
    assert (stored["bits"], stored["photo"]) == (20, "photo.jpg")
    with Image.open(place / "answer" / "neighbours.png") as sheet:
        assert sheet.width > 600


def test_a_second_question_encodes_no_picture_again(place, folder_run):
    first = ask(place, "--run", str(folder_run))
    before = {path: path.stat().st_mtime_ns for path in (place / "data").rglob("*.npz")}
    assert before
    assert ask(place, "--run", str(folder_run)).equals(first)
    assert {path: path.stat().st_mtime_ns for path in (place / "data").rglob("*.npz")} == before


def test_without_a_run_nothing_is_trained_and_answers_stay_the_same(place, capsys):
    found = ask(place, *BEETLES)
    assert "embedded, not trained here, ITQ, 12 bits" in capsys.readouterr().out  # 13 pictures
    assert not found.name.str.contains("same|broken").any()
    assert ask(place, *BEETLES).equals(found)
    assert not (place / "results").exists()


def test_the_same_pixels_in_another_file_have_distance_0_without_a_run(place):
    Image.open("photo.jpg").save("album/day 2/again.png")
    assert ask(place, *BEETLES).set_index("name").distance["day 2/again.png"] == 0


def test_without_weights_the_beetles_stand_in_and_a_line_says_so(place, monkeypatch, capsys):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no one answers there
    monkeypatch.setenv("TORCH_HOME", str(place))
    ask(place)
    assert "the backbone of the kit's beetles is used" in capsys.readouterr().out
    more = ["--backbone", "mobilenet_v2"]
    assert main(["search", "photo.jpg", "--in", "album", *more]) == 1
    assert "cannot download the weights of mobilenet_v2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["photo.jpg", "--in", "album", *BEETLES, "--k", "0"], "k=0 must be 1 or more"),
        (["photo.jpg", "--in", "nowhere", *BEETLES], "nowhere"),
        (["album/day 0/broken.jpg", "--in", "album", *BEETLES], "broken.jpg cannot be read"),
        (["photo.jpg", "--in", "alone", *BEETLES], "fewer than two pictures"),
        (["photo.jpg", "--in", "copies", *BEETLES], "no other picture"),
        (["photo.jpg", "--in", "album", *BEETLES, "--bits", "0"], "bits=0 must be"),
        (["photo.jpg", "--in", "album", *BEETLES, "--data-dir", "x"], "no effect without a run"),
        (["photo.jpg", "--in", "album", "--run", "r", *BEETLES], "the run has its own"),
        (["photo.jpg", "--in", "album", "--run", "r", "--bits", "8"], "bits=8 has no effect"),
        (["photo.jpg", "--in", "album", "--run", "r"], "not a finished run"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(place, words, said, capsys):
    save_image(place / "alone" / "one.jpg", 0)
    for name in ("a.jpg", "b.jpg"):
        shutil.copy("photo.jpg", save_image(place / "copies" / name, 0))
    assert main(["search", *words]) != 0
    assert said in capsys.readouterr().err
    assert not Path("neighbours").exists()


def test_one_more_picture_is_found_and_one_that_is_gone_is_not(place, folder_run):
    first = ask(place, "--run", str(folder_run))
    (place / "album" / first.name[0]).unlink()
    Image.open("photo.jpg").save("album/new.png")  # the same pixels in another file
    second = ask(place, "--run", str(folder_run), "--k", "20")
    assert second.distance[second.name == "new.png"].tolist() == [0]
    assert first.name[0] not in set(second.name)


@pytest.mark.parametrize("name", ["*.npz", "itq.safetensors", "images.txt"])
def test_kept_codes_that_are_damaged_are_made_anew(place, name):
    first = ask(place, *BEETLES)
    for path in (place / "data" / "cache" / "albums").rglob(name):
        path.write_bytes(b"damaged")
    assert ask(place, *BEETLES).equals(first)


def test_an_album_whose_pictures_are_all_others_is_encoded_anew(place, folder_run):
    ask(place, "--run", str(folder_run))
    shutil.rmtree(place / "album")
    save_image(place / "album" / "other.jpg", 5)
    assert ask(place, "--run", str(folder_run)).name.tolist() == ["other.jpg"]


def test_an_album_knows_its_pictures_by_content(place, folder_run):
    _, album = neighbours.encoded(Path("album"), open_run(folder_run))
    assert len(album.names) == 13 and album.codes.shape == (13, 3)  # 20 bits
    whose = album.hashes[list(album.names).index("same.jpg")]
    assert list(album.without(whose).names) == [n for n in album.names if n != "same.jpg"]
