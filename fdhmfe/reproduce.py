"""Run the ordered notebooks headless: python -m fdhmfe.reproduce --help.

Executed copies go to results/<profile>/notebooks; a failing notebook is kept there with its
traceback, and the notebooks after it that need nothing from it still run. Started again, the
command skips the notebooks before the first that is missing, failed or out of date.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config as KernelConfig

from fdhmfe import config
from fdhmfe.config import REPOSITORY, resolve
from fdhmfe.files import atomic, content_hash, file_hash, writing
from fdhmfe.lesson import NOTEBOOKS, declared_parameters
from fdhmfe.progress import left

CHOICES = ("profile", "dataset", "data_dir", "weights", "backbone", "results_dir")


def main(arguments: list[str] | None = None) -> int:
    """Run the notebooks the command line asks for; returns the exit code."""
    options = parse(arguments)
    given = {name: getattr(options, name) for name in CHOICES if getattr(options, name)}
    try:
        settings = config.load(**given)
        notebooks = [path for path in ordered_notebooks() if selected(path, options.only)]
        if options.solutions:
            notebooks += [path for path in solutions() if selected(path, options.only)]
    except ValueError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    # Spinning OpenMP threads slow each other down where kernels share few cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    job = Job(given, settings.output_dir, state_of(given))
    todo = notebooks
    if not (options.only or options.again):
        todo = out_of_date(notebooks, job)
        if len(todo) < len(notebooks):
            print(f"{len(notebooks) - len(todo)} notebooks are done; --again runs them too")
    return run_all(todo, job)


class Job(NamedTuple):
    """What all notebooks of one command share."""

    given: dict[str, Any]  # the parameters of the command line
    output_dir: Path  # results/<profile>
    state: str  # of the package, the data and the weights when the command started: `state_of`


def state_of(given: dict[str, Any]) -> str:
    """Changes with the package, and with the data and weights given."""
    package = sorted(path for path in Path(__file__).parent.iterdir() if path.is_file())
    places = [resolve(given[name]) for name in ("data_dir", "weights") if name in given]
    files = [f for place in places if place.exists() for f in sorted([place, *place.rglob("*")])]
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return content_hash([file_hash(path) for path in package], stats)


def run_all(notebooks: list[Path], job: Job) -> int:
    """Run notebooks one after the other, then say which failed and why; returns the exit code."""
    failed: dict[str, str] = {}
    started = time.perf_counter()
    for done, path in enumerate(notebooks):
        rest = left(time.perf_counter() - started, done, len(notebooks))
        print(f"[{done + 1}/{len(notebooks)}{rest}] {name_of(path)} ...", flush=True)
        error = execute(path, job)
        if error:
            failed[name_of(path)] = error
            print(f"{name_of(path)} failed: {error}", flush=True)
    if failed:
        print(f"{len(failed)} of {len(notebooks)} notebooks failed:", file=sys.stderr)
        for name, error in failed.items():
            copy = job.output_dir / "notebooks" / f"{name}.ipynb"
            print(f"  {name}: {error}\n  see {copy}", file=sys.stderr)
    return 1 if failed else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line as options; unset ones are None."""
    parser = argparse.ArgumentParser(prog="python -m fdhmfe.reproduce", description=__doc__)
    parser.add_argument("--profile", default="quick", help="smoke, quick, laptop or paper")
    parser.add_argument("--dataset", help=", ".join(config.DATASETS))
    parser.add_argument("--data-dir", help="folder that holds the data set")
    parser.add_argument("--weights", help="backbone weights, .safetensors or .pth")
    parser.add_argument("--backbone", help="embedded, a torchvision name, or timm/NAME")
    parser.add_argument("--results-dir", help="where results/<profile> goes")
    parser.add_argument("--only", nargs="+", metavar="NN", help="numbers, such as 06 09")
    parser.add_argument(
        "--solutions", action="store_true", help="also the solutions of their exercises, afterwards"
    )
    parser.add_argument(
        "--again", action="store_true", help="run notebooks that are done, too (as --only does)"
    )
    return parser.parse_args(arguments)


