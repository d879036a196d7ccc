"""Time fdhmfe.metrics against the per-query sorting loop that the literature uses.

    python benchmarks/metrics.py --out results/benchmarks/metrics.csv

Codes are random class centres with bits flipped at random; the database is sorted by class. Each
evaluator runs in a process of its own, on one thread. Times are medians over the repeats. The loop
is timed on the first queries only, and its times are multiplied by `scaled_by`; `map` is over the
timed queries. `extra_memory_mb` is the peak of what one more, untimed call allocates (not scaled).
"""

import argparse
import csv
import os
import sys
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed

from fdhmfe.metrics import mean_average_precision  # noqa: E402

# The official splits: queries (test), database (train), classes.
SIZES = {"cub": (5_794, 5_994, 200), "nabirds": (24_633, 23_929, 555)}
BITS, FLIP = 48, 0.1


def literature_loop(query_codes, database_codes, query_labels, database_labels, ties):
    """One matrix-vector product, one sort and one mean per query; `ties` is index, the sort's."""
    query_codes, database_codes = query_codes.astype(np.float32), database_codes.astype(np.float32)
    values = []
    for code, label in zip(query_codes, query_labels, strict=True):
        relevant = (database_labels == label).astype(np.float32)
        distances = 0.5 * (database_codes.shape[1] - database_codes @ code)
        ranks = np.flatnonzero(relevant[np.argsort(distances, kind="stable")]) + 1
        values.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean(values))


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
    parser.add_argument("--sample", type=int, default=500, help="queries the loop is timed on")
    options = parser.parse_args()

    jobs = [(fdhmfe_metrics, ties, None) for ties in ("expected", "index", "best", "worst")]
    # The second "index" row has the loop's queries: the two `map` values must be equal.
    jobs += [
        (evaluator, "index", options.sample) for evaluator in (fdhmfe_metrics, literature_loop)
    ]
    # Read by the processes below: CPU seconds then count work, not matrix threads that wait.
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = []
    for dataset in options.sizes:
        for job in jobs:
            # spawn: a forked process would keep this one's threads
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                rows.append(process.submit(measure, dataset, *job, options.repeats).result())
            print(*rows[-1].values(), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
