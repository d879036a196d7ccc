"""A folder of your own pictures, a subfolder for each class: it is checked, and encoded."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fdhmfe.codes import blocks, code_bytes
from fdhmfe.data.dataset import DataError, first_ten
from fdhmfe.data.readers.folder import SPLITS, read_pictures
from fdhmfe.encoding.album import Album
from fdhmfe.encoding.trained import BATCH, TrainedRun
from fdhmfe.support.files import file_hash
from fdhmfe.support.progress import progress


class FolderReport(NamedTuple):
    """What a folder of pictures holds. Paths are relative to the folder."""

    root: Path
    pictures: tuple[str, ...]  # those that can be read, without copies
    unreadable: tuple[str, ...]
    copies: tuple[str, ...]  # of pictures that come earlier in the folder
    others: tuple[str, ...] = ()  # what else is left out, one line for each reason

    @property
    def classes(self) -> np.ndarray:
        """The class of each picture."""
        return class_names(np.array(self.pictures))

    def __str__(self) -> str:
        lines = [f"{len(self.pictures)} pictures in {len(set(self.classes))} classes"]
        for what, names in (("unreadable", self.unreadable), ("copies", self.copies)):
            if names:
                lines.append(f"left out, {what}: {len(names)} ({first_ten(list(names))})")
        return "\n".join([*lines, *(f"left out, {line}" for line in self.others)])


def class_names(pictures: np.ndarray) -> np.ndarray:
    """The classes of pictures, by the folder they are in: below the folder of a split, if any."""
    parts = [str(name).split("/") for name in pictures.flat]
    below = [part[1:] if len(part) > 2 and part[0].lower() in SPLITS else part for part in parts]
    return np.array([part[0] for part in below]).reshape(pictures.shape)


def check_folder(root: Path) -> FolderReport:
    """Decode every picture of <root>/<class>/<image>; DataError if none can be read."""
    table, unreadable, findings = read_pictures(root)
    if not len(table) + len(unreadable):
        raise DataError(f"{root} holds no class folders: put pictures in {root}/<class>/<image>")
    if not len(table):
        raise DataError(f"none of the {len(unreadable)} pictures below {root} can be read")
    first = ~table.sha256.duplicated()
    others = tuple(f.told() for f in findings)
    return FolderReport(
        root, tuple(table.path[first]), tuple(unreadable), tuple(table.path[~first]), others
    )


def encode_folder(run: TrainedRun, report: FolderReport) -> Album:
    """Encode the readable pictures of a checked folder with a run's network."""
    names = report.pictures
    parts = [names[rows] for rows in blocks(len(names), BATCH)]
    codes = [
        code_bytes(run.encode([report.root / name for name in part]))
        for part in progress(parts, "encoding")
    ]
    hashes = np.array([file_hash(report.root / name) for name in names])
    return Album(np.array(names), np.concatenate(codes), hashes, run.config.bits, run.model_id)


def write_sample(run: TrainedRun, folder: Path, *, classes: int = 6, pictures: int = 7) -> None:
    """Fill a folder with some of the run's own queries, on which it was not trained."""
    data = run.inputs.dataset
    rows = data.rows("test")
    labels = data.labels(rows)
    for label in np.unique(labels)[:classes]:  # neighbours in the list of names often look alike
        target = folder / data.classes[label]
        target.mkdir(parents=True)
        for path in data.table.path.iloc[rows[labels == label][:pictures]]:
            shutil.copyfile(data.root / path, target / Path(path).name)
