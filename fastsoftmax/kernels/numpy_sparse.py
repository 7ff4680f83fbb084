"""Sparse rows for the NumPy reference: a `Csr` as one of SciPy's own arrays, without a copy of its entries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import Csr, Rows, Sums
from .plan import Plan

# Logits formed at a time: a slab of sparse rows may be long.
LOGITS = 1 << 22


def pieces(X: Csr, plan: Plan, k: int) -> Iterator[tuple[int, int, int, Any]]:
    """(slab, first row, end row, those rows as a csr_array), slab by slab in pieces of `LOGITS` logits."""
    starts = plan.sparse_slabs(X.indptr)
    step = max(1, LOGITS // k)
    for p in range(plan.slabs):
        for a in range(starts[p], starts[p + 1], step):
            b = min(a + step, int(starts[p + 1]))
            yield p, a, b, as_scipy(X, a, b)


def as_scipy(X: Csr, a: int, b: int) -> Any:
    """Rows a..b-1 as a csr_array over the same entries.

    Its attributes are set one by one: the constructor reads all indices to choose a type for them.
    """
    from scipy.sparse import csr_array

    first, last = int(X.indptr[a]), int(X.indptr[b])
    out = csr_array((b - a, X.n), dtype=X.dtype)
    few = last - first <= np.iinfo(X.indices.dtype).max
    out.indptr = (X.indptr[a : b + 1] - first).astype(X.indices.dtype if few else np.int64)
    out.indices, out.data = X.indices[first:last], X.data[first:last]
    return out


def sparse_gram_diagonal(rows: Rows, plan: Plan, sums: Sums, n_threads: int) -> None:
    assert isinstance(rows.X, Csr) and sums.grad is not None
    for p, a, b, X in pieces(rows.X, plan, 2):
        w = np.ones(b - a) if rows.w is None else rows.w[a:b]
        sums.grad[p, :, 1] += X.T @ w
        X.data = np.square(X.data, dtype=np.float64)
        sums.grad[p, :, 0] += X.T @ w
