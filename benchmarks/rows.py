"""What all benchmarks share: their options, a process of one's own, and the table they write."""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the kit need not be installed


def parser(description, name):
    """A parser of command lines that knows --out, by default results/benchmarks/<name>.csv."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--out", type=Path, default=ROOT / f"results/benchmarks/{name}.csv")
    return made


def in_own_process(threads, function, *arguments):
    """What the function returns, called in a new process on that many threads."""
    from fdhmfe.support.processes import end_with_parent  # found from here on

    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by the process below
    # spawn: a forked process would keep this one's threads
    with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as process:
        return process.submit(function, *arguments).result()


def kill_server(folder):
    """SIGKILL to all processes of the PostgreSQL that serves a folder."""
    kill_whole(int((folder / "data/postmaster.pid").read_text().split()[0]))


def kill_whole(number):
    """SIGKILL to a process and all that it has started."""
    process = psutil.Process(number)
    every = [process, *process.children(recursive=True)]
    for each in every:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(every)


def load_average():
    """Processes that want a core now, averaged over the last minute: what else the machine does."""
    return round(os.getloadavg()[0], 1)


def write_rows(path, rows):
    """Write rows (dicts with the same keys) as CSV, making the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)
