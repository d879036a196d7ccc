"""An album: the codes of a folder of pictures, and what made them. It is searched, saved, read.

It is NumPy arrays in one file, which is enough for some hundred thousand pictures.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fdhmfe.codes import nearest
from fdhmfe.encoding.trained import TrainedRun
from fdhmfe.runs.results import write_npz


class Album(NamedTuple):
    """Packed codes of M pictures, and the model that made them."""

    names: np.ndarray  # (M,) relative to the folder
    codes: np.ndarray  # (M, ceil(K / 8)) uint8, as `code_bytes` makes them
    hashes: np.ndarray  # (M,) SHA-256 of each file, in hexadecimal
    bits: int
    model_id: str

    def search(self, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest pictures of each query: positions and Hamming distances, both (Q, k).

        codes: packed, (Q, ceil(K / 8)). Pictures at equal distances come in the album's order.
        """
        return nearest(codes, self.codes, k)

    def without(self, content: str) -> "Album":
        """The album without pictures of this SHA-256."""
        kept = self.hashes != content
        return self._replace(
            names=self.names[kept], codes=self.codes[kept], hashes=self.hashes[kept]
        )

    def save(self, path: Path) -> None:
        """Write the whole album to one .npz file, atomically."""
        write_npz(path, self._asdict())


def load_album(path: Path, run: TrainedRun) -> Album:
    """Read an album. Raises FileNotFoundError; ValueError if it is damaged or another model's."""
    try:
        with np.load(path) as stored:
            names, codes, hashes, bits, made_by = (stored[name] for name in Album._fields)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive raises anything
        raise ValueError(f"{path} is no album or damaged ({error}): encode again") from error
    if str(made_by) != run.model_id:
        raise ValueError(
            f"{path} was encoded by another model ({int(bits)} bits): {run.folder.name} cannot "
            "use its codes; encode the folder again, or open the run that made it"
        )
    return Album(names, codes, hashes, int(bits), str(made_by))
