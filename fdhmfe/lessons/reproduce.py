"""Run the numbered notebooks headless, two at a time (one at a time with fine-tuning).

If two notebooks need the same run, one makes it and the other waits. Executed copies go to
results/<profile>/notebooks. A notebook that fails is kept there with its traceback, and the others
still run. The next command starts at the first notebook that is missing, failed or out of date.
"""

import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import chdir, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import papermill
import psutil
import zmq
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config as KernelConfig

from fdhmfe.config.settings import PATHS, load
from fdhmfe.lessons.copies import (
    Job,
    executed_copy,
    name_of,
    origin,
    out_of_date,
    parameters_of,
    record,
    state_of,
    written_since,
)
from fdhmfe.lessons.notebooks import NOTEBOOKS, all_parameters, chosen, ordered_notebooks
from fdhmfe.support.files import writing
from fdhmfe.support.places import REPOSITORY, home, suggest
from fdhmfe.support.progress import left

GATHERS = "tables"  # the notebook that reads all runs of those before it


def reproduce(
    given: Mapping[str, Any], only: Collection[str], *, solutions: bool, again: bool
) -> int:
    """Run the notebooks with the settings `given`; returns the exit code.

    only: numbers or names of some; empty: all. One that is done is skipped, unless `again` is set
    or `only` has it. Raises ValueError for a setting, a number or a name that no notebook has.
    """
    settings = load(**given)
    notebooks = chosen(ordered_notebooks(NOTEBOOKS), only)
    if solutions:
        notebooks += chosen(ordered_notebooks(NOTEBOOKS / "solutions"), only)
    taken = all_parameters(notebooks)
    for name in given:
        if name not in taken:
            raise ValueError(f"no notebook here has a parameter {name!r}{suggest(name, taken)}")
    places = {name: getattr(settings, name) for name in PATHS if given.get(name)}
    job = Job({**given, **places}, NOTEBOOKS, settings.output_dir, state_of(places))
    # OpenMP threads that spin while they wait slow down other kernels on the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    os.environ["FDHMFE_HOME"] = str(home())
    todo = notebooks if only or again else out_of_date(notebooks, job)
    if len(todo) < len(notebooks):
        print(f"{len(notebooks) - len(todo)} notebooks are done; --again runs them too")
    with chdir(home()):  # where kernels start
        at_once = 1 if settings.trainable == "all" else 2  # two may not fit on a GPU
        return run_all(todo, job, at_once)


def run_all(notebooks: list[Path], job: Job, at_once: int) -> int:
    """Run notebooks, then say which failed and why; returns the exit code."""
    failed: dict[Path, str] = {}
    started, done = time.perf_counter(), 0
    with ThreadPoolExecutor(at_once) as pool:
        for step in steps(notebooks):
            running = {pool.submit(execute, path, job): path for path in step}
            with ended_with_this(pool, running):
                for future in as_completed(running):
                    done, path, error = done + 1, running[future], future.result()
                    rest = left(time.perf_counter() - started, done, len(notebooks))
                    say(f"[{done}/{len(notebooks)}{rest}] {name_of(path, job)} {error or 'done'}")
                    if error:
                        failed[path] = error
    if failed:
        print(f"{len(failed)} of {len(notebooks)} notebooks failed:", file=sys.stderr)
        for path in sorted(failed):
            print(f"  {name_of(path, job)}: {failed[path]}", file=sys.stderr)
            print(f"  see {executed_copy(path, job)}", file=sys.stderr)
    return 1 if failed else 0


def steps(notebooks: list[Path]) -> list[list[Path]]:
    """The notebooks in order, as lists of those that may run at the same time.

    The notebook that gathers all runs has a list of its own: those before it must have ended.
    """
    return [list(step) for _, step in groupby(notebooks, key=lambda p: p.stem[3:] == GATHERS)]


@contextmanager
def ended_with_this(pool: ThreadPoolExecutor, running: Collection[Future]) -> Iterator[None]:
    """If the block is interrupted, also end the kernels and the processes they have started."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        while any(future.running() for future in running):  # one may be starting its kernel
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.2)
        raise


def say(text: str) -> None:
    """Print a line in one piece, because other threads print, too."""
    print(f"{text}\n", end="", flush=True)


def execute(notebook: Path, job: Job) -> str:
    """Execute one notebook with the parameters it declares; returns the error, or "".

    The executed copy notes what it was made from and which files it wrote.
    """
    output, name = executed_copy(notebook, job), name_of(notebook, job)
    started = time.time()
    try:
        say(f"{name} ...")
        made_from = origin(notebook, job)
        with writing(output), kernel_address() as address:
            output.parent.mkdir(parents=True, exist_ok=True)
            papermill.execute_notebook(
                str(notebook),
                str(output),
                parameters=parameters_of(notebook, job),
                kernel_name="python3",
                progress_bar=False,
                stdout_file=Labelled(name, sys.stdout),
                stderr_file=Labelled(name, sys.stderr),
                iopub_timeout=300,  # the default, 4 s, is too short on a busy machine
                config=KernelConfig({"KernelManager": address}),
            )
            record(output, made_from, written_since(started, job.output_dir))
    except PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    except Exception as error:  # a kernel died, or the disk is full: others may succeed
        return f"{type(error).__name__}: {error}"
    return ""


@contextmanager
def kernel_address() -> Iterator[dict[str, str]]:
    """Where a kernel listens: at sockets in a folder of its own, so no other kernel can take them.

    At ports of its own choice (TCP) where the system has no such sockets, or where their paths
    would be longer than it allows.
    """
    with TemporaryDirectory() as folder:
        fits = len(os.fsencode(f"{folder}/k-5")) <= zmq.IPC_PATH_MAX_LEN  # the last of five sockets
        yield {"transport": "ipc", "ip": f"{folder}/k"} if fits else {}


class Labelled:
    """A stream that puts a name before each line, because two notebooks print at a time."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name, self.stream = name, stream

    def write(self, text: str) -> None:
        self.stream.write("".join(f"{self.name}: {line}\n" for line in text.splitlines()))

    def flush(self) -> None:
        self.stream.flush()
