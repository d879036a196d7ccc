"""Files of a finished run, and tables, that are damaged: the error names them, its advice helps."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import small_run

from fdhmfe.__main__ import main
from fdhmfe.encoding.trained import open_run
from fdhmfe.runs import committed, ledger, results, tune

pytestmark = pytest.mark.slow  # many runs

OTHER_TABLE = b"path,label\na.jpg,0\n"
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: 2 * len(content) // 3],
    "a list": lambda content: b"[1, 2]\n",
    "no UTF-8": lambda content: b"\xff\xfe" + content,
    "another table": lambda content: OTHER_TABLE,
}
READERS: dict[str, Callable[[Path], object]] = {
    "config.json": open_run,
    "env.json": open_run,
    "model.safetensors": open_run,
    "codes.npz": results.read_codes,
    "history.csv": results.read_history,
    "metrics.csv": results.read_map,
}


@pytest.fixture
def folder(folder_run, tmp_path, monkeypatch) -> Path:
    """A copy of a finished run, in a results folder of its own, with the caches of the first."""
    first = folder_run.parents[3]
    monkeypatch.setenv("FDHMFE_HOME", str(first))
    copy = tmp_path / folder_run.relative_to(first)
    shutil.copytree(folder_run, copy)
    return copy


@pytest.mark.parametrize("damage", ["missing", *DAMAGES])
@pytest.mark.parametrize("name", READERS)
def test_whatever_is_wrong_with_a_file_of_a_run_it_is_named(folder, name, damage):
    spoil(folder / name, damage)
    with pytest.raises(ValueError, match=r"is damaged|is missing|is not a finished") as caught:
        READERS[name](folder)
    assert str(folder) in str(caught.value)
    if "is not a finished" not in str(caught.value):
        assert str(folder / name) in str(caught.value)
        assert f"delete the folder {folder} and make the run again" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{}"),
        ("config.json", b'{"dataset": "folder", "method": "lsh", "bits": "many"}'),
        ("env.json", b'{"seconds": 3}'),
    ],
)
def test_a_record_without_what_is_needed_is_damaged(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is damaged \("):
        open_run(folder)


def test_metrics_of_another_run_are_damage(folder):
    path = folder / "metrics.csv"
    path.write_text(path.read_text().replace(folder.name, "another"))
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged \(it holds rows of another run"):
        ledger.record(folder.parents[1], [folder])


def spoil(path: Path, damage: str) -> None:
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))


def words(command: str, folder: Path, place: Path, first: Path) -> list[str]:
    """A command line that reads the run in `folder`, or makes it."""
    album = first / "images" / "test"
    config = small_run(first, bits=20, results_dir=str(folder.parents[2]))
    names = (
        *("profile", "dataset", "data_dir", "results_dir", "image_size", "grid", "views", "width"),
        *("embedded_epochs", "epochs", "batch_size", "keep"),
    )
    given = [w for n in names for w in (f"--{n.replace('_', '-')}", str(getattr(config, n)))]
    photo = str(next(album.rglob("*.jpg")))
    return {
        "train": ["train", "--bits", "20", *given],
        "sweep": ["sweep", "--methods", "fdh-mfe", "--bits", "20", "--seeds", "0", *given],
        "encode": ["encode", str(folder), str(album), str(place / "codes")],
        "explore": ["explore", str(folder), "--out", str(place / "page.html")],
        "search": ["search", photo, "--in", str(album), "--run", str(folder), "--out", str(place)],
    }[command]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *(("encode", name) for name in ("config.json", "env.json", "model.safetensors")),
        *(("explore", name) for name in ("env.json", "codes.npz")),
        ("search", "model.safetensors"),
        *(("train", name) for name in ("env.json", "metrics.csv")),
        *(("sweep", name) for name in ("env.json", "metrics.csv")),
    ],
)
def test_the_advice_helps(folder, folder_run, tmp_path, capsys, command, name):
    spoil(folder / name, "cut short")
    asked = words(command, folder, tmp_path, folder_run.parents[3])
    assert main(asked) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fdhmfe {command}: {folder / name} is damaged (")
    assert f"delete the folder {folder} and make the run again (fdhmfe train" in line
    shutil.rmtree(folder)
    assert main(words("train", folder, tmp_path, folder_run.parents[3])) == 0
    assert main(asked) == 0


# Tables


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [ledger.METRICS, ledger.RUNS])
def test_a_damaged_table_is_named_and_the_advice_helps(
    folder, folder_run, tmp_path, capsys, name, damage
):
    sweep = words("sweep", folder, tmp_path, folder_run.parents[3])
    assert main(sweep) == 0
    path = folder.parents[1] / "tables" / name
    spoil(path, damage)
    capsys.readouterr()
    assert main(sweep) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fdhmfe sweep: {path} is damaged (")
    assert "or delete it" in line
    path.unlink()
    assert main(sweep) == 0
    assert list(ledger.rows(folder.parents[1], name).run_id.unique()) == [folder.name]


def test_a_run_that_only_one_table_has_is_entered_again(folder, folder_run, tmp_path):
    sweep = words("sweep", folder, tmp_path, folder_run.parents[3])
    assert main(sweep) == 0
    path = folder.parents[1] / "tables" / ledger.METRICS
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert main(sweep) == 0
    assert not ledger.rows_of(folder.parents[1], ledger.METRICS, [folder.name]).empty


@pytest.mark.parametrize("name", [ledger.METRICS, ledger.RUNS])
def test_a_committed_table_that_is_damaged_is_named(tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_bytes(OTHER_TABLE)
    monkeypatch.setattr(committed, "shipped", lambda _: path)
    with pytest.raises(ValueError, match=rf"{name} is damaged \(it lacks the columns run_id, "):
        committed.read(name)


@pytest.mark.parametrize("damage", ["empty", "another table"])
def test_a_damaged_table_of_trials_is_named(tmp_path, damage):
    path = tmp_path / "tuning.csv"
    fresh = pd.DataFrame({"method": ["csq"], "value": [0.5]})
    fresh.to_csv(path, index=False)
    spoil(path, damage)
    with pytest.raises(ValueError, match=r"tuning\.csv is damaged .* or delete it and tune again"):
        tune.merged(path, fresh, ["method"])
    path.unlink()
    assert tune.merged(path, fresh, ["method"]).equals(fresh)
