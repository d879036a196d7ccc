"""What an explorer shows of a finished run: codes, labels, kept cells and thumbnails.

Letters: M images (the Q queries first, then the database), K bits, L stages, G squares per side of
the map of kept cells.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fdhmfe.codes import blocks, code_bytes
from fdhmfe.encoding.trained import BATCH, TrainedRun
from fdhmfe.figures.names import readable
from fdhmfe.runs import results
from fdhmfe.support.progress import progress

SIDE = 112  # pixels of a thumbnail's longer side


@dataclass(frozen=True)
class Gallery:
    """What an explorer shows of M images. The first `queries` of them are the queries."""

    title: str
    classes: tuple[str, ...]  # (Y,)
    names: tuple[str, ...]  # (M,) file names
    labels: np.ndarray  # (M,)
    queries: int
    bits: int
    codes: np.ndarray  # (M, ceil(K / 8)) uint8, as `code_bytes` makes them
    stages: int  # L, 0 where the network keeps no regions
    kept: np.ndarray  # (M, G, G) uint8: bit l is set where stage l keeps the square
    thumbnails: tuple[bytes, ...]  # (M,) WebP

    def as_json(self) -> dict[str, Any]:
        """The gallery as plain values, its bytes in base64: what explorer.js reads."""
        return {
            **vars(self),
            "labels": self.labels.tolist(),
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
        bits=codes.shape[1],
        codes=code_bytes(codes),
        stages=run.config.stages if kept.size else 0,
        kept=kept,
        thumbnails=tuple(thumbnail(data.image(row)) for row in progress(rows, "thumbnails")),
    )


def thumbnail(image: Image.Image) -> bytes:
    """The image as WebP, its longer side at most SIDE pixels."""
    small, buffer = image.copy(), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(buffer, "WEBP", quality=65)
    return buffer.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
