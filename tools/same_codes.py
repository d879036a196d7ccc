"""Does the code here give the codes that older code gave? python tools/same_codes.py --help.

A committed row counts for the code that made it. Many changes give the same numbers: a guard, a
faster loader, a clearer name. This makes small runs with the older commit and with the code here,
each with data and features of its own, and compares codes, scores and histories bit for bit. If
all are equal, it writes the two identities to results/same_codes.csv, and the rows stay in force
(`results.same_codes`).
"""

import argparse
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fdhmfe.config.methods import METHODS, NETWORKS, part
from fdhmfe.config.profiles import ABSTRACT, ADDED, GRAPHS, variant_settings
from fdhmfe.config.settings import load
from fdhmfe.runs import experiment, plan, results
from fdhmfe.support.files import read_json, write_json
from fdhmfe.support.places import REPOSITORY
from fdhmfe.support.progress import progress

TABLE = REPOSITORY / "results" / "same_codes.csv"
TRAINED = dict(trainable="tail", hash_head="mlp", pooling="all")
LIST = "probes.json"


def main(arguments: list[str] | None = None) -> int:
    """Compare, and write a row if all is equal; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("commit", nargs="?", help="the older code")
    parser.add_argument("--weights", default="", help="of MobileNetV2: runs with it, too")
    parser.add_argument("--make", type=Path, help="only make the runs of this code, in a folder")
    options = parser.parse_args(arguments)
    if options.make:
        make(options.make, options.weights)
        return 0
    if not options.commit:
        parser.error("name the commit to compare with")
    with tempfile.TemporaryDirectory(prefix="same_codes-") as root:
        code, old, new = (Path(root) / name for name in ("code", "old", "new"))
        check_out(options.commit, code)
        for tree, home in ((code, old), (REPOSITORY, new)):
            start(tree, home, options.weights)
        different = list(differences(old, new))
        made = len(read_json(new / LIST))
        before = read_json(next((old / "results").rglob("env.json")))["source_hash"]
    print("\n".join(different) or f"all {made} runs are equal, bit for bit")
    if not different:
        keep(before, results.source_hash(), options.commit, made)
    return 1 if different else 0


def probes(weights: str) -> Iterator[dict[str, Any]]:
    """Small runs that pass through every method, regime, protocol and part of the code."""
    learned = [name for name, method in METHODS.items() if method.objective]
    yield from (dict(method=name) for name in METHODS)
    # The embedded backbone has no last block that parts could be refined by: see `weights`.
    whole = [name for name in learned if not refines(METHODS[name].network)]
    yield from (dict(method=name, **TRAINED) for name in whole)
    parts = [("fdh-mfe", f"no-{part}") for part in ABSTRACT] + [("fdh-mfe", g) for g in GRAPHS]
    parts += [("fdh-mfe+", f"no-{part}") for part in ADDED]
    parts += [("fdh-mfe+", "open"), ("softmax", "open")]
    yield from (dict(method=m, variant=v, **TRAINED) for m, v in parts)
    yield from plan.grid("smoke", "toy")
    for protocol in ("folds", "half", "validation"):
        yield dict(method="fdh-mfe+", variant="open", protocol=protocol, **TRAINED)
    yield from (dict(method=name, trainable="all") for name in ("fdh-mfe", "softmax"))
    if weights:
        photos = dict(backbone="mobilenet_v2", weights=weights, image_size=96, **TRAINED)
        yield from (dict(method=name, **photos) for name in learned)


def refines(network: str) -> bool:
    """Whether a network takes copies of the backbone's last block."""
    return "block" in inspect.signature(part(network, NETWORKS)).parameters


def make(home: Path, weights: str) -> None:
    """Make the runs with the code that is imported, and list their folders."""
    made = []
    for probe in progress(list(probes(weights)), "runs"):
        chosen = variant_settings(probe["method"], probe.get("variant", "full"))
        given = {k: v for k, v in probe.items() if k not in chosen}
        folder = experiment.run(load("smoke", results_dir=str(home / "results"), **given))
        made.append([probe, str(folder.relative_to(home))])
    write_json(home / LIST, made)


def check_out(commit: str, target: Path) -> None:
    """The files of a commit, in a folder of their own."""
    git = ["git", "-C", str(REPOSITORY)]
    archive = subprocess.run([*git, "archive", commit], capture_output=True, check=True)
    target.mkdir()
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)


def start(tree: Path, home: Path, weights: str) -> None:
    """Make the runs with the code of a tree, in a process of one thread and a home of its own."""
    print(f"runs of {'the older code' if tree != REPOSITORY else 'the code here'}", flush=True)
    named = {"PYTHONPATH": str(tree), "FDHMFE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--make", str(home), "--weights", weights]
    subprocess.run(command, env=os.environ | named, check=True)


def differences(old: Path, new: Path) -> Iterator[str]:
    """What is not equal in the runs of two homes: a line each."""
    pairs = zip(read_json(old / LIST), read_json(new / LIST), strict=True)
    for (probe, before), (same, after) in pairs:
        name = ", ".join(f"{key} {value}" for key, value in probe.items())
        if probe != same:
            yield f"{name}: the other code has no such run"
            continue
        codes, others = results.read_codes(old / before), results.read_codes(new / after)
        if any(not np.array_equal(codes[array], others[array]) for array in codes):
            yield f"{name}: other codes"
        for file in ("metrics.csv", "history.csv"):
            if not nameless(old / before / file).equals(nameless(new / after / file)):
                yield f"{name}: another {file}"


def nameless(path: Path) -> pd.DataFrame:
    """A table of a run, as text, without the run's name."""
    table = pd.read_csv(path, dtype=str)
    return table.drop(columns="run_id", errors="ignore")


def keep(before: str, after: str, commit: str, made: int) -> None:
    """Write that rows of `before` count for `after`."""
    row = pd.DataFrame([dict(before=before, after=after, commit=commit, runs=made)])
    known = pd.read_csv(TABLE, dtype=str) if TABLE.exists() else row[:0]
    kept = known[(known.before != before) | (known.after != after)]
    results.write_csv(TABLE, pd.concat([kept, row.astype(str)]))
    print(f"{TABLE.relative_to(REPOSITORY)}: {before} and {after} give the same codes")


if __name__ == "__main__":
    sys.exit(main())
