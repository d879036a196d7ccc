"""Kill runs at random moments, resume them, and compare: python tools/kill_runs.py --help.

Each of N runs of a few seconds (own data, own feature cache, own results) is killed with SIGKILL
while it does one of: drawing data, training the embedded backbone, caching features, training,
writing a checkpoint, writing the run folder and the table. Then the same command is given again.
The run must end with the codes and weights of an uninterrupted one, bit for bit, and leave nothing
behind that a later run would trip over.

Every fifth run is killed with features half cached, and resumed with another split of the same
images: the features that are there are of other rows.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from functools import wraps
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torchvision.models import get_model

from fdhmfe import config
from fdhmfe.data.toy import species
from fdhmfe.features import cache, weights
from fdhmfe.runs import experiment, ledger, results
from fdhmfe.runs.results import write_csv
from fdhmfe.training import train

Settings = dict[str, Any]
# What a run does, by the function that does it; "training" is the rest of `fit`.
MOMENTS = {
    "data": [(species, "write_tree")],
    "backbone": [(weights, "train")],
    "features": [(cache, "compute")],
    "training": [(train, "fit")],
    "checkpoint": [(train, "save_checkpoint")],
    "table": [(results, "write_run"), (ledger, "record")],
    "half a cache": [(cache, "write_json")],  # notes how far it is
}
SETTINGS = dict(
    profile="smoke",
    **dict(toy_classes=3, toy_train=4, toy_test=2, image_size=64, embedded_epochs=1),
    **dict(views=2, grid=4, width=16, keep=4, bits=12, epochs=4, batch_size=4),
)
CHANGED = 5  # every so many runs, the split is changed between kill and resume
# The two splits train on as many images. Their backbone is one file: else it would be trained on
# the split, too, and each would have a cache of its own.
RESUMED = SETTINGS | dict(toy_classes=4, toy_train=3, toy_test=3, views=4)
KILLED = dict(protocol="half")
BACKBONE = "mobilenet_v3_small"


def main(arguments: list[str] | None = None) -> int:
    """Kill, resume and compare as often as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="how many (50)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many at once (2)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (0)")
    parser.add_argument("--out", type=Path, help="also write the table to this CSV file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kill_runs-", ignore_cleanup_errors=True) as root:
        rows = []
        for row in kill_all(Path(root), options.runs, options.jobs, options.seed):
            rows.append(row)
            print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            if options.out:
                write_csv(options.out, pd.DataFrame(rows))
    good = sum(row["identical"] and not row["left"] for row in rows)
    print(f"{good} of {len(rows)} killed runs were resumed to identical codes, nothing left behind")
    return 0 if good == len(rows) else 1


