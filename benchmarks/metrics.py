"""Time fdhmfe.metrics against the literature's per-query sorting loop and against FAISS.

    python benchmarks/metrics.py --out results/benchmarks/metrics.csv

Codes are random class centres with bits flipped at random; the database is sorted by class. Each
evaluator runs in a process of its own, on `threads` threads. Times are medians over the repeats.
What ranks the whole database (loops, FAISS) is timed on the first queries only, and its times are
multiplied by `scaled_by`; `map` is over the timed queries. `times_ours` is the row's CPU time over
that of fdhmfe.metrics with ties in expectation. `extra_memory_mb` is the peak of what one more,
untimed call allocates by way of Python and NumPy (not scaled).
"""

import argparse
import os
import sys
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import faiss
import numpy as np
from rows import write_rows

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed

from fdhmfe.codes import blocks, pack  # noqa: E402
from fdhmfe.metrics import mean_average_precision  # noqa: E402
from fdhmfe.search_exact import as_bytes  # noqa: E402

# The official splits: queries (test), database (train), classes.
SIZES = {
    "cub": (5_794, 5_994, 200),
    "nabirds": (24_633, 23_929, 555),
    "food101": (25_250, 75_750, 101),
}
BITS, FLIP = 48, 0.1


def literature_loop(query_codes, database_codes, query_labels, database_labels, ties):
    """CalcTopMap as public hashing code has it: per query, one-hot labels multiplied, one sort.

    Its sort is made stable, so that the `map` of the others can be compared; `ties` is index.
    """
    one_hot = np.eye(database_labels.max() + 1, dtype=np.float32)
    query_labels, database_labels = one_hot[query_labels], one_hot[database_labels]
    query_codes, database_codes = query_codes.astype(np.float32), database_codes.astype(np.float32)
    values = []
    for code, label in zip(query_codes, query_labels, strict=True):
        relevant = (np.dot(label, database_labels.T) > 0).astype(np.float32)
        distances = 0.5 * (database_codes.shape[1] - np.dot(code, database_codes.T))
        ranks = np.flatnonzero(relevant[np.argsort(distances, kind="stable")]) + 1
        values.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean(values))


def lean_loop(query_codes, database_codes, query_labels, database_labels, ties):
    """The same loop, relevant items found by comparing labels: its work is the sort alone."""
    query_codes, database_codes = query_codes.astype(np.float32), database_codes.astype(np.float32)
    values = []
    for code, label in zip(query_codes, query_labels, strict=True):
        relevant = database_labels == label
        distances = 0.5 * (database_codes.shape[1] - database_codes @ code)
        ranks = np.flatnonzero(relevant[np.argsort(distances, kind="stable")]) + 1
        values.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean(values))


def faiss_ranked(query_codes, database_codes, query_labels, database_labels, ties):
    """FAISS ranks the whole database, ties by index; AP from the ranks, some queries at a time."""
    index = faiss.IndexBinaryFlat(64)
    index.use_heap = False  # counting: several times as fast where k is the whole database
    index.add(as_bytes(pack(database_codes)))
    query, count, values = as_bytes(pack(query_codes)), len(database_codes), []
    for rows in blocks(len(query), max(1, 2**22 // count)):
        _, ids = index.search(query[rows], count)
        hits = database_labels[ids] == query_labels[rows][:, None]
        precision = hits.cumsum(axis=1) / np.arange(1, count + 1)
        values.append((precision * hits).sum(axis=1) / hits.sum(axis=1))
    return float(np.concatenate(values).mean())


def fdhmfe_metrics(*arrays, ties):
    return mean_average_precision(*arrays, ties=ties)


def make_codes(n_query, n_database, n_class):
    rng = np.random.default_rng(0)
    centres = rng.choice(np.array([-1, 1], np.int8), (n_class, BITS))
    labels = [np.arange(n_query) % n_class, np.sort(np.arange(n_database) % n_class)]
    codes = [np.where(rng.random((len(y), BITS)) < FLIP, -centres[y], centres[y]) for y in labels]
    return (*codes, *labels)


def peak_memory_mb(call):
    tracemalloc.start()
    call()
    return tracemalloc.get_traced_memory()[1] / 2**20


def measure(dataset, evaluator, ties, n_timed, repeats):
    """One row of the table."""
    n_query, n_database, n_class = SIZES[dataset]
    query, database, query_labels, database_labels = make_codes(*SIZES[dataset])
    arrays = query[:n_timed], database, query_labels[:n_timed], database_labels
    times = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        value = evaluator(*arrays, ties=ties)
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu_s, wall_s = (median(column) for column in zip(*times, strict=True))
    scale = n_query / len(arrays[0])
    return {
        "dataset": dataset,
        "bits": BITS,
        "flip": FLIP,
        "n_query": n_query,
        "n_database": n_database,
        "n_class": n_class,
        "evaluator": evaluator.__name__,
        "ties": ties,
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "repeats": repeats,
        "queries_timed": len(arrays[0]),
        "scaled_by": round(scale, 3),
        "cpu_s": round(cpu_s * scale, 3),
        "wall_s": round(wall_s * scale, 3),
        "extra_memory_mb": round(peak_memory_mb(partial(evaluator, *arrays, ties=ties)), 1),
        "map": round(value, 6),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks/metrics.csv")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--sample", type=int, default=500, help="queries that loops and FAISS are timed on"
    )
    options = parser.parse_args()

    jobs = [(fdhmfe_metrics, ties, None) for ties in ("expected", "index", "best", "worst")]
    # The second "index" row has the loops' queries: all these `map` values must be equal.
    evaluators = (fdhmfe_metrics, faiss_ranked, lean_loop, literature_loop)
    jobs += [(evaluator, "index", options.sample) for evaluator in evaluators]
    # On one thread CPU seconds count work; on two, as it runs unless told otherwise, waiting too.
    plan = [(1, *job) for job in jobs] + [(2, *jobs[0]), (2, *jobs[-1])]
    rows = []
    for dataset in options.sizes:
        for threads, *job in plan:
            os.environ["OMP_NUM_THREADS"] = str(threads)  # read by the process below
            # spawn: a forked process would keep this one's threads
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                rows.append(process.submit(measure, dataset, *job, options.repeats).result())
            print(*rows[-1].values(), flush=True)
        own = rows[-len(plan) :]
        for row in own:
            row["times_ours"] = round(row["cpu_s"] / own[0]["cpu_s"], 1)
    write_rows(options.out, rows)


if __name__ == "__main__":
    main()
