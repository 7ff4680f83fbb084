"""Where rows come from: each source hands out chunks of rows that a kernel can read.

An array or memory map is never copied whole. Chunks of a dtype that the kernels read are views, whatever
their strides; others are converted one chunk at a time, so that the extra memory is one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from .kernels import Rows
from .validation import compute_dtype


class Source(Protocol):
    """m rows of n features, handed out in chunks; every pass sees the same chunks in the same order."""

    shape: tuple[int, int]
    dtype: np.dtype  # that of the computation: float32 or float64
    hints: dict[str, Any]  # what a plan should know: whether chunks are copies, whether columns are contiguous

    def chunks(self, rows: int) -> Iterator[Rows]: ...


class ArraySource:
    """Rows of a NumPy array or memory map, with labels and weights beside them.

    Parameters
    ----------
    X : ndarray (m, n), as `validation.check_X` returns it
    targets : int32 ndarray (m,) of labels, ndarray (m, k) of soft targets, or None
    w : float64 ndarray (m,) or None
    smoothing : float
    reads : str
        Type characters of the dtypes the kernels read as they are (a backend's ``READS``).
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
        self.X = X.view(np.uint8) if X.dtype == np.bool_ else X
        soft = targets is not None and targets.ndim == 2
        self.y: np.ndarray | None = None if soft else targets
        self.soft: np.ndarray | None = targets if soft else None
        self.w, self.smoothing = w, smoothing
        self.shape: tuple[int, int] = X.shape
        self.dtype = compute_dtype(X.dtype)
        self._converts = not (self.X.dtype.char in reads and self.X.dtype.isnative and self.X.flags.aligned)
        by_columns = self.X.flags.f_contiguous and not self.X.flags.c_contiguous
        self.hints: dict[str, Any] = {"converted": self._converts, "by_columns": by_columns}

    def chunks(self, rows: int) -> Iterator[Rows]:
        for start in range(0, self.shape[0], rows):
            part = slice(start, start + rows)
            yield Rows(
                X=np.array(self.X[part], dtype=self.dtype, order="K") if self._converts else np.asarray(self.X[part]),
                y=None if self.y is None else self.y[part],
                w=None if self.w is None else self.w[part],
                start=start,
                soft=None if self.soft is None else self.soft[part],
                smoothing=self.smoothing,
            )
