"""Checks and converts sparse X, as `validation` does arrays: returns a sound `Csr`, or raises with what is wrong.

SciPy checks little when a matrix is made and nothing when its arrays are changed, and its compiled conversions trust
them: an index out of range would write outside an array. So the arrays are checked here before any conversion, whatever
SciPy's own flags say (``has_sorted_indices`` ...). The checks take a pass over the indices and a temporary of constant
size.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..kernels.contract import Csr

# How many entries a check that needs a temporary takes at a time.
PIECE = 1 << 20


def is_sparse(X: Any) -> bool:
    """Whether X is a sparse array or matrix of SciPy. It is not where nobody has imported scipy.sparse."""
    scipy_sparse = sys.modules.get("scipy.sparse")
    return scipy_sparse is not None and bool(scipy_sparse.issparse(X))


def check_sparse(X: Any, name: str = "X") -> Csr:
    """X as a `Csr` that shares its arrays. The caller's object is never changed.

    Data and row pointers keep their dtypes: a source converts them a chunk at a time. X is copied, once, if its format
    is not CSR, or if a row is not sorted or repeats a column.

    Raises
    ------
    TypeError
        For data that are not real numbers, or indices that are not integers.
    ValueError
        For another number of dimensions, no rows, no columns, or arrays that contradict each other.
    """
    what = f"{name} (a sparse {type(X).__name__})"
    if len(X.shape) != 2:
        raise ValueError(f"{what} has shape {X.shape}; a 2-D array (rows, features) is wanted")
    if X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(f"{what} has shape {X.shape}; at least one row and one feature are wanted")
    own = X.format == "csr"
    out = _compressed(X, X.shape, what, ("row", "column")) if own else _converted(X, what)
    if _canonical(out):
        return out
    return _summed(out, copied=not own)


def line_of(indptr: np.ndarray, entry: int) -> int:
    """The row that an entry belongs to."""
    # With a number of another dtype NumPy would first convert the whole of indptr.
    return int(np.searchsorted(indptr, indptr.dtype.type(entry), side="right")) - 1


def nonfinite_entry(X: Csr) -> tuple[int, int, float] | None:
    """Row, column and value of the first entry that is NaN or infinite, or None."""
    if X.data.dtype.kind != "f":
        return None
    last = int(X.indptr[-1])
    for start in range(0, last, PIECE):
        piece = X.data[start : min(start + PIECE, last)]
        bad = np.flatnonzero(~np.isfinite(piece))
        if len(bad):
            entry = start + int(bad[0])
            return line_of(X.indptr, entry), int(X.indices[entry]), float(X.data[entry])
    return None


def _compressed(X: Any, shape: tuple[int, int], what: str, axes: tuple[str, str]) -> Csr:
    """Check the three arrays of a compressed format; ``axes`` are the names of the compressed axis and the other."""
    indptr, indices = _integers(X.indptr, f"{what}: indptr"), _integers(X.indices, f"{what}: indices")
    data = _numbers(X.data, what)
    lines, width = shape
    if len(indptr) != lines + 1:
        raise ValueError(f"{what}: indptr has {len(indptr)} items; {lines + 1}, one more than {axes[0]}s, are wanted")
    if len(data) != len(indices):
        raise ValueError(f"{what}: {len(data)} data and {len(indices)} indices; as many of each are wanted")
    if indptr[0] != 0:
        raise ValueError(f"{what}: indptr begins with {indptr[0]} at {axes[0]} 0; 0 is wanted")
    for start in range(0, lines, PIECE):
        piece = indptr[start : start + PIECE + 1]
        falls = np.flatnonzero(piece[1:] < piece[:-1])
        if len(falls):
            line = start + int(falls[0])
            raise ValueError(
                f"{what}: indptr falls from {indptr[line]} to {indptr[line + 1]} at {axes[0]} {line};"
                " it must never decrease"
            )
    if indptr[-1] > len(indices):
        line = line_of(indptr, len(indices))
        raise ValueError(
            f"{what}: indptr reaches {indptr[-1]} at the last {axes[0]}, beyond the {len(indices)} entries there are"
            f" (from {axes[0]} {line} on)"
        )
    last = int(indptr[-1])
    bad = _out_of_range(indices[:last], width)
    if bad is not None:
        line = line_of(indptr, bad)
        raise ValueError(f"{what}: {axes[0]} {line} has an entry in {axes[1]} {indices[bad]}; 0..{width - 1} is wanted")
    return Csr(indptr, _kept(indices, width)[:last], data[:last], width)


def _converted(X: Any, what: str) -> Csr:
    """Convert another format by SciPy, after a check of what SciPy's conversion relies on."""
    if X.format == "csc":
        _compressed(X, X.shape[::-1], what, ("column", "row"))
    elif X.format == "bsr":
        _check_blocks(X, what)
    elif X.format == "coo":
        _check_coordinates(X, what)
    else:
        _numbers(np.empty(0, X.dtype), what)
    try:
        rows = X.tocsr()
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError) as error:
        raise ValueError(f"{what} is not sound: converting it to CSR fails with {error}") from error
    return _compressed(rows, X.shape, what, ("row", "column"))


