"""Workers end with the process that started them, however it ends."""

import os
import sys
import textwrap
import time
from collections.abc import Callable

import psutil
import pytest

from fdhmfe.support.places import REPOSITORY

pytestmark = pytest.mark.slow  # processes that are killed

# Each starts two workers that are at work or wait for it, then waits itself.
STARTS = {
    "pool": """
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        from fdhmfe.support.processes import end_with_parent

        if __name__ == "__main__":
            with ProcessPoolExecutor(2, get_context("spawn"), end_with_parent) as pool:
                waiting = [pool.submit(time.sleep, 0), pool.submit(time.sleep, 600)]
                time.sleep(600)
    """,
    "sweep": """
        from joblib import delayed
        from fdhmfe.runs.sweep import engine

        with engine(2, None) as parallel:
            list(parallel(delayed(time.sleep)(seconds) for seconds in (0, 600)))
    """,
    "drawing": """
        from fdhmfe.config.settings import load
        from fdhmfe.data.readers.own import toy_folder

        toy_folder(load("quick", toy_train=5000))
    """,
    "decoding": """
        import numpy as np
        from fdhmfe.runs import inputs

        class Images:
            def __init__(self, *_):
                pass

            def __getitem__(self, _):
                time.sleep(0.1)

        inputs.Decoder = Images
        batches = ((np.arange(2), np.random.default_rng(0)) for _ in range(10**6))
        list(inputs.ImageSource(None, None, workers=2).training_batches(batches))
    """,
}


@pytest.mark.parametrize("start", STARTS)
def test_workers_end_soon_after_a_kill(start, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import time\n" + textwrap.dedent(STARTS[start]))
    places = {"PYTHONPATH": str(REPOSITORY), "FDHMFE_HOME": str(tmp_path)}
    environment = os.environ | places | {"LOKY_MAX_CPU_COUNT": "2"}
    parent = psutil.Popen([sys.executable, str(script)], env=environment)
    try:
        wait_until(lambda: len(workers(parent)) == 2)
        started = workers(parent)
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(started, timeout=20)
    for process in alive:
        process.kill()
    assert not alive


def workers(parent: psutil.Process) -> list[psutil.Process]:
    """The processes at work for this one: not those that clean up after it."""
    started = parent.children(recursive=True)
    return [p for p in started if "resource_tracker" not in " ".join(p.cmdline())]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
