"""Time fdhmfe.metrics against the literature's per-query sorting loop and against FAISS.

    python benchmarks/metrics.py --out results/benchmarks/metrics.csv

Codes are random class centres with bits flipped at random; the database is sorted by class. Each
call runs in a process of its own, on `threads` threads, after a call with ten queries; the
evaluators take turns, and times are medians over the rounds. What ranks the whole database (loops,
FAISS) is timed on the first queries only, and its times are multiplied by `scaled_by`; `map` is
over the timed queries. `times_ours` is the row's CPU time over that of
fdhmfe.metrics with ties in expectation. `extra_memory_mb` is the peak of what one more, untimed
call allocates by way of Python and NumPy (not scaled).
"""

import time
import tracemalloc
from functools import partial
from statistics import median

import faiss
import numpy as np
from rows import in_own_process, load_average, parser, write_rows

from fdhmfe.codes import as_bytes, blocks, pack
from fdhmfe.metrics import mean_average_precision

# The official splits: queries (test), database (train), classes.
SIZES = {
    "cub": (5_794, 5_994, 200),
    "nabirds": (24_633, 23_929, 555),
    "food101": (25_250, 75_750, 101),
}
RANKED = 500  # queries that loops and FAISS are timed on
BITS, FLIP = 48, 0.1


def literature_loop(query_codes, database_codes, query_labels, database_labels, ties):
    """CalcTopMap as public hashing code has it: per query, one-hot labels multiplied, one sort.

    That sort leaves tied items in any order, so its `map` is a little off the others'.
    """
    one_hot = np.eye(database_labels.max() + 1, dtype=np.float32)
    query_labels, database_labels = one_hot[query_labels], one_hot[database_labels]
    query_codes, database_codes = query_codes.astype(np.float32), database_codes.astype(np.float32)
    values = []
    for code, label in zip(query_codes, query_labels, strict=True):
        relevant = (np.dot(label, database_labels.T) > 0).astype(np.float32)
        distances = 0.5 * (database_codes.shape[1] - np.dot(code, database_codes.T))
        ranks = np.flatnonzero(relevant[np.argsort(distances)]) + 1
        values.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean(values))


def lean_loop(query_codes, database_codes, query_labels, database_labels, ties):
    """The loop with a stable sort, relevant items found by comparing labels: the sort alone."""
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


def measure(with_memory, dataset, evaluator, ties, n_timed):
    """CPU and wall seconds of one call, its value, and the memory of another if asked for."""
    query, database, query_labels, database_labels = make_codes(*SIZES[dataset])
    warm, arrays = ((query[:n], database, query_labels[:n], database_labels) for n in (10, n_timed))
    evaluator(*warm, ties=ties)
    cpu, wall = time.process_time(), time.perf_counter()
    value = evaluator(*arrays, ties=ties)
    times = time.process_time() - cpu, time.perf_counter() - wall
    memory = peak_memory_mb(partial(evaluator, *arrays, ties=ties)) if with_memory else 0
    return *times, value, memory


def row_of(dataset, threads, evaluator, ties, n_timed, calls):
    """One row of the table, from the calls of one evaluator."""
    n_query, n_database, n_class = SIZES[dataset]
    cpu_s, wall_s, value, _ = (median(column) for column in zip(*calls, strict=True))
    scale = n_query / n_timed
    return {
        "dataset": dataset,
        "bits": BITS,
        "flip": FLIP,
        "n_query": n_query,
        "n_database": n_database,
        "n_class": n_class,
        "evaluator": evaluator.__name__,
        "ties": ties,
        "threads": threads,
        "repeats": len(calls),
        "queries_timed": n_timed,
        "scaled_by": round(scale, 3),
        "cpu_s": round(cpu_s * scale, 3),
        "wall_s": round(wall_s * scale, 3),
        "extra_memory_mb": round(calls[0][-1], 1),
        "map": round(value, 6),
    }


def plan(dataset):
    """(threads, evaluator, ties, queries) of each row; the first is what the others are set to."""
    n_query = SIZES[dataset][0]
    jobs = [(1, fdhmfe_metrics, ties, n_query) for ties in ("expected", "index", "best", "worst")]
    # The second "index" row has the loops' queries: all these `map` values must be equal.
    evaluators = (fdhmfe_metrics, faiss_ranked, lean_loop)
    jobs += [(1, evaluator, "index", RANKED) for evaluator in evaluators]
    jobs += [(1, literature_loop, "any", RANKED)]
    # On one thread CPU seconds count work; on two, as it runs unless told otherwise, waiting too.
    # The smallest data set is enough to show it: the loop's threads mostly wait for each other.
    waiting = [(2, *jobs[0][1:]), (2, *jobs[-1][1:])] if dataset == "cub" else []
    return [*jobs, *waiting]


def main():
    arguments = parser(__doc__, "metrics")
    arguments.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()
    rows = []
    for dataset in options.sizes:
        jobs = plan(dataset)
        rounds = [
            [in_own_process(threads, measure, turn == 0, dataset, *job) for threads, *job in jobs]
            for turn in range(options.repeats)
        ]
        own = [
            row_of(dataset, *job, calls)
            for job, calls in zip(jobs, zip(*rounds, strict=True), strict=True)
        ]
        for row in own:
            row["times_ours"] = round(row["cpu_s"] / own[0]["cpu_s"], 1)
            row["load_average"] = load_average()
            print(*row.values(), flush=True)
        rows += own
        write_rows(options.out, rows)


if __name__ == "__main__":
    main()
