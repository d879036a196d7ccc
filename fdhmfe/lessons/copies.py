"""Executed copies of the notebooks: where they are, what they were made from, which are done."""

from collections.abc import Mapping
from itertools import dropwhile
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

from fdhmfe.lessons.notebooks import declared_parameters
from fdhmfe.support.files import content_hash, file_hash, write_text
from fdhmfe.support.places import PACKAGE


class Job(NamedTuple):
    """What all notebooks of one `reproduce` command share."""

    given: dict[str, Any]  # the parameters of the command line
    folder: Path  # of the notebooks
    output_dir: Path  # results/<profile>
    state: str  # a hash, made by `state_of` when the command starts


def state_of(places: Mapping[str, str]) -> str:
    """A hash that changes with the package's code, and with the data and weights in `places`."""
    files = (path for path in PACKAGE.rglob("*") if path.is_file())
    package = sorted(path for path in files if path.suffix != ".pyc")
    read = [Path(places[name]) for name in ("data_dir", "weights") if name in places]
    given = [f for place in read if place.exists() for f in sorted([place, *place.rglob("*")])]
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in given]
    return content_hash([file_hash(path) for path in package], stats)


def name_of(notebook: Path, job: Job) -> str:
    """What messages call a notebook: 08_train, or solutions/08_train."""
    return notebook.relative_to(job.folder).with_suffix("").as_posix()


def executed_copy(notebook: Path, job: Job) -> Path:
    return job.output_dir / "notebooks" / notebook.relative_to(job.folder)


def parameters_of(notebook: Path, job: Job) -> dict[str, Any]:
    declared = declared_parameters(notebook)
    return {name: value for name, value in job.given.items() if name in declared}


def out_of_date(notebooks: list[Path], job: Job) -> list[Path]:
    """The first notebook that is not done and all after it, which may read what it writes."""
    return list(dropwhile(lambda notebook: is_done(notebook, job), notebooks))


def is_done(notebook: Path, job: Job) -> bool:
    """Whether the executed copy is whole and not outdated, and the files it wrote still exist."""
    try:
        copy = nbformat.read(executed_copy(notebook, job), as_version=4)
    except (OSError, ValueError):  # absent, or cut short
        return False
    known = copy.metadata.get("fdhmfe", {})
    if known.get("made_from") != origin(notebook, job):
        return False
    return all((job.output_dir / name).exists() for name in known["wrote"])


def origin(notebook: Path, job: Job) -> str:
    """A hash that changes with the notebook, its parameters and the job's state."""
    return content_hash(file_hash(notebook), parameters_of(notebook, job), job.state)


def written_since(moment: float, output_dir: Path) -> list[str]:
    """Tables, figures and runs below the folder that changed after `moment` (Unix seconds).

    They include what another notebook wrote meanwhile: if that is missing later, both run again.
    """
    patterns = ("tables/[!.]*", "figures/[!.]*", "runs/*/metrics.csv")
    files = [path for pattern in patterns for path in output_dir.glob(pattern)]
    return sorted(
        path.relative_to(output_dir).as_posix() for path in files if path.stat().st_mtime >= moment
    )


def record(output: Path, made_from: str, wrote: list[str]) -> None:
    """Note in an executed notebook what it was made from and what it wrote."""
    copy = nbformat.read(output, as_version=4)
    copy.metadata["fdhmfe"] = {"made_from": made_from, "wrote": wrote}
    write_text(output, nbformat.writes(copy))
