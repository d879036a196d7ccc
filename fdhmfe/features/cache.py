"""Stage features computed once per (images, backbone, size, view) and memory-mapped afterwards.

A frozen backbone always gives the same maps, so reading them is far cheaper than computing them.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from fdhmfe.data.dataset import Dataset
from fdhmfe.data.views import load_views
from fdhmfe.features.backbone import StageBackbone
from fdhmfe.features.split import Front
from fdhmfe.support.distributed import device
from fdhmfe.support.files import build_once, content_hash, read_json, reserve, write_json
from fdhmfe.support.progress import progress

A = TypeVar("A")
B = TypeVar("B")
BATCH = 32
SAVE_EVERY = 16  # batches until progress is saved; set by hand: flushing is slow


@dataclass(frozen=True)
class StageCache:
    """Cached maps of one view. `rows` are the table rows stored, in increasing order."""

    rows: np.ndarray  # (M,)
    stages: list[np.ndarray]  # L arrays (M, H_l, W_l, C_l) float16, memory-mapped

    def read(self, rows: np.ndarray, deepest: int) -> list[Tensor]:
        """Maps of the given table rows, `deepest` L stages: float32 tensors (B, C_l, H_l, W_l)."""
        index = np.searchsorted(self.rows, rows)
        maps = (torch.from_numpy(stage[index]).float() for stage in self.stages[-deepest:])
        return [x.permute(0, 3, 1, 2) for x in maps]


def read_ahead(load: Callable[[A], B], batches: Iterable[A]) -> Iterator[B]:
    """Yield load(batch) for each batch, loading the next one while the caller works."""
    remaining = iter(batches)
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = [pool.submit(load, batch) for batch in islice(remaining, 2)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(load, batch) for batch in islice(remaining, 1)]


def cached_view(
    folder: Path, dataset: Dataset, rows: np.ndarray, view: int, backbone: StageBackbone | Front
) -> StageCache:
    """Open the cached maps of one view, computing them first if needed (resumes when killed).

    The folder is named by the rows, too: what a killed process has left is gone on with only where
    the images are split as they were.
    """
    named = folder.with_name(f"{folder.name}-{content_hash(rows.tolist())}")
    done = build_once(
        named, lambda partial: compute(partial, dataset, rows, view, backbone), resume=True
    )
    files = sorted(done.glob("stage-*.npy"))
    return StageCache(rows, [np.load(f, mmap_mode="r") for f in files])


def compute(
    folder: Path, dataset: Dataset, rows: np.ndarray, view: int, backbone: StageBackbone | Front
) -> None:
    """Fill `folder` with one stage-<l>.npy per stage, batch by batch."""
    place, pre = device(), backbone.preprocessing
    # A copy: the caller's stays on its device. A traced network's copy is no longer in eval mode.
    network = deepcopy(backbone).eval().to(place)
    with torch.inference_mode():
        blank = torch.zeros(1, 3, pre.size, pre.size)
        shapes = [x.shape[1:] for x in backbone(blank)]  # (C_l, H_l, W_l)
    counter = folder / "progress.json"
    start = read_json(counter)["done"] if counter.exists() else 0
    files = [folder / f"stage-{level}.npy" for level in range(len(shapes))]
    if not start:
        for file, (channels, *sides) in zip(files, shapes, strict=True):
            shape = (len(rows), *sides, channels)
            np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
            reserve(file)
    stages = [np.load(file, mmap_mode="r+") for file in files]
    firsts = range(start, len(rows), BATCH)
    batches = (rows[first : first + BATCH] for first in firsts)
    loaded = read_ahead(lambda batch: load_views(dataset, batch, view, pre), batches)
    for first in progress(firsts, f"stage features, view {view}"):
        images = next(loaded)
        with torch.inference_mode():
            maps = network(images.to(place).contiguous(memory_format=torch.channels_last))
        for stage, values in zip(stages, maps, strict=True):
            stage[first : first + BATCH] = values.permute(0, 2, 3, 1).half().cpu().numpy()
        if (first - start) // BATCH % SAVE_EVERY == SAVE_EVERY - 1:
            for stage in stages:
                stage.flush()
            write_json(counter, {"done": first + BATCH})
