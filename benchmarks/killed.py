"""Kill an encoding job and an engine's load again and again: nothing may differ at the end.

    python benchmarks/killed.py --out results/benchmarks/killed.csv

`encode`: generated images through a network of one epoch (profile quick), once uninterrupted, once
killed three times and resumed; the codes must be identical, byte for byte, and memory must not
grow. `engine` (only with the extra of that name): codes into PostgreSQL, its load killed with the
server and resumed; the count must be exact and the answers those of exact FAISS, ties included.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from rows import ROOT, kill_server, load_average, parser, write_rows

from fdhmfe import config, search
from fdhmfe.codes import Identity
from fdhmfe.encoding.job import read_shards
from fdhmfe.runs import experiment
from fdhmfe.search.scale import clustered_codes

ENV = os.environ | {"PYTHONPATH": str(ROOT)}
IDENTITY = Identity(48, "benchmark", "killed")
SHARES = (0.2, 0.45, 0.8)  # how far each attempt comes before it is killed
LOADER = """
import sys
import numpy as np
from fdhmfe import search
from fdhmfe.codes import Identity
from fdhmfe.search.scale import clustered_codes

uri, count = sys.argv[1], int(sys.argv[2])
codes = clustered_codes(count, 48, seed=0)
identity = Identity(48, "benchmark", "killed")
index = search.build("postgres", identity, np.arange(0), codes[:0], uri=uri)
print("begun", flush=True)
for first in range(0, count, 10_000):
    index.add(np.arange(first, first + 10_000), codes[first : first + 10_000])
    print(first + 10_000, flush=True)
"""


def write_images(folder, count):
    """Small JPEGs of a few random colours each, a thousand to a subfolder."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"{i // 1000:03d}" / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((160, 120)).save(path)


def encode_until(run, images, out, stop_at):
    """Run the encoder, kill it once `stop_at` shards are there.

    Returns seconds, samples of (shards there, memory in MB), and whether it was killed.
    """
    command = [sys.executable, "-m", "fdhmfe", "encode", str(run), str(images), str(out)]
    process = psutil.Popen([*command, "--shard-size", "512"], env=ENV)
    started, samples = time.perf_counter(), []
    while process.poll() is None:
        done = len(list((out / "shards").glob("*.npz")))
        samples.append((done, process.memory_info().rss / 2**20))
        if done >= stop_at:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.2)
    return time.perf_counter() - started, samples, process.returncode == -signal.SIGKILL


def encoding(count, folder, run):
    if run is None:
        run = experiment.run(config.load("quick", epochs=1, results_dir=str(folder / "results")))
    write_images(folder / "images", count)
    shards = -(-count // 512)
    whole, killed = folder / "whole", folder / "killed"
    seconds, samples, _ = encode_until(run, folder / "images", whole, stop_at=shards + 1)
    stops = [*(int(share * shards) for share in SHARES), shards + 1]
    kills = [encode_until(run, folder / "images", killed, stop_at=stop)[2] for stop in stops]
    parts = [sorted((out / "shards").glob("*.npz")) for out in (whole, killed)]
    same = [a.read_bytes() == b.read_bytes() for a, b in zip(*parts, strict=True)]
    early = [mb for done, mb in samples if 0 < done <= shards / 4]
    late = [mb for done, mb in samples if done > 3 * shards / 4]
    return {
        "what": "encode",
        "count": sum(len(arrays["ids"]) for arrays in read_shards(killed)),
        "wanted": count,
        "kills": sum(kills),
        "identical": all(same),
        "per_second": round(count / seconds),
        "memory_mb_first_quarter": round(max(early)),
        "memory_mb_last_quarter": round(max(late)),
    }


def load_until(folder, count, stop_at):
    """Serve the folder and run the loader; kill both once `stop_at` codes are acknowledged.

    Returns seconds, and whether it was killed.
    """
    with search.serve(folder) as uri:
        process = subprocess.Popen(
            [sys.executable, "-c", LOADER, uri, str(count)],
            **{"env": ENV, "stdout": subprocess.PIPE, "text": True},
        )
        process.stdout.readline()
        started = time.perf_counter()
        for line in process.stdout:
            if int(line) >= stop_at:
                break
        seconds = time.perf_counter() - started
        if stop_at < count:
            process.kill()
            kill_server(folder)
        process.wait()
    return seconds, process.returncode == -signal.SIGKILL


def engine(count, folder, _):
    kills = [load_until(folder, count, share * count)[1] for share in SHARES]
    resumed, _ = load_until(folder, count, count)
    codes, queries = (clustered_codes(n, 48, seed=s) for n, s in ((count, 0), (100, 1)))
    exact = search.build("flat", IDENTITY, np.arange(count), codes).search(queries, 100)
    with search.serve(folder) as uri:
        index = search.build("postgres", IDENTITY, np.arange(0), codes[:0], uri=uri)
        held, hits = len(index), index.search(queries, 100)
    return {
        "what": "engine",
        "count": held,
        "wanted": count,
        "kills": sum(kills),
        "identical": all(map(np.array_equal, hits, exact)),
        "per_second": round(count / resumed),  # most of them found to be there already
        "memory_mb_first_quarter": "",
        "memory_mb_last_quarter": "",
    }


def main():
    arguments = parser(__doc__, "killed")
    arguments.add_argument("--run", type=Path, help="a finished run; else one of one epoch is made")
    arguments.add_argument("--images", type=int, default=20_000)
    arguments.add_argument("--codes", type=int, default=10**6)
    options = arguments.parse_args()
    jobs = [(encoding, options.images)]
    if search.engine_installed():
        jobs.append((engine, options.codes))
    rows = []
    for job, count in jobs:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(job(count, Path(folder), options.run) | {"load_average": load_average()})
        print(rows[-1], flush=True)
        write_rows(options.out, rows)


if __name__ == "__main__":
    main()
