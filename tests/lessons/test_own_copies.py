"""fdhmfe lab: copies of the notebooks that are a person's own, opened in JupyterLab."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import ROOT

from fdhmfe.__main__ import main
from fdhmfe.lessons import lab
from fdhmfe.lessons.notebooks import NOTEBOOKS

ALL = {
    path.relative_to(NOTEBOOKS).as_posix()
    for path in (*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb"))
} | {"glossary.md"}


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_all_that_a_reader_needs_is_copied_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "--copy-only"]) == 0
    assert files(tmp_path / "notebooks") == ALL | {lab.COPIED}
    for name in ALL:
        assert (tmp_path / "notebooks" / name).read_bytes() == (NOTEBOOKS / name).read_bytes()
    assert f"{len(ALL)} copied: 00_start_here.ipynb, " in capsys.readouterr().out
    assert main(["lab", "--copy-only"]) == 0
    assert "all are there, and up to date" in capsys.readouterr().out


def test_a_checkout_opens_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    before = files(NOTEBOOKS)
    assert main(["lab", "--copy-only"]) == 0
    assert files(NOTEBOOKS) == before and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("mine", "kit_is_newer", "kept", "renewed"),
    [
        (b"changed by me", False, True, False),
        (b"changed by me", True, True, False),
        (None, True, False, True),
        (None, False, False, False),
    ],
)
def test_what_a_person_has_changed_stays(tmp_path, mine, kit_is_newer, kept, renewed, monkeypatch):
    kit = tmp_path / "kit"
    (kit / "solutions").mkdir(parents=True)
    for name in ("00_a.ipynb", "solutions/00_a.ipynb", "glossary.md"):
        (kit / name).write_bytes(b"first")
    monkeypatch.setattr(lab, "NOTEBOOKS", kit)
    monkeypatch.setattr(lab, "GLOSSARY", kit / "glossary.md")
    folder = tmp_path / "mine"
    assert lab.copy_notebooks(folder).new == ["00_a.ipynb", "solutions/00_a.ipynb", "glossary.md"]
    if mine:
        (folder / "00_a.ipynb").write_bytes(mine)
    if kit_is_newer:
        (kit / "00_a.ipynb").write_bytes(b"second")
    for _ in range(2):
        done = lab.copy_notebooks(folder)
        assert done.new == [] and done.kept == ["00_a.ipynb"] * kept
        expected = mine or (b"second" if kit_is_newer else b"first")
        assert (folder / "00_a.ipynb").read_bytes() == expected
        assert done.renewed == ["00_a.ipynb"] * renewed
        renewed = False


def test_a_file_that_the_kit_did_not_make_stays(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "glossary.md").write_text("my own words", encoding="utf-8")
    done = lab.copy_notebooks(folder)
    assert done.kept == ["glossary.md"] and set(done.new) == ALL - {"glossary.md"}
    assert "1 kept as you have changed them: glossary.md" in done.told(folder)
    assert (folder / "glossary.md").read_text(encoding="utf-8") == "my own words"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").write_text("a file", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "--copy-only"]) == 1
    assert f"{tmp_path / 'notebooks'}" in capsys.readouterr().err


@pytest.mark.slow  # a server
def test_jupyterlab_opens_at_the_copies(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = dict(open_browser=False, port=port, ip="127.0.0.1", allow_root=True)
    server |= {"port_retries": 0}
    (tmp_path / "config").mkdir()
    text = json.dumps({"ServerApp": server, "IdentityProvider": {"token": ""}})
    (tmp_path / "config" / "jupyter_server_config.json").write_text(text, encoding="utf-8")
    own = {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "PYTHONPATH": str(ROOT)}
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "fdhmfe", "lab"],
            **dict(cwd=tmp_path, env=os.environ | own, stdout=log, stderr=log),
        )
    try:
        address = f"http://127.0.0.1:{port}/api/contents"
        names: set[str] = set()
        for _ in range(300):
            with suppress(OSError), urllib.request.urlopen(address, timeout=20) as answer:
                names = {item["name"] for item in json.load(answer)["content"]}
                break
            assert started.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
            time.sleep(0.3)
        assert {"00_start_here.ipynb", "solutions", "glossary.md"} <= names
    finally:
        started.terminate()
        started.wait(60)
