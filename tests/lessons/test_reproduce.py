"""The ladder of notebooks as a list of jobs: what is done is skipped, what failed is named."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat import v4

from fdhmfe.__main__ import main
from fdhmfe.lessons import reproduce
from fdhmfe.support.places import REPOSITORY

pytestmark = pytest.mark.slow  # notebooks

WRITES = """
from pathlib import Path
path = Path(results_dir) / "smoke" / "tables" / "{name}.csv"
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text("1")
"""


def write_notebook(folder: Path, name: str, source: str = WRITES) -> None:
    declared = 'profile: str = ""\nresults_dir: str = ""'
    parameters = v4.new_code_cell(declared, metadata={"tags": ["parameters"]})
    cells = [parameters, v4.new_code_cell(source.replace("{name}", name))]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")


@pytest.fixture
def ladder(tmp_path, monkeypatch) -> Path:
    """Three notebooks that run one after the other: `tables` has none beside it."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("00_first", "09_tables", "10_third"):
        write_notebook(folder, name)
    monkeypatch.setattr(reproduce, "NOTEBOOKS", folder)
    return folder


def run(ladder: Path, capsys, *more: str) -> tuple[int, list[str], str]:
    """Exit code, the notebooks executed, and what was said on stderr."""
    results = str(ladder.parent / "results")
    code = main(["reproduce", "--profile", "smoke", "--results-dir", results, *more])
    said = capsys.readouterr()
    lines = [line for line in said.out.splitlines() if line.endswith(" ...")]
    return code, [line.removesuffix(" ...") for line in lines], said.err


def test_what_is_done_is_skipped_until_something_it_rests_on_changes(ladder, capsys):
    everything = ["00_first", "09_tables", "10_third"]
    assert run(ladder, capsys)[:2] == (0, everything)
    assert run(ladder, capsys)[:2] == (0, [])
    assert run(ladder, capsys, "--only", "09")[:2] == (0, ["09_tables"])
    assert run(ladder, capsys, "--only", "third", "00")[:2] == (0, ["00_first", "10_third"])
    (ladder.parent / "results" / "smoke" / "tables" / "09_tables.csv").unlink()
    assert run(ladder, capsys)[:2] == (0, everything[1:])
    write_notebook(ladder, "10_third", WRITES + "\n# edited")
    assert run(ladder, capsys)[:2] == (0, ["10_third"])
    copy = ladder.parent / "results" / "smoke" / "notebooks" / "00_first.ipynb"
    copy.write_bytes(copy.read_bytes()[:300])  # cut short by a crash
    assert run(ladder, capsys)[:2] == (0, everything)
    assert run(ladder, capsys, "--again")[:2] == (0, everything)


def test_what_failed_is_named_with_its_error_and_run_again(ladder, capsys):
    write_notebook(ladder, "00_first", "import os\nos.kill(os.getpid(), 9)")
    write_notebook(ladder, "09_tables", "raise ValueError('no luck')")
    code, executed, error = run(ladder, capsys)
    assert (code, executed) == (1, ["00_first", "09_tables", "10_third"])
    assert "2 of 3 notebooks failed" in error
    assert "00_first: DeadKernelError: " in error
    assert "09_tables: ValueError: no luck" in error
    assert (ladder.parent / "results" / "smoke" / "tables" / "10_third.csv").exists()
    write_notebook(ladder, "00_first")
    write_notebook(ladder, "09_tables")
    assert run(ladder, capsys) == (0, executed, "")


@pytest.mark.parametrize("length", [40, 90, 108, 200])
def test_notebooks_run_however_long_the_path_of_the_temporary_folder(
    ladder, capsys, tmp_path, monkeypatch, length
):
    place = Path(
        "/tmp" if os.name == "posix" else tmp_path, f"fdhmfe-{os.getpid()}-".ljust(length, "x")
    )
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    assert run(ladder, capsys) == (0, ["00_first", "09_tables", "10_third"], "")
    assert not list(place.iterdir())
    place.rmdir()


ALONE = """
import time
from pathlib import Path
busy = Path(results_dir) / "busy"
busy.parent.mkdir(exist_ok=True)
busy.touch(exist_ok=False)
time.sleep(3)
busy.unlink()
"""
MEETS = """
import time
from pathlib import Path
met = Path(results_dir) / "{name}"
met.parent.mkdir(exist_ok=True)
met.touch()
for _ in range(600):
    if met.with_name("{other}").exists():
        break
    time.sleep(0.05)
else:
    raise TimeoutError("alone for half a minute")
"""


@pytest.mark.parametrize(
    ("profile", "first", "second"),
    [
        ("smoke", MEETS.replace("{other}", "01_second"), MEETS.replace("{other}", "00_first")),
        ("paper", ALONE, ALONE),
    ],
)
def test_two_run_at_once_but_one_where_backbones_are_tuned(ladder, profile, first, second):
    write_notebook(ladder, "00_first", first)
    write_notebook(ladder, "01_second", second)
    results = str(ladder.parent / "results")
    wanted = ["--profile", profile, "--results-dir", results, "--only", "00", "01"]
    assert main(["reproduce", *wanted]) == 0


def test_none_runs_beside_the_tables_over_all_runs():
    names = ["00_a", "08_b", "11_tables", "12_d", "14_e", "solutions/00_a", "solutions/11_tables"]
    steps = reproduce.steps([Path(name) for name in names])
    assert [list(map(str, step)) for step in steps] == [
        names[:2],
        names[2:3],
        names[3:6],
        names[6:],
    ]


SWEEPS = """
import os, sys, time
from joblib import delayed
from pathlib import Path
from fdhmfe.runs.sweep import engine
sys.stdout.write("no end of line")
notes = Path(results_dir).with_name("processes")

def work(seconds):
    new = notes.with_suffix(".new")
    new.write_text(f"{os.getppid()} {os.getpid()}")
    new.rename(notes)
    time.sleep(seconds)

with engine(2, None) as parallel:
    list(parallel([delayed(work)(600)]))
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_what_ends_the_command_ends_kernels_and_keeps_what_is_done(ladder, capsys, by):
    write_notebook(ladder, "09_tables", SWEEPS)
    notes, results = ladder.parent / "processes", str(ladder.parent / "results")
    code = (
        "import pathlib, signal, sys; from fdhmfe.lessons import reproduce; "
        "from fdhmfe.__main__ import main; "
        # Behind `&` in a script, commands and all they start ignore interrupts.
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"reproduce.NOTEBOOKS = pathlib.Path({str(ladder)!r}); "
        f"sys.exit(main(['reproduce', '--profile', 'smoke', '--results-dir', {results!r}]))"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with open(ladder.parent / "said", "w+") as said:
        command = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            wait_until(notes.exists)
            command.send_signal(by)
            assert command.wait(timeout=30) == (130 if by == signal.SIGINT else -by)
        finally:
            command.kill()
        said.seek(0)
        lines = said.read().splitlines()
    if by == signal.SIGINT:
        assert "09_tables: no end of line" in lines
        assert lines[-1] == "interrupted; what is finished is kept: give the command again"
    wait_until(lambda: all(has_ended(int(number)) for number in notes.read_text().split()))
    write_notebook(ladder, "09_tables")
    assert run(ladder, capsys)[:2] == (0, ["09_tables", "10_third"])


def has_ended(number: int) -> bool:
    """Whether there is no process of this number, or one that only waits to be noticed dead."""
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
