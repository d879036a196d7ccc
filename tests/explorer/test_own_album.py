"""The explorer's page of one's own pictures: what it shows, and what it leaves out."""

import base64
import os
from pathlib import Path

import pandas as pd
import pytest
from browser import BROWSER, lab_notebooks, needs_browser
from conftest import save_image

from fdhmfe.__main__ import main
from fdhmfe.encoding.neighbours import open_model
from fdhmfe.explorer import gallery
from fdhmfe.explorer.gallery import album_gallery
from fdhmfe.explorer.page import Explorer, answer

BEETLES = ("--backbone", "embedded")


@pytest.fixture
def place(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An album of 12 pictures in three folders, and a broken file."""
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        save_image(tmp_path / "album" / f"day {i % 3}" / f"{i:02d}.jpg", i, i % 3)
    (tmp_path / "album" / "day 0" / "broken.jpg").write_bytes(b"no image")
    return tmp_path


def stored(place: Path) -> dict[Path, int]:
    """When each file of codes was written."""
    return {path: path.stat().st_mtime_ns for path in (place / "data").rglob("*.npz")}


@needs_browser
@pytest.mark.slow  # a browser
@pytest.mark.parametrize("trained", [True, False])
def test_the_page_shows_what_search_finds(place, folder_run, trained, capsys):
    model = ["--run", str(folder_run)] if trained else [*BEETLES, "--bits", "8"]
    asked = "day 1/04.jpg"
    assert main(["search", f"album/{asked}", "--in", "album", "--out", "answer", *model]) == 0
    found = pd.read_csv("answer/neighbours.csv")
    codes = stored(place)
    assert main(["explore", "--in", "album", "--out", "page.html", *model]) == 0
    assert codes and stored(place) == codes, "encoded once for both"
    assert "page.html" in capsys.readouterr().out
    with lab_notebooks.browser_page(BROWSER) as page:
        faults = lab_notebooks.watch(page)
        page.goto((place / "page.html").as_uri())
        page.get_by_role("searchbox", name="Name contains").fill("DAY 1")
        assert page.get_by_role("radio").count() == 4
        page.get_by_role("radio", name=asked).press("Space")
        page.get_by_role("heading", name="Retrieval explorer").wait_for()
        assert asked in page.get_by_role("group", name="The query").inner_text()
        hits = page.get_by_role("list", name="Neighbours").get_by_role("button")
        assert hits.locator(".file").all_inner_texts()[:10] == found.name.tolist()
        bits = [int(text.split()[0]) for text in hits.locator("b").all_inner_texts()]
        assert bits[:10] == found.distance.tolist() and len(bits) == 11
        said = page.locator("main").inner_text()
        assert "12 pictures, without labels" in said
        assert not [word for word in ("✓", "✗", "lass", "recision") if word in said]
        assert page.get_by_label("Kept regions").count() + page.locator("canvas").count() == 0
        assert "fdhmfe search PHOTO --in FOLDER can" in said
        page.get_by_role("searchbox", name="Name contains").fill("nothing")
        page.get_by_text("No picture has this in its name.").wait_for()
        assert faults == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a run's folder, or a folder of pictures: --in FOLDER"),
        (["r", "--in", "album"], "with --in, name it as --run r"),
        (["--run", "r"], "--run r needs --in FOLDER"),
        (["r", *BEETLES], "the run has its own"),
        (["r", "--bits", "8"], "bits=8 has no effect"),
        (["--in", "album", *BEETLES, "--bits", "few"], "bits='few' must be int"),
        (["--in", "album", "--run", "r"], "r is not a finished run"),
        (["--in", "nowhere", *BEETLES], "nowhere"),
        (["--in", "empty", *BEETLES], "empty names no images"),
        (["--in", "broken", *BEETLES], "fewer than two pictures can be read"),
        (["--in", "album", "--weights", "absent.safetensors"], "absent.safetensors"),
        (["--in", "album", *BEETLES, "--data-dir", "x"], "no effect without a run"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(place, words, said, capsys):
    (place / "empty").mkdir()
    (place / "broken").mkdir()
    (place / "broken" / "1.jpg").write_bytes(b"no image")
    (place / "page.html").write_text("before")
    assert main(["explore", *words, "--out", "page.html"]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert (place / "page.html").read_text() == "before"


def test_an_album_too_large_for_a_page_is_refused_and_its_codes_stay(place, monkeypatch):
    monkeypatch.setattr(gallery, "LARGEST", 11)
    model = open_model("", Path("album"), backbone="embedded", bits=8)
    with pytest.raises(ValueError, match=r"holds 12 pictures, and a page holds 11 at most"):
        album_gallery(Path("album"), model)
    assert stored(place)


def test_names_in_any_script_are_shown_and_what_is_no_text_is_escaped(place):
    odd = [os.fsdecode(b"caf\xe9.jpg"), "蝴蝶.jpg", "a</script>.jpg"]
    for seed, name in enumerate(odd):
        try:
            save_image(place / "plain.jpg", seed).rename(
                place / "album" / "day 1" / name.replace("/", "∕")
            )
        except OSError:
            pytest.skip("this file system takes only names in UTF-8")
    shown = album_gallery(Path("album"), open_model("", Path("album"), backbone="embedded", bits=8))
    assert {r"day 1/caf\udce9.jpg", "day 1/蝴蝶.jpg"} <= set(shown.names)
    assert shown.labels is None and shown.database == 0 and shown.queries == 15


@pytest.mark.parametrize("trained", [True, False])
def test_the_widget_of_an_album_encodes_a_photo_as_the_album_s_pictures(place, folder_run, trained):
    own = {"run": str(folder_run)} if trained else {"run": "", "backbone": "embedded", "bits": 8}
    model = open_model(folder=Path("album"), **own)
    album, sent = album_gallery(Path("album"), model), []
    widget = Explorer(model, album)
    widget.send = sent.append
    answer(widget, {"upload": "mine.jpg"}, [Path("album/day 1/04.jpg").read_bytes()])
    code = base64.b64decode(sent[0]["encoded"]["code"])
    assert code == album.codes[album.names.index("day 1/04.jpg")].tobytes()
