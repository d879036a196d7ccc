"""The wheel in an environment of its own, as a person meets it who has no checkout."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from conftest import places_of

pytestmark = pytest.mark.slow  # builds and installs a wheel, runs a notebook


@pytest.fixture(scope="module")
def scripts(installed, tmp_path_factory) -> Path:
    """Where the commands are of a new environment: the wheel, and the packages of this one."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place)
    scripts, packages = (places_of(place)[name] for name in ("scripts", "purelib"))
    (wheel,) = installed.parent.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # A path in a .pth file comes after the environment's own packages; its .pth files are not read.
    others = packages / "others.pth"
    others.write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return scripts


def run(scripts: Path, folder: Path, *words: str) -> str:
    """What a command of the environment prints, started in a folder as from a person's shell."""
    env = {name: v for name, v in os.environ.items() if not re.match("PYTHON|FDHMFE|VIRTUAL", name)}
    done = subprocess.run(
        [str(scripts / words[0]), *words[1:]],
        **dict(cwd=folder, env=env | {"OMP_NUM_THREADS": "1"}, capture_output=True),
        **dict(text=True, encoding="utf-8", check=False),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_installing_to_a_notebook(scripts, tmp_path):
    assert "reproduce" in run(scripts, tmp_path, "fdhmfe", "--help")
    where = "import fdhmfe; print(fdhmfe.__file__)"
    assert str(scripts.parent) in run(scripts, tmp_path, "python", "-c", where)
    said = run(scripts, tmp_path, "fdhmfe", "lab", "--copy-only")
    assert "copied: 00_start_here.ipynb" in said
    notebook = tmp_path / "notebooks" / "07_losses.ipynb"
    words = ["-m", "papermill", str(notebook), "out.ipynb", "-p", "profile", "smoke"]
    run(scripts, tmp_path, "python", *words, "--no-progress-bar")
    out = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert "07_losses done in " in out.cells[-1].outputs[0].text
    assert list((tmp_path / "results" / "smoke" / "figures").glob("07_losses-*.png"))
