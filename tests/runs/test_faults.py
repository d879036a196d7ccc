"""Whole runs where the disk is full, the loss is not finite, or another process is at work."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from conftest import small_run

from fdhmfe.runs import experiment
from fdhmfe.runs.results import is_finished, read_codes, read_metrics
from fdhmfe.support.files import StorageError
from fdhmfe.support.places import REPOSITORY

pytestmark = pytest.mark.slow  # processes that are killed


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_full_disk_stops_a_run_and_keeps_the_finished_one(root, small_disk):
    finished = experiment.run(small_run(root, results_dir=str(small_disk)))
    before = content(finished)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(StorageError, match="No space left on device"):
        experiment.run(small_run(root, results_dir=str(small_disk), seed=1))
    assert content(finished) == before
    assert len(read_metrics(finished)) > 0
    assert experiment.run(small_run(root, results_dir=str(small_disk))) == finished
    assert not list(small_disk.rglob("*.partial"))

    filler.unlink()
    again = experiment.run(small_run(root, results_dir=str(small_disk), seed=1))
    assert is_finished(again)


def test_a_read_only_disk_still_gives_its_finished_runs(root, small_disk):
    config = small_run(root, results_dir=str(small_disk))
    finished = experiment.run(config)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert experiment.run(config) == finished
    with pytest.raises(StorageError, match="Read-only file system"):
        experiment.run(small_run(root, results_dir=str(small_disk), seed=1))


def test_a_loss_that_is_not_finite_names_the_images_of_its_batch(root):
    with pytest.raises(FloatingPointError, match="lower learning_rate") as caught:
        experiment.run(small_run(root, scale=1e39))
    rng = np.random.default_rng([0, 0])
    dataset = experiment.prepare(small_run(root)).dataset
    first = dataset.rows("train")[rng.permutation(15)[:5]]
    named = str(caught.value).split(f"below {root / 'images'}: ")[1].split(", ")
    assert named == dataset.table.path.iloc[first].tolist()


def test_two_processes_at_one_run_share_it(root):
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path[:0] = {[str(p) for p in Path(__file__).parents[:2]]!r}
        import test_faults
        root = Path(sys.argv[1])
        print(test_faults.experiment.run(test_faults.small_run(root, epochs=4)))
    """)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "FDHMFE_HOME": str(root)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(root)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    (folder,) = (root / "results" / "smoke" / "runs").iterdir()
    assert [text.splitlines()[-1] for text in said] == [str(folder)] * 2
    assert sorted("epoch 4" in text for text in said) == [False, True], "one of them trains"
    assert sorted("reused" in text for text in said) == [False, True], "the other reuses"
    assert not [name for name in content(folder) if "partial" in name or "checkpoint" in name]
    alone = experiment.run(small_run(root, epochs=4, results_dir=str(root / "alone")))
    expected, found = read_codes(alone), read_codes(folder)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["metrics.csv", "codes.npz", "env.json"])
def test_a_run_whose_files_could_not_be_replaced_is_as_it_was(root, monkeypatch, name):
    """A full disk while a finished run is made anew: the old one stands, whole."""
    config = small_run(root)
    folder = experiment.run(config)
    before = content(folder)
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if name in path.name:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=name):
        experiment.run(small_run(root, reuse=False))
    after = content(folder)
    assert {key: after[key] for key in before} == before
    monkeypatch.undo()
    shutil.rmtree(folder)
