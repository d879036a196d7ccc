"""Workers that end with the process that started them, even if that one is killed."""

import multiprocessing
import os
import threading
from contextlib import suppress

import psutil


def end_with_parent() -> None:
    """Called in a worker: it ends as soon as the process that started it is gone.

    A process that is killed tells its workers nothing: they would wait for more work, for minutes
    or for good. In a process that no other one started as a worker, this does nothing.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_after, args=(parent.pid,), daemon=True).start()


def end_after(process: int | None) -> None:
    """End this process as soon as the one of this number is gone."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(process).wait()
    os._exit(1)
