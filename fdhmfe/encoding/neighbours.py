"""From one photograph to the pictures of an album that are nearest to it.

An album is any folder of pictures, without labels. Its codes are kept, so that a second question is
answered at once. A folder OUT holds the answer:

    OUT/neighbours.png          a contact sheet: the photograph, then its neighbours
    OUT/neighbours.json, .csv   rank, name, distance in bits
"""

from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fdhmfe.codes import code_bytes, whole_bytes
from fdhmfe.config.settings import Config
from fdhmfe.data.dataset import open_image
from fdhmfe.encoding.album import Album
from fdhmfe.encoding.encode import finish, gauge, work
from fdhmfe.encoding.job import hashes_of, plan, read_identity, read_shards
from fdhmfe.encoding.trained import TrainedRun, open_run
from fdhmfe.encoding.untrained import open_untrained
from fdhmfe.figures import frames
from fdhmfe.runs.results import write_csv
from fdhmfe.support.files import atomic, content_hash, file_hash, locked, write_json
from fdhmfe.support.places import home

SHARD = 256  # pictures per shard: what a killed job can lose
COLUMNS = 5  # tiles per row of a contact sheet


class Answer(NamedTuple):
    """The pictures of an album that are nearest to a photograph."""

    photo: Path
    root: Path  # of the album
    table: pd.DataFrame  # rank, name, distance: the nearest first, equally near ones by name
    bits: int
    model: str  # what made the codes, in words
    copies: int  # pictures of the album that are the photograph itself; they are left out
    out: Path  # where the answer is written

    def __str__(self) -> str:
        lines = [f"{self.model}, distances in bits", self.table.to_string(index=False)]
        if self.copies:
            lines.append(f"left out: {self.copies} copies of the photograph itself")
        return "\n".join([*lines, f"{self.out / 'neighbours.png'}, .json, .csv"])


def open_model(
    run: str,
    folder: Path,
    *,
    data_dir: str = "",
    weights: str = "",
    backbone: str = "",
    bits: int | None = None,
) -> TrainedRun:
    """A finished run; or, if none is named, a pretrained backbone and ITQ fitted to the folder.

    data_dir, weights: where the run's files are, if they have moved. Without a run: the backbone's
    weights and name, and the code length, by default that of `Config`. Raises ValueError for
    settings that would have no effect.
    """
    if run:
        own = {"backbone": backbone or None, "bits": bits}
        for name, value in own.items():
            if value is not None:
                raise ValueError(f"{name}={value!r} has no effect: the run has its own")
        return open_run(run, data_dir, weights)
    if data_dir:
        raise ValueError(f"data_dir={data_dir!r} has no effect without a run")
    bits = Config.bits if bits is None else bits
    key = content_hash(str(folder.resolve()), bits, backbone, weights)
    return open_untrained(store() / key, folder, bits=bits, backbone=backbone, weights=weights)


def find(photo: Path, folder: Path, out: Path, model: TrainedRun, k: int) -> Answer:
    """Search a folder's pictures for the k nearest to a photograph, and write the answer to `out`.

    Raises DataError if the photograph cannot be read; ValueError if k is less than 1 or the folder
    holds no other picture that can be read.
    """
    if k < 1:
        raise ValueError(f"k={k} must be 1 or more")
    query, content = model.encode([photo]), file_hash(photo)
    root, whole = encoded(folder, model)
    album = whole.without(content)
    if not len(album.names):
        raise ValueError(f"{folder} holds no other picture that can be read")
    places, distances = (each[0] for each in album.search(code_bytes(query), k))
    columns = {"rank": range(1, len(places) + 1), "name": album.names[places]}
    table = pd.DataFrame(columns | {"distance": distances})
    copies = len(whole.names) - len(album.names)
    answer = Answer(photo, root, table, album.bits, model.protocol, copies, out)
    write(answer)
    return answer


def encoded(folder: Path, model: TrainedRun) -> tuple[Path, Album]:
    """The album of a folder, and what its names are relative to.

    It holds the pictures that can be read, sorted by name. Codes are made where they are missing,
    and kept.
    """
    place = store() / content_hash(str(folder.resolve()), model.model_id)
    with locked(place / "album.lock"):
        try:
            return read(folder, place / "codes", model)
        except ValueError:  # they are damaged, or of pictures that are all gone: make them anew
            rmtree(place / "codes", ignore_errors=True)
            return read(folder, place / "codes", model)


def read(folder: Path, place: Path, model: TrainedRun) -> tuple[Path, Album]:
    """`encoded`, with the codes in the folder `place`, where they are or will be."""
    job = plan(folder, place, model, SHARD)
    work(model, job, partial(next, gauge(job)))
    finish(job, model)
    identity, shards = read_identity(job.out), list(read_shards(job.out))
    codes = whole_bytes(np.concatenate([each["words"] for each in shards]), identity.bits)
    hashes = {i: digest for shard in shards for i, digest in hashes_of(shard).items()}
    names = np.array([job.names[i] for i in hashes])
    order = np.argsort(names, kind="stable")
    digests = np.array(list(hashes.values()))
    album = Album(names[order], codes[order], digests[order], identity.bits, identity.model)
    return job.root, album


def store() -> Path:
    """Where codes of albums are kept."""
    return home() / "data" / "cache" / "albums"


def write(answer: Answer) -> None:
    """Write the contact sheet, the JSON and the CSV of an answer."""
    out = answer.out
    out.mkdir(parents=True, exist_ok=True)
    with atomic(out / "neighbours.png") as partial_file:
        sheet = contact_sheet(answer)
        sheet.savefig(partial_file, format="png", dpi=130, bbox_inches="tight")
    write_csv(out / "neighbours.csv", answer.table)
    facts = {"photo": str(answer.photo), "album": str(answer.root), "model": answer.model}
    found = answer.table.to_dict("records")
    write_json(out / "neighbours.json", {**facts, "bits": answer.bits, "neighbours": found})


def contact_sheet(answer: Answer) -> Figure:
    """The photograph and its neighbours, each under its name and distance."""
    rows = answer.table.itertuples()
    titles = [f"{row.name}\n{row.distance} of {answer.bits} bits" for row in rows]
    paths = [answer.photo, *(answer.root / name for name in answer.table.name)]
    images = [open_image(path) for path in paths]
    return frames.contact_sheet(images, ["your photograph", *titles], COLUMNS, side=1.9, files=True)
