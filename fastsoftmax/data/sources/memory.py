"""Sources of rows that are in memory (or memory-mapped): each yields chunks of rows that a kernel can read.

X is never copied whole. Chunks are views where the kernels read its dtype, whatever its strides; else each chunk is
converted by itself, so that the extra memory is one chunk. Of sparse X the indices and data of a chunk are views, and
its row pointers are new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ...kernels.contract import CONVERTED_BYTES, Csr, Layout, Rows
from ..bfloat16 import as_numbers
from ..validation import compute_dtype
from .readers.reader import Reader, require_same, will_need
from .source import DenseSource, Labelled

# Bytes that the system is told to read before they are needed.
AHEAD_BYTES = 64 << 20


class ArraySource(Labelled):
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

    @property
    def is_widened(self) -> bool:
        return bool(self.X.dtype != self.dtype)

    def pick(self, rows: np.ndarray) -> np.ndarray:
        return as_numbers(self.X[rows])

    @cached_property
    def _all(self) -> Rows:
        return self._rows(np.asarray(self.X), 0)

    def chunks(self, rows: int) -> Iterator[Rows]:
        if rows >= self.shape[0] and not self._converts:
            yield self._all
            return
        for start in range(0, self.shape[0], rows):
            part = self.X[start : start + rows]
            part = np.array(as_numbers(part), dtype=self.dtype, order="K") if self._converts else np.asarray(part)
            yield self._rows(part, start)


class RelabelledSource(Labelled):
    """The rows of any source with other targets and weights."""

    def __init__(
        self, source: Any, targets: np.ndarray | None, w: np.ndarray | None = None, smoothing: float = 0.0
    ) -> None:
        super().__init__(targets, w, smoothing)
        self._over(source)

    def _over(self, source: Any) -> None:
        """Take over what depends on X alone."""
        self._source = source
        self.shape, self.dtype, self.sparse, self.streamed = source.shape, source.dtype, source.sparse, source.streamed

    def __getattr__(self, name: str) -> Any:
        """What only sources of one kind have: the layout, the load of columns."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._source, name)

    @property
    def nnz(self) -> int:
        return int(self._source.nnz)

    @property
    def is_widened(self) -> bool:
        return bool(self._source.is_widened)

    def pick(self, rows: np.ndarray) -> Any:
        return self._source.pick(rows)

    def place(self, row: int, column: int) -> str:
        return str(self._source.place(row, column))

    def prepare(self, chunk: int, sums: int) -> None:
        self._source.prepare(chunk, sums)

    def chunks(self, rows: int) -> Iterator[Rows]:
        for part in self._source.chunks(rows):
            yield self._rows(part.X, part.start)


class ShiftedSource(RelabelledSource):
    """The rows of a dense source less ``shift`` (n,), which has the dtype of the computation, a chunk at a time."""

    def __init__(self, source: DenseSource, shift: np.ndarray) -> None:
        super().__init__(source, source.targets, source.w, source.smoothing)
        self._shift = shift
        self.layout = replace(source.layout, itemsize=self.dtype.itemsize, converted=True)

    def pick(self, rows: np.ndarray) -> np.ndarray:
        picked: np.ndarray = np.subtract(self._source.pick(rows), self._shift, dtype=self.dtype)
        return picked

    def chunks(self, rows: int) -> Iterator[Rows]:
        for part in self._source.chunks(rows):
            yield replace(part, X=np.subtract(as_numbers(part.X), self._shift, dtype=self.dtype))


class SparseSource(Labelled):
    """Rows of a sparse matrix, with labels and weights beside them.

    Parameters
    ----------
    X : Csr
        All rows, as `data.validation.check_X` returns them.
    targets, w, smoothing
        As of `ArraySource`.

    """

    sparse = True

    def __init__(
        self, X: Csr, targets: np.ndarray | None = None, w: np.ndarray | None = None, *, smoothing: float = 0.0
    ) -> None:
        super().__init__(targets, w, smoothing)
        self.X = X
        self.shape: tuple[int, int] = X.shape
        self.dtype = compute_dtype(X.dtype)
        self._converts = not (X.dtype == self.dtype and X.dtype.isnative and X.data.flags.aligned)

    @property
    def nnz(self) -> int:
        return int(self.X.indptr[-1])

    def pick(self, rows: np.ndarray) -> Any:
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


class MappedSource(ArraySource):
    """Rows of a file that is mapped into memory, which must stay what it was when it was first read.

    The system is told to read the next chunk while the kernels work on one. A file that has become shorter is an error
    before its missing pages are touched, which would end the process.
    """

    streamed = True

    def __init__(self, reader: Reader, state: dict[str, tuple[int, int]], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._reader, self._state = reader, state
        self.watch: Callable[[int, int | None], None] | None = None

    def chunks(self, rows: int) -> Iterator[Rows]:
        require_same(self._state, self._reader.state())
        step = max(1, min(rows, AHEAD_BYTES // self.X.strides[0])) if self.X.strides[0] > 0 else rows
        for part in super().chunks(rows):
            will_need(self.X[part.start + len(part.X) : part.start + len(part.X) + step])
            yield part
            require_same(self._state, self._reader.state())  # before the next one is touched
            if self.watch is not None:
                self.watch(part.start + len(part.X), self.shape[0])

    def place(self, row: int, column: int) -> str:
        return f"{self._reader.name}, row {row} (the first is 0), column {self._reader.names[column]!r}"
