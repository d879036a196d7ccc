"""Turn any number of images into hash codes.

The list of images is cut into shards. A shard is written whole or not at all, so a command that was
killed goes on with the first shard that is missing. Several processes share the shards, on one
machine or on many that share the folder. fdhmfe/encoding/job.py says what the folder OUT holds.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
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
from fdhmfe.encoding.job import Job, plan, read_shards
from fdhmfe.encoding.trained import BATCH, TrainedRun, open_run
from fdhmfe.features.cache import read_ahead
from fdhmfe.runs.results import write_csv, write_npz
from fdhmfe.support.files import file_hash, write_json
from fdhmfe.support.progress import watched

DECODERS = 4  # threads that decode images
# (image (1, 3, S, S), SHA-256 of its file), or why it cannot be read
Loaded = tuple[Tensor, bytes] | str


def encode(
    folder: Path,
    images: Path,
    out: Path,
    *,
    processes: int,
    shard_size: int,
    places: dict[str, str],
) -> None:
    """Encode `images`, a folder or a list of files, with a finished run's network; write to `out`.

    `places` (data_dir, weights) say where the run's data and weights are, if they have moved.
    Raises ValueError or OSError if the run, the images or `out` cannot be used.
    """
    for name, count in (("processes", processes), ("shard_size", shard_size)):
        if count < 1:
            raise ValueError(f"{name}={count} must be 1 or more")
    run = open_run(folder, **places)
    job = plan(images, out, run, shard_size)
    threads = max(1, torch.get_num_threads() // processes)
    torch.set_num_threads(threads)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        others = range(processes - 1)
        helpers = [pool.submit(help_out, folder, places, job, threads) for _ in others]
        work(run, job, partial(next, gauge(job)))
        for helper in helpers:
            helper.result()
    finish(job, run)


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
                write_npz(path, encode_shard(run, job, shard))
        except Timeout:
            continue
        show()


def gauge(job: Job) -> Iterator[None]:
    """Each step shows how far the job is: images done by all processes, their rate, time left."""
    before, started = job.done(), time.perf_counter()
    bar = tqdm(total=len(job.names), initial=before, unit=" images") if watched() else None
    while True:
        done, seconds = job.done(), time.perf_counter() - started
        rate = (done - before) / max(seconds, 1e-9)
        if bar is not None:
            bar.update(done - bar.n)
        elif done == before:
            print(f"{done} of {len(job.names)} images are done", flush=True)
        else:
            left = (len(job.names) - done) / rate
            counts = f"{done}/{len(job.names)} images, {rate:.0f} images/s"
            print(f"{counts}, {int(left // 60)} min {int(left % 60)} s left", flush=True)
        yield


def encode_shard(run: TrainedRun, job: Job, shard: slice) -> dict[str, np.ndarray]:
    """The arrays of one shard: packed codes (n, W), their ids (n,), what failed and why."""
    positions = range(shard.start, shard.stop)
    batches = [positions[rows] for rows in blocks(len(positions), BATCH)]
    words: list[np.ndarray] = []
    ids: list[int] = []
    hashes: list[bytes] = []
    failures: dict[int, str] = {}
    for loaded in read_ahead(partial(load, run, job), batches):
        failures |= {i: reason for i, reason in loaded.items() if isinstance(reason, str)}
        good = {i: pair for i, pair in loaded.items() if not isinstance(pair, str)}
        if good:
            words.append(pack(run.codes(torch.cat([image for image, _ in good.values()]))))
        ids += good
        hashes += [digest for _, digest in good.values()]
    width = -(-run.config.bits // WORD)
    return {
        "ids": np.array(ids, np.int64),
        "words": np.concatenate([np.zeros((0, width), np.uint64), *words]),
        "sha256": np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
        "failed": np.array(list(failures), np.int64),
        "reasons": np.array(list(failures.values()), str),
    }


def load(run: TrainedRun, job: Job, batch: range) -> dict[int, Loaded]:
    """Read and decode the images at these positions of the list."""

    def one(position: int) -> Loaded:
        path = job.root / job.names[position]
        try:
            return run.read([path]), bytes.fromhex(file_hash(path))
        except Exception as error:  # decoders raise anything; one bad file must not stop a million
            return " ".join(str(error).split())

    with ThreadPoolExecutor(DECODERS) as pool:
        return dict(zip(batch, pool.map(one, batch), strict=True))


def finish(job: Job, run: TrainedRun) -> None:
    """Once all shards are there, list the images that failed and write the codes' identity."""
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
    table = pd.DataFrame(
        [(job.names[position], reason) for position, reason in failed], columns=["path", "reason"]
    )
    write_csv(job.out / "unreadable.csv", table)
    identity = Identity(run.config.bits, run.model_id, digest.hexdigest()[:16])
    facts = {"encoded": encoded, "unreadable": len(failed)}
    write_json(job.out / "encoded.json", {"identity": identity._asdict(), **facts})
    print(f"{encoded} images encoded, {len(failed)} unreadable (unreadable.csv): {job.out}")
