"""All notebooks run to the end on a small folder of one's own pictures, whatever its classes."""

import os
import subprocess
import sys

import pytest
from own_images import write_pictures

from fdhmfe.lessons.notebooks import ordered_notebooks
from fdhmfe.support.places import REPOSITORY

pytestmark = pytest.mark.slow


def test_all_notebooks_run_on_eighteen_pictures_with_names_hard_to_draw(tmp_path):
    pictures = write_pictures(tmp_path / "pictures", classes=2, per_class=9)
    own = {"PYTHONPATH": str(REPOSITORY), "FDHMFE_HOME": str(tmp_path)}
    data = ("--dataset", "folder", "--data-dir", str(pictures))
    done = subprocess.run(
        [sys.executable, "-m", "fdhmfe", "reproduce", "--profile", "smoke", *data],
        env=os.environ | own | {"OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "missing from font" not in done.stdout + done.stderr
    figures = {path.name[:2] for path in tmp_path.glob("results/smoke/figures/*.png")}
    assert figures == {path.name[:2] for path in ordered_notebooks()}
