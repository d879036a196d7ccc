"""Many runs at once: the same results as one by one, and a failure that names itself."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from conftest import small_run, write_folder

from fdhmfe.config.settings import Config
from fdhmfe.runs import sweep as sweeps
from fdhmfe.runs.results import read_codes
from fdhmfe.runs.sweep import sweep

pytestmark = pytest.mark.slow  # workers


def test_folders_come_in_the_order_asked_for_and_a_second_sweep_reuses_them(root, capsys):
    runs = [small_run(root, bits=bits, method=m) for m in ("lsh", "csq") for bits in (24, 12)]
    threads = torch.get_num_threads()
    folders = sweep(runs, jobs=1)
    for run, folder in zip(runs, folders, strict=True):
        assert f"{run.method}-full-{run.bits}bits" in folder.name
    times = [(folder / "codes.npz").stat().st_mtime_ns for folder in folders]
    capsys.readouterr()
    assert sweep(runs, jobs=1) == folders
    assert "reused 4 of 4 runs" in capsys.readouterr().out
    assert [(folder / "codes.npz").stat().st_mtime_ns for folder in folders] == times
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sweep_counts_its_runs_and_keeps_their_epochs_to_itself(root, capfd, jobs):
    sweep([small_run(root, bits=bits) for bits in (12, 24)], jobs=jobs)
    said = capfd.readouterr()
    lines = (said.out + said.err).splitlines()
    assert any(line.startswith("runs: 2/2") for line in lines)
    assert not [line for line in lines if "epoch" in line]


def test_what_fails_is_named_and_the_others_still_run(root):
    runs = [small_run(root, bits=1), small_run(root, bits=12)]
    with pytest.raises(RuntimeError, match=r"1 of 2 runs failed:\n.*1 bits.*3 classes"):
        sweep(runs, jobs=1)
    done = [path.parent.name for path in (root / "results").rglob("metrics.csv")]
    assert len(done) == 1 and "12bits" in done[0]


def test_no_worker_is_started_for_a_finished_run(root, monkeypatch):
    runs = [small_run(root, method="lsh", seed=seed) for seed in range(3)]
    sweep(runs[:2], jobs=1)
    asked = []

    def attempt(number: int, config: Config, path: list[str]) -> tuple[int, str]:
        asked.append(config.seed)
        return number, "not made"

    monkeypatch.setattr(sweeps, "_attempt", attempt)
    with pytest.raises(RuntimeError, match="1 of 3 runs failed"):
        sweep(runs, jobs=1)
    assert asked == [2]


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> tuple[Path, list[dict[str, np.ndarray]]]:
    """A folder of images, and the codes of twelve runs on it, one after the other."""
    root = tmp_path_factory.mktemp("sweep")
    write_folder(root / "images", classes=3, per_class=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDHMFE_HOME", str(root))
        return root, [read_codes(folder) for folder in sweep(twelve(root, "serial"), jobs=1)]


def twelve(root: Path, results: str) -> list[Config]:
    return [
        small_run(root, method=method, bits=bits, seed=seed, results_dir=str(root / results))
        for method in ("fdh-mfe", "csq", "adsh")
        for bits in (12, 24)
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_two_workers_one_of_them_killed_give_the_codes_of_a_serial_sweep(
    serial, monkeypatch, capsys, engine
):
    root, expected = serial
    monkeypatch.setenv("FDHMFE_HOME", str(root))
    monkeypatch.setattr(sweeps, "_attempt", Elsewhere(root, 1, root / f"{engine}.killed"))
    with cluster() if engine == "dask" else nullcontext() as scheduler:
        folders = sweep(twelve(root, engine), jobs=2, scheduler=scheduler)
    for folder, wanted in zip(folders, expected, strict=True):
        assert folder.parents[2] == root / engine
        found = read_codes(folder)
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted), folder.name
    assert len(set((root / f"{engine}.pids").read_text().split())) >= 2
    assert (root / f"{engine}.killed").exists()
    if engine == "processes":  # Dask replaces a worker by itself
        assert "a worker broke down (TerminatedWorkerError" in capsys.readouterr().out
    assert not list((root / engine).rglob("*.partial"))
    assert not list((root / engine).rglob("checkpoint-*"))


def test_a_run_that_kills_its_worker_each_time_is_named_and_the_others_are_kept(
    serial, monkeypatch
):
    root, _ = serial
    monkeypatch.setenv("FDHMFE_HOME", str(root))
    monkeypatch.setattr(sweeps, "TRIES", 1)
    monkeypatch.setattr(sweeps, "_attempt", Elsewhere(root, 1, root / "each.killed"))
    runs = twelve(root, "serial")[:1] + twelve(root, "each")[7:8]
    with pytest.raises(RuntimeError, match="1 of 2 runs failed") as at:
        sweep(runs, jobs=2)
    assert "seed 1: TerminatedWorkerError" in str(at.value)


@contextmanager
def cluster() -> Iterator[str]:
    """The address of a Dask scheduler with two worker processes.

    Dask limits threads in the environment of this process and leaves it so; later tests that start
    processes would compare sums of another number of threads.
    """
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    with (
        patch.dict(os.environ),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as local,
    ):
        yield local.scheduler_address


def test_workers_of_several_threads_are_refused(root):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as local,
        pytest.raises(ValueError, match="--nthreads 1"),
    ):
        sweep([small_run(root)], scheduler=local.scheduler_address)


class Elsewhere:
    """sweep._attempt with the caches below `root`, in whatever process it runs.

    The worker of one of the runs is killed (-9) after an epoch, `kills` times.
    """

    def __init__(self, root: Path, kills: int, killed: Path) -> None:
        self.root = root
        self.kills = kills
        self.killed = killed
        self.attempt = sweeps._attempt

    def __call__(self, number: int, config: Config, path: list[str]) -> tuple[int, Path | str]:
        from fdhmfe.training import train

        os.environ["FDHMFE_HOME"] = str(self.root)
        log(self.killed.with_suffix(".pids"), os.getpid())
        whole = train.save_checkpoint

        def save_and_die(*arguments: Any) -> None:
            whole(*arguments)
            log(self.killed, number)
            os.kill(os.getpid(), signal.SIGKILL)

        deaths = self.killed.read_text().split() if self.killed.exists() else []
        chosen = (config.method, config.bits, config.seed) == ("csq", 24, 1)
        if chosen and len(deaths) < self.kills:
            train.save_checkpoint = save_and_die
        try:
            return self.attempt(number, config, path)
        finally:
            train.save_checkpoint = whole


def log(path: Path, number: int) -> None:
    with open(path, "a") as file:
        file.write(f"{number}\n")
