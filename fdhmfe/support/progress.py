"""Show progress of long work: a bar in a terminal or notebook, elsewhere a few plain lines."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def watched() -> bool:
    """True in a terminal or a live Jupyter session; papermill and CI get plain lines."""
    return sys.stderr.isatty() or "JPY_SESSION_NAME" in os.environ  # set by Jupyter servers


def progress(
    items: Iterable[T], description: str, *, total: int | None = None, lines: int = 4
) -> Iterator[T]:
    """Yield `items` under a progress bar, or print about `lines` plain lines along the way.

    `total` is needed when `items` has no length.
    """
    bar = tqdm(items, desc=description, total=total, disable=not watched())
    marks = {round(bar.total * (i + 1) / lines) for i in range(lines)} if bar.disable else ()
    started = time.perf_counter()
    for done, item in enumerate(bar, 1):
        yield item
        if done in marks:
            seconds = time.perf_counter() - started
            rest = left(seconds, done, bar.total)
            print(f"{description}: {done}/{bar.total}, {seconds:.0f} s{rest}", flush=True)


def progress_of_many(items: Iterable[T], description: str, *, total: int, many: int) -> Iterator[T]:
    """`progress` if there are `many` items or more; else the items as they are."""
    return progress(items, description, total=total) if total >= many else iter(items)


def left(seconds: float, done: int, total: int) -> str:
    """An estimate of the time that remains, from the time so far; empty at the end.

    >>> left(30.0, 1, 3), left(90.0, 3, 3)
    (', about 60 s left', '')
    """
    return f", about {seconds / done * (total - done):.0f} s left" if 0 < done < total else ""
