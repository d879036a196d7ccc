"""Where notebooks open without an installation: Colab, Binder, a development container."""

import json
import re
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT, places_of, tool

from fdhmfe.lessons.notebooks import ordered_notebooks

badges = tool("badges")
SOURCE = badges.INSTALL.format(address=badges.address())


@pytest.mark.parametrize("path", ordered_notebooks(), ids=lambda path: path.stem)
def test_notebooks_have_links_and_the_cell_that_installs(path):
    text = path.read_text(encoding="utf-8")
    assert badges.written(path) == text, "run `python tools/badges.py`"
    first = next(c for c in nbformat.reads(text, as_version=4).cells if c.cell_type == "code")
    assert first.source == SOURCE and first.metadata.jupyter.source_hidden


def test_another_address_takes_the_place_of_the_old_one():
    path = ordered_notebooks()[0]
    notebook = nbformat.read(path, as_version=4)
    once = nbformat.writes(badges.opened(notebook, path.stem, "https://github.com/a/b"))
    again = badges.opened(nbformat.reads(once, as_version=4), path.stem, "https://github.com/a/b")
    assert nbformat.writes(again) == once
    assert badges.address() not in once
    for link in ("/github/a/b/blob/main/notebooks/", "/gh/a/b/main?labpath=notebooks%2F"):
        assert once.count(f"{link}{path.name}") == 1
    assert once.count("git+https://github.com/a/b") == 1


def test_the_address_is_in_one_place():
    named = badges.address().removeprefix("https://github.com/")
    assert re.fullmatch(r"[\w-]+/[\w-]+", named)
    kept = ("pyproject.toml", *(f"notebooks/{path.name}" for path in ordered_notebooks()))
    listed = subprocess.run(
        ["git", "grep", "-lF", named, "--", "."],
        **dict(cwd=ROOT, capture_output=True, encoding="utf-8", check=False),
    )
    assert set(listed.stdout.splitlines()) <= set(kept)


def test_where_the_package_is_nothing_is_installed(monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("it would install")

    monkeypatch.setattr(subprocess, "run", refuse)
    exec(SOURCE, {})
    assert capsys.readouterr().out == ""


@pytest.mark.slow  # makes an environment, builds a wheel
def test_where_the_package_is_missing_it_is_installed(installed, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "empty"], check=True)
    python = places_of(tmp_path / "empty")["scripts"] / "python"
    (wheel,) = installed.parent.glob("*.whl")
    source = SOURCE.replace(f"git+{badges.address()}", wheel.as_posix())
    source = source.replace('"install", ', '"install", "--no-deps", "--no-index", ')
    said = [
        subprocess.run(
            [python, "-I", "-c", f"{source}\nimport fdhmfe; print(fdhmfe.__file__)"],
            **dict(cwd=tmp_path, capture_output=True, encoding="utf-8", check=True),
        ).stdout
        for _ in range(2)
    ]
    assert all(text.splitlines()[-1].startswith(str(tmp_path)) for text in said)
    assert "installing it there" in said[0] and "installing it there" not in said[1]


def test_the_container_makes_an_environment_that_editors_find():
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    container = json.loads(text)
    image, _, version = container["image"].partition(":")
    assert image == "python" and tuple(map(int, version.split("."))) >= (3, 11)
    python, script, *words = container["postCreateCommand"].split()
    assert python == "python" and words == ["--torch", "cpu"] and (ROOT / script).is_file()
    found = container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    tool("check_env")
    made = tool("make_env").VENV.relative_to(ROOT)
    assert found == f"${{containerWorkspaceFolder}}/{made}/bin/python"
