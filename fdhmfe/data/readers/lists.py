"""What the readers share: where a data set is, its lists, its MATLAB files, its images."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat

from fdhmfe.config.settings import Config
from fdhmfe.data.dataset import DataError, first_ten
from fdhmfe.data.fetch.sources import SOURCES
from fdhmfe.data.picture import suffixes
from fdhmfe.data.tree import is_junk
from fdhmfe.support.files import file_hash
from fdhmfe.support.places import resolve
from fdhmfe.support.progress import progress_of_many

MANY = 20_000  # images (set by hand): from here on, hashing shows its progress
Reading = tuple[list[str], pd.DataFrame]  # class names; table with path, label, split, mask


def given_folder(config: Config) -> Path:
    """The data set's official folder: `data_dir` itself, or inside it, or in any folder of it.

    If `data_dir` is missing, a DataError says how to give it.
    """
    if not config.data_dir:
        raise DataError(
            f"dataset {config.dataset!r} needs data_dir, the folder it is in "
            "(--data-dir FOLDER, make ... DATA_DIR=FOLDER, or -p data_dir FOLDER); dataset 'toy' "
            "needs none"
        )
    root = resolve(config.data_dir)
    if not root.is_dir():
        hint = f"to get the data set: fdhmfe data {config.dataset} --root {root}"
        if config.dataset == "folder":
            hint = "set it to one of <class>/<image>"
        raise DataError(f"data_dir {root} is not a folder; {hint}")
    if config.dataset not in SOURCES:
        return root
    source = SOURCES[config.dataset]
    official = root / source.folder
    places = [official, root, *sorted(root.glob(f"*/{source.folder}"))]
    whole = (place for place in places if (place / source.marker).exists())
    return next(whole, official if official.is_dir() else root)


def image_files(folder: Path) -> list[Path]:
    """Image files directly inside a folder, by name; DataError when there are none."""
    found = folder.is_dir() and sorted(
        p for p in folder.iterdir() if p.suffix.lower() in suffixes() and not is_junk(p.name)
    )
    if not found:
        raise DataError(f"{folder} holds no images")
    return found


def present(path: Path) -> Path:
    """`path` if it is a file; else DataError."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing: {path.parent} is not a complete data set; "
            "fdhmfe data NAME --root FOLDER fetches it, or says what to put where"
        )
    return path


def read_names(path: Path) -> list[str]:
    """The lines of an official list, empty ones left out; DataError if there are none."""
    lines = [line.strip() for line in present(path).read_text(encoding="utf-8").splitlines()]
    names = [line for line in lines if line]
    if not names:
        raise DataError(f"{path} is empty")
    return names


def read_pairs(path: Path, form: str, numbers: Iterable[int] = ()) -> list[list[str]]:
    """The lines "<a> <b>" of an official list, where b may hold spaces.

    `form` shows a line in the error; `numbers` are the fields (0, 1) that must be whole numbers.
    DataError names a missing file, or the first malformed line.
    """
    rows = [line.split(maxsplit=1) for line in read_names(path)]
    bad = [
        number
        for number, row in enumerate(rows, 1)
        if len(row) != 2 or not all(row[field].isdecimal() for field in numbers)
    ]
    if bad:
        raise DataError(f"{path}, line {bad[0]}: expected '{form}'")
    return rows


def read_mat(path: Path, *names: str) -> list[np.ndarray]:
    """Variables of a MATLAB file; DataError if the file or a variable is missing or unreadable."""
    present(path)
    try:
        content = loadmat(path, squeeze_me=True)
    except Exception as error:  # damaged bytes make scipy raise almost anything
        raise DataError(f"{path} cannot be read as a MATLAB file ({error})") from error
    absent = [name for name in names if name not in content]
    if absent:
        raise DataError(f"{path} has no variable {absent[0]!r}")
    return [np.atleast_1d(content[name]) for name in names]


def table_of(rows: Sequence[tuple[str, int | str, str]]) -> pd.DataFrame:
    """A table without masks from (path, label, split)."""
    return pd.DataFrame(rows, columns=["path", "label", "split"]).assign(mask="")


def by_class_name(rows: Sequence[tuple[str, str, str]], names: Path) -> Reading:
    """Reading of (path, class name, split); DataError for a class that file `names` lacks."""
    classes, table = read_names(names), table_of(rows)
    unknown = sorted(set(table.label) - set(classes))
    if unknown:
        raise DataError(f"{names} does not list {len(unknown)} classes: {first_ten(unknown)}")
    table["label"] = table.label.map({name: label for label, name in enumerate(classes)})
    return classes, table


def by_class_folder(rows: Sequence[tuple[str, int, str]]) -> Reading:
    """Reading of (path, class number, split): a class is named by its folder.

    DataError if images of one folder have several numbers, or one number has several folders.
    """
    table = table_of(rows)
    folders = table.assign(folder=table.path.str.rpartition("/")[0])[["label", "folder"]]
    folders = folders.drop_duplicates().sort_values("label")
    wrong = folders[folders.label.duplicated(False) | folders.folder.duplicated(False)]
    if len(wrong):
        pairs = [f"{row.folder} as {row.label}" for row in wrong.itertuples()]
        raise DataError(f"{len(pairs)} class folders are not one per class: {first_ten(pairs)}")
    table["label"], _ = pd.factorize(table.label, sort=True)
    return [Path(folder).name for folder in folders.folder], table


def hash_files(root: Path, paths: pd.Series) -> list[str]:
    """SHA-256 of each file; DataError naming the first ten listed twice or missing, and a count."""
    repeated = paths[paths.duplicated()].tolist()
    if repeated:
        raise DataError(f"{len(repeated)} files are listed twice: {first_ten(repeated)}")
    missing = [p for p in paths if not (root / p).is_file()]
    if missing:
        raise DataError(f"{len(missing)} images are missing below {root}: {first_ten(missing)}")
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda p: file_hash(root / p), paths)
        return list(progress_of_many(hashes, "hashing images", total=len(paths), many=MANY))
