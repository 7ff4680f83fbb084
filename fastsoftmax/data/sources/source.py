"""What a pass asks of its data: the protocol `Source`, and `Labelled`, the targets and weights beside X.

A source states what is known of its rows without a walk over X (which classes there are, the smallest weight), so that
no caller needs the labels of all rows: they may lie on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from ...kernels.contract import Csr, Layout, Rows

# Rows in which all classes are looked for first: nearly always they are there.
HEAD_ROWS = 4096
# Rows of targets and weights that are looked at together: what is made of them takes memory.
ROWS_AT_ONCE = 1 << 20


class Source(Protocol):
    """m rows of n features that are walked in chunks. Every walk yields the same chunks in the same order, and a chunk
    may be in memory that is used again once the next one is asked for.

    Attributes
    ----------
    shape : tuple of int
        (m, n).
    dtype : dtype
        That of the computation: float32 or float64.
    sparse : bool
        Whether chunks are `Csr`.
    y, soft, w, smoothing
        Of all rows, as `kernels.contract.Rows` has them of a chunk. The arrays may be maps of files.
    targets : ndarray or None
        y or soft, whichever there is.
    nnz : int
        Numbers of X that are stored: the entries of sparse X.
    is_widened : bool
        Whether chunks are copies because X is a dense array of another dtype than that of the computation.
    streamed : bool
        Whether the rows are not in memory: then nothing may be made that is as large as X.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    sparse: bool
    streamed: bool
    y: np.ndarray | None
    soft: np.ndarray | None
    smoothing: float

    @property
    def targets(self) -> np.ndarray | None: ...
    @property
    def w(self) -> np.ndarray | None: ...
    @property
    def nnz(self) -> int: ...
    @property
    def is_widened(self) -> bool: ...

    def chunks(self, rows: int) -> Iterator[Rows]:
        """All rows in order, at most ``rows`` at a time."""

    def pick(self, rows: np.ndarray) -> Any:
        """A copy of X of the rows with these ascending numbers, a csr_array if X is sparse."""

    def present_classes(self, k: int) -> np.ndarray:
        """Whether each of k classes has a row of positive weight, or a share of one: bool (k,)."""

    def least_weight(self) -> float:
        """The smallest positive weight of a row."""

    def has_distributions(self) -> bool:
        """Whether each row's targets sum to 1, up to rounding."""

    def place(self, row: int, column: int) -> str:
        """What to call a number of X in an error."""

    def prepare(self, chunk: int, sums: int) -> None:
        """Get ready for passes in chunks of so many rows. ValueError where these, and so many bytes of sums, do not fit
        into the memory that it may use."""


class DenseSource(Source, Protocol):
    """A source of dense rows.

    Attributes
    ----------
    layout : Layout
        How X lies in memory.
    """

    layout: Layout


class SparseRows(Source, Protocol):
    """A source of sparse rows.

    Attributes
    ----------
    load : int64 ndarray (n + 1,)
        load[j] is the number of entries in columns 0..j-1. See `kernels.contract.Csr`.
    """

    @property
    def load(self) -> np.ndarray: ...


class Labelled:
    """What a source has beside X: targets, weights and smoothing, of which each chunk gets its part."""

    sparse = False
    streamed = False
    shape: tuple[int, int]

    def __init__(self, targets: np.ndarray | None, w: np.ndarray | None, smoothing: float) -> None:
        soft = targets is not None and targets.ndim == 2
        self.y: np.ndarray | None = None if soft else targets
        self.soft: np.ndarray | None = targets if soft else None
        self.w, self.smoothing = w, smoothing

    @property
    def targets(self) -> np.ndarray | None:
        """Labels, or soft targets."""
        return self.soft if self.y is None else self.y

    @property
    def nnz(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def is_widened(self) -> bool:
        return False

    def present_classes(self, k: int) -> np.ndarray:
        if self.smoothing > 0:
            return np.ones(k, bool)
        assert self.targets is not None
        return present_classes(self.targets, self.w, k)

    def least_weight(self) -> float:
        w = self.w
        if w is None:
            return 1.0
        parts = (w[rows] for rows in _ranges(len(w)))
        return min(float(np.min(part, where=part > 0, initial=np.inf)) for part in parts)

    def has_distributions(self) -> bool:
        soft = self.soft
        if soft is None:
            return True
        mass = np.add.reduce(soft, axis=1, dtype=np.float64)
        eps = float(np.finfo(soft.dtype).eps)
        return bool(np.abs(mass - 1.0).max(initial=0.0) <= soft.shape[1] * eps)

    def place(self, row: int, column: int) -> str:
        return f"row {row}, column {column}"

    def prepare(self, chunk: int, sums: int) -> None:
        """Rows in memory need none."""

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


def present_classes(targets: np.ndarray, w: np.ndarray | None, k: int) -> np.ndarray:
    """Whether each class 0..k-1 has a row of positive weight, by labels (m,) or soft targets (m, k): bool (k,)."""
    present = np.zeros(k, bool)
    for rows in (slice(0, HEAD_ROWS), *_ranges(len(targets))):
        some, weight = targets[rows], None if w is None else w[rows] > 0
        if targets.ndim == 1:
            present[some if weight is None else some[weight]] = True
        else:
            for c in np.flatnonzero(~present):
                found = some[:, c] > 0
                present[c] = (found if weight is None else found & weight).any()
        if present.all():
            break
    return present


def _ranges(m: int) -> Iterator[slice]:
    return (slice(a, a + ROWS_AT_ONCE) for a in range(0, m, ROWS_AT_ONCE))
