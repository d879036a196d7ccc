"""Run the ordered notebooks headless: python -m fdhmfe.reproduce --help.

Executed copies go to results/<profile>/notebooks; a failing notebook is kept there with its
traceback, and the notebooks after it that need nothing from it still run.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config as KernelConfig

from fdhmfe import config
from fdhmfe.config import REPOSITORY
from fdhmfe.lesson import NOTEBOOKS, declared_parameters

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
    failed = [name_of(path) for path in notebooks if not execute(path, given, settings.output_dir)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
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


def execute(notebook: Path, given: dict[str, Any], output_dir: Path) -> bool:
    """Execute one notebook with the parameters it declares; False if a cell failed."""
    declared = declared_parameters(notebook)
    parameters = {name: value for name, value in given.items() if name in declared}
    output = output_dir / "notebooks" / notebook.relative_to(NOTEBOOKS)
    output.parent.mkdir(parents=True, exist_ok=True)
    name = name_of(notebook)
    print(f"{name} ...", flush=True)
    started = time.perf_counter()
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            cwd=str(REPOSITORY),
            iopub_timeout=300,  # a busy machine may be silent for longer than the default, 4 s
            # A pipe instead of TCP ports: no clash between kernels, nothing listens on a network.
            config=KernelConfig({"KernelManager": {"transport": "ipc"}}),
        )
    except PapermillExecutionError as error:
        print(f"{name} failed: {error.ename}: {error.evalue}\nsee {output}", flush=True)
        return False
    except (CellTimeoutError, DeadKernelError) as error:  # such as a kernel killed for memory
        print(f"{name} failed: {error}\nsee {output}", flush=True)
        return False
    print(f"{name} {time.perf_counter() - started:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
