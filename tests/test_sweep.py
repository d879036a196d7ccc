"""Many runs at once: the same results as one by one, and a failure that names itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_folder

from fdhmfe import sweep as sweeps
from fdhmfe.config import Config, load
from fdhmfe.results import read_codes
from fdhmfe.sweep import sweep


def settings(root: Path, **given) -> Config:
    small = dict(image_size=32, grid=4, views=2, embedded_epochs=1, epochs=2, batch_size=5)
    size = dict(width=8, keep=2, bits=12, dataset="folder", data_dir=str(root / "images"))
    return load("smoke", **{**small, **size, "results_dir": str(root / "results"), **given})


@pytest.fixture
def root(tmp_path, own_cache) -> Path:
    write_folder(tmp_path / "images", classes=3, per_class=10)
    return tmp_path


def test_folders_come_in_the_order_asked_for_and_a_second_sweep_reuses_them(root, capsys):
    runs = [settings(root, bits=bits, method=m) for m in ("lsh", "csq") for bits in (24, 12)]
    threads = torch.get_num_threads()
    folders = sweep(runs, jobs=1)
    for run, folder in zip(runs, folders, strict=True):
        assert f"{run.method}-full-{run.bits}bits" in folder.name
    times = [(folder / "codes.npz").stat().st_mtime_ns for folder in folders]
    capsys.readouterr()
    assert sweep(runs, jobs=1) == folders
    assert capsys.readouterr().out.count("reused") == 4
    assert [(folder / "codes.npz").stat().st_mtime_ns for folder in folders] == times
    assert torch.get_num_threads() == threads


def test_what_fails_is_named_and_the_others_still_run(root):
    runs = [settings(root, bits=1), settings(root, bits=12)]
    with pytest.raises(RuntimeError, match=r"1 of 2 runs failed:\n.*1 bits.*3 classes"):
        sweep(runs, jobs=1)
    done = [path.parent.name for path in (root / "results").rglob("metrics.csv")]
    assert len(done) == 1 and "12bits" in done[0]


def test_processes_give_the_codes_of_a_serial_sweep(root, monkeypatch):
    # Worker processes find features where the parent made them: the cache is in the repository,
    # so each worker is pointed to the temporary one.
    monkeypatch.setattr(sweeps, "_attempt", _Elsewhere(root))
    runs = [settings(root, seed=seed) for seed in range(2)]
    serial = [read_codes(folder) for folder in sweep(runs, jobs=1)]
    again = [settings(root, seed=s, results_dir=str(root / "parallel")) for s in range(2)]
    for one, folder in zip(serial, sweep(again, jobs=2), strict=True):
        other = read_codes(folder)
        assert all(np.array_equal(one[name], other[name]) for name in one)


class _Elsewhere:
    """sweep._attempt with the caches below `root`, in whatever process it runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.attempt = sweeps._attempt

    def __call__(self, config: Config) -> Path | str:
        from fdhmfe import embedded, inputs

        embedded.REPOSITORY = inputs.REPOSITORY = self.root
        return self.attempt(config)
