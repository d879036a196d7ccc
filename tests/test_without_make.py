"""docs/without_make.md: a plain command for every goal of make."""

import re
import shlex

import pytest
from conftest import ROOT, tool

from fdhmfe.__main__ import COMMANDS

PAGE = (ROOT / "docs" / "without_make.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
ROWS = {
    goal: (commands, needs)
    for goal, commands, needs in re.findall(r"(?m)^\| `make (\w+)` \| (.+?) \| ?(.*?) ?\|$", PAGE)
}


def test_every_goal_of_make_has_a_row():
    goals = set(re.findall(r"(?m)^(\w+):.*## ", MAKEFILE))
    assert ROWS.keys() == goals - {"help"}


@pytest.mark.parametrize("goal", ROWS)
def test_commands_are_there_and_need_no_shell(goal):
    for command in re.findall("`([^`]+)`", ROWS[goal][0]):
        first, *words = shlex.split(command)
        assert first in ("python", "fdhmfe", "git", "uv")
        assert not set(command) & set("$;&>'~\\")
        if first == "fdhmfe":
            assert words[0] in COMMANDS
        elif first == "python" and words[0] != "-m":
            assert (ROOT / words[0]).is_file()


def test_needs_are_those_of_the_makefile():
    needs = dict(re.findall(r"(?m)^  NEEDS_(\w+) := (.+)$", MAKEFILE))
    needs["test"] = needs["check"]
    assert {goal: words.strip("`") for goal, (_, words) in ROWS.items() if words} == needs
    _, optional, groups = tool("check_env").declared()
    assert {name for words in needs.values() for name in words.split()} <= {*optional, *groups}


def test_the_lock_is_made_with_the_same_words():
    recipe = re.search(r'"\$\$uv" (pip compile(?:.*\\\n)*.*)', MAKEFILE)[1]
    words = recipe.replace("\\\n", " ").replace("$(LOCK_ARGS)", "").split()
    assert f"uv {' '.join(words)}" in ROWS["lock"][0]
