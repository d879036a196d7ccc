"""A job: a list of images to encode, and the folder with the codes that are there already.

A folder OUT holds one job. `fdhmfe encode` writes its shards, each whole or not at all:

    OUT/job.json, images.txt   what is encoded; a position in images.txt is an image's id
    OUT/shards/00000.npz ...   codes packed to 64-bit words, ids, SHA-256 of each image
    OUT/shards/00000.seen ...  size and time of each file, to see which have changed since
    OUT/shards/00000.kept ...  a shard that is encoded again, for what has not changed in it
    OUT/encoded.json           written last: code length, model and data hash, counts
    OUT/codes.*                all codes in one file, if that was asked for: see `export`

A line of images.txt is a name, or a JSON string if a name holds what ends a line, is not UTF-8, or
begins with a quotation mark (`listing.read_names` reads both). An id stays an image's for good: new
images get ids at the end; the id of one that is gone is in no shard, and is its own again if it
comes back.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from fdhmfe.codes import Identity, blocks, unpack
from fdhmfe.data.dataset import first_ten
from fdhmfe.encoding.listing import line_of, list_images, read_names
from fdhmfe.encoding.shards import check_shards, shard_fault, shard_files
from fdhmfe.encoding.trained import TrainedRun
from fdhmfe.runs.results import write_npz
from fdhmfe.search.folders import stored_identity
from fdhmfe.support.files import (
    content_hash,
    file_hash,
    read_json,
    read_record,
    readable,
    write_json,
    write_text,
)


class Job(NamedTuple):
    """One list of images, to be encoded into one folder."""

    out: Path
    root: Path  # names are relative to it
    names: list[str]  # by id, also of images that are gone
    gone: frozenset[int]  # their ids
    shard_size: int

    @property
    def shards(self) -> list[slice]:
        return list(blocks(len(self.names), self.shard_size))

    def ids(self, shard: slice) -> list[int]:
        """The ids of the images in a shard that are there."""
        return [i for i in range(shard.start, shard.stop) if i not in self.gone]

    def path(self, position: int) -> Path:
        return self.root / self.names[position]

    def file(self, shard: slice) -> Path:
        return self.out / "shards" / f"{shard.start // self.shard_size:05d}.npz"

    def done(self) -> int:
        """Images in finished shards, whoever finished them."""
        return sum(len(self.ids(s)) for s in self.shards if self.file(s).exists())


def plan(images: Path, out: Path, run: TrainedRun, shard_size: int) -> Job:
    """List the images and write the job to `out`; if a job is there, go on with it.

    Images that are new get ids, those that are gone lose their codes, those whose content is
    another are encoded again. Raises ValueError if there are no images, or if the job in `out` has
    none of them, another model or another shard size, or is damaged.
    """
    root, found = list_images(images)
    wanted = {"bits": run.config.bits, "model": run.model_id, "shard_size": shard_size}
    path = out / "job.json"
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / "job.lock"):
        known = begun_with(out, wanted)
        job = merged(Job(out, root, known, frozenset(), shard_size), found)
        if known != job.names:
            (out / "shards").mkdir(exist_ok=True)
            (out / "encoded.json").unlink(missing_ok=True)
            write_text(out / "images.txt", "".join(f"{line_of(n)}\n" for n in job.names))
            counts = {"images": len(job.names), "names": content_hash(job.names)}
            write_json(path, wanted | counts)
        retire(job)
    return job


def begun_with(out: Path, wanted: dict[str, Any]) -> list[str]:
    """The names in a folder, by id, if its job was begun as `wanted`; none if no job was.

    Raises ValueError if it was begun otherwise, or if the record of the job or of its names is
    missing or damaged.
    """
    record, names = out / "job.json", out / "images.txt"
    if not record.exists() and not shard_files(out):
        return []
    advice = f"delete the folder {out} and encode again"
    begun = read_record(record, (*wanted, "images", "names"), advice)
    other = [f"{k} {begun[k]}, now {v}" for k, v in wanted.items() if begun[k] != v]
    if other:
        raise ValueError(f"{out} was begun with {'; '.join(other)}: choose another folder")
    with readable(names, advice):
        known = read_names(names)
        # More may follow: whoever added them was killed before that was noted.
        if content_hash(known[: begun["images"]]) != begun["names"]:
            raise ValueError(f"it does not begin with the {begun['images']} names of {record.name}")
    return known


def merged(job: Job, found: list[str]) -> Job:
    """A job with the images that are there now: new ones last. What has changed is printed."""
    old, now = set(job.names), set(found)
    new = [name for name in found if name not in old]
    gone = [i for i, name in enumerate(job.names) if name not in now]
    if job.names and len(gone) == len(job.names):
        raise ValueError(
            f"{job.out} was begun with other images: none of its {len(gone)}, such as "
            f"{first_ten(job.names[:1])}, is in {job.root}: choose another folder"
        )
    if job.names and new:
        print(f"{len(new)} images are new: {first_ten(new)}")
    if gone:
        names = first_ten([job.names[i] for i in gone])
        print(f"{len(gone)} images are gone, and so are their codes: {names}")
    return job._replace(names=job.names + new, gone=frozenset(gone))


def retire(job: Job) -> None:
    """Set aside each shard that does not hold what is there now: it is encoded again."""
    for shard in job.shards:
        path = job.file(shard)
        if not path.exists():
            continue
        if is_current(job, shard):
            path.with_suffix(".kept").unlink(missing_ok=True)
        else:
            (job.out / "encoded.json").unlink(missing_ok=True)
            os.replace(path, path.with_suffix(".kept"))


def is_current(job: Job, shard: slice) -> bool:
    """Whether a finished shard holds the images that are there, with the content that they have."""
    arrays, seen = whole_shard(job.file(shard)), read_seen(job, shard)
    hashes = hashes_of(arrays)
    if hashes.keys() | set(arrays["failed"].tolist()) != set(job.ids(shard)):
        return False
    return all(
        seen.get(i) == stamp(job.path(i)) or has_content(job.path(i), hashes.get(i, ""))
        for i in job.ids(shard)
    )


def hashes_of(arrays: dict[str, np.ndarray]) -> dict[int, str]:
    """The SHA-256 of each image in a shard, by id."""
    digests = (row.tobytes().hex() for row in arrays["sha256"])
    return dict(zip(arrays["ids"].tolist(), digests, strict=True))


def stamp(path: Path) -> tuple[int, int]:
    """(bytes, nanoseconds of the last change) of a file: who has the same has the same content.

    The time is that of the file's record, which no copying program sets back. (-1, -1): no file.
    """
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1
    return found.st_size, found.st_ctime_ns


def has_content(path: Path, digest: str) -> bool:
    """Whether a file has this SHA-256."""
    try:
        return bool(digest) and file_hash(path) == digest
    except OSError:
        return False


def write_seen(job: Job, shard: slice) -> None:
    """Note what the files of a shard are like, before they are read."""
    ids = job.ids(shard)
    stamps = np.array([stamp(job.path(i)) for i in ids], np.int64).reshape(-1, 2)
    write_npz(job.file(shard).with_suffix(".seen"), {"ids": np.array(ids), "stamps": stamps})


def read_seen(job: Job, shard: slice) -> dict[int, tuple[int, int]]:
    """What `write_seen` noted, by id; nothing if it cannot be read: then contents are compared."""
    try:
        arrays = read_shard(job.file(shard).with_suffix(".seen"))
        stamps = map(tuple, arrays["stamps"].tolist())
        return dict(zip(arrays["ids"].tolist(), stamps, strict=True))
    except (ValueError, KeyError):
        return {}


def read_kept(job: Job, shard: slice) -> dict[int, tuple[str, np.ndarray]]:
    """(SHA-256, packed code (W,)) by id, of a shard that is encoded again; {} if there is none."""
    path = job.file(shard).with_suffix(".kept")
    if not path.exists():
        return {}
    arrays = whole_shard(path)
    hashes = hashes_of(arrays)
    return {i: (hashes[i], row) for i, row in zip(hashes, arrays["words"], strict=True)}


def read_shard(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one file; ValueError naming it if it is damaged."""
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # a damaged archive raises anything
        raise ValueError(f"{path} cannot be read ({error}): delete it and encode again") from error


def whole_shard(path: Path, last: int = -1) -> dict[str, np.ndarray]:
    """The arrays of a shard whose ids are above `last`; ValueError naming it if it is none."""
    arrays = read_shard(path)
    if wrong := shard_fault(arrays, last):
        raise ValueError(f"{path} {wrong}: delete it and encode again")
    return arrays


def read_shards(out: Path) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of each finished shard, in order of the ids.

    Raises ValueError naming a file that is damaged, or that is no shard of this job.
    """
    last = -1
    for path in shard_files(out):
        arrays = whole_shard(path, last)
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
