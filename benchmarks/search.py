"""Time build, save, load and search of 10^6 and 10^7 hash codes, exact and approximate.

    python benchmarks/search.py --out results/benchmarks/search.csv

Codes: 1,000 random class centres with a tenth of the bits flipped. Each back end runs in a process
of its own, on one thread. `faiss` is IndexBinaryFlat called directly, with nothing of ours between;
`multihash` is FAISS's IndexBinaryMultiHash, which the kit leaves out: the row says why. Recall is
against the exact answer, ties aside. `index_mb` is what is saved, `peak_mb` the process's peak
memory, which holds the unpacked codes too. Times are the least of the repeats; those of building,
saving and loading are single; `cpu_ms` of milvus is the client's alone. Without the extra `engine`,
the rows of milvus are left out.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rows import write_rows

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed

from fdhmfe import search  # noqa: E402
from fdhmfe.codes import Identity, pack  # noqa: E402
from fdhmfe.search_exact import as_bytes  # noqa: E402
from fdhmfe.search_index import Hits  # noqa: E402
from fdhmfe.search_scale import Timing, clustered_codes, recall, time_search  # noqa: E402

EFFORTS = {"ivf": (1, 8, 32), "hnsw": (64, 128, 256)}
# HNSW's graph of 10^7 codes takes longer to build than the rest together.
LARGEST = {"hnsw": 10**6, "multihash": 10**6, "milvus": 10**6}
KINDS = ("faiss", "flat", "ivf", "hnsw", "multihash", "milvus")


class Direct:
    """A FAISS index with no more around it than `time_search` needs."""

    def __init__(self, kind, codes, bits):
        import faiss

        width = 64 * -(-bits // 64)
        hashes = faiss.IndexBinaryMultiHash(width, 4, width // 4)
        self.faiss = hashes if kind == "multihash" else faiss.IndexBinaryFlat(width)
        self.faiss.add(as_bytes(pack(codes)))
        if kind == "multihash":
            self.faiss.nflip = 2

    def search(self, queries, k):
        distances, ids = self.faiss.search(as_bytes(pack(queries)), k)
        return Hits(ids, distances)

    def save(self, folder):
        import faiss

        folder.mkdir()
        faiss.write_index_binary(self.faiss, str(folder / "faiss.index"))


def timed(call, *arguments):
    started = time.perf_counter()
    result = call(*arguments)
    return result, round(time.perf_counter() - started, 2)


def load_direct(folder, _):
    import faiss

    return faiss.read_index_binary(str(folder / "faiss.index"))


def measure(kind, count, options, folder):
    """Rows of one back end at one size: one per effort."""
    bits, direct = options.bits, kind in ("faiss", "multihash")
    identity = Identity(bits, "benchmark", f"clustered-{count}")
    queries = clustered_codes(options.queries, bits, seed=1)
    codes = clustered_codes(count, bits, seed=0)

    def build():
        if direct:
            return Direct(kind, codes, bits)
        uri = str(folder / "codes.db") if kind == "milvus" else ""
        return search.build(kind, identity, np.arange(count), codes, uri=uri)

    index, build_s = timed(build)
    _, save_s = timed(index.save, folder / kind)
    if kind == "milvus":
        index.close()
    saved = [p for p in folder.rglob("*") if p.is_file()]
    size = sum(path.stat().st_size for path in saved)
    loaded, load_s = timed(load_direct if direct else search.load, folder / kind, identity)
    if not direct:
        index = loaded
    truth = np.load(options.truth / f"{count}.npy") if kind != "faiss" else None
    rows = []
    for effort in EFFORTS.get(kind, ("",)):
        if effort:
            index.effort = effort
        hits = index.search(queries, options.k)
        if truth is None:
            truth = hits.distances
            np.save(options.truth / f"{count}.npy", truth)
        timing = time_search(index, queries, options.k, options.repeats)
        single = [time_search(index, queries[[i]], options.k, 1).wall_ms for i in range(20)]
        facts = {"kind": kind, "n": count, "bits": bits, "k": options.k, "effort": effort}
        times = {"build_s": build_s, "save_s": save_s, "load_s": load_s}
        rows.append(
            facts
            | times
            | scores(hits, truth, timing, single, options)
            | {
                "index_mb": round(size / 1e6, 1),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
            }
        )
    return rows


def scores(hits, truth, timing: Timing, single, options):
    return {
        "queries": options.queries,
        "wall_ms": round(timing.wall_ms, 4),
        "cpu_ms": round(timing.cpu_ms, 4),
        "single_ms": round(float(np.median(single)), 3),
        "recall": round(recall(hits, Hits(hits.ids, truth)), 4),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks/search.csv")
    parser.add_argument("--sizes", nargs="+", type=int, default=[10**5, 10**6, 10**7])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--bits", type=int, default=48)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    kinds = [kind for kind in options.kinds if kind != "milvus" or search.engine_installed()]
    kinds = ["faiss", *(kind for kind in kinds if kind != "faiss")]  # it makes the truth

    os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes below
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        options.truth = Path(folder)
        for count in options.sizes:
            for kind in [kind for kind in kinds if count <= LARGEST.get(kind, count)]:
                rows += in_own_process(kind, count, options)
                print(*rows[-1].values(), flush=True)
                write_rows(options.out, rows)


def in_own_process(kind, count, options):
    # spawn: a forked process would keep this one's threads
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
    ):
        return process.submit(measure, kind, count, options, Path(folder)).result()


if __name__ == "__main__":
    main()
