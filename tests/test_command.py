"""The command line: what it offers, what it refuses, and that it works from a wheel."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, small_run

from fdhmfe.__main__ import COMMANDS, TUNED_SETTINGS, main
from fdhmfe.config.settings import Config, meanings
from fdhmfe.lessons import notebooks
from fdhmfe.runs.results import read_map
from fdhmfe.support.files import read_json

TINY = (
    *("--profile=smoke", "--toy-classes=3", "--toy-train=4", "--toy-test=2", "--image-size=64"),
    *("--embedded-epochs=1", "--views=2", "--grid=4", "--width=16", "--keep=4", "--epochs=1"),
)


def help_of(command: str, capsys) -> str:
    """What --help says, as one line without its frame."""
    with pytest.raises(SystemExit) as at:
        main([command, "--help"])
    assert at.value.code == 0
    return " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())


def test_help_lists_every_command_on_a_line(capsys):
    assert main(["--help"]) == 0
    listed = re.findall(r"^  (\w+) +\S.{10,}$", capsys.readouterr().out, flags=re.M)
    runs = ["reproduce", "lab", "train", "sweep", "tune"]
    assert listed == [*runs, "data", "check", "encode", "search", "explore", "share"]


@pytest.mark.parametrize(
    ("command", "without"),
    [
        ("train", set()),
        ("sweep", {"method", "bits", "seed"}),
        ("tune", {"method", "bits", "protocol", *TUNED_SETTINGS}),
        ("reproduce", set(meanings()) - set(notebooks.settings_taken())),
    ],
)
def test_help_lists_every_setting_with_meaning_and_default(command, without, capsys):
    said = help_of(command, capsys)
    for name, meaning in meanings().items():
        default = getattr(Config, name)
        shown = str(default).lower() if isinstance(default, bool) else str(default) or "none"
        option = rf"--{name.replace('_', '-')} [A-Z|]+ {re.escape(meaning)}[^(]*(\(.*?\) )?"
        found = re.search(option + re.escape(f"(default: {shown})"), said)
        assert bool(found) == (name not in without), name


@pytest.mark.parametrize("command", ["data", "check", "encode", "explore", "share"])
def test_help_of_the_other_commands_names_what_they_need(command, capsys):
    said = help_of(command, capsys)
    assert COMMANDS[command].__doc__.splitlines()[0] in said
    assert "(required)" in said


def test_a_misspelt_command_or_option_gets_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as at:
        main(["train", "--bist", "12"])
    assert at.value.code == 2
    assert "--bits INT" in capsys.readouterr().err
    assert main([]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--bits", "many"], "bits='many' must be int, not str"),
        (["train", "--trainable", "yes"], "trainable='yes' is not known"),
        (["train", "--workers=-1"], "workers=-1 must be 0 or more"),
        (["train", "--precision", "16"], "precision='16' is not known"),
        (["train", "--data-dir", "birds"], "dataset 'toy' draws its own images"),
        (["sweep", "--methods", "csx"], "did you mean 'csq'"),
        (["reproduce", "--only", "77"], "there is no notebook 77"),
        (["reproduce", "--only", "losses", "--bits", "12"], "no notebook here has a parameter"),
        (["encode", "nothing", "nowhere", "out"], "nothing is not a finished run"),
        (["explore", "nothing", "--out", "page.html"], "nothing is not a finished run"),
        (["share", "nothing", "model"], "nothing is not a finished run"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"fdhmfe {words[0]}: ") and message in said
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_given_is_left_to_the_profile(root, capsys):
    places = [f"--data-dir={root / 'images'}", f"--results-dir={root / 'results'}"]
    sizes = ["--image-size=32", "--grid=4", "--width=8", "--keep=2", "--batch-size=5", "--epochs=1"]
    words = ["--profile=smoke", "--dataset=folder", "--embedded-epochs=1", *places, *sizes]
    assert main(["train", *words, "--bits=12"]) == 0
    folder, score = capsys.readouterr().out.splitlines()[-2:]
    assert score == f"mAP {read_map(Path(folder)):.4f}"
    assert read_json(Path(folder) / "config.json")["views"] == small_run(root).views == 2


def test_a_sweep_ends_with_a_table(root, capsys):
    places = [f"--data-dir={root / 'images'}", f"--results-dir={root / 'results'}"]
    words = ["--profile=smoke", "--dataset=folder", "--embedded-epochs=1", *places, "--epochs=1"]
    lists = ["--methods", "lsh", "csq", "--bits", "12", "24", "--seeds", "0", "1"]
    assert main(["sweep", *words, *lists, "--jobs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[0].startswith("baselines "), "the group of rows, once"
    shown = dict(line.removeprefix("baselines").split(maxsplit=1) for line in lines)
    folders = (root / "results" / "smoke" / "runs").iterdir()
    runs = pd.DataFrame([read_json(f / "config.json") | {"map": read_map(f)} for f in folders])
    means = 100 * runs.groupby(["method", "bits"])["map"].mean()
    for (method, _), mean in means.items():
        assert f"{mean:.1f} ± " in shown[method]
    assert shown.keys() == {"lsh", "csq"} and len(means) == 4


def test_nothing_heavy_is_imported_before_a_command_is_chosen():
    script = "import sys, fdhmfe.__main__; print({'torch', 'pandas', 'papermill'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def from_wheel(installed: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess:
    own = {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    env = {name: value for name, value in os.environ.items() if name != "FDHMFE_HOME"}
    return subprocess.run(
        [sys.executable, "-m", "fdhmfe", *words],
        **dict(cwd=cwd, env=env | own, capture_output=True, text=True, check=False),
    )


@pytest.mark.slow  # builds and installs a wheel
def test_a_wheel_needs_no_checkout(installed, tmp_path):
    done = from_wheel(installed, tmp_path, "--help")
    assert done.returncode == 0 and "reproduce" in done.stdout
    done = from_wheel(installed, tmp_path, "train", *TINY, "--bits=12")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results" / "smoke" / "runs").iterdir()
    assert done.stdout.splitlines()[-2] == str(folder)
    assert read_json(folder / "env.json")["commit"] == ""
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"cache", "toy"}
    done = from_wheel(installed, tmp_path, "reproduce", "--profile", "smoke", "--only", "losses")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "smoke" / "notebooks" / "07_losses.ipynb").is_file()
    assert (installed / "bin" / "fdhmfe").is_file()


@pytest.mark.slow
def test_a_wheel_has_what_notebooks_read_from_the_repository(installed, tmp_path):
    script = "from fdhmfe.runs import published; from fdhmfe.figures import searches; "
    script += "print(len(published.read_published()) > 9, searches.BENCHMARK.is_file())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        **dict(cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)}),
        **dict(capture_output=True, text=True, check=True),
    )
    assert done.stdout == "True True\n"


def test_without_notebooks_reproduce_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    assert main(["reproduce", "--profile", "smoke"]) == 2
    assert f"there are no notebooks in {tmp_path}" in capsys.readouterr().err
