"""Codes in one file: what NumPy and pandas read is what the run encodes."""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import save_image

from fdhmfe.__main__ import main
from fdhmfe.encoding.trained import open_run

NAMES = [
    *("a\nb.jpg", "a\r\nb.jpg", "a\rb.jpg", 'say "hi".jpg', '"q".jpg', "a,b;c\t.jpg", " x.jpg"),
    *("甲虫/图 1.jpg", "é\u2028.jpg", "0x10.jpg", "caf\udce9.jpg", "plain.jpg"),
]
needs_pyarrow = pytest.mark.skipif(not find_spec("pyarrow"), reason="pyarrow is not installed")
KINDS = ["csv", pytest.param("parquet", marks=needs_pyarrow), "npz"]


@pytest.fixture
def album(tmp_path) -> Path:
    """Photographs with names of every kind, and a file that is none."""
    for seed, name in enumerate(NAMES):
        save_image(tmp_path / "own" / name, seed)
    (tmp_path / "own" / "bad.jpg").write_text("no image")
    return tmp_path / "own"


def encode(run: Path, album: Path, *more: str) -> int:
    sized = ["--shard-size", "4"]
    return main(["encode", str(run), str(album), str(album.with_name("codes")), *sized, *more])


def read(path: Path) -> dict[str, bytes]:
    """The code of each name in an exported file, a byte for a bit; ids must be those of the job."""
    if path.suffix == ".npz":
        with np.load(path) as stored:
            ids, names, codes = (stored[name] for name in ("ids", "names", "codes"))
        assert (ids.dtype, codes.dtype) == (np.int64, np.int8)
        names = names.tolist()
    else:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        assert table.columns.tolist() == ["id", "name", "code"]
        ids, names = table.id.to_numpy(), [utf_8_or_json(name) for name in table.name]
        numbers = [bytes.fromhex(code.removeprefix("0x")) for code in table.code]
        rows = np.array([np.frombuffer(number, np.uint8) for number in numbers])
        codes = 2 * np.unpackbits(rows, axis=1, count=20).astype(np.int8) - 1
    listed = (path.parent / "images.txt").read_text(encoding="utf-8").splitlines()
    assert ids.tolist() == sorted(ids) and max(ids) < len(listed)
    assert "bad.jpg" not in names
    return {name: code.tobytes() for name, code in zip(names, codes, strict=True)}


def utf_8_or_json(name: str) -> str:
    return json.loads(name) if name == '"caf\\udce9.jpg"' else name


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_has_its_code(folder_run, album, kind):
    assert encode(folder_run, album, "--export", kind) == 0
    found = read(album.with_name("codes") / f"codes.{kind}")
    codes = open_run(folder_run).encode([album / name for name in NAMES])
    assert found == {name: code.tobytes() for name, code in zip(NAMES, codes, strict=True)}


def test_a_file_is_brought_up_to_date_without_being_asked_for_again(folder_run, album, capsys):
    out = album.with_name("codes")
    assert encode(folder_run, album) == 0
    assert not list(out.glob("codes.*")), "none was asked for"
    assert encode(folder_run, album, "--export", "csv", "npz") == 0
    save_image(album / "new.jpg", 99)
    assert encode(folder_run, album) == 0
    assert read(out / "codes.csv") == read(out / "codes.npz")
    assert read(out / "codes.csv").keys() == {*NAMES, "new.jpg"}
    assert not list(out.rglob("*.partial"))


@pytest.mark.parametrize(
    ("kind", "said"),
    [("excel", "no export 'excel'.* Known: csv, npz, parquet"), ("parquet", "pip install pyarrow")],
)
def test_what_cannot_be_written_is_said_before_the_work(
    folder_run, album, capsys, monkeypatch, kind, said
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    assert encode(folder_run, album, "--export", kind) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fdhmfe encode: ") and re.search(said, line)
    assert not album.with_name("codes").exists()
