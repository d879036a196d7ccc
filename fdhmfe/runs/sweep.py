"""Many runs at once. Finished ones are skipped; a failed one does not stop the others.

They run in worker processes of this machine, or of several machines under a Dask scheduler, which
must share the folders of data and results.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import torch
from joblib import Parallel, delayed, parallel_config

from fdhmfe.config.settings import Config
from fdhmfe.data.door import open_dataset
from fdhmfe.runs import experiment, ledger
from fdhmfe.runs.inputs import READ, open_backbone
from fdhmfe.runs.results import run_folder, run_id, source_hash
from fdhmfe.support.processes import end_with_parent
from fdhmfe.support.progress import progress

TRIES = 3  # rounds (set by hand): if a worker dies, the next round does the missing runs
Outcome = Path | str  # a run's folder, or its name and what went wrong


def collect(
    configs: Sequence[Config], *, jobs: int | None = None, scheduler: str | None = None
) -> list[str]:
    """The names of these runs, in the order given, with rows in the tables of their output folder.

    A run that has rows there is not made again, even if its network is on another machine. All must
    have the same output folder. For the rest see `sweep`.
    """
    source_hash()  # of the code that this process has loaded, even if it is edited meanwhile
    (output_dir,) = {config.output_dir for config in configs}
    names = run_names(configs)
    known = set(ledger.rows(output_dir, ledger.RUNS).run_id)
    pairs = zip(configs, names, strict=True)
    missing = [config for config, name in pairs if name not in known or not config.reuse]
    if len(missing) < len(configs):
        print(f"{len(configs) - len(missing)} of {len(configs)} runs are in the tables", flush=True)
    if missing:
        record = partial(ledger.record, output_dir)
        sweep(missing, jobs=jobs, scheduler=scheduler, after=lambda folder: record([folder]))
    return names


def run_names(configs: Sequence[Config]) -> list[str]:
    """The name of each run, from its settings, data and weights; nothing is computed for it."""

    def identify(config: Config) -> tuple[str, str]:
        dataset = open_dataset(config)
        return dataset.hash, open_backbone(config, dataset)[1]

    pairs = zip(configs, once(configs, identify), strict=True)
    return [run_id(config, *read) for config, read in pairs]


def once(
    configs: Sequence[Config], identify: Callable[[Config], tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Data set hash and backbone id of each run; runs that read the same are identified once."""
    known: dict[tuple, tuple[str, str]] = {}
    for config in configs:
        settings = tuple(getattr(config, name) for name in READ)
        if settings not in known:
            known[settings] = identify(config)
        yield known[settings]


def sweep(
    configs: Sequence[Config],
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    after: Callable[[Path], None] = lambda folder: None,
) -> list[Path]:
    """Run every configuration and return the run folders, in the order given.

    `jobs` processes of one thread each (None: one per core; fine-tuning runs use one process), or
    the workers of the Dask `scheduler` at this address, or at DASK_SCHEDULER_ADDRESS. A line or bar
    counts the runs done; the epochs of fine-tuning runs are shown too. Finished runs are reused and
    killed ones continue. If a run fails, the others still take place; runs whose worker was killed
    are tried again. `after` is called with each finished run's folder, in this process. At the end
    RuntimeError says which failed and why.
    """
    scheduler = scheduler or os.environ.get("DASK_SCHEDULER_ADDRESS")
    jobs = jobs or (1 if any(c.trainable == "all" for c in configs) else os.cpu_count() or 1)
    outcomes = finished(configs)
    if outcomes:
        print(f"reused {len(outcomes)} of {len(configs)} runs", flush=True)
    for folder in outcomes.values():
        after(Path(folder))
    broken = ""
    for _ in range(TRIES):
        missing = [number for number in range(len(configs)) if number not in outcomes]
        if not missing:
            break
        tasks = [delayed(_attempt)(number, configs[number], sys.path) for number in missing]
        with engine(jobs, scheduler) as parallel:
            try:
                done = progress(parallel(tasks), "runs", total=len(tasks), lines=10)
                for number, outcome in done:
                    outcomes[number] = outcome
                    if isinstance(outcome, Path):
                        after(outcome)
            except Exception as error:  # not of a run: those are in outcomes
                broken = f"{type(error).__name__}: {error}"
                print(f"a worker broke down ({broken}); going on with what is missing", flush=True)
    return all_folders([outcomes.get(i, f"{name_of(c)}: {broken}") for i, c in enumerate(configs)])


def all_folders(outcomes: Sequence[Outcome]) -> list[Path]:
    """The folders, if every run has one; else RuntimeError, which says what failed and why."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(outcomes)} runs failed:\n" + "\n".join(failed))
    return [outcome for outcome in outcomes if isinstance(outcome, Path)]


def finished(configs: Sequence[Config]) -> dict[int, Outcome]:
    """The folders of the runs that are already done, by position in `configs`.

    It also prepares what all runs read (data, weights, features), once, with all cores.
    """

    def identify(config: Config) -> tuple[str, str]:
        inputs = experiment.prepare(config)
        return inputs.dataset.hash, inputs.backbone_id

    found: dict[int, Outcome] = {}
    for number, (config, read) in enumerate(zip(configs, once(configs, identify), strict=True)):
        folder = run_folder(config, *read)
        if experiment.is_done(config, folder):
            found[number] = folder
    return found


@contextmanager
def engine(jobs: int, scheduler: str | None) -> Iterator[Parallel]:
    """Runs tasks in any order, in processes of this machine or in the workers of a scheduler.

    Raises ValueError if a worker has several threads: they would share one random generator.
    """
    if not scheduler:
        local = dict(backend="loky", initializer=end_with_parent)
        yield Parallel(jobs, **local, return_as="generator_unordered", batch_size=1)
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("a scheduler needs the extra dask: pip install -e '.[dask]'") from error
    with Client(scheduler, set_as_default=False) as client:
        wide = [worker for worker, threads in client.nthreads().items() if threads != 1]
        if wide:
            raise ValueError(f"{wide[0]} has several threads: start it with --nthreads 1")
        with parallel_config(backend="dask", client=client):
            yield Parallel(return_as="generator_unordered", batch_size=1)


def name_of(config: Config) -> str:
    what = f"{config.dataset} {config.method} {config.variant}"
    return f"{what} {config.bits} bits, seed {config.seed}"


def _attempt(number: int, config: Config, path: Sequence[str]) -> tuple[int, Outcome]:
    sys.path += [place for place in path if place not in sys.path]  # one's own method is there
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings(), ExitStack() as quiet:
        warnings.simplefilter("ignore", FutureWarning)
        # Fine-tuning takes hours: its lines are shown. Else the number of finished runs is enough.
        if config.trainable != "all":
            for redirect in (redirect_stdout, redirect_stderr):
                quiet.enter_context(redirect(StringIO()))
        try:
            return number, experiment.run(config)
        except Exception as error:  # reported by the caller, beside the other failures
            return number, f"{name_of(config)}: {type(error).__name__}: {error}"
        finally:  # with one job, this is the process of the caller
            torch.set_num_threads(threads)