def ordered_notebooks() -> list[Path]:
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def solutions() -> list[Path]:
    return sorted((NOTEBOOKS / "solutions").glob("[0-9][0-9]_*.ipynb"))


def name_of(notebook: Path) -> str:
    """06_train, or solutions/06_train."""
    return notebook.relative_to(NOTEBOOKS).with_suffix("").as_posix()


def selected(notebook: Path, only: list[str] | None) -> bool:
    """True if the notebook's number is asked for; ValueError for a number there is none of."""
    numbers = [path.name[:2] for path in ordered_notebooks()]
    unknown = sorted(set(only or []) - set(numbers))
    if unknown:
        raise ValueError(f"there is no notebook {unknown[0]}; there are {', '.join(numbers)}")
    return not only or notebook.name[:2] in only


def execute(notebook: Path, job: Job) -> str:
    """Execute one notebook with the parameters it declares; returns what went wrong, if anything.

    The executed copy gets a record of what it was made from and which files it wrote.
    """
    output = executed_copy(notebook, job)
    made_from = origin(notebook, job)
    started = time.time()
    try:
        with writing(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            papermill.execute_notebook(
                str(notebook),
                str(output),
                parameters=parameters_of(notebook, job),
                kernel_name="python3",
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                cwd=str(REPOSITORY),
                iopub_timeout=300,  # a busy machine may be silent for longer than the default, 4 s
                # A pipe instead of TCP ports: no clash between kernels, no port listens.
                config=KernelConfig({"KernelManager": {"transport": "ipc"}}),
            )
            record(output, made_from, written_since(started, job.output_dir))
    except PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    except Exception as error:  # a kernel that died, a full disk: the next notebook may do better
        return f"{type(error).__name__}: {error}"
    print(f"{name_of(notebook)} {time.time() - started:.0f} s", flush=True)
    return ""


def executed_copy(notebook: Path, job: Job) -> Path:
    return job.output_dir / "notebooks" / notebook.relative_to(NOTEBOOKS)


def parameters_of(notebook: Path, job: Job) -> dict[str, Any]:
    declared = declared_parameters(notebook)
    return {name: value for name, value in job.given.items() if name in declared}


def out_of_date(notebooks: list[Path], job: Job) -> list[Path]:
    """The first notebook that is not done, and those after it, which may read what it writes."""
    for position, notebook in enumerate(notebooks):
        if not is_done(notebook, job):
            return notebooks[position:]
    return []


def is_done(notebook: Path, job: Job) -> bool:
    """Whether the executed copy is whole, of today's inputs, and what it wrote is still there."""
    try:
        copy = nbformat.read(executed_copy(notebook, job), as_version=4)
    except (OSError, ValueError):  # absent, or cut short
        return False
    known = copy.metadata.get("fdhmfe", {})
    if known.get("made_from") != origin(notebook, job):
        return False
    return all((job.output_dir / name).exists() for name in known["wrote"])


def origin(notebook: Path, job: Job) -> str:
    """Changes with the notebook, its parameters, and what all notebooks rest on."""
    return content_hash(file_hash(notebook), parameters_of(notebook, job), job.state)


def written_since(moment: float, output_dir: Path) -> list[str]:
    """Tables, figures and runs that changed after `moment` (Unix seconds), below the folder."""
    patterns = ("tables/[!.]*", "figures/[!.]*", "runs/*/metrics.csv")
    files = [path for pattern in patterns for path in output_dir.glob(pattern)]
    return sorted(
        path.relative_to(output_dir).as_posix() for path in files if path.stat().st_mtime >= moment
    )


def record(output: Path, made_from: str, wrote: list[str]) -> None:
    """Note in an executed notebook what it was made from and what it wrote."""
    copy = nbformat.read(output, as_version=4)
    copy.metadata["fdhmfe"] = {"made_from": made_from, "wrote": wrote}
    with atomic(output) as partial:
        partial.write_text(nbformat.writes(copy), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
