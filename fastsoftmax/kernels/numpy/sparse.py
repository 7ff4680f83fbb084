"""Sparse rows for the NumPy reference: a `Csr` as one of SciPy's own arrays, without a copy of its entries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..contract import Csr, Rows, Sums
from ..plan import Plan

# Logits formed at a time: a slab of sparse rows may be long.
LOGITS = 1 << 22
# Bytes of the gradient that `sparse_gradient` works on at a time.
ROWS_BYTES = 384 << 10


def pieces(X: Csr, plan: Plan, k: int) -> Iterator[tuple[int, int, int, Any]]:
    """(slab, first row, end row, those rows as a csr_array), slab by slab in pieces of `LOGITS` logits."""
    starts = plan.sparse_slabs(X.indptr)
    step = max(1, LOGITS // k)
    for p in range(plan.slabs):
        for a in range(starts[p], starts[p + 1], step):
            b = min(a + step, int(starts[p + 1]))
            yield p, a, b, X.to_scipy(a, b)


def sparse_gram_diagonal(rows: Rows, plan: Plan, sums: Sums, n_threads: int) -> None:
    assert isinstance(rows.X, Csr) and sums.grad is not None
    for p, a, b, X in pieces(rows.X, plan, 2):
        w = np.ones(b - a) if rows.w is None else rows.w[a:b]
        sums.grad[p, :, 1] += X.T @ w
        X.data = np.square(X.data, dtype=np.float64)
        sums.grad[p, :, 0] += X.T @ w


def sparse_gradient(
    sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray, n_threads: int
) -> tuple[bool, bool]:
    """See `fastsoftmax.kernels.contract`; some rows at a time, which stay in cache with a temporary beside them."""
    assert sums.grad is not None
    finite, stored, step = True, True, max(1, ROWS_BYTES // (8 * out.shape[1]))
    for a in range(0, len(out), step):
        rows = slice(a, a + step)
        with np.errstate(over="ignore", invalid="ignore"):
            piece = sums.grad[0, rows].astype(np.float64)
            for slab in sums.grad[1:]:
                piece += slab[rows]
            piece *= sums.scale
            finite &= _all_finite(piece)
            if theta is not None:
                piece += np.multiply(theta[rows], l2, dtype=np.float64)
            out[rows] = piece
            stored &= _all_finite(out[rows])
    return finite, stored


def _all_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array.sum()) or np.isfinite(array).all())
