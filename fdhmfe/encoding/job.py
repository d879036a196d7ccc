"""A job: a list of images to encode, and the folder with the codes that are there already.

A folder OUT holds one job. `fdhmfe encode` writes its shards, each whole or not at all:

    OUT/job.json, images.txt   what is encoded; a position in images.txt is an image's id
    OUT/shards/00000.npz ...   codes packed to 64-bit words, ids, SHA-256 of each image
    OUT/encoded.json           written last: code length, model and data hash, counts
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from fdhmfe.codes import Identity, blocks, unpack
from fdhmfe.data.readers.lists import IMAGE_SUFFIXES
from fdhmfe.encoding.shards import check_shards, shard_fault, shard_files
from fdhmfe.encoding.trained import TrainedRun
from fdhmfe.search.folders import stored_identity
from fdhmfe.support.files import content_hash, read_json, write_json


class Job(NamedTuple):
    """One list of images, to be encoded into one folder."""

    out: Path
    root: Path  # names are relative to it
    names: list[str]
    shard_size: int

    @property
    def shards(self) -> list[slice]:
        return list(blocks(len(self.names), self.shard_size))

    def file(self, shard: slice) -> Path:
        return self.out / "shards" / f"{shard.start // self.shard_size:05d}.npz"

    def done(self) -> int:
        """Images in finished shards, whoever finished them."""
        return sum(s.stop - s.start for s in self.shards if self.file(s).exists())


def plan(images: Path, out: Path, run: TrainedRun, shard_size: int) -> Job:
    """List the images and write the job to `out`; if a job is there, check that it is the same.

    Raises ValueError if there are no images, or if the job in `out` has other images, another
    model or another shard size.
    """
    root, names = list_images(images)
    wanted = {
        **{"bits": run.config.bits, "model": run.model_id, "shard_size": shard_size},
        **{"images": len(names), "names": content_hash(names)},
    }
    path = out / "job.json"
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / "job.lock"):
        if path.exists():
            begun = read_json(path)
            other = [f"{k} {begun[k]}, now {v}" for k, v in wanted.items() if begun[k] != v]
            if other:
                raise ValueError(f"{out} was begun with {'; '.join(other)}: choose another folder")
        else:
            (out / "shards").mkdir(exist_ok=True)
            (out / "images.txt").write_text(
                "".join(f"{name}\n" for name in names), encoding="utf-8", errors="surrogateescape"
            )
            write_json(path, wanted)
    return Job(out, root, names, shard_size)


def list_images(images: Path) -> tuple[Path, list[str]]:
    """(root, names): all images below a folder, sorted, or the paths in a text file, in its order.

    Paths in a text file are relative to its folder. Raises ValueError if there are none.
    """
    if images.is_file():
        text = images.read_text(encoding="utf-8", errors="surrogateescape")
        root, names = images.parent, [line for line in text.splitlines() if line.strip()]
    else:
        root = images
        found = (Path(folder, file) for folder, _, files in os.walk(root) for file in files)
        kept = (path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)
        names = sorted(str(path.relative_to(root)) for path in kept)
    if not names:
        raise ValueError(f"{images} names no images; give a folder of them, or a list of paths")
    return root.resolve(), names


def read_shard(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one file; ValueError naming it if it is damaged."""
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # a damaged archive raises anything
        raise ValueError(f"{path} cannot be read ({error}): delete it and encode again") from error


def read_shards(out: Path) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of each finished shard, in order of the ids.

    Raises ValueError naming a file that is damaged, or that is no shard of this job.
    """
    last = -1
    for path in shard_files(out):
        arrays = read_shard(path)
        if wrong := shard_fault(arrays, last):
            raise ValueError(f"{path} {wrong}: delete it and encode again")
        last = max(last, arrays["ids"].max(initial=-1), arrays["failed"].max(initial=-1))
        yield arrays


def read_identity(out: Path) -> Identity:
    """The identity of the codes in a folder.

    Raises FileNotFoundError while the job is not finished, ValueError if its record is damaged.
    """
    path = out / "encoded.json"
    if not path.is_file():
        raise FileNotFoundError(f"{out} is not finished: run fdhmfe encode again")
    identity = stored_identity(read_json(path))
    if identity is None or identity.bits < 1:
        raise ValueError(f"{path} names no code length, model and data: delete it and encode again")
    return identity


def read_encoded(out: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(ids (n,), codes (n, K) int8) of each shard of a finished job, as `add` takes them.

    Raises ValueError, before the first, if shards are damaged, missing or of another job.
    """
    identity = read_identity(out)
    check_shards(out, identity, read_shards(out))
    for arrays in read_shards(out):
        yield arrays["ids"], unpack(arrays["words"], identity.bits)
