"""The comparison of two versions of the code, on homes that hold copies of a real run."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import tool

from fdhmfe.runs.results import read_codes, write_csv, write_npz
from fdhmfe.support.files import write_json

same_codes = tool("same_codes")
PROBE = dict(method="fdh-mfe", trainable="tail")


def home(run: Path, target: Path, name: str, **probe) -> Path:
    """A home with one run, under a name of its own."""
    shutil.copytree(run, target / "results" / name)
    write_json(target / same_codes.LIST, [[{**PROBE, **probe}, f"results/{name}"]])
    return target


@pytest.fixture
def homes(folder_run, tmp_path) -> list[Path]:
    return [home(folder_run, tmp_path / name, f"run-{name}") for name in ("old", "new")]


def test_equal_runs_do_not_differ_even_under_other_names(homes):
    assert list(same_codes.differences(*homes)) == []


def test_one_bit_in_a_code_is_found(homes):
    run = homes[1] / "results" / "run-new"
    codes = read_codes(run)
    codes["query_codes"][0, 0] *= -1
    write_npz(run / "codes.npz", codes)
    (line,) = same_codes.differences(*homes)
    assert line == "method fdh-mfe, trainable tail: other codes"


@pytest.mark.parametrize(("file", "column"), [("metrics.csv", "value"), ("history.csv", "loss")])
def test_the_last_digit_of_a_score_or_a_loss_is_found(homes, file, column):
    path = homes[1] / "results" / "run-new" / file
    table = pd.read_csv(path)
    table.loc[0, column] = np.nextafter(table[column][0], 2)
    write_csv(path, table)
    (line,) = same_codes.differences(*homes)
    assert line.endswith(f"another {file}")


def test_a_run_that_the_other_code_has_not_is_a_difference(folder_run, tmp_path):
    pair = [home(folder_run, tmp_path / str(bits), "run", bits=bits) for bits in (12, 24)]
    (line,) = same_codes.differences(*pair)
    assert "no such run" in line


def test_the_runs_pass_every_method_and_every_regime():
    probes = list(same_codes.probes("mobilenet.pth"))
    assert {probe["method"] for probe in probes} == set(same_codes.METHODS)
    assert {probe.get("trainable", "none") for probe in probes} == {"none", "tail", "all"}
