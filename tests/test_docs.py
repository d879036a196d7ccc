"""The pages beside the notebooks: links lead somewhere, commands exist, code runs."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, python_blocks, save_image, small_run

import fdhmfe
from fdhmfe.__main__ import COMMANDS, main
from fdhmfe.runs.results import read_map

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "notebooks" / "glossary.md"]
PAGES += [ROOT / "data" / "README.md", ROOT / "results" / "paper" / "README.md"]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def headings(page: Path) -> set[str]:
    """The names that links to the headings of a page have."""
    prose = re.sub(r"(?s)```.*?```", "", read(page))
    titles = re.findall(r"(?m)^#+ (.+)$", prose)
    return {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


def targets(page: Path) -> list[tuple[Path, str]]:
    """What the relative links of a page lead to: files, and headings in them."""
    found = LINK.findall(read(page))
    return [((page.parent / name).resolve() if name else page, part) for name, part in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for path, heading in targets(page):
        assert path.exists(), f"{page.name} links to {path}"
        assert not heading or heading in headings(path), f"{page.name} links to {path}#{heading}"


def test_every_page_can_be_reached_from_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        linked = {path for path, _ in targets(page) if path.suffix == ".md"}
        waiting += [path for path in linked - reached if path.is_file()]
    hidden = set((ROOT / "docs").glob("*.md")) - reached
    assert {page.name for page in hidden} == {"cheatsheet.md", "index.md"}  # of the site


def commands(page: Path) -> list[list[str]]:
    """The words of each `fdhmfe` command in the shell blocks of a page."""
    blocks = re.findall(r"(?s)```sh\n(.*?)```", read(page))
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in split if words and words[0] == "fdhmfe"]


WITH_COMMANDS = [page for page in PAGES if commands(page)]


def test_commands_are_found_in_the_pages_that_are_full_of_them():
    names = {page.name for page in WITH_COMMANDS}
    assert names >= {
        f"{name}.md" for name in ("running", "own_images", "photographs", "own_method")
    }


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_the_options_that_a_page_gives_them(page, capsys):
    for name, *words in [each for each in commands(page) if each != ["--help"]]:
        assert name in COMMANDS
        with pytest.raises(SystemExit):
            main([name, "--help"])
        known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert {word for word in words if word.startswith("--")} <= known


@contextmanager
def started(code: str, folder: Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """A script in a folder, started there; killed at the end of the block, if it still runs."""
    (folder / "script.py").write_text(code, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "script.py", *arguments],
        **dict(cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def printed(code: str, folder: Path) -> str:
    with started(code, folder) as process:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return out


@pytest.fixture(scope="module")
def place(folder_run: Path, tmp_path_factory) -> Iterator[Path]:
    """A folder with a run where pages have it, a picture or two, and codes of an album."""
    folder = tmp_path_factory.mktemp("reader")
    made = shutil.copytree(folder_run, folder / "RUN")
    shutil.copytree(folder_run, folder / "results" / "quick" / "runs" / "RUN_ID")
    for i, name in enumerate("ab"):
        save_image(folder / f"{name}.jpg", i)
    for i in range(30):
        save_image(folder / "album" / f"{i}.jpg", i, i % 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDHMFE_HOME", str(folder_run.parents[3]))  # its cache
        assert main(["encode", str(made), str(folder / "album"), str(folder / "codes")]) == 0
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("page", ["running", "own_images", "share_model"])
def test_the_python_code_of_a_page_runs(page, place, folder_run):
    for code in python_blocks(page):
        shown = printed(code, place)
        if page == "running":
            assert float(shown) == pytest.approx(read_map(folder_run))
    made = {"own_images": "index/index.json", "share_model": "copy/model.safetensors"}
    assert page not in made or (place / made[page]).is_file()


def asked(address: str, photo: bytes) -> list[dict]:
    """What the service answers to a photograph."""
    with urllib.request.urlopen(urllib.request.Request(address, photo), timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_the_documented_service_answers_a_photograph(place):
    service = python_blocks("search_service")[0]
    model = place / "RUN"
    with started(service, place, str(model), "codes", "0") as process:
        address = next((line for line in process.stdout if line.startswith("http")), "").strip()
        assert address, process.stderr.read()
        photo = (place / "album" / "0.jpg").read_bytes()
        found = asked(address, photo)
        assert len(found) == 10 and found[0] == {"name": "0.jpg", "distance": 0}
        (code,) = fdhmfe.open_run(model).encode([place / "album" / "0.jpg"])
        (other,) = fdhmfe.open_run(model).encode([place / "album" / found[-1]["name"]])
        assert found[-1]["distance"] == np.count_nonzero(code != other)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            asked(address, b"no picture")
        assert asked(address, photo) == found, "it goes on"


@pytest.mark.slow
def test_the_documented_service_refuses_codes_of_another_model(place):
    service = python_blocks("search_service")[0]
    toy = str(ROOT / "fdhmfe" / "encoding" / "toy")
    with started(service, place, toy, "codes", "0") as process:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 1 and "codes was not encoded by" in errors


def test_a_method_in_the_working_folder_is_found_by_the_command(root, monkeypatch):
    """Unlike `python -m`, a command's script does not look there by itself."""
    (file,) = python_blocks("own_method")
    (root / "brightest.py").write_text(file, encoding="utf-8")
    settings = small_run(root)
    given = ("profile", "dataset", "data_dir", "results_dir", "image_size", "grid", "width", "keep")
    options = [f"--{name.replace('_', '-')}={getattr(settings, name)}" for name in given]
    script = "import sys; from fdhmfe.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "train", "--method=brightest:METHOD", *options],
        **dict(cwd=root, capture_output=True, text=True, check=False),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "mAP" in done.stdout
