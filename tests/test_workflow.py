"""The workflow that tries other systems and Pythons: what it names is there."""

import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from conftest import ROOT, tool
from test_packaging import PROJECT

from fdhmfe.__main__ import COMMANDS
from fdhmfe.lessons.notebooks import declared_parameters

PATH = ROOT / ".github" / "workflows" / "checks.yml"
TEXT = PATH.read_text(encoding="utf-8")
JOBS = yaml.safe_load(TEXT)["jobs"]
SYSTEMS = ["ubuntu-latest", "macos-latest", "windows-latest"]
ACTIONS = {
    "actions/checkout": set(),
    "actions/setup-python": {"python-version"},
    "conda-incubator/setup-miniconda": {
        *("environment-file", "activate-environment", "miniforge-version"),
    },
}
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]
COMMANDS_RUN = [
    (name, shlex.split(line)) for name, step in STEPS for line in step.get("run", "").splitlines()
]


def test_jobs():
    assert set(JOBS) == {"lint", "tests", "wheel", "conda"}
    oldest = PROJECT["requires-python"].removeprefix(">=")
    for name in ("tests", "wheel"):
        matrix = JOBS[name]["strategy"]["matrix"]
        assert matrix["os"] == SYSTEMS
        assert (
            matrix["python"] == ["3.11", "3.12", "3.13", "3.14"] and matrix["python"][0] == oldest
        )
        assert JOBS[name]["runs-on"] == "${{ matrix.os }}"


@pytest.mark.parametrize(("job", "step"), [s for s in STEPS if "uses" in s[1]])
def test_actions_are_few_and_get_what_they_know(job, step):
    action, _, version = step["uses"].partition("@")
    assert set(step.get("with", {})) <= ACTIONS[action]
    assert re.fullmatch(r"v\d+", version)
    if file := step.get("with", {}).get("environment-file"):
        content = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
        assert content["name"] == step["with"]["activate-environment"]


@pytest.mark.parametrize(("job", "words"), COMMANDS_RUN, ids=lambda x: str(x)[:60])
def test_commands_name_what_is_there(job, words):
    known = {"python", "source", "ruff", "mypy", "uv", "fdhmfe"}
    assert words[0] in known
    if words[0] == "python" and words[1] != "-m":
        assert (ROOT / words[1]).is_file()
        _, optional, groups = tool("check_env").declared()
        named = [w for w in words[2:] if w not in ("--torch", "cpu")]
        assert set(named) <= {*optional, *groups}
    if words[0] == "fdhmfe" and words[1] != "--help":
        assert words[1] in COMMANDS
    for word in words:
        if word.startswith("notebooks/"):
            assert words[words.index("-p") + 1] in declared_parameters(ROOT / word)


def test_what_needs_a_checkout_is_checked_out_first():
    for job in JOBS.values():
        assert job["steps"][0]["uses"].startswith("actions/checkout@")


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint_finds_nothing():
    done = subprocess.run(["actionlint", PATH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