def kill_all(root: Path, runs: int, jobs: int, seed: int) -> Iterator[dict[str, Any]]:
    """Kill and resume `runs` runs below `root`, `jobs` at once, the moments in turn; a row each."""
    weights = random_weights(root / "weights.safetensors")
    fixed = RESUMED | dict(backbone=BACKBONE, weights=str(weights))
    whole = {False: measured(root / "whole", SETTINGS), True: measured(root / "changed", fixed)}

    def one(number: int) -> dict[str, Any]:
        changed = number % CHANGED == CHANGED - 1
        *usual, moment = MOMENTS
        settings, before = fixed, fixed | KILLED
        if not changed:
            moment = usual[(number - number // CHANGED) % len(usual)]
            settings = before = SETTINGS
        lasted, calls, expected = whole[changed]
        folder = root / f"run-{number}"
        rng = random.Random(f"{seed} {number}")
        # Two views of four are of all images; then come those whose rows the split decides.
        call = rng.randint(2 * calls[moment] // 3 + 2 if changed else 1, calls[moment])
        delay = killed_at(folder, before, moment, lasted[moment], call, rng)
        last, said, left = resumed(folder, settings)
        identical = last == "end" and same(stored(folder), expected)
        if changed:  # what the killed run has left is its own: it can still go on
            left = resumed(folder, before)[2]
        row = {
            "run": number + 1,
            "moment": moment,
            "split": "changed" if changed else "same",
            "seconds_into_it": round(delay, 4),
            "resumed": last == "end",
            "from_checkpoint": "resuming after epoch" in said,
            "identical": identical,
            "left": " ".join(left),
        }
        shutil.rmtree(folder, ignore_errors=True)
        return row

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, range(runs))


def random_weights(path: Path) -> Path:
    """A weight file for BACKBONE, the same each time."""
    torch.manual_seed(0)
    state = get_model(BACKBONE, weights=None).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


class Whole(NamedTuple):
    """An uninterrupted run. By moment: the seconds its calls last on average, and how many."""

    lasted: dict[str, float]
    calls: dict[str, int]
    stored: dict[str, np.ndarray]


def measured(folder: Path, settings: Settings) -> Whole:
    """Make a run without killing it."""
    process, events = start(folder, settings)
    lasted, calls = dict.fromkeys(MOMENTS, 0.0), dict.fromkeys(MOMENTS, 0)
    for kind, moment, when in until_end(events):
        if kind == "enter":
            calls[moment] += 1
            lasted[moment] -= when
        elif kind == "leave":
            lasted[moment] += when
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the uninterrupted run failed; see {folder / 'log'}")
    seconds = {moment: lasted[moment] / max(calls[moment], 1) for moment in MOMENTS}
    return Whole(seconds, calls, stored(folder))


def killed_at(
    folder: Path, settings: Settings, moment: str, lasts: float, call: int, rng: random.Random
) -> float:
    """Start a run and kill it within `moment`; returns how many seconds into it.

    A run that was quicker than the delay drawn is wiped and started again with another.
    """
    while True:
        delay = rng.uniform(0, lasts)
        process, events = start(folder, settings, moment, delay, call)
        killing = [event for event in until_end(events) if event[0] == "killing"]
        process.join()
        if killing:
            return delay
        shutil.rmtree(folder)


def resumed(folder: Path, settings: Settings) -> tuple[str, str, list[str]]:
    """Give the command again, twice: last event, what was said, and what was left behind."""
    process, events = start(folder, settings)
    last = [kind for kind, *_ in until_end(events)][-1:]
    process.join()
    left = [p.relative_to(folder).as_posix() for p in folder.rglob("*.partial")]
    left += [p.relative_to(folder).as_posix() for p in folder.rglob("checkpoint-*")]
    return (last or [""])[0], (folder / "log").read_text("utf-8"), left


def start(
    folder: Path, settings: Settings, *kill: Any
) -> tuple[multiprocessing.Process, Connection]:
    """Start a run below `folder` in a process of its own; `kill` as `child` takes it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "fdhmfe.runs.experiment"])
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(folder, settings, writer, *kill))
    process.start()
    writer.close()
    return process, reader


def until_end(events: Connection) -> list[tuple]:
    """All events of a process until it ends, however it ends."""
    found = []
    try:
        while True:
            found.append(events.recv())
    except (EOFError, OSError):
        return found


def child(
    folder: Path,
    settings: Settings,
    events: Connection,
    kill: str = "",
    delay: float = 0.0,
    call: int = 1,
) -> None:
    """One run and the table below `folder`, then the same again, which must reuse it.

    Reports when each moment begins and ends. In call number `call` of the moment `kill` or, where
    that ends sooner, in a later one, the process kills itself after `delay` seconds. Two workers
    draw the images where that is to be killed, else none: they take a second to start.
    """
    os.environ["LOKY_MAX_CPU_COUNT"] = "2" if kill == "data" else "1"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["FDHMFE_HOME"] = str(folder)
    watch = Watch(events, kill, delay, call)
    for moment, functions in MOMENTS.items():
        for module, name in functions:
            setattr(module, name, watch.around(moment, getattr(module, name)))
    cache.BATCH, cache.SAVE_EVERY = 2, 1  # so few images would else be cached at once
    chosen = config.load(**settings, results_dir=str(folder / "results"))
    with open(folder / "log", "a", buffering=1, encoding="utf-8") as log, redirect_stdout(log):
        path = experiment.run(chosen)
        ledger.record(chosen.output_dir, [path])
        modified = (path / "codes.npz").stat().st_mtime_ns
        if experiment.run(chosen) != path or (path / "codes.npz").stat().st_mtime_ns != modified:
            raise RuntimeError("the finished run was not reused")
    events.send(("end", "", time.perf_counter()))


class Watch:
    """Reports the moments of a run, and kills it in one of them."""

    def __init__(self, events: Connection, kill: str, delay: float, call: int) -> None:
        self.events, self.kill, self.delay, self.call = events, kill, delay, call
        self.calls = 0
        self.inside: list[str] = []

    def around(self, moment: str, function: Callable) -> Callable:
        """The same function, reported, with the killer waiting in it."""

        @wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            self.inside.append(moment)
            self.events.send(("enter", moment, time.perf_counter()))
            self.calls += moment == self.kill
            if moment == self.kill and self.calls >= self.call:
                threading.Thread(target=self.wait_and_kill, daemon=True).start()
            try:
                return function(*arguments, **named)
            finally:
                self.inside.pop()
                self.events.send(("leave", moment, time.perf_counter()))

        return watched

    def wait_and_kill(self) -> None:
        time.sleep(self.delay)
        if self.inside[-1:] == [self.kill]:
            self.events.send(("killing", self.kill, time.perf_counter()))
            os.kill(os.getpid(), signal.SIGKILL)


def stored(folder: Path) -> dict[str, np.ndarray]:
    """Codes and weights of the one run below `folder`."""
    (path,) = folder.glob("results/smoke/runs/*/metrics.csv")
    weights = {name: value.numpy() for name, value in results.read_state(path.parent).items()}
    return results.read_codes(path.parent) | weights


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


if __name__ == "__main__":
    sys.exit(main())
