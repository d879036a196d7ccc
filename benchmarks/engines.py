"""Which engine to serve codes from: exactness, ties by id, time, restarts, kills, size.

    python benchmarks/engines.py --run RUN_48 --engines postgres clickhouse

Codes are drawn from a finished run of 48 bits as in `distinct.py` (without one, a toy run is
trained here), and added in batches of 10,000. Candidates, with no more around them than this:

postgres    the kit's index: distinct codes, then their items; plain SQL
scan        PostgreSQL, one table of items, plain SQL
pgvector    the same table with the extension's operator <~> on `bit`
clickhouse  chDB: ClickHouse within the process; ReplacingMergeTree, read with FINAL
lancedb     a folder; merge_insert
milvus      milvus-lite, a file

They may need environments of their own: the table keeps the rows of other engines. `again_s` adds
the first tenth once more; `once`: that changed nothing. `single_ms` is the median of 20 queries,
asked in turn; `restart_s` closes, opens and asks. `second`: another process can open it meanwhile.
`killed`: after a kill of engine and client in mid-insert all that was acknowledged was there, and
the same load again gave exact answers. `exact` compares distances with a sort of all items, `ties`
ids as well. `install_mb`: its packages on disk, without those that the kit needs anyway. `error` is
what an engine that cannot do it says.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pandas as pd
from candidates import ENGINES, K
from distinct import Source, relaxed, trained
from rows import in_own_process, kill_whole, load_average, parser, write_rows

from fdhmfe.codes import blocks, hamming, pack

BATCH, QUERIES = 10_000, 20


def load(engine, words):
    """Add codes in batches, saying after each how many there are now."""
    for rows in blocks(len(words), BATCH):
        engine.add(np.arange(rows.start, rows.stop), words[rows])
        print(rows.stop, flush=True)


def timed(call, *arguments):
    started = time.perf_counter()
    result = call(*arguments)
    return result, time.perf_counter() - started


def compared(engine, words, queries):
    """Whether all is there and each answer right: by distance, and by id as well."""
    exact = ties = len(engine) == len(words)
    for query in queries:
        found, far = engine.search(query)
        distances = hamming(query[None], words)[0]
        right = distances.argsort(kind="stable")[:K]
        exact &= bool(np.array_equal(far, distances[right]))
        ties &= bool(np.array_equal(found, right))
    return exact, exact and ties


def killed(name, words_file, folder, words, queries):
    """Kill engine and client in mid-insert, add all again: whether nothing is lost or wrong."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--load", name, str(folder), str(words_file)],
        **{"stdout": subprocess.PIPE, "text": True},
    )
    for line in process.stdout:
        if int(line) >= len(words) // 2:
            break
    kill_whole(process.pid)  # the engine, too: it is the client's child, or within it
    process.wait()
    engine = ENGINES[name](folder)
    kept = len(words) // 2 <= len(engine) < len(words)
    with contextlib.redirect_stdout(None):
        load(engine, words)
    exact, _ = compared(engine, words, queries)
    engine.close()
    return kept and exact


def measure(name, words_file, queries, place):
    words, kind = np.load(words_file), ENGINES[name]
    folder = place / "whole"
    engine = kind(folder)
    with contextlib.redirect_stdout(None):
        _, load_s = timed(load, engine, words)
        _, again_s = timed(load, engine, words[: len(words) // 10])
    once = len(engine) == len(words)
    exact, ties = compared(engine, words, queries)
    times = [timed(engine.search, query)[1] for query in queries]
    second = subprocess.run([sys.executable, "-c", engine.second()], capture_output=True)
    disk = sum(
        f.stat().st_size for f in folder.rglob("*") if f.is_file() and "programs" not in f.parts
    )

    def restart():
        engine.close()
        again = kind(folder)
        again.search(queries[0])
        again.close()

    _, restart_s = timed(restart)
    return {
        "exact": exact,
        "ties": ties,
        "load_s": round(load_s, 2),
        "again_s": round(again_s, 2),
        "once": once,
        "single_ms": round(1e3 * float(np.median(times)), 2),
        "slowest_ms": round(1e3 * max(times), 2),
        "restart_s": round(restart_s, 2),
        "second": second.returncode == 0,
        "killed": killed(name, words_file, place / "killed", words, queries),
        "disk_mb": round(disk / 1e6, 1),
    }


def attempt(name, words_file, queries):
    """A row of the table. An engine that cannot do it gives its reason."""
    words = np.load(words_file)
    kind, row = ENGINES[name], {"n": len(words), "distinct": len(np.unique(words))}
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)  # PostgreSQL's account must get through
        try:
            row |= measure(name, words_file, queries, Path(place))
        except Exception as error:
            row["error"] = " ".join(str(error).split())[:200]
    size, versions = 0, []
    for package in kind.packages:
        with contextlib.suppress(PackageNotFoundError):
            found = distribution(package)
            versions.append(f"{package} {found.version}")
            size += sum(file.size or 0 for file in found.files)
    facts = {"install_mb": round(size / 1e6), "packages": ", ".join(versions)}
    return {"engine": name} | row | facts | {"load_average": load_average()}


def drawn(options, folder):
    """Files of codes drawn from a run, one of each size, and queries; packed."""
    run = options.run or in_own_process(1, trained, 48, folder)
    codes, labels, name = in_own_process(1, relaxed, run, options)
    source = Source(codes, labels)
    for count in options.sizes:
        words = np.concatenate([pack(some) for some in source.draw(count, seed=0)])
        np.save(folder / f"{count}.npy", words)
    return name, np.concatenate([pack(some) for some in source.draw(QUERIES, seed=1)])


def main():
    arguments = parser(__doc__, "engines")
    arguments.add_argument("--run", type=Path, help="a finished run of 48 bits")
    arguments.add_argument("--data-dir", default="", help="its images, if they have moved")
    arguments.add_argument("--weights", default="", help="its weights, if they have moved")
    arguments.add_argument("--photos", type=int, default=1000, help="photographs encoded, at most")
    arguments.add_argument("--engines", nargs="+", choices=ENGINES, default=["postgres"])
    arguments.add_argument("--sizes", nargs="+", type=int, default=[10**5, 10**6])
    arguments.add_argument("--load", nargs=3, help="used for the kill: engine, folder, codes")
    options = arguments.parse_args()
    if options.load:
        name, folder, file = options.load
        load(ENGINES[name](Path(folder)), np.load(file))
        return
    with tempfile.TemporaryDirectory() as place:
        run, queries = drawn(options, Path(place))
        for count in options.sizes:
            for name in options.engines:
                row = attempt(name, Path(place) / f"{count}.npy", queries)
                print(row, flush=True)
                write_rows(options.out, kept(options.out, row | {"run": run}))


def kept(path, row):
    """The table's rows with this one in the place of an older one."""
    rows = pd.read_csv(path, keep_default_na=False).to_dict("records") if path.exists() else []
    same = (row["engine"], row["n"])
    return [each for each in rows if (each["engine"], each["n"]) != same] + [row]


if __name__ == "__main__":
    main()
