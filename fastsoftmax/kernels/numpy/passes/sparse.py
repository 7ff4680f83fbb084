"""What sparse X needs of its own: how its rows are cut, the moments of its columns, and the end of a large gradient.

A `Csr` becomes SciPy's csr_array without a copy of its entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...contract import Csr, PassPlan, Rows, Sums

# Most logits formed at a time: a slab of sparse rows may have many.
LOGITS_MAX = 1 << 22
# Bytes of a gradient that `reduce_gradient` works on at a time: they stay in cache, with a temporary beside them.
REDUCE_BYTES = 384 << 10


def slabs_of(X: Csr, plan: PassPlan, k: int) -> Iterator[tuple[int, int, int, Any]]:
    """(slab, first row, end row, those rows as a csr_array): slab by slab, at most `LOGITS_MAX` logits at a time."""
    starts = plan.sparse_slabs(X.indptr)
    step = max(1, LOGITS_MAX // k)
    for p in range(plan.slabs):
        for a in range(starts[p], starts[p + 1], step):
            b = min(a + step, int(starts[p + 1]))
            yield p, a, b, X.to_scipy(a, b)


def gram_diagonal(rows: Rows, plan: PassPlan, sums: Sums) -> None:
    """Weighted sums of the columns of X and of their squares."""
    assert isinstance(rows.X, Csr) and sums.grad is not None
    for p, a, b, X in slabs_of(rows.X, plan, 2):
        w = np.ones(b - a) if rows.w is None else rows.w[a:b]
        sums.grad[p, :, 1] += X.T @ w
        X.data = np.square(X.data, dtype=np.float64)
        sums.grad[p, :, 0] += X.T @ w


def reduce_gradient(sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray) -> tuple[bool, bool]:
    """The gradient from the sums of all slabs, into ``out``; whether they are finite once scaled, and ``out`` is."""
    assert sums.grad is not None
    finite, stored, step = True, True, max(1, REDUCE_BYTES // (8 * out.shape[1]))
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
