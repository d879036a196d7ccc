"""Hash codes as bytes: packed to 64-bit words for search and storage, and what they came from.

Codes are (N, K) int8 of -1 and +1. Packed, a bit is 1 for +1, and zeros fill the last word: they
agree in every code, so that distances stay the same for any K.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

WORD = 64
ROWS = 2**18  # packed at once: the checks need a few bytes per bit


class Identity(NamedTuple):
    """What codes are of. Codes of two identities must never be compared."""

    bits: int
    model: str  # content hash of the weights that made them
    data: str  # content hash of the images they stand for


def pack(codes: np.ndarray, bits: int | None = None) -> np.ndarray:
    """Codes (N, K) of -1/+1 -> (N, W) uint64, W = ceil(K / 64).

    Raises ValueError for another shape, another length than `bits`, or, naming the first of them,
    values other than -1 and +1.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] == 0:
        raise ValueError(f"codes must be (rows, bits), not {codes.shape}")
    if bits is not None and codes.shape[1] != bits:
        raise ValueError(f"codes of {codes.shape[1]} bits do not fit an index of {bits} bits")
    packed = np.empty((len(codes), -(-codes.shape[1] // WORD)), np.uint64)
    for rows in blocks(len(codes), ROWS):
        ones = codes[rows] == 1
        wrong = ~ones & (codes[rows] != -1)
        if wrong.any():
            row, bit = np.unravel_index(wrong.argmax(), wrong.shape)
            value, row = codes[rows][row, bit], row + rows.start
            raise ValueError(f"codes[{row}, {bit}] is {value}; codes must be -1 or +1")
        padded = np.packbits(np.pad(ones, ((0, 0), (0, -ones.shape[1] % WORD))), axis=1)
        packed[rows] = padded.view(np.uint64)
    return packed


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """What `pack` was given: (N, W) uint64 -> (N, K) int8 of -1 and +1."""
    ones = np.unpackbits(np.ascontiguousarray(packed).view(np.uint8), axis=1, count=bits)
    return np.where(ones == 1, 1, -1).astype(np.int8)


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `count` rows."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))
