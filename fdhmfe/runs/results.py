"""Run folders and tidy tables: every published number is a row that some run wrote."""

import csv
import io
import platform
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from safetensors.torch import load_file, save

from fdhmfe.config.methods import REFERENCES
from fdhmfe.config.settings import TYPES, Config, check_type
from fdhmfe.runs.scoring import CODE_ARRAYS, READ_OUT
from fdhmfe.support.files import atomic, content_hash, json_bytes, read_record, readable
from fdhmfe.support.identity import code_identity
from fdhmfe.support.places import PACKAGE, REPOSITORY, in_checkout, shipped

SHOWN = (
    *("profile", "dataset", "backbone", "trainable", "method", "network", "objective", "coder"),
    *("hash_head", "pooling", "variant", "bits", "seed"),
)
SCORED = (
    *("protocol", "fold", "database_codes"),
    *("metric", "k", "ties", "n_query", "n_database", "value"),
)
COLUMNS = ("run_id", *SHOWN, *SCORED)  # of metrics.csv
# Settings that change no result: where files are, whether to reuse runs, how many workers help
PLACES = ("data_dir", "weights", "results_dir", "reuse", "workers")
# The code that a run's codes and scores depend on. (Settings, images and weights are in the run's
# name.) Code that orders, shows or stores runs is left out: it changes no number.
PASSED = (
    *("network.py", "stages.py", "graph.py", "proxies.py", "losses.py", "metrics.py", "codes.py"),
    *("baselines", "features", "training", "data/views.py", "support/distributed.py"),
    *(f"runs/{name}.py" for name in ("methods", "inputs", "experiment", "scoring", "statistics")),
)
FINE_TUNING = ("precision", "compile")  # no effect on a frozen backbone


def run_id(config: Config, dataset_hash: str, backbone_id: str) -> str:
    """A readable name that changes with anything the codes depend on: settings, data, weights."""
    aside = PLACES + FINE_TUNING if config.trainable == "none" else PLACES
    settings = {k: v for k, v in asdict(config).items() if k not in aside}
    key = content_hash(settings, dataset_hash, backbone_id)[:8]
    names = (config.dataset, config.composition.name, config.variant)
    return "-".join([*names, f"{config.bits}bits", f"seed{config.seed}", key])


def run_folder(config: Config, dataset_hash: str, backbone_id: str) -> Path:
    """Where the run of these settings, data and weights is, or will be."""
    return config.output_dir / "runs" / run_id(config, dataset_hash, backbone_id)


@cache  # asked for every run of a sweep; a process keeps the code it has loaded
def source_hash() -> str:
    """Changes with the code that a run depends on, so that an outdated run is never reused."""
    return code_identity(PACKAGE / place for place in PASSED)


@cache
def same_codes() -> frozenset[str]:
    """The code here, and all code that was seen to give the same codes (tools/same_codes.py).

    As `source_hash` names them. What one of them has made need not be made again.
    """
    table, known = shipped("results/same_codes.csv"), {source_hash()}
    if table.is_file():
        advice, columns = "put a whole copy in its place, from git", ["before", "after"]
        read = read_table(table, columns, advice, dict.fromkeys(columns, str))
        pairs = read[columns].to_numpy().tolist()
        for _ in pairs:  # the longest chain
            known.update(*(pair for pair in pairs if known.intersection(pair)))
    return frozenset(known)


def is_finished(folder: Path) -> bool:
    """True if the run is whole (metrics.csv is written last) and this code would make it alike.

    Raises ValueError if env.json is missing or damaged all the same.
    """
    if not (folder / "metrics.csv").exists():
        return False
    return str(read_environment(folder, "source_hash")["source_hash"]) in same_codes()


def environment() -> dict[str, Any]:
    """Versions, device, threads and commit: what the numbers were made with."""
    packages = ("torch", "torchvision", "torch-geometric", "timm", "numpy")
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "commit": git("rev-parse", "HEAD"),
        "modified": bool(git("status", "--porcelain", "--untracked-files=no")),
        "source_hash": source_hash(),
    }


