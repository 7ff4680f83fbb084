"""Arithmetic on arrays as large as theta, a block in cache at a time.

With many features and classes theta and its gradient take tens of MB, as much memory traffic as a pass over few rows
itself. What follows a pass (the mean, the penalty, the search for overflows, the caller's dtype) therefore reads each
number once and leaves no temporary: 10 ms for 168,000 x 45 in float64, of which
a second thread took one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

# A block: small enough for the L2 cache with a temporary beside it, large enough to make a call's cost small.
BLOCK_BYTES = 384 << 10
# Numbers of which BLAS takes the product with one thread, whatever it has.
FEW = 4096


def finish(out: np.ndarray, scale: float, l2: float, theta: np.ndarray, n: int) -> tuple[np.ndarray, bool]:
    """scale out + l2 theta, the penalty for the first n rows only, and whether scale out is finite everywhere.

    Works in place. A result of theta's dtype takes new memory only if that is the larger one or ``out`` is not in C
    order; a smaller one takes the first bytes of ``out``, where nothing is read again once a block has been.
    """
    by_rows = out.flags.c_contiguous
    result = out if out.dtype == theta.dtype else _room_for(out, theta.dtype, by_rows)
    lines, others, target = (out, theta, result) if by_rows else (out.T, theta.T, result.T)
    finite, spare = True, np.empty(0)
    with np.errstate(over="ignore", invalid="ignore"):
        for a, b in blocks(lines):
            piece = lines[a:b]
            piece *= scale
            finite &= math.isfinite(np.add.reduce(piece, axis=None)) or bool(np.isfinite(piece).all())
            if l2:
                part = others[a : min(b, n)] if by_rows else others[a:b, :n]
                spare = spare if spare.shape == part.shape else np.empty(part.shape)
                piece[: part.shape[0], : part.shape[1]] += np.multiply(part, l2, out=spare, dtype=np.float64)
            if result is not out:
                target[a:b] = piece
    return result, finite


def _room_for(out: np.ndarray, dtype: np.dtype, in_place: bool) -> np.ndarray:
    """An array of another dtype shaped like ``out``, in its memory if it can be: 30 MB in new pages take 9 ms."""
    if not in_place or dtype.itemsize > out.dtype.itemsize:
        return np.empty_like(out, dtype=dtype)
    return out.reshape(-1).view(dtype)[: out.size].reshape(out.shape)


def squared_norm(array: np.ndarray) -> float:
    """The sum of squares in float64, its terms in an order that no number of threads changes, as BLAS's would."""
    if array.size <= FEW:
        flat = array.ravel().astype(np.float64, copy=False)
        return float(np.vdot(flat, flat))
    total = 0.0
    for a, b in blocks(array):
        piece = array[a:b].ravel().astype(np.float64, copy=False)
        total += float(np.einsum("i,i->", piece, piece))  # warns of no overflow
    return total


def add(out: np.ndarray, factor: float, array: np.ndarray) -> None:
    """out += factor array."""
    for a, b in blocks(out):
        out[a:b] += factor * array[a:b]


def scale_and_add(out: np.ndarray, factor: float, array: np.ndarray) -> None:
    """out = factor out + array, in place."""
    for a, b in blocks(out):
        piece = out[a:b]
        piece *= factor
        piece += array[a:b]


def blocks(array: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first row, end row) of each block."""
    rows, columns = array.shape
    step = max(1, BLOCK_BYTES // (8 * columns))
    if rows <= step:
        return iter(((0, rows),) if rows else ())
    return ((a, min(a + step, rows)) for a in range(0, rows, step))
