"""What an explorer shows: codes and thumbnails, and of a finished run also labels and kept cells.

Letters: M images, K bits, L stages, G squares per side of the map of kept cells.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fdhmfe.codes import blocks, code_bytes
from fdhmfe.data.dataset import open_image, shown
from fdhmfe.encoding.neighbours import encoded
from fdhmfe.encoding.trained import BATCH, TrainedRun
from fdhmfe.figures.names import readable
from fdhmfe.runs import results
from fdhmfe.support.progress import progress

SIDE = 112  # pixels of a thumbnail's longer side
LARGEST = 10_000  # set by hand: pictures of an album that one page holds, at most


@dataclass(frozen=True)
class Gallery:
    """What an explorer shows of M images: the first are queries, the last are the database."""

    title: str
    classes: tuple[str, ...]  # (Y,)
    names: tuple[str, ...]  # (M,) file names
    labels: np.ndarray | None  # (M,)
    queries: int  # so many
    database: int  # where it begins: at 0 if every query is in it too
    bits: int
    codes: np.ndarray  # (M, ceil(K / 8)) uint8, as `code_bytes` makes them
    stages: int  # L, 0 where the network keeps no regions
    kept: np.ndarray  # (M, G, G) uint8: bit l is set where stage l keeps the square
    thumbnails: tuple[bytes, ...]  # (M,) WebP

    def as_json(self) -> dict[str, Any]:
        """The gallery as plain values, its bytes in base64: what explorer.js reads."""
        return {
            **vars(self),
            "labels": None if self.labels is None else self.labels.tolist(),
            "codes": text(self.codes.tobytes()),
            "side": self.kept.shape[1],
            "kept": text(self.kept.tobytes()),
            "thumbnails": [text(image) for image in self.thumbnails],
        }


def build_gallery(run: TrainedRun) -> Gallery:
    """Collect the run's stored codes; compute kept cells and thumbnails of the same images."""
    stored, data = results.read_codes(run.folder), run.inputs.dataset
    query, database = data.rows("test"), data.rows("database")
    rows = np.concatenate([query, database])
    parts = (rows[part] for part in blocks(len(rows), BATCH))
    kept = np.concatenate([run.kept(run.row_maps(part)) for part in parts])
    codes = np.concatenate([stored["query_codes"], stored["database_codes"]])
    return Gallery(
        title=run.protocol,
        classes=tuple(map(readable, data.classes)),
        names=tuple(Path(path).name for path in data.table.path.iloc[rows]),
        labels=data.labels(rows),
        queries=len(query),
        database=len(query),
        bits=codes.shape[1],
        codes=code_bytes(codes),
        stages=run.config.stages if kept.size else 0,
        kept=kept,
        thumbnails=tuple(thumbnail(data.image(row)) for row in progress(rows, "thumbnails")),
    )


def album_gallery(folder: Path, model: TrainedRun) -> Gallery:
    """Collect the codes and thumbnails of a folder's pictures, which need no labels.

    The codes are those of `encoded`. Raises ValueError for more than LARGEST pictures.
    """
    root, album = encoded(folder, model)
    count = len(album.names)
    if count > LARGEST:
        raise ValueError(
            f"{folder} holds {count} pictures, and a page holds {LARGEST} at most: name a "
            "subfolder, or ask fdhmfe search, which takes any number"
        )
    pictures = (open_image(root / name) for name in progress(album.names, "thumbnails"))
    return Gallery(
        title=f"{shown(root.name)}; codes by {model.protocol}",
        classes=(),
        names=tuple(map(shown, album.names)),
        labels=None,
        queries=count,
        database=0,
        bits=album.bits,
        codes=album.codes,
        stages=0,
        kept=np.zeros((count, 0, 0), np.uint8),
        thumbnails=tuple(map(thumbnail, pictures)),
    )


def thumbnail(image: Image.Image) -> bytes:
    """The image as WebP, its longer side at most SIDE pixels."""
    small, buffer = image.copy(), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(buffer, "WEBP", quality=65)
    return buffer.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
