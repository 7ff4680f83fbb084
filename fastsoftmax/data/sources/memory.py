"""Where rows come from: each source hands out chunks of rows that a kernel can read.

An array or memory map is never copied whole. Chunks of a dtype that the kernels read are views, whatever
their strides; others are converted one chunk at a time, so that the extra memory is one chunk. Sparse X likewise:
a chunk's indices and data are views, and only its row pointers are made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ...kernels.contract import CONVERTED_BYTES, Csr, Rows
from ..validation import compute_dtype


class Source(Protocol):
    """m rows of n features, handed out in chunks; every pass sees the same chunks in the same order."""

    shape: tuple[int, int]
    dtype: np.dtype  # that of the computation: float32 or float64
    hints: dict[str, Any]  # what a plan should know: whether chunks are copies, whether columns are contiguous
    y: np.ndarray | None
    soft: np.ndarray | None
    w: np.ndarray | None
    smoothing: float

    def chunks(self, rows: int) -> Iterator[Rows]: ...


class _Labelled:
    """What a source has beside X: targets, weights and smoothing, cut as its rows are."""

    def __init__(self, targets: np.ndarray | None, w: np.ndarray | None, smoothing: float) -> None:
        soft = targets is not None and targets.ndim == 2
        self.y: np.ndarray | None = None if soft else targets
        self.soft: np.ndarray | None = targets if soft else None
        self.w, self.smoothing = w, smoothing

    def _rows(self, X: np.ndarray | Csr, start: int) -> Rows:
        part = slice(start, start + len(X))
        return Rows(
            X=X,
            y=None if self.y is None else self.y[part],
            w=None if self.w is None else self.w[part],
            start=start,
            soft=None if self.soft is None else self.soft[part],
            smoothing=self.smoothing,
        )


class ArraySource(_Labelled):
    """Rows of a NumPy array or memory map, with labels and weights beside them.

    Parameters
    ----------
    X : ndarray (m, n), as `validation.check_X` returns it
    targets : int32 ndarray (m,) of labels, ndarray (m, k) of soft targets, or None
    w : float64 ndarray (m,) or None
    smoothing : float
    reads : str
        Type characters of the dtypes the kernels read as they are (a backend's ``READS``).
    column_bytes : int
        How much of each column of F-order X a block should hold (a backend's ``COLUMN_BYTES``).
    byte_columns : int
        Features up to which a block of bytes becomes columns, in whichever order it is (a backend's ``BYTE_COLUMNS``).
    """

    def __init__(
        self,
        X: np.ndarray,
        targets: np.ndarray | None = None,
        w: np.ndarray | None = None,
        *,
        smoothing: float = 0.0,
        reads: str = "fd",
        column_bytes: int = 1024,
        byte_columns: int = 0,
    ) -> None:
        super().__init__(targets, w, smoothing)
        self.X = X.view(np.uint8) if X.dtype == np.bool_ else X
        self.shape: tuple[int, int] = X.shape
        self.dtype = compute_dtype(X.dtype)
        self._converts = not (self.X.dtype.char in reads and self.X.dtype.isnative and self.X.flags.aligned)
        by_columns = self.X.flags.f_contiguous and not self.X.flags.c_contiguous
        by_columns |= self.X.dtype.itemsize == 1 and self.shape[1] <= byte_columns
        self.hints: dict[str, Any] = {"converted": self._converts, "column_bytes": column_bytes if by_columns else 0}

    def pick(self, rows: np.ndarray) -> np.ndarray:
        """X of the rows with these numbers, a copy."""
        return np.asarray(self.X[rows])

    @cached_property
    def _all(self) -> Rows:
        return self._rows(np.asarray(self.X), 0)

    def chunks(self, rows: int) -> Iterator[Rows]:
        if rows >= self.shape[0] and not self._converts:
            yield self._all
            return
        for start in range(0, self.shape[0], rows):
            part = self.X[start : start + rows]
            yield self._rows(np.array(part, dtype=self.dtype, order="K") if self._converts else np.asarray(part), start)


class ShiftedSource(ArraySource):
    """Rows of X - shift, a chunk at a time; ``shift`` (n,) is of the dtype of the computation."""

    def __init__(self, *args: Any, shift: np.ndarray, **options: Any) -> None:
        super().__init__(*args, reads="", **options)  # chunks are copies, whatever kernels read
        self._shift = shift

    def pick(self, rows: np.ndarray) -> np.ndarray:
        picked: np.ndarray = np.subtract(super().pick(rows), self._shift, dtype=self.dtype)
        return picked

    def chunks(self, rows: int) -> Iterator[Rows]:
        for start in range(0, self.shape[0], rows):
            yield self._rows(np.subtract(self.X[start : start + rows], self._shift, dtype=self.dtype), start)


class SparseSource(_Labelled):
    """Rows of a sparse matrix, with labels and weights beside them.

    Parameters
    ----------
    X : Csr of all rows, as `validation.check_X` returns it
    targets, w, smoothing
        As `ArraySource` has them.
    """

    def __init__(
        self, X: Csr, targets: np.ndarray | None = None, w: np.ndarray | None = None, *, smoothing: float = 0.0
    ) -> None:
        super().__init__(targets, w, smoothing)
        self.X = X
        self.shape: tuple[int, int] = X.shape
        self.dtype = compute_dtype(X.dtype)
        self.nnz = int(X.indptr[-1])
        self.hints: dict[str, Any] = {"nnz": self.nnz}
        self._converts = not (X.dtype == self.dtype and X.dtype.isnative and X.data.flags.aligned)

    def chunks(self, rows: int) -> Iterator[Rows]:
        """Chunks of at most that many rows; fewer where their entries have to be converted and are many."""
        start, X = 0, self.X
        while start < len(X):
            end = min(start + rows, len(X))
            first = int(X.indptr[start])
            if self._converts:
                most = first + CONVERTED_BYTES // self.dtype.itemsize
                while end > start + 1 and X.indptr[end] > most:
                    end = start + (end - start) // 2
            last = int(X.indptr[end])
            indptr = X.indptr[start : end + 1].astype(np.int64, copy=start > 0)
            if start:
                indptr -= first
            data = X.data[first:last].astype(self.dtype, copy=self._converts)
            yield self._rows(Csr(indptr, X.indices[first:last], data, X.n), start)
            start = end

    @cached_property
    def load(self) -> np.ndarray:
        """load[j], the entries in columns 0..j-1: int64 (n + 1,), by which threads share the columns."""
        out = np.zeros(self.X.n + 1, np.int64)
        step = max(1 << 20, self.X.n)
        for start in range(0, self.nnz, step):
            out[1:] += np.bincount(self.X.indices[start : start + step], minlength=self.X.n)
        return np.cumsum(out, out=out)
