"""Search 10^7 codes that repeat as trained codes do, exact against IndexBinaryFlat, one thread.

    python benchmarks/distinct.py --runs RUN_12 RUN_24 RUN_48

Codes are drawn from finished runs, one of each length: relaxed codes of photographs of the run's
data set, plus normal noise as large as the spread of their class, bit by bit; then the signs. For
a length of which no run is given, a toy run is trained here: drawn beetles, no photographs. The
queries are 100 more such codes, asked one at a time (`single`) and all at once (`batch`).

In one process and in turns, `faiss` is IndexBinaryFlat with codes packed to 2, 3, 4, 6 or 8 bytes
(`width`), its queries packed beforehand; `flat`, `ivf` and `hnsw` are the kit's, packing included.
Times are milliseconds of processor time per query, medians over the turns; `x_single` and `x_batch`
say how many times faster than the fastest `faiss` that is. `same` compares distances of all queries
with FAISS's, and ids with all items sorted by (distance, id) for 20 of them. `recall` is without
ties. Rows that the table has already are not measured again.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from rows import in_own_process, load_average, parser, write_rows

from fdhmfe import search
from fdhmfe.codes import Identity, as_bytes, blocks, hamming, pack
from fdhmfe.search.index import Hits
from fdhmfe.search.scale import recall

JOBS = {"flat": ("",), "ivf": (8, 32, 128), "hnsw": (128, 256, 512)}
BLOCK = 2**17  # codes drawn at a time
CHECKED = 20  # queries whose ids are compared with a sort of all items
COLUMNS = ("single_ms", "batch_ms", "single_wall_ms", "batch_wall_ms")


def trained(bits, folder):
    """A finished toy run."""
    from fdhmfe import config
    from fdhmfe.runs import experiment

    return experiment.run(config.load("quick", bits=bits, results_dir=str(folder)))


def relaxed(folder, options):
    """Relaxed codes (n, K) float32 of a run's photographs, their labels (n,), and its name."""
    import torch

    from fdhmfe.encoding.trained import open_run, run_dataset

    run = open_run(folder, options.data_dir, options.weights)
    dataset = run_dataset(run.folder, run.config)
    rows = dataset.rows("database")
    rows = np.random.default_rng(0).permutation(rows)[: options.photos]
    parts = []
    with torch.inference_mode():
        for some in blocks(len(rows), 32):
            images = [dataset.image(row) for row in rows[some]]
            parts.append(run.coder(run.network(run.front(run.read(images)))))
    return torch.cat(parts).float().numpy(), dataset.labels(rows), run.folder.name


class Source:
    """Codes like those of photographs: relaxed code + spread of its class x normal noise."""

    def __init__(self, codes, labels):
        self.codes = codes
        groups = pd.DataFrame(codes).groupby(labels)
        self.spread = groups.transform("std", ddof=0).to_numpy(np.float32)
        self.classes = groups.ngroups

    def draw(self, count, seed):
        """Codes (count, K) int8, a block at a time."""
        rng = np.random.default_rng(seed)
        for rows in blocks(count, BLOCK):
            chosen = rng.integers(len(self.codes), size=rows.stop - rows.start)
            noise = rng.standard_normal((len(chosen), self.codes.shape[1]), np.float32)
            yield np.where(self.codes[chosen] + noise * self.spread[chosen] >= 0, 1, -1).astype(
                np.int8
            )


class Direct:
    """IndexBinaryFlat with no more around it than its queries, packed beforehand."""

    def __init__(self, words, width):
        import faiss

        self.width = width
        self.faiss = faiss.IndexBinaryFlat(8 * width)
        for rows in blocks(len(words), BLOCK):
            self.faiss.add(self.narrow(words[rows]))

    def narrow(self, words):
        return np.ascontiguousarray(as_bytes(words)[:, : self.width])

    def timed(self, queries, k):
        packed = self.narrow(pack(queries))
        return measured(lambda: self.faiss.search(packed, k))

    def search(self, queries, k):
        distances, ids = self.faiss.search(self.narrow(pack(queries)), k)
        return Hits(ids, distances).sorted()


