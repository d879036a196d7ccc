"""What a shard must be: whoever reads codes from a folder believes nothing that is not checked."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from fdhmfe.codes import Identity
from fdhmfe.search.groups import are_codes

# array -> (kind of its numbers, bytes of each or 0 for any, axes)
ARRAYS = {
    "ids": ("i", 8, 1),  # (n,)
    "words": ("u", 8, 2),  # (n, W)
    "sha256": ("u", 1, 2),  # (n, 32)
    "failed": ("i", 8, 1),  # (m,)
    "reasons": ("U", 0, 1),  # (m,)
}


def shard_files(out: Path) -> list[Path]:
    """The shards in a job's folder, in order; ValueError for a file that cannot be one."""
    files = list((out / "shards").glob("*.npz"))
    for path in files:
        if not (path.stem.isascii() and path.stem.isdecimal()):
            raise ValueError(f"{path} is not of this job: take it away")
    return sorted(files, key=lambda path: int(path.stem))


def shard_fault(arrays: Mapping[str, np.ndarray], last: int) -> str:
    """Why these cannot be the arrays of a shard after the one that ended with id `last`; or ''."""
    for name, (kind, size, axes) in ARRAYS.items():
        if name not in arrays:
            return f"lacks {name}"
        array = arrays[name]
        dtype = array.dtype
        if dtype.kind != kind or size not in (0, dtype.itemsize) or array.ndim != axes:
            return f"holds {name} of {dtype} {array.shape}"
    ids, words, sha256, failed, reasons = (arrays[name] for name in ARRAYS)
    if len(words) != len(ids) or sha256.shape != (len(ids), 32) or len(reasons) != len(failed):
        return "holds arrays that differ in length"
    every = np.sort(np.concatenate([ids, failed]))
    if len(every) and (every[0] <= last or (np.diff(every) == 0).any()):
        return f"holds an id twice, or one of an earlier shard ({every[0]} after {last})"
    return "holds ids out of order" if (np.diff(ids) < 0).any() else ""


def check_shards(out: Path, identity: Identity, shards: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Raise ValueError unless these are the shards of which a job's identity speaks."""
    digest = hashlib.sha256()
    for arrays in shards:
        if not are_codes(arrays["words"], identity.bits):
            first = arrays["ids"].min(initial=0)
            raise ValueError(
                f"{out / 'shards'} holds codes of other than {identity.bits} bits, from id {first} "
                "on: encode again, into another folder"
            )
        digest.update(arrays["sha256"].tobytes())
    if digest.hexdigest()[:16] != identity.data:
        raise ValueError(
            f"{out / 'shards'} holds other images than {out / 'encoded.json'} speaks of: a shard "
            "is missing, or is of another job; encode again, into another folder"
        )
