"""The environment that make makes: with and without CUDA, whole or with more, with no network."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, tool
from package_index import Wheel, Wheels, indexes, pinned

check_env = tool("check_env")
make_env = tool("make_env")
LOCK = ROOT / "requirements.lock"
CUDA = re.compile("(nvidia|cuda|triton)")
DEAD = "http://127.0.0.1:9/simple/"  # nothing listens there

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("uv") is None, reason="uv is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]

TINY = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "tiny"
version = "1"
dependencies = ["torchvision>=1"]

[project.optional-dependencies]
site = ["pages>=1"]

[dependency-groups]
dev = ["checks>=1"]
"""
BACKEND = """
import shutil

def build_editable(folder, *_):
    return shutil.copy("tiny-1-py3-none-any.whl", folder).rpartition("/")[2]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The tool with this Python in place of that of .venv."""
    monkeypatch.setattr(make_env, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(make_env, "PLAN", tmp_path / "pylock.toml")


@pytest.fixture
def locked_index(tmp_path, monkeypatch):
    """Indexes that have what requirements.lock pins."""
    with indexes(pinned(LOCK), tmp_path) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


@pytest.mark.parametrize("extras", [[], ["browser", "dask", "dev", "engine", "site"]])
def test_one_lock_serves_both_builds_of_torch(here, locked_index, extras):
    usual, cpu = (
        {package["name"]: package["version"] for package in make_env.plan(extras, torch)}
        for torch in ("", "cpu")
    )
    assert [name for name in cpu if CUDA.match(name)] == []
    assert cpu["torch"] == f"{usual['torch']}+cpu"
    assert cpu["torchvision"] == f"{usual['torchvision']}+cpu"
    if sys.platform == "linux":
        assert len([name for name in usual if CUDA.match(name)]) > 10
    rest = usual.keys() - {"torch", "torchvision"} - {n for n in usual if CUDA.match(n)}
    assert {name: cpu[name] for name in rest} == {name: usual[name] for name in rest}
    assert len(cpu) == len(rest) + 2
    pins = pinned(LOCK)
    assert all(usual[name] in {wheel.version for wheel in pins[name]} for name in usual)


def test_files_without_a_size_in_the_index_are_asked_for_it(here, locked_index):
    packages = make_env.plan([], "cpu")
    unsized = [p["name"] for p in packages if "size" not in p["wheels"][0]]
    assert unsized == ["torch", "torchvision"]
    assert min(map(make_env.size, packages)) > 100


def test_what_will_be_downloaded_is_said_with_the_largest():
    sizes = {"torch": 539_136_850, "numpy": 20_000_000, "a": 1_000, "b": 4_000_000}
    packages = [{"name": name, "wheels": [{"size": size}]} for name, size in sizes.items()]
    assert make_env.told(packages).startswith(
        "4 packages, 563 MB to download (the largest: torch 539 MB, numpy 20 MB, b 4 MB)"
    )


def test_an_index_that_is_dead_is_named(here, tmp_path, monkeypatch):
    for name, value in dict(DEFAULT_INDEX=DEAD, CACHE_DIR=str(tmp_path), NO_CONFIG="1").items():
        monkeypatch.setenv(f"UV_{name}", value)
    with pytest.raises(SystemExit, match=r"index \(127\.0\.0\.1:9\) can't be reached") as stopped:
        make_env.plan([], "")
    assert "\n" not in str(stopped.value)


def test_other_failures_are_told_in_the_words_of_the_tool():
    said = "Resolving\nerror: No solution found\n  cause: torch>=99 is not available\n"
    assert make_env.reason(said).endswith("No solution found; cause: torch>=99 is not available")


def test_an_extra_that_is_not_there_is_named():
    with pytest.raises(SystemExit, match="no extra and no group sight"):
        make_env.requested(["site", "sight"])


def small(names: list[str]) -> Wheels:
    """Small packages, torch with a part for CUDA, and uv: the one of this environment."""
    requires = {"torch": ["nvidia-part"], "torchvision": ["torch==1"]}
    wheels = {name: [Wheel(name, "1", requires.get(name, []))] for name in names}
    code = f"import subprocess, sys; sys.exit(subprocess.call([{uv()!r}, *sys.argv[1:]]))"
    return wheels | {"uv": [Wheel("uv", make_env.UV, code=code)]}


def uv() -> str:
    from uv import find_uv_bin

    return find_uv_bin()


@pytest.fixture
def project(tmp_path) -> Path:
    """A small project with the tool, its lock made from the small packages."""
    root = tmp_path / "project"
    (root / "tools").mkdir(parents=True)
    for name in ("make_env.py", "check_env.py"):
        shutil.copy(ROOT / "tools" / name, root / "tools")
    (root / "pyproject.toml").write_text(TINY, encoding="utf-8")
    (root / "backend.py").write_text(BACKEND, encoding="utf-8")
    tiny = Wheel("tiny", "1", ["torchvision>=1", "pages ; extra == 'site'"])
    (root / tiny.file).write_bytes(tiny.content)
    return root


def made(project: Path, variables: dict[str, str], *words: str) -> subprocess.CompletedProcess:
    """What the tool says when it makes the small project's environment."""
    env = {k: v for k, v in os.environ.items() if not re.match("(UV|PIP|PYTHON|VIRTUAL)_?", k)}
    command = [sys.executable, project / "tools" / "make_env.py", *words]
    return subprocess.run(command, env=env | variables, capture_output=True, text=True)


def packages(project: Path) -> set[str]:
    """Distributions in the small project's .venv, with their versions."""
    (site,) = (project / ".venv").glob("[Ll]ib/**/site-packages")
    found = {path.name.removesuffix(".dist-info") for path in site.glob("*.dist-info")}
    return {name for name in found if not re.match("(pip|setuptools|uv)-", name)}


@pytest.mark.slow  # environments are made
def test_an_environment_grows_and_is_not_lost(project, tmp_path):
    wheels = small(["torch", "torchvision", "nvidia-part", "pages", "checks"])
    with indexes(wheels, tmp_path) as variables:
        locking = [uv(), "pip", "compile", "--quiet", "--generate-hashes", "pyproject.toml"]
        compiled = subprocess.run(
            [*locking, "--all-extras", "--group", "dev", "-o", "requirements.lock"],
            **dict(cwd=project, env=os.environ | variables, capture_output=True, text=True),
        )
        assert compiled.returncode == 0, compiled.stderr
        first = made(project, variables)
        assert first.returncode == 0, first.stderr
        assert "3 packages, 0 MB to download" in first.stdout
        whole = {"torch-1", "torchvision-1", "nvidia_part-1", "tiny-1"}
        assert packages(project) == whole
        assert made(project, variables).stdout == ""

        assert "Adding site" in made(project, variables, "site").stdout
        assert packages(project) == whole | {"pages-1"}
        stamp = json.loads((project / ".venv" / ".complete").read_text(encoding="utf-8"))
        assert stamp == {"extras": ["site"], "torch": ""}

        dead = variables | {"HTTPS_PROXY": DEAD, "UV_CACHE_DIR": str(tmp_path / "empty")}
        failed = made(project, dead, "--torch", "cpu")
        assert failed.returncode == 1 and "can't be reached" in failed.stderr
        assert packages(project) == whole | {"pages-1"}, "it is as it was"
        assert made(project, variables).stdout == ""

        cpu = made(project, variables, "--torch", "cpu", "dev")
        assert cpu.returncode == 0, cpu.stderr
        assert packages(project) == {"torch-1+cpu", "torchvision-1+cpu", "tiny-1", "checks-1"}
        assert made(project, variables, "dev").stdout == "", "the build of torch stays"


@pytest.mark.slow
def test_hashes_are_compared_with_the_lock(project, tmp_path):
    with indexes(small(["torch", "torchvision", "nvidia-part"]), tmp_path) as variables:
        lock = f"torch==1 --hash=sha256:{'0' * 64}\ntorchvision==1 --hash=sha256:{'0' * 64}\n"
        (project / "requirements.lock").write_text(lock, encoding="utf-8")
        done = made(project, variables)
        assert done.returncode == 1 and "Hash mismatch" in done.stderr
        assert not (project / ".venv" / ".complete").exists()


@pytest.mark.slow
def test_without_a_network_one_line_says_so(project):
    (project / "requirements.lock").touch()
    dead = {"PIP_INDEX_URL": DEAD, "PIP_CONFIG_FILE": os.devnull}
    done = made(project, dead)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "can't be reached" in done.stderr
