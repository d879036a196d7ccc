"""What a newcomer meets before the method: environment, lock, make, citation."""

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
import yaml
from conftest import tool

import fdhmfe

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOI = "10.19304/J.ISSN1000-7180.2024.0799"
CONDA_NAMES = {
    "pytorch": "torch",
    "pytorch_geometric": "torch-geometric",
    "huggingface_hub": "huggingface-hub",
}

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture(scope="module")
def check_env():
    return tool("check_env")


@pytest.fixture(scope="module")
def bounds(check_env) -> dict[str, str]:
    """All but those for one format of files."""
    _, optional, groups = check_env.declared()
    return check_env.requirements({*optional, *groups} - {"heic", "parquet"})


def make(*words: str, cwd: Path = ROOT, **variables: str) -> str:
    """What make says, started as from a person's shell with nothing active but `variables`."""
    hidden = (
        r"MAKE.*|MFLAGS|VIRTUAL_ENV|CONDA_PREFIX|"
        r"PROFILE|DATASET|DATA_DIR|WEIGHTS|BACKBONE|RESULTS_DIR|PYTEST_ARGS"
    )
    env = {k: v for k, v in os.environ.items() if not re.fullmatch(hidden, k)}
    done = subprocess.run(
        ["make", *words],
        cwd=cwd,
        env=env | {"PYTHON": sys.executable} | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_conda_environment_is_in_step_with_pyproject(bounds, check_env):
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    packages = [e for e in entries if isinstance(e, str) and e != "pip"]
    conda = dict(e.split(">=") for e in packages)
    assert conda.pop("python") == PROJECT["requires-python"].removeprefix(">=")
    by_pip = check_env.requirements(["engine"]).keys() - check_env.requirements().keys()
    bounds = {name: bound for name, bound in bounds.items() if name not in by_pip}
    assert {CONDA_NAMES.get(name, name): bound for name, bound in conda.items()} == bounds
    assert entries[-1] == {"pip": ["-e .[engine]"]}


def test_lock_pins_every_direct_dependency_with_hashes(check_env, bounds):
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    pinned = {}
    for line in lines:
        match = re.match(r"([a-z0-9-]+)==(\S+)( ; [^#]*?)?( +--hash=sha256:[0-9a-f]{64})+$", line)
        assert match, f"not `name==version` with hashes: {line[:80]}"
        pinned[match[1]] = match[2]
    for name, bound in bounds.items():
        assert name in pinned, f"{name} is not in requirements.lock: run `make lock`"
        assert check_env.at_least(pinned[name], bound), f"{name}: run `make lock`"


def test_lock_names_no_place():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index|--find-links|(^|\s)/", text)


def test_check_env_accepts_this_python_and_its_examples_hold(check_env):
    assert check_env.problems(["dev"]) == []
    assert doctest.testmod(check_env).failed == 0


def test_check_env_names_what_is_missing_or_too_old(check_env, tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\ndependencies = ["no-such-package>=1", "numpy>=999", "tqdm>=1"]\n')
    missing, old = check_env.problems(pyproject=file)
    assert missing == "missing no-such-package"
    assert old.startswith("numpy ") and old.endswith("999 is needed")


def test_check_env_refuses_a_bound_it_cannot_read(check_env, tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\ndependencies = ["numpy>=2,<3"]\n')
    with pytest.raises(ValueError, match="numpy>=2,<3"):
        check_env.requirements(pyproject=file)


@needs_make
def test_make_help_lists_each_public_goal():
    listed = re.findall(r"^  make (\w+) +\S", make(), flags=re.M)
    assert sorted(listed) == [
        *("cheatsheet", "check", "clean", "env", "handout", "help", "lab", "lock", "readme"),
        *("reproduce", "site", "slides", "test", "times"),
    ]


@needs_make
def test_make_reproduce_passes_on_what_is_set():
    out = make("-n", "reproduce", "PROFILE=laptop", "DATASET=cub200", "DATA_DIR=my birds")
    (command,) = re.findall(r"-m fdhmfe reproduce((?:.*\\\n)*.*)", out)
    words = command.replace("\\\n", " ").split()
    expected = '--profile "laptop" --dataset "cub200" --data-dir "my birds"'
    assert words == expected.split()
    assert f'"{sys.executable}" -m fdhmfe reproduce' in out, "the complete environment is used"


@needs_make
def test_make_puts_what_teachers_hand_out_beside_the_profiles():
    out = make("-n", "cheatsheet", "handout", "RESULTS_DIR=else where")
    for name in ("cheatsheet.pdf", "handout.zip"):
        assert f'--out "else where/{name}"' in out


@needs_make
def test_make_leaves_an_incomplete_active_environment_alone(tmp_path):
    venv.create(tmp_path / "empty")
    out = make("-n", "test", VIRTUAL_ENV=str(tmp_path / "empty"))
    assert f"{tmp_path}/empty/bin/python can't run the kit: missing torch, " in out
    assert out.count("empty") == 1, "it is named in the message and used nowhere"
    assert re.search('^".+" tools/make_env.py  browser dask dev engine site$', out, flags=re.M)
    assert '".venv/bin/python" -m pytest' in out


@needs_make
@pytest.mark.parametrize(
    ("words", "made"),
    [
        (["reproduce", "TORCH=cpu"], '--torch "cpu" '),
        (["lab"], " "),
        (["slides"], " site"),
        (["cheatsheet", "handout"], " browser site"),
        (["check"], " browser dask dev engine site"),
    ],
)
def test_make_asks_for_what_a_goal_needs(tmp_path, words, made):
    venv.create(tmp_path / "empty")
    out = make("-n", *words, VIRTUAL_ENV=str(tmp_path / "empty"))
    assert f'" tools/make_env.py {made}\n' in out


@needs_make
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_make_clean_removes_what_is_generated_and_nothing_else(tmp_path):
    for name in ("Makefile", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    generated = ["results/quick/runs/a", "results/extra.csv", "data/toy/a", "data/cache/a"]
    generated += ["data/toy-64/a", ".ruff_cache/a"]
    kept = ["results/laptop/runs/a", "results/paper/new.csv", "data/README.md", "data/cub/a"]
    kept += ["data/toyota/a", "data/cached/a", ".venv/a", "results_of_mine/a"]
    for name in generated + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    make("clean", cwd=tmp_path)
    assert [name for name in generated if (tmp_path / name).exists()] == []
    assert [name for name in kept if not (tmp_path / name).exists()] == []


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == fdhmfe.__version__
    assert [reference["doi"] for reference in citation["references"]] == [DOI]


def test_an_archive_gets_the_metadata_of_the_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    archive = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    for name in ("title", "version", "license"):
        assert archive[name] == citation[name]
    assert archive["upload_type"] == citation["type"] == "software"
    assert [each["name"] for each in archive["creators"]] == [
        each["name"] for each in citation["authors"]
    ]
    (paper,) = archive["related_identifiers"]
    assert (paper["identifier"], paper["scheme"]) == (DOI, "doi")
