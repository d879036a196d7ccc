"""Runs killed with SIGKILL at random moments, by the tool that does so fifty times."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from fdhmfe.support.places import REPOSITORY

MOMENTS = ["data", "backbone", "features", "training", "half a cache", "checkpoint", "table"]

pytestmark = pytest.mark.slow  # runs that are killed


def test_runs_killed_at_each_moment_end_with_the_codes_of_an_uninterrupted_one(tmp_path):
    table = tmp_path / "kills.csv"
    command = ["tools/kill_runs.py", "--runs", "7", "--seed", "1", "--out", str(table)]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 of 7 killed runs were resumed to identical codes" in done.stdout
    rows = pd.read_csv(table, keep_default_na=False)
    assert rows.moment.tolist() == MOMENTS
    assert rows["split"].tolist() == [*["same"] * 4, "changed", *["same"] * 2]
    assert rows.resumed.all() and rows.identical.all()
    assert (rows.left == "").all()


def test_the_table_of_kills_that_is_committed_has_no_failure():
    rows = pd.read_csv(REPOSITORY / "results" / "benchmarks" / "kills.csv", keep_default_na=False)
    assert set(rows.moment) == set(MOMENTS)
    assert rows.identical.all() and (rows.left == "").all()
    assert (rows.split == "changed").sum() == 10
