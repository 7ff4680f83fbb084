"""Sources of rows that are in memory (or memory-mapped): each yields chunks of rows that a kernel can read.

X is never copied whole. Chunks are views where the kernels read its dtype, whatever its strides; else each chunk is
converted by itself, so that the extra memory is one chunk. Of sparse X the indices and data of a chunk are views, and
its row pointers are new.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ...kernels.contract import CONVERTED_BYTES, Csr, Layout, Rows
from ..validation import compute_dtype


class Source(Protocol):
    """m rows of n features that are walked in chunks. Every walk yields the same chunks in the same order.

    Attributes
    ----------
    shape : tuple of int
        (m, n).
    dtype : dtype
        That of the computation: float32 or float64.
    y, soft, w, smoothing
        Of all rows, as `kernels.contract.Rows` has them of a chunk.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    y: np.ndarray | None
    soft: np.ndarray | None
    smoothing: float

    @property
    def w(self) -> np.ndarray | None: ...

    def chunks(self, rows: int) -> Iterator[Rows]:
        """All rows in order, at most ``rows`` at a time."""


class DenseSource(Source, Protocol):
    """A source of dense rows.

    Attributes
    ----------
    layout : Layout
        How X lies in memory.
    """

    layout: Layout


class _Labelled:
    """What a source has beside X: targets, weights and smoothing, of which each chunk gets its part."""

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
    X : ndarray (m, n), as `data.validation.check_X` returns it
    targets : int32 ndarray (m,) of labels, ndarray (m, k) of soft targets, or None
    w : float64 ndarray (m,) or None
        Weights, as `data.validation.check_weights` returns them.
    smoothing : float
        Label smoothing, in [0, 1].
    reads : str
        Type characters of the dtypes that the kernels read, ``READS`` of a backend. Chunks of any other are converted.

    Attributes
    ----------
    layout : Layout
        How X lies in memory.
    """

    def __init__(
        self,
        X: np.ndarray,
        targets: np.ndarray | None = None,
        w: np.ndarray | None = None,
        *,
        smoothing: float = 0.0,
        reads: str = "fd",
    ) -> None:
        super().__init__(targets, w, smoothing)
        self.X = X.view(np.uint8) if X.dtype == np.bool_ else X
        self.shape: tuple[int, int] = X.shape
        self.dtype = compute_dtype(X.dtype)
        self._converts = not (self.X.dtype.char in reads and self.X.dtype.isnative and self.X.flags.aligned)
        by_column = self.X.flags.f_contiguous and not self.X.flags.c_contiguous
        itemsize = (self.dtype if self._converts else self.X.dtype).itemsize
        self.layout = Layout(by_column, itemsize, self._converts)

    def pick(self, rows: np.ndarray) -> np.ndarray:
        """A copy of X of the rows with these numbers."""
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
    """Rows of X - shift, computed a chunk at a time; ``shift`` (n,) has the dtype of the computation."""

    def __init__(self, *args: Any, shift: np.ndarray, **options: Any) -> None:
        super().__init__(*args, reads="", **options)  # every chunk is a copy, whatever dtypes kernels read
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
    X : Csr
        All rows, as `data.validation.check_X` returns them.
    targets, w, smoothing
        As of `ArraySource`.

    Attributes
    ----------
    nnz : int
        Number of entries.
    """

    def __init__(
        self, X: Csr, targets: np.ndarray | None = None, w: np.ndarray | None = None, *, smoothing: float = 0.0
    ) -> None:
        super().__init__(targets, w, smoothing)
        self.X = X
        self.shape: tuple[int, int] = X.shape
        self.dtype = compute_dtype(X.dtype)
        self.nnz = int(X.indptr[-1])
        self._converts = not (X.dtype == self.dtype and X.dtype.isnative and X.data.flags.aligned)

    def pick(self, rows: np.ndarray) -> Any:
        """A copy of the rows with these numbers, as a csr_array."""
        return self.X.to_scipy()[rows]

    def chunks(self, rows: int) -> Iterator[Rows]:
        """All rows in order, at most ``rows`` at a time; fewer where entries that must be converted are many."""
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
        """load[j] is the number of entries in columns 0..j-1: int64 (n + 1,). See `kernels.contract.Csr`."""
        out = np.zeros(self.X.n + 1, np.int64)
        step = max(1 << 20, self.X.n)
        for start in range(0, self.nnz, step):
            out[1:] += np.bincount(self.X.indices[start : start + step], minlength=self.X.n)
        return np.cumsum(out, out=out)
