"""Where rows come from: each source hands out chunks of rows that a kernel can read.

An array or memory map is never copied whole. Chunks of a dtype that the kernels read are views, whatever
their strides; others are converted one chunk at a time, so that the extra memory is one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from .kernels import Rows
from .validation import compute_dtype


class Source(Protocol):
    """m rows of n features, handed out in chunks; every pass sees the same chunks in the same order."""

    shape: tuple[int, int]
    dtype: np.dtype  # that of the computation: float32 or float64

    def chunks(self, rows: int) -> Iterator[Rows]: ...


class ArraySource:
    """Rows of a NumPy array or memory map, with labels and weights beside them.

    Parameters
    ----------
    X : ndarray (m, n), as `validation.check_X` returns it
    y : int32 ndarray (m,) or None
    w : float64 ndarray (m,) or None
    reads : str
        Type characters of the dtypes the kernels read as they are (a backend's ``READS``).
    """

    def __init__(
        self, X: np.ndarray, y: np.ndarray | None = None, w: np.ndarray | None = None, *, reads: str = "fd"
    ) -> None:
        self.X, self.y, self.w = X.view(np.uint8) if X.dtype == np.bool_ else X, y, w
        self.shape: tuple[int, int] = X.shape
        self.dtype = compute_dtype(X.dtype)
        self._as_is = self.X.dtype.char in reads and self.X.dtype.isnative and self.X.flags.aligned

    def chunks(self, rows: int) -> Iterator[Rows]:
        for start in range(0, self.shape[0], rows):
            part = slice(start, start + rows)
            yield Rows(
                X=np.asarray(self.X[part]) if self._as_is else np.array(self.X[part], dtype=self.dtype, order="K"),
                y=None if self.y is None else self.y[part],
                w=None if self.w is None else self.w[part],
                start=start,
            )
