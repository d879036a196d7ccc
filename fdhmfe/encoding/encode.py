"""Turn any number of images into hash codes.

The list of images is cut into shards. A shard is written whole or not at all, so a command that was
killed goes on with the first shard that is missing. Several processes share the shards, on one
machine or on many that share the folder. fdhmfe/encoding/job.py says what the folder OUT holds.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm.auto import tqdm

from fdhmfe.codes import WORD, Identity, blocks, pack
from fdhmfe.data.dataset import shown
from fdhmfe.encoding.export import check_kinds, export
from fdhmfe.encoding.job import Job, plan, read_kept, read_shards, write_seen
from fdhmfe.encoding.listing import line_of
from fdhmfe.encoding.trained import BATCH, TrainedRun, open_run
from fdhmfe.features.cache import read_ahead
from fdhmfe.runs.results import write_csv, write_npz
from fdhmfe.support.files import file_hash, write_json
from fdhmfe.support.processes import end_with_parent
from fdhmfe.support.progress import watched

DECODERS = 4  # threads that decode images
# (SHA-256 of the file, image (1, 3, S, S) or the code (W,) that it has), or why it cannot be read
Loaded = tuple[str, Tensor | np.ndarray] | str


def encode(
    folder: Path,
    images: Path,
    out: Path,
    *,
    processes: int,
    shard_size: int,
    exports: Collection[str] = (),
    places: dict[str, str],
) -> None:
    """Encode `images`, a folder or a list of files, with a finished run's network; write to `out`.

    exports: kinds of files, of export.KINDS, that all codes are written to at the end. `places`
    (data_dir, weights) say where the run's data and weights are, if they have moved.
    Raises ValueError or OSError if the run, the images or `out` cannot be used.
    """
    for name, count in (("processes", processes), ("shard_size", shard_size)):
        if count < 1:
            raise ValueError(f"{name}={count} must be 1 or more")
    check_kinds(exports)
    run = open_run(folder, **places)
    job = plan(images, out, run, shard_size)
    threads = max(1, torch.get_num_threads() // processes)
    torch.set_num_threads(threads)
    with ProcessPoolExecutor(processes, get_context("spawn"), end_with_parent) as pool:
        others = range(processes - 1)
        helpers = [pool.submit(help_out, folder, places, job, threads) for _ in others]
        work(run, job, partial(next, gauge(job)))
        for helper in helpers:
            helper.result()
    finish(job, run)
    if (out / "encoded.json").exists():
        export(job, run.config.bits, exports)


def help_out(folder: Path, places: dict[str, str], job: Job, threads: int) -> None:
    """What each further process does: the same work with its own network, printing nothing."""
    torch.set_num_threads(threads)
    work(open_run(folder, **places), job, lambda: None)


def work(run: TrainedRun, job: Job, show: Callable[[], None]) -> None:
    """Encode every shard that is not finished and that no other process is encoding."""
    show()
    for shard in job.shards:
        path = job.file(shard)
        if path.exists():
            continue
        try:
            with FileLock(path.with_suffix(".lock"), blocking=False):
                if path.exists():
                    continue
                for left in path.parent.glob(f".{path.name}.*.partial"):
                    left.unlink()  # its process was killed: we hold the lock
                write_seen(job, shard)
                write_npz(path, encode_shard(run, job, shard))
                path.with_suffix(".kept").unlink(missing_ok=True)
        except Timeout:
            continue
        show()


def gauge(job: Job) -> Iterator[None]:
    """Each step shows how far the job is: images done by all processes, their rate, time left."""
    before, started = job.done(), time.perf_counter()
    total = len(job.names) - len(job.gone)
    bar = tqdm(total=total, initial=before, unit=" images") if watched() else None
    while True:
        done, seconds = job.done(), time.perf_counter() - started
        rate = (done - before) / max(seconds, 1e-9)
        if bar is not None:
            bar.update(done - bar.n)
        elif done == before:
            print(f"{done} of {total} images are done", flush=True)
        else:
            left = (total - done) / rate
            counts = f"{done}/{total} images, {rate:.0f} images/s"
            print(f"{counts}, {int(left // 60)} min {int(left % 60)} s left", flush=True)
        yield


def encode_shard(run: TrainedRun, job: Job, shard: slice) -> dict[str, np.ndarray]:
    """The arrays of one shard: packed codes (n, W), their ids (n,), what failed and why."""
    positions, kept = job.ids(shard), read_kept(job, shard)
    batches = [positions[rows] for rows in blocks(len(positions), BATCH)]
    words: list[np.ndarray] = []
    hashes: dict[int, str] = {}
    failures: dict[int, str] = {}
    for loaded in read_ahead(partial(load, run, job, kept), batches):
        failures |= {i: reason for i, reason in loaded.items() if isinstance(reason, str)}
        good = {i: pair for i, pair in loaded.items() if not isinstance(pair, str)}
        hashes |= {i: digest for i, (digest, _) in good.items()}
        words += codes_of(run, [content for _, content in good.values()])
    width = -(-run.config.bits // WORD)
    return {
        "ids": np.array(list(hashes), np.int64),
        "words": np.array(words, np.uint64).reshape(-1, width),
        "sha256": np.frombuffer(bytes.fromhex("".join(hashes.values())), np.uint8).reshape(-1, 32),
        "failed": np.array(list(failures), np.int64),
        "reasons": np.array(list(failures.values()), str),
    }


def codes_of(run: TrainedRun, contents: list[Tensor | np.ndarray]) -> list[np.ndarray]:
    """The packed code (W,) of each image; what is a code already stays."""
    images = [content for content in contents if isinstance(content, Tensor)]
    new = iter(pack(run.codes(torch.cat(images))) if images else ())
    return [next(new) if isinstance(content, Tensor) else content for content in contents]


def load(
    run: TrainedRun, job: Job, kept: dict[int, tuple[str, np.ndarray]], batch: list[int]
) -> dict[int, Loaded]:
    """Read and decode the images with these ids, but those whose content has a code in `kept`."""

    def one(position: int) -> Loaded:
        path = job.path(position)
        try:
            pixels = None if position in kept else run.read([path])
            digest = file_hash(path)
            if pixels is None:
                known, code = kept[position]
                return digest, code if digest == known else run.read([path])
            return digest, pixels
        except Exception as error:  # decoders raise anything; one bad file must not stop a million
            return " ".join(str(error).split())

    with ThreadPoolExecutor(DECODERS) as pool:
        return dict(zip(batch, pool.map(one, batch), strict=True))


def finish(job: Job, run: TrainedRun) -> None:
    """Once all shards are there, list the images that failed and write the codes' identity.

    Raises ValueError if no image could be read.
    """
    missing = [shard for shard in job.shards if not job.file(shard).exists()]
    if missing:
        print(f"other processes still encode {len(missing)} shards; the last one finishes the job")
        return
    failed: list[tuple[int, str]] = []
    digest, encoded = hashlib.sha256(), 0
    for arrays in read_shards(job.out):
        digest.update(arrays["sha256"].tobytes())
        encoded += len(arrays["ids"])
        failed += zip(arrays["failed"], arrays["reasons"], strict=True)
    if encoded + len(failed) != len(job.names) - len(job.gone):
        raise ValueError(f"{job.out} got other images meanwhile: give the same command again")
    table = pd.DataFrame(
        [(line_of(job.names[i]), shown(reason)) for i, reason in failed], columns=["path", "reason"]
    )
    write_csv(job.out / "unreadable.csv", table)
    if not encoded:
        (job.out / "encoded.json").unlink(missing_ok=True)
        first = f"the first: {shown(str(failed[0][1]))}"
        raise ValueError(f"none of {len(failed)} images can be read (unreadable.csv); {first}")
    identity = Identity(run.config.bits, run.model_id, digest.hexdigest()[:16])
    facts = {"encoded": encoded, "unreadable": len(failed)}
    write_json(job.out / "encoded.json", {"identity": identity._asdict(), **facts})
    print(f"{encoded} images encoded, {len(failed)} unreadable (unreadable.csv): {job.out}")
