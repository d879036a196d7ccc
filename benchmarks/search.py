"""Time build, save, load and search of 10^6 and 10^7 hash codes, exact and approximate.

    python benchmarks/search.py --out results/benchmarks/search.csv

Codes: 1,000 random class centres with a tenth of the bits flipped. Each back end runs in a process
of its own, on one thread; `faiss`, IndexBinaryFlat called directly with nothing of ours between,
and `flat` share one and answer in turns, so that whatever else the machine does meets both.
`multihash` is FAISS's IndexBinaryMultiHash, which the kit leaves out: the row says why. Recall is
against the exact answer, ties aside. `index_mb` is what is saved, `peak_mb` the process's peak
memory, which holds the unpacked codes too. Times per query are medians over the repeats of all
queries at once (`single_ms`: of one); those of building, saving and loading are single.
`engines.py` measures the engine.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from rows import in_own_process, load_average, parser, write_rows

from fdhmfe import search
from fdhmfe.codes import Identity, as_bytes, pack
from fdhmfe.search.index import Hits
from fdhmfe.search.scale import clustered_codes, recall, time_search

EFFORTS = {"ivf": (1, 8, 32), "hnsw": (64, 128, 256)}
# HNSW's graph of 10^7 codes takes longer to build than the rest together.
LARGEST = {"hnsw": 10**6, "multihash": 10**6}
KINDS = ("flat", "ivf", "hnsw", "multihash")
DIRECT = ("faiss", "multihash")  # called without the kit


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

        folder.mkdir(parents=True)
        faiss.write_index_binary(self.faiss, str(folder / "faiss.index"))


def timed(call, *arguments):
    started = time.perf_counter()
    result = call(*arguments)
    return result, round(time.perf_counter() - started, 2)


def load_direct(folder, _):
    import faiss

    return faiss.read_index_binary(str(folder / "faiss.index"))


def prepare(kind, codes, options, folder):
    """Build, save and load one back end: the loaded index, and what that took."""
    count = len(codes)
    identity = Identity(options.bits, "benchmark", f"clustered-{count}")

    def build():
        if kind in DIRECT:
            return Direct(kind, codes, options.bits)
        index = search.build(kind, identity, np.arange(count), codes)
        index.settle()  # else the first search or save does it
        return index

    index, build_s = timed(build)
    _, save_s = timed(index.save, folder / kind)
    saved = [p for p in folder.rglob("*") if p.is_file()]
    loaded, load_s = timed(load_direct if kind in DIRECT else search.load, folder / kind, identity)
    if kind in DIRECT:
        index.faiss = loaded
    else:
        index = loaded
    times = {"build_s": build_s, "save_s": save_s, "load_s": load_s}
    return index, times, round(sum(path.stat().st_size for path in saved) / 1e6, 1)


def measure(kinds, count, options, folder):
    """Rows of back ends that share a process, at one size: one per kind and effort."""
    queries = clustered_codes(options.queries, options.bits, seed=1)
    codes = clustered_codes(count, options.bits, seed=0)
    prepared = {kind: prepare(kind, codes, options, folder / kind) for kind in kinds}
    del codes
    rows = []
    for effort in EFFORTS.get(kinds[0], ("",)):
        for index, *_ in prepared.values():
            if effort:
                index.effort = effort
        found = {kind: index.search(queries, options.k) for kind, (index, *_) in prepared.items()}
        turns = [
            {kind: once(index, queries, options.k) for kind, (index, *_) in prepared.items()}
            for _ in range(options.repeats)
        ]
        for kind, (_, times, size) in prepared.items():
            facts = {"kind": kind, "n": count, "bits": options.bits, "k": options.k}
            scores = answers(
                found[kind], [turn[kind] for turn in turns], options.truth / f"{count}"
            )
            rows.append({**facts, "effort": effort, **times, **scores, "index_mb": size})
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    return [{**row, "peak_mb": peak, "load_average": load_average()} for row in rows]


def once(index, queries, k):
    """Wall and CPU time per query of all queries at once, and the time of one alone."""
    single = [time_search(index, queries[[i]], k, 1).wall_ms for i in range(20)]
    return *time_search(index, queries, k, 1), float(np.median(single))


def answers(hits, times, truth):
    """Medians of the times, and recall against the distances that the first exact search left."""
    if not truth.with_suffix(".npy").exists():
        np.save(truth, hits.distances)
    exact = Hits(hits.ids, np.load(truth.with_suffix(".npy")))
    wall, cpu, single = (float(np.median(column)) for column in zip(*times, strict=True))
    return {
        "queries": len(hits.ids),
        "wall_ms": round(wall, 4),
        "cpu_ms": round(cpu, 4),
        "single_ms": round(single, 3),
        "recall": round(recall(hits, exact), 4),
    }


def main():
    arguments = parser(__doc__, "search")
    arguments.add_argument("--sizes", nargs="+", type=int, default=[10**5, 10**6, 10**7])
    arguments.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    arguments.add_argument("--bits", type=int, default=48)
    arguments.add_argument("--queries", type=int, default=1000)
    arguments.add_argument("--k", type=int, default=100)
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()
    others = [(kind,) for kind in options.kinds if kind != "flat"]
    jobs = [("faiss", "flat"), *others]  # the truth first

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        options.truth = Path(folder)
        for count in options.sizes:
            for kinds in [kinds for kinds in jobs if count <= LARGEST.get(kinds[0], count)]:
                with tempfile.TemporaryDirectory() as own:
                    found = in_own_process(1, measure, kinds, count, options, Path(own))
                for row in found:
                    print(*row.values(), flush=True)
                rows += found
                write_rows(options.out, rows)


if __name__ == "__main__":
    main()
