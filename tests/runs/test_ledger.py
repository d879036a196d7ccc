"""Finished runs as rows: they outlive their folders, but not the code that made them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import small_run, write_folder

from fdhmfe.runs import experiment, ledger
from fdhmfe.runs.results import read_metrics
from fdhmfe.support.files import read_json, write_json


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Two finished runs."""
    root = tmp_path_factory.mktemp("ledger")
    write_folder(root / "images", classes=3, per_class=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDHMFE_HOME", str(root))
        yield [experiment.run(small_run(root, method="lsh", bits=bits)) for bits in (12, 24)]


def text(output_dir: Path, name: str) -> pd.DataFrame:
    """A table as it is written: every field is text."""
    return pd.read_csv(output_dir / "tables" / name, dtype=str, keep_default_na=False)


def test_rows_survive_in_a_folder_without_runs(folders, tmp_path):
    ledger.record(tmp_path / "here", folders)
    shutil.copytree(tmp_path / "here" / "tables", tmp_path / "there" / "tables")
    names = [folder.name for folder in reversed(folders)]
    rows = ledger.rows_of(tmp_path / "there", ledger.METRICS, names)
    stored = pd.concat([read_metrics(folder) for folder in reversed(folders)], ignore_index=True)
    pd.testing.assert_frame_equal(rows, stored, check_dtype=False)
    runs = ledger.rows_of(tmp_path / "there", ledger.RUNS, names)
    assert runs.bits.tolist() == [24, 12]
    assert runs.dataset_hash.tolist() == [read_json(folders[0] / "env.json")["dataset_hash"]] * 2


def test_a_run_recorded_again_takes_the_place_of_its_old_rows_and_others_stay(folders, tmp_path):
    ledger.record(tmp_path, folders)
    first = {name: text(tmp_path, name) for name in (ledger.METRICS, ledger.RUNS)}
    for folder in (*folders, folders[0]):
        ledger.record(tmp_path, [folder])
    for name, table in first.items():
        again = text(tmp_path, name)
        assert again.run_id.unique().tolist() == [folders[1].name, folders[0].name]
        columns = list(table.columns)
        pd.testing.assert_frame_equal(
            again.sort_values(columns, ignore_index=True),
            table.sort_values(columns, ignore_index=True),
        )


def test_numbers_do_not_drift_however_often_the_table_is_written(folders, tmp_path):
    copy = Path(shutil.copytree(folders[0], tmp_path / "copy"))
    table = pd.read_csv(copy / "metrics.csv", dtype=str, keep_default_na=False)
    table["run_id"], table["value"] = "copy", "0.10000000000000002"
    table.loc[0, "value"] = "0.7299999999999999"
    table.to_csv(copy / "metrics.csv", index=False)
    ledger.record(tmp_path, [copy])
    written = text(tmp_path, ledger.METRICS).value.tolist()
    for _ in range(3):
        ledger.record(tmp_path, [folders[1]])
    rows = text(tmp_path, ledger.METRICS)
    assert rows.value[rows.run_id == "copy"].tolist() == written
    found = ledger.rows_of(tmp_path, ledger.METRICS, ["copy"]).value
    assert [repr(value) for value in found.tolist()] == written


def made_by(folder: Path, target: Path, source_hash: str) -> Path:
    """A copy of a run that other code made."""
    copy = Path(shutil.copytree(folder, target))
    write_json(copy / "env.json", {**read_json(copy / "env.json"), "source_hash": source_hash})
    for name in ("metrics.csv",):
        table = pd.read_csv(copy / name, keep_default_na=False)
        table.assign(run_id=copy.name).to_csv(copy / name, index=False)
    return copy


def test_rows_of_other_code_are_not_read_and_dropped_at_the_next_record(folders, tmp_path):
    old = made_by(folders[0], tmp_path / "old", "of other code")
    ledger.record(tmp_path, [old])
    assert set(text(tmp_path, ledger.METRICS).run_id) == {"old"}
    assert ledger.rows(tmp_path, ledger.METRICS).empty
    ledger.record(tmp_path, [folders[1]])
    for name in (ledger.METRICS, ledger.RUNS):
        assert set(text(tmp_path, name).run_id) == {folders[1].name}


@pytest.mark.parametrize("code", ["0123456789012345", "12345678901e2345"])
def test_a_hash_that_looks_like_a_number_is_still_the_code_s(folders, tmp_path, monkeypatch, code):
    monkeypatch.setattr(ledger, "same_codes", lambda: {code})
    for name in ("a", "b"):
        ledger.record(tmp_path, [made_by(folders[0], tmp_path / name, code)])
    assert ledger.rows(tmp_path, ledger.RUNS).source_hash.tolist() == [code, code]
    assert text(tmp_path, ledger.RUNS).source_hash.tolist() == [code, code]


def test_a_run_without_rows_is_named(folders, tmp_path):
    with pytest.raises(KeyError, match="absent"):
        ledger.rows_of(tmp_path, ledger.METRICS, ["absent"])
    ledger.record(tmp_path, folders[:1])
    with pytest.raises(KeyError, match=folders[1].name):
        ledger.rows_of(tmp_path, ledger.METRICS, [folder.name for folder in folders])


def test_a_table_that_nobody_listed_the_runs_of_is_of_unknown_code(folders, tmp_path):
    ledger.record(tmp_path, folders)
    (tmp_path / "tables" / ledger.RUNS).unlink()
    assert ledger.rows(tmp_path, ledger.METRICS).empty


def test_nothing_to_record_writes_nothing(tmp_path):
    ledger.record(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_run_list_holds_settings_and_environment_but_no_places(tmp_path):
    settings, made = {"bits": 12, "dataset": "toy", "method": "lsh"}, {"source_hash": "0123"}
    places = {"data_dir": "private", "reuse": True}
    write_json(tmp_path / "run" / "config.json", settings | places)
    write_json(tmp_path / "run" / "env.json", made)
    (row,) = ledger.run_list([tmp_path / "run"]).to_dict("records")
    assert row == {"run_id": "run"} | settings | made
