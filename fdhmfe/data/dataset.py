"""A data set as a checked table of images, one row each, and its pixels.

A network learns from split `train`. Split `test` holds the queries, `database` the train images of
classes that a protocol keeps out of training. `unused` images are never used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fdhmfe.data.picture import Unreadable, decode, decode_mask
from fdhmfe.support.files import content_hash

COLUMNS = ("path", "label", "split", "mask", "sha256")  # path, mask: relative to the root


class DataError(ValueError):
    """Something is wrong with the files of a data set; the message names them."""


@dataclass(frozen=True)
class Dataset:
    """A checked data set. `table` has one row per image and the columns `COLUMNS`.

    `learnable`: the rows whose random crops may be asked for: those of split `train`, and of the
    data set's own train split where the protocol learns from a part of it, so that both share them.
    `retrieved`: the splits that queries are compared with.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    table: pd.DataFrame
    learnable: np.ndarray
    retrieved: tuple[str, ...] = ("train",)

    def rows(self, split: str) -> np.ndarray:
        """Table positions of a split's images, in order.

        "database": of all images that queries are compared with, those of the splits `retrieved`.
        """
        splits = self.retrieved if split == "database" else (split,)
        return np.flatnonzero(self.table.split.isin(splits))

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """Labels 0..Y-1 of the given table rows."""
        return self.table.label.to_numpy()[rows]

    def image(self, row: int) -> Image.Image:
        """The image of a table row, decoded to RGB."""
        return open_image(self.root / self.table.path.iat[row])

    def mask(self, row: int) -> np.ndarray:
        """The foreground mask (H, W) of a table row that has one."""
        return open_mask(self.root / self.table["mask"].iat[row])

    @property
    def images_hash(self) -> str:
        """Changes with the bytes or the order of the images, and with nothing else."""
        return content_hash(self.table.sha256.tolist())

    @property
    def hash(self) -> str:
        """Changes with the bytes, label or split of any image, but not with the place of files."""
        return content_hash(self.table[["label", "split", "sha256"]].to_csv(index=False))


def open_image(path: Path) -> Image.Image:
    """Decode one image to RGB (see `decode`); DataError naming the file if it cannot be read."""
    with readable(path):
        return decode(path)


def open_mask(path: Path) -> np.ndarray:
    """Foreground mask (H, W) bool: white, or palette entries 1 and 3 (official Leeds release)."""
    with readable(path):
        return decode_mask(path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Within the block, DataError naming `path` if it is no file or gives no picture."""
    try:
        if path.exists() and not path.is_file():
            raise Unreadable("it is no file")  # opening a pipe would wait for ever
        yield
    except (Unreadable, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}): replace or remove it") from error


def first_ten(names: list[str]) -> str:
    """The first ten names, joined by commas, with an ellipsis if there are more."""
    return ", ".join(map(shown, names[:10])) + (", ..." if len(names) > 10 else "")


def shown(name: str) -> str:
    r"""A file's name on one line: what cannot be printed is escaped.

    >>> print(shown("a\nb.jpg"), shown("caf\udce9.jpg"), shown("café.jpg"))
    a\nb.jpg caf\udce9.jpg café.jpg
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
