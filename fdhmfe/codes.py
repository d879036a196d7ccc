"""Hash codes as bytes: packed to 64-bit words, compared by Hamming distance, and their identity.

Codes are (N, K) int8 of -1 and +1. Packed, a bit is 1 for +1. The unused bits of the last word are
0 in every code, so they add nothing to a distance.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

WORD = 64
ROWS = 2**16  # rows packed at a time: the checks need a few bytes per bit


class Identity(NamedTuple):
    """Where codes come from. Codes of two identities must never be compared."""

    bits: int
    model: str  # content hash of the weights that made them
    data: str  # content hash of the images they stand for


def pack(codes: ArrayLike, bits: int | None = None, *, name: str = "codes") -> np.ndarray:
    """Codes (N, K) of -1/+1 -> (N, W) uint64, W = ceil(K / 64).

    Raises ValueError if codes are not numbers (N, K), if K is not `bits`, or if a value is not -1
    or +1; the message names the first such value. `name` is what messages call the codes.
    """
    codes = to_numpy(codes, name)
    if codes.ndim != 2 or codes.shape[1] == 0 or codes.dtype.kind not in "iuf":
        found = f"{codes.dtype} {codes.shape}"
        raise ValueError(f"{name} must be numbers (rows, bits) and not empty; it is {found}")
    if bits is not None and codes.shape[1] != bits:
        raise ValueError(f"{name} of {codes.shape[1]} bits do not fit an index of {bits} bits")
    bits = codes.shape[1]
    words = -(-bits // WORD)
    packed = np.empty((len(codes), words), np.uint64)
    padded = np.zeros((min(ROWS, len(codes)), words * WORD), bool)
    for rows in blocks(len(codes), ROWS):
        block = codes[rows]
        ones = padded[: len(block)]
        np.equal(block, 1, out=ones[:, :bits])
        if np.count_nonzero(ones) + np.count_nonzero(block == -1) < block.size:
            row, bit = np.argwhere(~np.isin(block, (-1, 1)))[0]
            value, row = block[row, bit], row + rows.start
            raise ValueError(f"{name}[{row}, {bit}] is {value}; codes must be -1 or +1")
        packed[rows] = np.packbits(ones.reshape(-1)).view(np.uint64).reshape(-1, words)
    return packed


def to_numpy(values: Any, name: str) -> np.ndarray:
    """An array, nested list or torch tensor on any device as an array; ValueError if it is none."""
    if hasattr(values, "detach"):  # a torch tensor; NumPy lacks some of its floating types
        values = (values.double() if values.is_floating_point() else values).detach().cpu()
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not an array: {error}") from error


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """What `pack` was given: (N, W) uint64 -> (N, K) int8 of -1 and +1."""
    ones = np.unpackbits(as_bytes(packed), axis=1, count=bits)
    return np.where(ones == 1, 1, -1).astype(np.int8)


def as_bytes(packed: np.ndarray) -> np.ndarray:
    """Packed codes byte by byte, as FAISS takes them: (N, W) uint64 -> (N, 8 W) uint8, no copy."""
    return np.ascontiguousarray(packed).view(np.uint8)


def code_bytes(codes: ArrayLike) -> np.ndarray:
    """Codes (N, K) in the fewest whole bytes, the first bit on top: (N, ceil(K / 8)) uint8.

    What the explorer's page and an album hold. Errors as in `pack`.
    """
    return whole_bytes(pack(codes), np.shape(codes)[1])


def whole_bytes(packed: np.ndarray, bits: int) -> np.ndarray:
    """Packed codes (N, W) of K bits as `code_bytes` gives them: (N, ceil(K / 8)) uint8."""
    return as_bytes(packed)[:, : -(-bits // 8)]


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bits in which packed codes a (Q, W) and b (N, W), words or bytes, differ: (Q, N) unsigned.

    XOR and count the ones, a word at a time: faster than a matrix product, and always exact.
    """
    counts = (np.bitwise_count(x[:, None] ^ y) for x, y in zip(a.T, b.T, strict=True))
    total = next(counts).astype(np.min_scalar_type(8 * a.itemsize * a.shape[1]), copy=False)
    for count in counts:
        total += count
    return total


def nearest(queries: np.ndarray, packed: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the k codes nearest to each query and their distances: (Q, k), (Q, k) int32.

    Both packed, queries (Q, W) and codes (N, W). Equal distances come by place.
    """
    distances = hamming(queries, packed)
    # Narrow integers make NumPy's stable sort a radix sort.
    places = distances.argsort(axis=1, kind="stable")[:, :k]
    return places, np.take_along_axis(distances, places, axis=1).astype(np.int32)


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `count` rows."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))