def measured(call):
    """(processor, wall) milliseconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)


def timed(index, queries, k):
    if isinstance(index, Direct):
        return index.timed(queries, k)
    return measured(lambda: index.search(queries, k))


def turn(index, queries, k):
    """Per query: processor and wall time, one at a time (median of 20) and all at once."""
    single = np.median([timed(index, queries[[i]], k) for i in range(20)], axis=0)
    batch = np.divide(timed(index, queries, k), len(queries))
    return single[0], batch[0], single[1], batch[1]


def build(kind, source, count):
    """An index of `count` drawn codes, ready to search, and the seconds that took."""
    index, first, seconds = None, 0, 0.0
    bits = source.codes.shape[1]
    for codes in source.draw(count, seed=0):
        started = time.perf_counter()
        ids = np.arange(first, first + len(codes))
        if index is None:
            index = search.build(kind, Identity(bits, "benchmark", "drawn"), ids, codes)
        else:
            index.add(ids, codes)
        first += len(codes)
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    index.search(codes[:1], 1)  # groups the codes, and trains what needs it
    return index, round(seconds + time.perf_counter() - started, 1)


def words_of(index):
    """The packed code (N, W) of each item, by id."""
    groups = index.groups
    words = np.empty((len(groups.ids), groups.words.shape[1]), np.uint64)
    words[groups.ids] = np.repeat(groups.words, np.diff(groups.starts), axis=0)
    return words


def same_ids(hits, queries, words, k):
    """Whether ids equal those of all items sorted by (distance, id)."""
    for ids, query in zip(hits.ids, pack(queries), strict=True):
        far = hamming(query[None], words)[0]
        near = np.flatnonzero(far <= np.partition(far, k - 1)[k - 1])
        if not np.array_equal(ids, near[np.lexsort((near, far[near]))[:k]]):
            return False
    return True


def measure(job, codes, labels, options):
    """Rows of one kind of index and of FAISS's scan, in one process."""
    import faiss

    faiss.omp_set_num_threads(1)
    source, bits = Source(codes, labels), codes.shape[1]
    count = options.count
    index, seconds = build(job, source, count)
    words = words_of(index)
    queries = next(source.draw(100, seed=1))
    widths = sorted({-(-bits // 8), 4 if bits <= 32 else 8, 8}) if job == "flat" else [8]
    scans = [Direct(words, width) for width in widths]
    exact = scans[0].search(queries, options.k)
    contenders = [(f"faiss {scan.width}", "", scan) for scan in scans]
    contenders += [(job, effort, index) for effort in JOBS[job]]
    times = {contender[:2]: [] for contender in contenders}
    found = {}
    for _ in range(options.repeats):
        for kind, effort, each in contenders:
            if effort:
                index.effort = effort
            times[kind, effort].append(turn(each, queries, options.k))
            found[kind, effort] = each.search(queries, options.k)
    rows = []
    for (kind, effort), turns in times.items():
        hits = found[kind, effort]
        same = bool((hits.distances == exact.distances).all())
        if kind == "flat":
            same &= same_ids(
                Hits(*(part[:CHECKED] for part in hits)), queries[:CHECKED], words, options.k
            )
        name, _, width = kind.partition(" ")
        rows.append(
            {"kind": name, "width": width, "effort": effort}
            | dict(zip(COLUMNS, np.median(turns, axis=0).round(4), strict=True))
            | {"same": same, "recall": round(recall(hits, exact), 4)}
            | {"build_s": seconds if name == job else ""}
        )
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    facts = {"job": job, "bits": bits, "n": count, "distinct": len(index.groups.words)}
    facts |= {"photos": len(codes), "classes": source.classes, "k": options.k}
    return [facts | row | {"peak_mb": peak, "load": load_average()} for row in compared(rows)]


def compared(rows):
    """Rows with how many times faster each is than the fastest scan of FAISS."""
    scans = [row for row in rows if row["kind"] == "faiss"]
    for short in ("single", "batch"):
        fastest = min(row[f"{short}_ms"] for row in scans)
        for row in rows:
            row[f"x_{short}"] = round(fastest / row[f"{short}_ms"], 2)
    return rows


def main():
    arguments = parser(__doc__, "distinct")
    arguments.add_argument("--runs", nargs="*", type=Path, default=[], help="finished runs")
    arguments.add_argument("--data-dir", default="", help="the runs' images, if they have moved")
    arguments.add_argument("--weights", default="", help="their weights, if they have moved")
    arguments.add_argument("--bits", nargs="+", type=int, default=[12, 24, 48])
    arguments.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    arguments.add_argument("--count", type=int, default=10**7, help="codes")
    arguments.add_argument("--photos", type=int, default=1000, help="photographs encoded, at most")
    arguments.add_argument("--k", type=int, default=100)
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()
    rows = []
    if options.out.exists():
        rows = pd.read_csv(options.out, keep_default_na=False).to_dict("records")
    runs = {
        bits: run for run in options.runs for bits in options.bits if f"-{bits}bits" in run.name
    }
    for bits in options.bits:
        # Approximate search is for codes that are too many to scan.
        wanted = [job for job in options.jobs if job == "flat" or bits == max(options.bits)]
        done = {row["job"] for row in rows if row["bits"] == bits}
        missing = [job for job in wanted if job not in done]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            run = runs.get(bits) or in_own_process(1, trained, bits, Path(folder))
            codes, labels, name = in_own_process(1, relaxed, run, options)
        for job in missing:
            found = in_own_process(1, measure, job, codes, labels, options)
            rows += [{"run": name} | row for row in found]
            print(pd.DataFrame(rows[-len(found) :]).T.to_string(), flush=True)
            write_rows(options.out, rows)


if __name__ == "__main__":
    main()
