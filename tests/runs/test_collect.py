"""A sweep that ends with rows: what has them is not made again."""

import shutil
from pathlib import Path

import pytest
from conftest import small_run

from fdhmfe.config.settings import Config
from fdhmfe.runs import experiment, ledger
from fdhmfe.runs import sweep as sweeps
from fdhmfe.runs.results import read_metrics
from fdhmfe.runs.sweep import collect, run_names


def lsh(root: Path, *lengths: int, **given) -> list[Config]:
    return [small_run(root, method="lsh", bits=bits, **given) for bits in lengths]


def test_names_are_those_of_the_folders_in_the_order_given(root):
    configs = lsh(root, 24, 12)
    names = collect(configs, jobs=1)
    assert names == run_names(configs) == [experiment.run(config).name for config in configs]
    assert "-24bits-" in names[0] and "-12bits-" in names[1]
    rows = ledger.rows_of(configs[0].output_dir, ledger.METRICS, names)
    assert rows.bits.unique().tolist() == [24, 12]


def test_a_run_with_a_row_is_not_made_again_even_if_its_folder_is_gone(root, monkeypatch, capsys):
    configs = lsh(root, 12, 24)
    names = collect(configs, jobs=1)
    runs = configs[0].output_dir / "runs"
    before = read_metrics(runs / names[0])
    shutil.rmtree(runs)
    made: list[list[int]] = []
    sweep = sweeps.sweep
    monkeypatch.setattr(
        sweeps, "sweep", lambda cs, **k: made.append([c.bits for c in cs]) or sweep(cs, **k)
    )
    capsys.readouterr()
    assert collect(configs, jobs=1) == names
    assert made == [] and not runs.exists()
    assert "2 of 2 runs are in the tables" in capsys.readouterr().out
    more = collect(lsh(root, 12, 16), jobs=1)
    assert made == [[16]] and [folder.name for folder in runs.iterdir()] == more[1:]
    rows = ledger.rows_of(configs[0].output_dir, ledger.METRICS, names[:1])
    assert rows.value.tolist() == before.value.tolist()


def test_reuse_off_makes_it_again(root):
    (config,) = lsh(root, 12)
    (name,) = collect([config], jobs=1)
    codes = config.output_dir / "runs" / name / "codes.npz"
    before = codes.stat().st_mtime_ns
    assert collect(lsh(root, 12, reuse=False), jobs=1) == [name]
    assert codes.stat().st_mtime_ns > before


def test_a_finished_run_without_a_row_gets_one_and_is_not_made_again(root, monkeypatch):
    (config,) = lsh(root, 12)
    folder = experiment.run(config)
    assert ledger.rows(config.output_dir, ledger.RUNS).empty
    monkeypatch.setattr(experiment, "make", lambda *_: pytest.fail("a run was made"))
    assert collect([config], jobs=1) == [folder.name]
    assert ledger.rows(config.output_dir, ledger.RUNS).run_id.tolist() == [folder.name]


def test_if_a_run_fails_the_others_have_their_rows(root):
    configs = [small_run(root, bits=1), *lsh(root, 12)]
    with pytest.raises(RuntimeError, match="1 of 2 runs failed"):
        collect(configs, jobs=1)
    assert len(ledger.rows(configs[0].output_dir, ledger.RUNS)) == 1


def test_all_must_go_to_one_folder(root):
    configs = [*lsh(root, 12), *lsh(root, 12, results_dir=str(root / "elsewhere"))]
    with pytest.raises(ValueError, match="too many values"):
        collect(configs, jobs=1)