def git(*arguments: str) -> str:
    """Output of a git command in the checkout; empty without one."""
    if not in_checkout():
        return ""
    command = ["git", "-C", str(REPOSITORY), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def write_run(
    folder: Path,
    config: Config,
    history: list[dict[str, float]],
    codes: Mapping[str, np.ndarray],
    state: Mapping[str, torch.Tensor],
    rows: list[dict[str, Any]],
    facts: Mapping[str, Any],
) -> None:
    """Write a run folder: all files under temporary names first, then all are renamed.

    metrics.csv marks a finished run: an old one is removed before, the new one is renamed last.
    rows: those of scoring.metric_rows; the run's settings are added to them.
    """
    chosen = config.composition
    common = {name: getattr(config, name) for name in SHOWN}
    common |= {part: getattr(chosen, part) for part in ("network", "objective", "coder")}
    common |= {"run_id": folder.name, "method": chosen.name}
    table = pd.DataFrame([{**common, **row} for row in rows], columns=COLUMNS)
    epochs = pd.DataFrame(history or {"epoch": []})
    tensors = {k: v.cpu().contiguous() for k, v in state.items()}
    with ExitStack() as files:  # renamed in reverse order, at the end

        def write(name: str, content: bytes) -> None:
            files.enter_context(atomic(folder / name)).write_bytes(content)

        write("metrics.csv", table.to_csv(index=False).encode())
        write("config.json", json_bytes(asdict(config)))
        classes = len(np.unique(codes["query_labels"]))
        write("env.json", json_bytes({**environment(), "query_classes": classes, **facts}))
        write("history.csv", epochs.to_csv(index=False).encode())
        write("codes.npz", npz_bytes(codes))
        write("model.safetensors", save(tensors))
        (folder / "metrics.csv").unlink(missing_ok=True)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic(path) as partial:
        table.to_csv(partial, index=False)


def write_npz(path: Path, arrays: Mapping[str, ArrayLike]) -> None:
    with atomic(path) as partial:
        partial.write_bytes(npz_bytes(arrays))


def npz_bytes(arrays: Mapping[str, ArrayLike]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def make_again(folder: Path) -> str:
    """What to do about a run's file that is missing or damaged."""
    return f"delete the folder {folder} and make the run again (fdhmfe train, with its settings)"


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings in a run's config.json, also those that only another version has."""
    path, advice = folder / "config.json", make_again(folder)
    stored = read_record(path, ("dataset", "method", "bits"), advice)
    with readable(path, advice):
        return {k: check_type(k, v, TYPES[k]) if k in TYPES else v for k, v in stored.items()}


def read_environment(folder: Path, *names: str) -> dict[str, Any]:
    """What a run's env.json says: these names at least."""
    return read_record(folder / "env.json", names, make_again(folder))


def read_state(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors in a run's model.safetensors."""
    path = folder / "model.safetensors"
    with readable(path, make_again(folder)):
        return load_file(path)


def read_codes(folder: Path) -> dict[str, np.ndarray]:
    """The four arrays of a run's codes.npz."""
    path = folder / "codes.npz"
    with readable(path, make_again(folder)), np.load(path) as stored:
        return {name: stored[name] for name in CODE_ARRAYS}


def read_history(folder: Path) -> pd.DataFrame:
    """A run's losses by epoch; no rows if it has none."""
    return read_table(folder / "history.csv", ["epoch"], make_again(folder))


def read_metrics(folder: Path) -> pd.DataFrame:
    """The metric rows of one run; an empty field is an empty string, not NaN."""
    path = folder / "metrics.csv"
    table = read_table(path, COLUMNS, make_again(folder))
    with readable(path, make_again(folder)):
        pd.to_numeric(table.value)
        if set(table.run_id) != {folder.name}:
            raise ValueError("it holds rows of another run, or none")
    return table


def read_table(
    path: Path, columns: Iterable[str], advice: str, dtype: Mapping[str, type] | None = None
) -> pd.DataFrame:
    """A CSV file, which must have these columns and hold whole rows. Empty fields are "".

    Raises ValueError with the advice if it is missing or damaged.
    """
    with readable(path, advice):
        text = path.read_text(encoding="utf-8")
        widths = {len(row) for row in csv.reader(io.StringIO(text))}
        table = pd.read_csv(io.StringIO(text), keep_default_na=False, low_memory=False, dtype=dtype)
        if missing := [name for name in columns if name not in table]:
            raise ValueError(f"it lacks the columns {', '.join(missing)}")
        if not text.endswith("\n") or len(widths) > 1:
            raise ValueError("it is cut short")
    return table


def read_map(folder: Path, protocol: str = "") -> float:
    """mAP@all of one run: ties in expectation, network codes on both sides, its own coder.

    protocol: of the protocols that the run was scored by; empty: the first (of a fold, seen@seen).
    """
    table = headline(read_metrics(folder))
    own = table[~table.method.isin(REFERENCES)]
    return float(own.value[own.protocol == (protocol or own.protocol.iloc[0])].item())


def read_facts(folder: Path) -> dict[str, float]:
    """Seconds and trained parameters of a run; with masks, the shares on the object as well."""
    stored = read_environment(folder)
    names = ("seconds", "parameters", "kept_on_object", "object_share")
    return {name: stored[name] for name in names if name in stored}


def headline(table: pd.DataFrame, metric: str = "mAP") -> pd.DataFrame:
    """The rows of the headline number: mAP@all, expected ties, network codes on both sides.

    Or of another metric, by the same rules. One for each method, run and protocol. Rows of the
    read-out beside a method are left out: they are no methods, and must not compete with them;
    their `coder` finds them in the whole table.
    """
    chosen = (table.metric == metric) & (table.ties == "expected")
    chosen &= (table.database_codes == "network") & ~table.method.str.endswith(READ_OUT)
    return table[chosen]