def _check_coordinates(X: Any, what: str) -> None:
    """Check the arrays of COO."""
    data = _numbers(X.data, what)
    for axis, length in zip(("row", "col"), X.shape, strict=True):
        indices = _integers(getattr(X, axis), f"{what}: {axis}")
        if len(indices) != len(data):
            raise ValueError(f"{what}: {len(data)} data and {len(indices)} of {axis}; as many of each are wanted")
        bad = _out_of_range(indices, length)
        if bad is not None:
            raise ValueError(f"{what}: entry {bad} is in {axis} {indices[bad]}; 0..{length - 1} is wanted")


def _check_blocks(X: Any, what: str) -> None:
    """Check the arrays of BSR: they are those of CSR, with dense blocks for entries."""
    if X.data.ndim != 3:
        raise ValueError(f"{what}: data has shape {X.data.shape}; (blocks, rows, columns) is wanted")
    _numbers(np.empty(0, X.data.dtype), what)
    height, width = X.data.shape[1:]
    if 0 in (height, width) or X.shape[0] % height or X.shape[1] % width:
        raise ValueError(f"{what}: blocks of shape {(height, width)} do not divide its shape {X.shape}")

    class Blocks:
        indptr, indices, data = X.indptr, X.indices, np.broadcast_to(np.int8(0), len(X.data))

    _compressed(Blocks, (X.shape[0] // height, X.shape[1] // width), what, ("row of blocks", "column of blocks"))


def _integers(array: Any, what: str) -> np.ndarray:
    out = np.asarray(array)
    if out.dtype.kind not in "iu":
        raise TypeError(f"{what} has dtype {out.dtype}; integers are wanted")
    if out.ndim != 1:
        raise ValueError(f"{what} has shape {out.shape}; a 1-D array is wanted")
    return out


def _numbers(data: Any, what: str) -> np.ndarray:
    out = np.asarray(data)
    if out.dtype.kind not in "fiub":
        raise TypeError(f"{what} has dtype {out.dtype}; a real numeric array (float, int or bool) is wanted")
    if out.ndim != 1:
        raise ValueError(f"{what}: data has shape {out.shape}; a 1-D array is wanted")
    return out if out.flags.c_contiguous else np.ascontiguousarray(out)


def _out_of_range(indices: np.ndarray, length: int) -> int | None:
    """Position of the first index outside 0..length-1, or None."""
    if not len(indices) or (indices.min() >= 0 and indices.max() < length):
        return None
    for start in range(0, len(indices), PIECE):
        piece = indices[start : start + PIECE]
        bad = np.flatnonzero((piece < 0) | (piece >= length))
        if len(bad):
            return start + int(bad[0])
    return None


def _kept(indices: np.ndarray, n: int) -> np.ndarray:
    """Indices as kernels read them, contiguous int32 or int64; not copied where they are so, as SciPy's usually are."""
    if indices.dtype.isnative and indices.dtype in (np.int32, np.int64) and indices.flags.c_contiguous:
        return indices
    return np.ascontiguousarray(indices, dtype=np.int32 if n <= np.iinfo(np.int32).max else np.int64)


def _canonical(X: Csr) -> bool:
    """Whether the column indices rise in every row, so that none repeats."""
    last = int(X.indptr[-1])
    for start in range(0, last - 1, PIECE):
        end = min(start + PIECE, last - 1)
        rises = X.indices[start + 1 : end + 1] > X.indices[start:end]
        if rises.all():
            continue
        # The first entry of a row need not be in a later column than the last entry of the row before.
        a, b = np.searchsorted(X.indptr, np.array((start + 1, end + 1), X.indptr.dtype))
        rises[X.indptr[a:b].astype(np.int64) - (start + 1)] = True
        if not rises.all():
            return False
    return True


def _summed(X: Csr, *, copied: bool) -> Csr:
    """A copy with sorted rows, in which the entries of a repeated column are added up, as ``X.toarray()`` does."""
    from scipy.sparse import csr_array

    data = X.data.astype(np.float32) if X.dtype == np.float16 else X.data  # SciPy has no float16
    data = data.astype(data.dtype.newbyteorder("="), copy=not copied)
    indices = X.indices if copied else X.indices.copy()
    out = csr_array((data, indices, X.indptr.astype(np.int64)), shape=X.shape)
    out.sum_duplicates()
    return Csr(out.indptr, _kept(out.indices, X.n), np.ascontiguousarray(out.data), X.n)
