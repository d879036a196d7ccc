"""The codes of a finished job in one file, for other programs: a row for each image that was read.

    codes.csv, codes.parquet   id, name, code: hexadecimal, the first bit on top, 0 after the last
    codes.npz                  ids (n,), names (n,), codes (n, K) int8 of -1 and +1

A name that is not UTF-8 is a JSON string in the first two, which cannot hold it otherwise.
"""

import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fdhmfe.codes import unpack, whole_bytes
from fdhmfe.encoding.job import Job, read_shards
from fdhmfe.support.files import atomic
from fdhmfe.support.places import suggest

COLUMNS = ("id", "name", "code")


def check_kinds(kinds: Collection[str]) -> None:
    """Raise ValueError for a kind of file that is not known, or lacks the library for it."""
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"there is no export {kind!r}{suggest(kind, KINDS)}")
    if "parquet" in kinds:
        parquet()


def parquet() -> Any:
    """pyarrow and its module for Parquet."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError("Parquet needs pyarrow: pip install pyarrow") from error
    return pyarrow, parquet


def export(job: Job, bits: int, kinds: Collection[str]) -> None:
    """Write the files of these kinds. Those that are there already are brought up to date, too."""
    for kind, write in KINDS.items():
        path = job.out / f"codes.{kind}"
        if kind in kinds or path.exists():
            with atomic(path) as partial:
                write(partial, job, bits)
            print(f"exported: {path}")


def tables(job: Job, bits: int) -> Iterator[pd.DataFrame]:
    """The rows of one shard after the other, so that no more is in memory."""
    for arrays in read_shards(job.out):
        names = [text(job.names[i]) for i in arrays["ids"]]
        codes = [f"0x{row.tobytes().hex()}" for row in whole_bytes(arrays["words"], bits)]
        yield pd.DataFrame(dict(zip(COLUMNS, (arrays["ids"], names, codes), strict=True)))


def text(name: str) -> str:
    """A name as any program can read it: itself, or a JSON string if it is not UTF-8 on disk."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return json.dumps(name)
    return name


def write_csv(path: Path, job: Job, bits: int) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        for number, table in enumerate(tables(job, bits)):
            # Quoted, for a name may hold any end of line.
            form = dict(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            table.to_csv(file, header=not number, **form)


def write_parquet(path: Path, job: Job, bits: int) -> None:
    arrow, parquet_files = parquet()
    kinds = (arrow.int64(), arrow.string(), arrow.string())
    schema = arrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    with parquet_files.ParquetWriter(path, schema) as writer:
        for table in tables(job, bits):
            writer.write_table(arrow.Table.from_pandas(table, schema, preserve_index=False))


def write_npz(path: Path, job: Job, bits: int) -> None:
    """As np.savez_compressed does, but an array at a time and shard by shard."""

    def shards() -> Iterator[dict[str, np.ndarray]]:
        return read_shards(job.out)

    names = ([job.names[i] for i in shard["ids"]] for shard in shards())
    count, longest = sum(len(shard["ids"]) for shard in shards()), max(map(len, job.names))
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        write_array(archive, "ids", "i8", (count,), (shard["ids"] for shard in shards()))
        write_array(archive, "names", f"U{longest}", (count,), names)
        codes = (unpack(shard["words"], bits) for shard in shards())
        write_array(archive, "codes", "i1", (count, bits), codes)


def write_array(
    archive: ZipFile, name: str, kind: str, shape: tuple[int, ...], parts: Iterable[ArrayLike]
) -> None:
    """Write an array of this kind and shape to an .npz, part by part."""
    dtype = np.dtype(kind)
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.asarray(part, dtype).tobytes())


KINDS: Mapping[str, Callable[[Path, Job, int], None]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "npz": write_npz,
}
