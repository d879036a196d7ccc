"""The ladder of notebooks as a list of jobs: what is done is skipped, what failed is named."""

from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from fdhmfe import reproduce

WRITES = """
from pathlib import Path
path = Path(results_dir) / "smoke" / "tables" / "{name}.csv"
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text("1")
"""


def write_notebook(folder: Path, name: str, source: str = WRITES) -> None:
    parameters = v4.new_code_cell('results_dir: str = ""', metadata={"tags": ["parameters"]})
    cells = [parameters, v4.new_code_cell(source.replace("{name}", name))]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")


@pytest.fixture
def ladder(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("00_first", "01_second", "02_third"):
        write_notebook(folder, name)
    monkeypatch.setattr(reproduce, "NOTEBOOKS", folder)
    return folder


def run(ladder: Path, capsys, *more: str) -> tuple[int, list[str], str]:
    """Exit code, the notebooks executed, and what was said on stderr."""
    results = str(ladder.parent / "results")
    code = reproduce.main(["--profile", "smoke", "--results-dir", results, *more])
    said = capsys.readouterr()
    lines = [line for line in said.out.splitlines() if line.startswith("[")]
    return code, [line.split("] ")[1].removesuffix(" ...") for line in lines], said.err


def test_what_is_done_is_skipped_until_something_it_rests_on_changes(ladder, capsys):
    everything = ["00_first", "01_second", "02_third"]
    assert run(ladder, capsys)[:2] == (0, everything)
    assert run(ladder, capsys)[:2] == (0, [])
    assert run(ladder, capsys, "--only", "01")[:2] == (0, ["01_second"])
    (ladder.parent / "results" / "smoke" / "tables" / "01_second.csv").unlink()
    assert run(ladder, capsys)[:2] == (0, everything[1:])
    write_notebook(ladder, "02_third", WRITES + "\n# edited")
    assert run(ladder, capsys)[:2] == (0, ["02_third"])
    copy = ladder.parent / "results" / "smoke" / "notebooks" / "00_first.ipynb"
    copy.write_bytes(copy.read_bytes()[:300])  # cut short by a crash
    assert run(ladder, capsys)[:2] == (0, everything)
    assert run(ladder, capsys, "--again")[:2] == (0, everything)


def test_what_failed_is_named_with_its_error_and_run_again(ladder, capsys):
    write_notebook(ladder, "00_first", "import os\nos.kill(os.getpid(), 9)")
    write_notebook(ladder, "01_second", "raise ValueError('no luck')")
    code, executed, error = run(ladder, capsys)
    assert (code, executed) == (1, ["00_first", "01_second", "02_third"])
    assert "2 of 3 notebooks failed" in error
    assert "00_first: DeadKernelError: " in error
    assert "01_second: ValueError: no luck" in error
    assert (ladder.parent / "results" / "smoke" / "tables" / "02_third.csv").exists()
    write_notebook(ladder, "00_first")
    write_notebook(ladder, "01_second")
    assert run(ladder, capsys) == (0, executed, "")
