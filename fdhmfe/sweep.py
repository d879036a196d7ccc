"""Many runs at once: independent, skipped when finished, and none lost when one fails."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from joblib import Parallel, delayed

from fdhmfe import experiment
from fdhmfe.config import Config
from fdhmfe.progress import progress


def sweep(configs: Sequence[Config], *, jobs: int | None = None) -> list[Path]:
    """Run every configuration and return the run folders, in the order given.

    `jobs` processes of one thread each (None: one per core; fine-tuning runs use one process).
    Finished runs are reused and killed ones continue. The runs after a failed one still take
    place; then RuntimeError says which failed and why.
    """
    for first in {(c.dataset, c.protocol, c.views): c for c in configs}.values():
        experiment.prepare(first)  # what the runs share is made once, with all cores
    jobs = jobs or (1 if any(c.finetune for c in configs) else os.cpu_count() or 1)
    runs = Parallel(n_jobs=jobs, return_as="generator")(map(delayed(_attempt), configs))
    outcomes = list(progress(runs, "runs", total=len(configs), lines=10))
    failed = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(configs)} runs failed:\n" + "\n".join(failed))
    return outcomes


def _attempt(config: Config) -> Path | str:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return experiment.run(config)
        except Exception as error:  # reported by the caller, beside the other failures
            name = f"{config.dataset} {config.method} {config.variant} {config.bits} bits"
            return f"{name}, seed {config.seed}: {type(error).__name__}: {error}"
        finally:  # with one job this is the caller's own process
            torch.set_num_threads(threads)
